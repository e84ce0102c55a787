"""The library traces under JAX's strict flags, which users set to find their own bugs:
no implicit rank or dtype promotion, no key used twice."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_compilations import CALLS
from test_objective_values import CASES, inputs

import ebmjax as eb
from ebmjax.energies.networks import MLP, Conv
from ebmjax.kernels.registry import KERNELS
from ebmjax.spaces import REAL

KEY = jax.random.key(4)


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


@pytest.mark.parametrize(
    "network, shape", [(MLP((8,)), (5,)), (Conv(), (8, 8, 1))], ids=["MLP", "Conv"]
)
def test_an_update_of_training(network, shape):
    objective = eb.maximum_likelihood(
        network.apply, eb.mala, 2, acceptance_target=0.6, regularisation=0.1
    )
    adam = optax.adam(1e-3)
    x = jnp.ones((16, *shape))

    def normal(key, num):
        return jax.random.normal(key, (num, *shape))

    def update(key):
        key_init, key_state, key_step = jax.random.split(key, 3)
        params = network.init(key_init, x[0])
        buffer = eb.replay_buffer(normal, 64)
        state = eb.init_state(key_state, params, adam, buffer, step_size=0.1)
        step = eb.train_step(objective, adam, buffer, num_chains=8, ema_decay=0.9)
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
