"""Programs of :mod:`benchmarks.accelerator`: runs of chains, updates of training."""

import functools

import jax
import jax.numpy as jnp

import ebmjax as eb
from benchmarks import training_candidates as candidates
from benchmarks.peers_jax import ENERGY, L, step_sizes
from ebmjax.fused import run as fused
from ebmjax.objectives import maximum_likelihood
from ebmjax.training import _updates as chunk
from ebmjax.training import chain_init
from ebmjax.training import step as updates

UPDATES = 50  # of a chunk of training


def ours(name, dim, num_steps, key, positions, run_of=eb.run):
    if name == "nuts":
        kernel = eb.nuts(ENERGY, 0.5)
    else:
        options = {"num_steps": L} if name == "hmc" else {}
        kernel = getattr(eb, name)(ENERGY, step_sizes(dim)[name], **options)

    def run(key, positions):
        chains = eb.parallel(kernel)
        keys = eb.chain_keys(key, len(positions))
        return run_of(keys, chains, chains.init(positions), num_steps).draws

    return functools.partial(jax.jit(run), key, positions)


def in_two_launches(name, dim, num_steps, key, positions):
    """The steps as one kernel; compiled for a GPU here, whatever JAX runs on."""
    run_of = functools.partial(fused.run, interpret=False)
    return ours(name, dim, num_steps, key, positions, run_of)


def blackjax_nuts(name, dim, num_steps, key, positions):
    import blackjax

    kernel = blackjax.nuts(
        lambda x: -ENERGY(x), step_size=0.5, inverse_mass_matrix=jnp.ones(dim)
    )

    def run(key, positions):
        def one_step(states, key):
            keys = jax.random.split(key, len(positions))
            states, _ = jax.vmap(kernel.step)(keys, states)
            return states, states.position

        keys = jax.random.split(key, num_steps)
        return jax.lax.scan(one_step, jax.vmap(kernel.init)(positions), keys)[1]

    return functools.partial(jax.jit(run), key, positions)


def chain_steps(problem):
    """The chains of an update alone, as the objective runs them."""
    energy, params, _ = candidates.network(problem)
    positions = jnp.zeros((problem.batch_size, problem.widths[0]))

    def run(key, params, positions):
        of_point = jax.tree_util.Partial(energy, params)
        chains = eb.parallel(eb.ula(of_point, candidates.STEP))
        keys = eb.chain_keys(key, len(positions))
        state = chains.init(positions)
        return eb.run(
            keys, chains, state, problem.chain_steps, collect=eb.discard
        ).state.position

    return run, (jax.random.key(0), params, positions)


def training_updates(problem):
    """Updates as the program of ``fit`` makes them, ``UPDATES`` in a chunk."""
    import optax

    energy, params, data = candidates.network(problem)
    buffer = chain_init.replay_buffer(
        candidates.draw(problem), problem.buffer_size, candidates.RESTART
    )
    optimizer = optax.adam(1e-3, b1=0.0)
    objective = maximum_likelihood(
        energy,
        eb.ula,
        problem.chain_steps,
        regularisation=candidates.REGULARISATION,
    )
    key, size = jax.random.key(0), problem.batch_size
    state = updates.init_state(key, params, optimizer, buffer, candidates.STEP)
    step = updates.train_step(objective, optimizer, buffer, num_chains=size)

    def run(key, state, data):
        return chunk.updates.__wrapped__(
            step, None, None, key, state, data, UPDATES, chunk=UPDATES, batch_size=size
        )

    return run, (key, state, data)


def gaussian_energy(dim):
    """Of a dense precision matrix, whose gradient is one product."""
    noise = jax.random.normal(jax.random.key(1), (dim, dim)) / dim
    precision = jnp.eye(dim) + noise @ noise.T
    return lambda x: 0.5 * x @ (precision @ x)


def logistic_energy(dim, num_rows=1000):
    """Of a logistic regression, whose gradient is two products."""
    features = jax.random.normal(jax.random.key(1), (num_rows, dim))
    signs = jnp.sign(features[:, 0])
    return lambda x: jnp.sum(jnp.logaddexp(0, -signs * (features @ x))) + 0.5 * x @ x


def hmc_of(energy, dim, num_steps, num_chains):
    """HMC of an energy with matrix products."""
    kernel = eb.hmc(energy, 0.1, L)

    def run(key, positions):
        chains = eb.parallel(kernel)
        keys = eb.chain_keys(key, num_chains)
        return eb.run(keys, chains, chains.init(positions), num_steps).draws

    return run, (jax.random.key(0), jnp.zeros((num_chains, dim)))
