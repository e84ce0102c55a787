"""The verdict on chains: what is wrong is named, what is right is not."""

import functools

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import targets
from ebmjax.diagnostics import summary as health

GOOD = np.asarray(jax.random.normal(jax.random.key(0), (2000, 4, 2)))
FUNNEL = lambda x: (
    0.5 * (x[0] / 3) ** 2 + 0.5 * jnp.sum(x[1:] ** 2) * jnp.exp(-x[0]) + 2 * x[0]
)


def test_nothing_is_wrong_where_nothing_is():
    assert health.summary(GOOD).warnings == []
    text = str(eb.assert_healthy({"a": GOOD, "b": GOOD[..., :1] ** 2}))
    assert text.splitlines()[0].split() == list(health.COLUMNS)
    assert [line.split()[0] for line in text.splitlines()[1:]] == [
        "a[0]",
        "a[1]",
        "b[0]",
    ]


def test_each_column_is_what_it_says():
    columns = eb.summary(GOOD).columns
    pooled = GOOD.reshape(-1, 2).astype(np.float64)
    np.testing.assert_allclose(columns["mean"], pooled.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(columns["sd"], pooled.std(axis=0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(
        columns["95%"], np.quantile(pooled, 0.95, axis=0), rtol=1e-5
    )
    theirs = arviz.summary(arviz.from_dict({"x": GOOD.swapaxes(0, 1)}), round_to="none")
    pairs = {
        "mcse_mean": "mcse_mean",
        "mcse_sd": "mcse_sd",
        "ess_bulk": "ess_bulk",
        "ess_tail": "ess_tail",
    }
    for ours, name in {**pairs, "rhat": "r_hat"}.items():
        np.testing.assert_allclose(columns[ours], theirs[name], rtol=1e-4)


def test_stuck_and_copied_chains_are_named():
    stuck, copied, frozen = (
        GOOD.copy(),
        GOOD.copy(),
        np.broadcast_to(GOOD[:1], GOOD.shape),
    )
    stuck[:, 2] = stuck[0, 2]
    copied[:, 3] = copied[:, 1]
    assert "1 of 4 chains never moved: 2" in str(eb.summary(stuck))
    assert "1 chains are copies of another: 3" in str(eb.summary(copied))
    with pytest.raises(RuntimeError, match="4 of 4 chains never moved: 0, 1, 2, 3"):
        eb.assert_healthy(frozen)
    shifted = GOOD + 0.3 * np.arange(4, dtype=np.float32)[:, None]
    assert "R-hat above 1.01 in x[0], x[1]" in str(eb.summary(shifted))


def test_chains_that_move_or_differ_at_all_are_not_named():
    """By one coordinate at one step, the last; and a chain that is another one later."""
    draws = np.broadcast_to(GOOD[0, 0], (50, 6, 2)).copy()
    draws[-1, :, 1] += 1e-3 * np.arange(6)
    assert jax.jit(health.stuck)(draws).tolist() == [True] + [False] * 5
    assert not jax.jit(health.copies)(draws).any()
    late = np.stack([GOOD[:-1, 0], GOOD[1:, 0], GOOD[:-1, 1]], axis=1)
    assert not health.copies(late).any()
    tree = {"a": draws, "b": GOOD[:50, [0, 1, 2, 0, 3, 2]]}
    tree["a"][:] = draws[:, :1]
    assert health.copies(tree).tolist() == [False, False, False, True, False, True]
    assert not health.stuck(tree).any()


def test_thousands_of_chains_are_compared_in_no_time():
    draws = jax.random.normal(jax.random.key(1), (20, 5000, 3)).at[:, 4321].set(0.5)
    draws = draws.at[:, 77].set(draws[:, 4000])
    assert np.flatnonzero(health.copies(draws)).tolist() == [4000]
    assert np.flatnonzero(health.stuck(draws)).tolist() == [4321]


@functools.cache
def recorded():
    target = targets.correlated_gaussian(5, 0.5)
    start = target.sample(jax.random.key(1), 4)
    return eb.sample(
        jax.random.key(2),
        eb.hmc(target.energy, 0.4, 5),
        start,
        1500,
        collect=eb.collect_stats,
    )


def test_the_hamiltonian_is_that_of_each_start():
    """Recomputed from the noise of each step, and the energy of the position before it."""
    position, energy, info = recorded().draws
    keys = eb.chain_keys(jax.random.key(2), 4)
    kernel = eb.hmc(targets.correlated_gaussian(5, 0.5).energy, 0.4, 5)
    for chain, step in ((0, 1), (3, 700), (2, 1499)):
        key = jax.random.fold_in(keys[chain], step)
        momentum = kernel.draw(key, position[step, chain])[0][0]
        wants = energy[step - 1, chain] + 0.5 * np.sum(np.square(momentum))
        assert np.isclose(info.hamiltonian[step, chain], wants, rtol=1e-5)
    thinned = eb.sample(
        jax.random.key(2), kernel, targets.correlated_gaussian(5, 0.5).sample(jax.random.key(1), 4), 60,
        thin=3, collect=eb.collect_stats,
    )  # fmt: skip
    np.testing.assert_allclose(
        thinned.draws.info.hamiltonian, info.hamiltonian[2:60:3], rtol=1e-5
    )


def test_bfmi_is_that_of_arviz():
    hamiltonian = recorded().draws.info.hamiltonian
    wants = arviz.bfmi(np.asarray(hamiltonian.T, np.float64))
    np.testing.assert_allclose(jax.jit(health.bfmi)(hamiltonian), wants, rtol=1e-4)
    np.testing.assert_allclose(health.bfmi(hamiltonian + 1000.0), wants, rtol=1e-2)
    assert eb.summary(recorded()).warnings == []


def test_a_run_without_momenta_has_no_hamiltonian(key):
    target = targets.standard_normal(2)
    kernels = eb.random_walk(target.energy, 12.0), eb.mala(target.energy, 1.0)
    for kernel in kernels:
        samples = eb.sample(
            key, kernel, target.sample(key, 4), 1000, collect=eb.collect_stats
        )
        assert not samples.draws.info.hamiltonian.any()
        assert "diverged" not in str(eb.summary(samples)) and "E-BFMI" not in str(
            eb.summary(samples)
        )


def test_a_funnel_has_divergences_and_little_change_of_energy(key):
    start = 0.1 * jax.random.normal(key, (4, 10))
    samples = eb.sample(
        key, eb.hmc(FUNNEL, 0.7, 10), start, 1000, collect=eb.collect_stats
    )
    info = samples.draws.info
    error = np.asarray(info.energy_error)
    wants = ((error > 1000) | ~np.isfinite(error)).sum(axis=0)
    assert wants.sum() > 0 and (jax.jit(health.divergences)(info) == wants).all()
    text = str(eb.summary(samples))
    assert (
        f"{wants.sum()} of 4000 steps diverged, in {np.sum(wants > 0)} chains" in text
    )


def test_an_error_that_is_no_number_is_a_divergence():
    error = jnp.array([[0.5, 999.0], [jnp.nan, 1001.0], [jnp.inf, -5000.0]])
    info = eb.Info(error, error > 0, error, error, error)
    assert health.divergences(info).tolist() == [2, 1]


def test_a_heavy_tail_has_a_small_bfmi(key):
    """Cauchy in ten dimensions: momenta change H by little beside what it varies by."""
    cauchy = lambda x: 5.5 * jnp.log1p(jnp.sum(x**2))
    samples = eb.sample(
        key, eb.hmc(cauchy, 0.3, 10), jnp.zeros((4, 10)), 2000, collect=eb.collect_stats
    )
    assert (health.bfmi(samples.draws.info.hamiltonian) < health.LEAST_BFMI).all()
    assert "E-BFMI below 0.3 in 4 chains" in str(eb.summary(samples))


@pytest.mark.parametrize(
    "draws", [np.ones((3, 4)), np.ones(100), np.full((9, 2), np.nan)]
)
def test_bad_draws(draws):
    with pytest.raises(ValueError, match="draws must be"):
        eb.summary(draws.astype(np.float32))


def test_bits_are_healthy(key):
    bits = jax.random.bernoulli(key, 0.3, (1000, 4, 3)).astype(jnp.float32)
    assert not health.summary(bits).warnings


def test_a_divergence_that_is_nan_is_seen_however_thin_the_draws(key):
    energy = lambda x: jnp.where(x[0] > 1.0, jnp.nan, 0.5 * jnp.sum(x**2))
    kernel = eb.hmc(energy, 0.5, 5)
    for thin in (1, 10):
        with pytest.warns(RuntimeWarning, match="were rejected"):
            run = eb.sample(
                key, kernel, jnp.zeros((4, 2)), 500, thin=thin, collect=eb.collect_stats
            )
        assert (health.divergences(run.draws.info) > 10).all()


def test_chains_that_differ_in_float64_only_are_not_copies():
    with jax.enable_x64(True):
        assert not health.copies(
            1e9 + jax.random.normal(jax.random.key(0), (50, 4, 1)) * 1e-3
        ).any()
