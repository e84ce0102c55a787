"""The library traces under JAX's strict flags, which users set to find their own bugs:
no implicit rank or dtype promotion, no key used twice."""

import contextlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from objectives.test_objective_values import CASES, NOISE, inputs
from test_compilations import CALLS

import ebmjax as eb
from ebmjax import supports
from ebmjax.diagnostics import streaming
from ebmjax.energies.networks import MLP, Conv
from ebmjax.kernels.chains import Stacked
from ebmjax.kernels.conditional import conditioned
from ebmjax.kernels.registry import KERNELS
from ebmjax.objectives import noise_contrastive as nce
from ebmjax.objectives import score_matching
from ebmjax.spaces import REAL


@contextlib.contextmanager
def strict():
    with (
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
        jax.debug_key_reuse(True),
    ):
        yield


def test_the_flags_are_on():
    with strict():
        with pytest.raises(ValueError, match="rank_promotion"):
            jnp.ones((2, 3)) + jnp.ones(3)
        with pytest.raises(jax.dtypes.TypePromotionError):
            jnp.ones(3) + jnp.arange(3)
        with pytest.raises(jax.errors.KeyReuseError):
            key = jax.random.key(0)
            jax.random.normal(key) + jax.random.normal(key)


def energy(x):
    return 0.5 * jnp.sum(x**2)


def variants():
    """Options of the kernels in verification, with masses of three coordinates."""
    made = {"sloped": np.array([1.0, 2.0, 3.0]), "dense": np.eye(3)}
    for name, entry in KERNELS.items():
        for case, options in {"": {}, **entry.variants}.items():
            options = {**entry.case, **options}
            yield name, case, {k: made.get(str(v), v) for k, v in options.items()}


@pytest.mark.parametrize(
    "name, options",
    [pytest.param(n, o, id=f"{n} {case}".strip()) for n, case, o in variants()],
)
def test_chains_of_each_kernel(name, options):
    """Three coordinates of four chains, or a lattice, or a restricted machine."""
    entry = KERNELS[name]
    of = energy if entry.example is None else entry.example()
    sizes = {"wolff": (4, 4), "swendsen_wang": (4, 4), "rbm_gibbs": (4,)}

    def chains(key):
        settings = dict(options)
        size = settings.pop("step_size", 0.3)
        kernel = eb.parallel(entry.kernel(of, size, **settings))
        x = jnp.ones((4, *sizes.get(name, (3,))))
        if entry.properties().state_space != REAL and name != "rbm_gibbs":
            x = x.astype(jnp.float32)
        run = eb.run(eb.chain_keys(key, 4), kernel, kernel.init(x), 70)
        return run.draws, run.info

    with strict():
        assert jax.eval_shape(chains, jax.random.key(0))


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_of_each_objective(name):
    case = CASES[name]
    with strict():
        objective = case.make()
        trained, *rest = inputs(case, objective)
        loss = lambda trained, *rest: objective.loss(trained, *rest)[0]
        assert jax.eval_shape(jax.grad(loss), trained, *rest)


# --- compositions -----------------------------------------------------------------

SHIFT = jnp.array([[0.0], [1.0], [2.0], [3.0]])
TREE = {"a": jnp.ones((4, 2)), "b": jnp.ones((4, 3))}


def of_tree(x):
    return energy(x["a"]) + energy(x["b"])


def given(x, c):
    return 0.5 * jnp.sum((x - c) ** 2)


def sweep():
    part = lambda name: eb.within(of_tree, name, partial(eb.mala, step_size=0.3))
    return eb.cycle(part("a"), part("b"))


COMPOSED = {
    "repeat": lambda: eb.repeat(eb.mala(energy, 0.3), 3),
    "cycle": lambda: eb.cycle(eb.mala(energy, 0.3), eb.random_walk(energy, 0.5)),
    "mixture": lambda: eb.mixture(
        [eb.mala(energy, 0.3), eb.random_walk(energy, 0.5)], [0.3, 0.7]
    ),
    "stack": lambda: eb.stack([eb.hmc(energy, 0.1 * i, 3) for i in range(1, 5)]),
    "conditioned": lambda: conditioned(partial(eb.mala, step_size=0.3), given, SHIFT),
    "reject_nonfinite": lambda: eb.reject_nonfinite(eb.ula(energy, 0.3)),
    "pcn": lambda: eb.pcn(energy, 0.3, scale=2.0),
    "elliptical_slice": lambda: eb.elliptical_slice(energy),
    "independence": lambda: eb.independence(
        energy, lambda key: jax.random.normal(key, (3,)), lambda x: -energy(x)
    ),
    "temper": lambda: eb.mala(eb.temper(energy, 2.0), 0.3),
    "confine": lambda: eb.mala(eb.confine(energy, 3.0), 0.3),
    "condition": lambda: eb.mala(eb.condition(given, SHIFT[1]), 0.3),
    "product": lambda: eb.mala(eb.product(energy, energy), 0.3),
}


@pytest.mark.parametrize("name", [*COMPOSED, "within"])
def test_chains_of_compositions(name):
    with strict():
        kernel = sweep() if name == "within" else COMPOSED[name]()
    kernel = kernel if isinstance(kernel, Stacked) else eb.parallel(kernel)
    x = TREE if name == "within" else jnp.ones((4, 3))

    def chains(key):
        return eb.run(eb.chain_keys(key, 4), kernel, kernel.init(x), 6).draws

    with strict():
        assert jax.eval_shape(chains, jax.random.key(0))


