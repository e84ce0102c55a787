"""With x64: warm-up and training keep the types of their loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ebmjax as eb
from ebmjax import targets
from ebmjax.base import merge
from ebmjax.objectives import noise_contrastive, score_matching
from ebmjax.objectives.noise_contrastive import fitted_normal, with_log_z
from ebmjax.tempering.bases import gaussian
from ebmjax.tempering.paths import geometric

TARGET = targets.correlated_gaussian(2, 0.6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "make", [eb.nuts, eb.hmc, eb.mala, eb.random_walk], ids=lambda make: make.__name__
)
def test_warm_up_and_its_kernel(make, dtype):
    with jax.enable_x64(True):
        chain_init = np.random.default_rng(0).normal(size=(8, 2)).astype(dtype)
        tuned = eb.warm_up(
            jax.random.key(1), make, TARGET.energy, chain_init, num_steps=300
        )
        draws = eb.sample(jax.random.key(2), tuned.kernel, tuned.position, 1000).draws
        assert draws.dtype == dtype
        second = eb.expectation(lambda x: (x - TARGET.mean) ** 2, draws)
        assert (
            np.abs(second.value - np.diag(TARGET.covariance))
            < 5 * second.standard_error
        ).all()


@pytest.mark.parametrize("name", ["thin", "repeat", "cycle"])
def test_merged_infos_have_the_types_of_one(name):
    """A sum of 32-bit integers is one of 64 bits where these are enabled."""
    with jax.enable_x64(True):
        mala = eb.mala(TARGET.energy, 0.5)
        kernels = {"repeat": eb.repeat(mala, 2), "cycle": eb.cycle(mala, mala)}
        options = {"thin": 2} if name == "thin" else {}
        chains = eb.parallel(kernels.get(name, mala))
        keys = eb.chain_keys(jax.random.key(0), 3)
        found = eb.run(keys, chains, chains.init(np.zeros((3, 2))), 10, **options)
        num_moves = 10 if name == "thin" else 20
        for counts, expected in (
            (found.info.num_nonfinite, 0),
            (found.info.num_grads, num_moves),
        ):
            assert counts.dtype == np.int32 and (counts == expected).all()


def test_merged_counts_have_32_bits():
    with jax.enable_x64(True):
        kernel = eb.parallel(eb.mala(TARGET.energy, 0.5))
        keys = eb.chain_keys(jax.random.key(0), 3)
        _, infos = kernel.step(keys, kernel.init(np.zeros((3, 2))))
        merged = merge(infos)
        assert merged.num_grads.dtype == merged.num_nonfinite.dtype == np.int32


def test_a_checkpointed_run_goes_on(tmp_path):
    """The second call reads the chunks of the first."""
    with jax.enable_x64(True):
        kernel, start = eb.mala(TARGET.energy, 0.5), np.zeros((3, 2))
        run = lambda: eb.sample(
            jax.random.key(0), kernel, start, 20, num_chunks=4, checkpoint=tmp_path
        )
        first = run()
        before = {p.name: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npz")}
        second = run()
        assert first.draws.dtype == np.float64 and len(before) == 4
        np.testing.assert_array_equal(first.draws, second.draws)
        after = {p.name: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npz")}
        assert after == before


def test_kernels_of_bits_mix():
    energy = lambda x: jnp.sum(x * jnp.array([0.3, -0.2, 0.1]))
    with jax.enable_x64(True):
        mixed = eb.mixture([eb.flip(energy), eb.gibbs(energy)])
        eb.sample(jax.random.key(0), mixed, np.zeros((4, 3)), 20)


def test_annealed_importance_sampling():
    """log Z of a Gaussian between its bounds, from weights in double precision."""
    with jax.enable_x64(True):
        x = TARGET.sample(jax.random.key(1), 100)
        base = gaussian(jnp.zeros(2), 1.5)
        path, betas = geometric(base, TARGET.energy), np.linspace(0, 1, 9)
        options = {"num_chains": 100}, {"positions": x, "is_reversed": True}
        ahead, back = (
            eb.annealed_importance_sampling(
                jax.random.key(2), path, eb.mala, betas, 0.5, **o
            )
            for o in options
        )
        assert ahead.log_weights.dtype == back.log_weights.dtype == np.float64
        assert ahead.bound(0.9999) < TARGET.log_z < back.bound(0.9999)


def energy(params, x):
    return 0.5 * params["a"] * jnp.sum((x - params["m"]) ** 2)


LOSSES = {
    "maximum_likelihood": lambda z: eb.maximum_likelihood(
        energy, eb.mala, 5, acceptance_target=0.574
    ),
    "nce": lambda z: noise_contrastive.binary(energy, fitted_normal(z), 2),
    "denoising": lambda z: score_matching.denoising(energy, 0.3),
    "sliced": lambda z: score_matching.sliced(energy),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_training(name, dtype):
    with jax.enable_x64(True):
        z = np.random.default_rng(1).normal(1.0, 1.0, (2000, 2)).astype(dtype)
        params = {"a": jnp.asarray(2.0, dtype), "m": jnp.zeros(2, dtype)}
        params = with_log_z(params) if name == "nce" else params
        optimizer, chain_init = optax.adam(0.02), eb.from_data()
        state = eb.init_state(jax.random.key(0), params, optimizer, chain_init, 0.5)
        fit = partial(eb.fit, jax.random.key(1), LOSSES[name](z), optimizer)
        state, _ = fit(state, z, chain_init, num_updates=300, batch_size=200)
        found = state.params.energy if name == "nce" else state.params
        assert found["a"].dtype == dtype and np.abs(found["m"] - 1).max() < 0.2