SUPPORTS = {
    "real": (supports.real(), [[0.3, -0.2]]),
    "positive": (supports.positive(), [0.4, 2.0]),
    "greater_than": (supports.greater_than(-1.0), [0.4, 2.0]),
    "less_than": (supports.less_than(5.0), [0.4, 2.0]),
    "interval": (supports.interval(0.0, 3.0), [0.4, 2.0]),
    "periodic": (supports.periodic(), [0.4, 2.0]),
    "simplex": (supports.simplex(), [0.2, 0.3, 0.5]),
    "ordered": (supports.ordered(), [-0.2, 0.3, 0.5]),
    "positive_ordered": (supports.positive_ordered(), [0.2, 0.3, 0.5]),
    "unit_vector": (supports.unit_vector(), [0.6, 0.8, 0.0]),
    "cholesky_correlation": (
        supports.cholesky_correlation(),
        [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.6, 0.8]],
    ),
}


@pytest.mark.parametrize("name", SUPPORTS)
def test_constrained_energies(name):
    support, x = SUPPORTS[name]
    constrained = eb.constrain(of_tree, {"a": support, "b": None})
    start = {"a": jnp.stack([jnp.array(x)] * 4), "b": jnp.ones((4, 3))}

    def chains(key, z):
        kernel = eb.parallel(eb.hmc(constrained, 0.1, 3))
        run = eb.run(eb.chain_keys(key, 4), kernel, kernel.init(z), 6)
        return jax.vmap(constrained.constrain)(run.state.position)

    with strict():
        z = jax.vmap(constrained.free)(start)
        found = jax.eval_shape(chains, jax.random.key(0), z)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, start)


def test_the_gradient_of_a_conditional_likelihood():
    of_params = lambda params, x, c: params * given(x, c)
    batch = eb.pairs(jnp.ones((6, 2)), jnp.ones((6, 1)))
    objectives = (
        eb.conditional_likelihood(of_params, eb.mala, 2, acceptance_target=0.6),
        eb.over_pairs(score_matching.sliced, of_params),
        eb.over_pairs(partial(nce.ranking, noise=NOISE), of_params),
    )
    chains = eb.Chains(jnp.zeros((6, 2)), jnp.float32(0.3))
    with strict():
        for objective in objectives:
            loss = lambda params, *rest: objective.loss(params, *rest)[0]  # noqa: B023
            arguments = jnp.float32(1.0), jax.random.key(1), batch, chains
            assert jax.eval_shape(jax.grad(loss), *arguments).shape == ()


def test_running_statistics():
    reducer = streaming.together(
        moments=streaming.moments(),
        covariance=streaming.covariance(),
        batches=streaming.batch_means(num_batches=4),
    )

    def chains(key):
        kernel = eb.parallel(eb.mala(energy, 0.3))
        start = kernel.init(jnp.ones((4, 3)))
        found = eb.run(eb.chain_keys(key, 4), kernel, start, 70, collect=reducer).draws
        m, c, b = found["moments"], found["covariance"], found["batches"]
        results = m.mean, m.means, m.variance, m.variances, m.rhat, c.mean
        return *results, c.covariance, b.mean, b.ess, b.mcse_mean

    with strict():
        assert jax.eval_shape(chains, jax.random.key(0))


@pytest.mark.parametrize(
    "network, shape", [(MLP((8,)), (5,)), (Conv(), (8, 8, 1))], ids=["MLP", "Conv"]
)
def test_an_update_of_training(network, shape):
    objective = eb.maximum_likelihood(
        network.apply, eb.mala, 2, acceptance_target=0.6, regularisation=0.1
    )
    # optax.adam itself raises: a float to the power of a whole count
    sgd = optax.sgd(1e-3, momentum=0.9)
    x = jnp.ones((16, *shape))

    def normal(key, num):
        return jax.random.normal(key, (num, *shape))

    def update(key):
        key_init, key_state, key_step = jax.random.split(key, 3)
        params = network.init(key_init, x[0])
        buffer = eb.replay_buffer(normal, 64)
        state = eb.init_state(key_state, params, sgd, buffer, step_size=0.1)
        step = eb.train_step(objective, sgd, buffer, num_chains=8, ema_decay=0.9)
        return step(key_step, state, x)

    with strict():
        assert jax.eval_shape(update, jax.random.key(0))


@pytest.mark.parametrize("f", CALLS, ids=lambda f: f.__name__)
@pytest.mark.filterwarnings("ignore")  # of runs this short
def test_functions_of_the_host(f):
    with strict():
        assert np.all(np.isfinite(np.asarray(f(1))))


@pytest.mark.filterwarnings("ignore")
def test_from_a_check_to_a_summary():
    with strict():
        start = jnp.ones((4, 2))
        assert not eb.check(energy, start[0], jax.random.key(1)).issues
        tuned = eb.warm_up(
            jax.random.key(2), eb.hmc, energy, start, num_steps=60, target=0.8
        )
        samples = eb.sample(jax.random.key(3), tuned.kernel, tuned.position, 20)
        assert "ess" in str(eb.summary(samples))
