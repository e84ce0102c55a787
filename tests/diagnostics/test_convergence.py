"""Diagnostics agree with ArviZ, and detect further issues."""

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from ebmjax import hmc, mala, nuts, random_walk, sample, targets
from ebmjax.diagnostics import _coordinate, convergence

RTOL = 1e-4
PAIRS = {
    "rhat": (convergence.rhat, lambda x: arviz.rhat(x)),
    "ess_bulk": (convergence.ess_bulk, lambda x: arviz.ess(x, method="bulk")),
    "ess_tail": (convergence.ess_tail, lambda x: arviz.ess(x, method="tail")),
    "ess_mean": (convergence.ess_mean, lambda x: arviz.ess(x, method="mean")),
    "mcse_mean": (convergence.mcse_mean, lambda x: arviz.mcse(x, method="mean")),
    "mcse_sd": (convergence.mcse_sd, lambda x: arviz.mcse(x, method="sd")),
}
for p in (0.1, 0.5, 0.95):
    ours = lambda x, p=p: convergence.ess_quantile(x, p)
    PAIRS[f"ess_quantile {p}"] = (
        ours,
        lambda x, p=p: arviz.ess(x, method="quantile", prob=p),
    )
    ours = lambda x, p=p: convergence.mcse_quantile(x, p)
    PAIRS[f"mcse_quantile {p}"] = (
        ours,
        lambda x, p=p: arviz.mcse(x, method="quantile", prob=p),
    )


def _runs():
    target, key = targets.correlated_gaussian(), jax.random.key(0)
    for name, kernel, steps, chains in (
        ("walk", random_walk(target.energy, 0.7), 1001, 4),
        ("mala", mala(target.energy, 0.5), 500, 16),
        ("hmc", hmc(target.energy, 0.4, 6), 700, 2),
        ("nuts", nuts(target.energy, 0.6), 301, 4),
        ("short", mala(target.energy, 0.5), 9, 64),
        ("shortest", mala(target.energy, 0.5), 6, 16),
    ):
        yield (
            name,
            np.asarray(sample(key, kernel, target.sample(key, chains), steps).draws),
        )
    yield (
        "shifted",
        np.asarray(jax.random.normal(key, (200, 4, 2)) + 0.3 * jnp.arange(4)[:, None]),
    )
    scales = jnp.array([0.2, 1.0, 1.0, 3.0])[
        :, None
    ]  # an odd number of draws; the folded R-hat is the larger
    yield "scaled", np.asarray(jax.random.normal(key, (401, 4, 2)) * scales)
    drifting = jax.random.normal(jax.random.key(10), (10, 4, 400))[
        :, :, np.array([19, 49])
    ]
    yield (
        "drifting",
        np.asarray(0.3 * jnp.cumsum(drifting, axis=0) + drifting),
    )  # Geyer's sum ends by length
    yield "far", np.asarray(1e5 + jax.random.normal(key, (2000, 4, 2)))
    antithetic = lambda x, noise: (x := -0.8 * x + 0.6 * noise, x)
    noise = jax.random.normal(key, (300, 4, 2))
    yield "antithetic", np.asarray(jax.lax.scan(antithetic, noise[0], noise)[1])


RUNS = dict(_runs())


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("run", RUNS)
def test_agrees_with_arviz(name, run):
    ours, theirs = PAIRS[name]
    draws = RUNS[run]
    expected = [
        float(theirs(np.asarray(draws[..., d].T, np.float64)))
        for d in range(draws.shape[-1])
    ]
    np.testing.assert_allclose(ours(draws), expected, rtol=RTOL)


def test_chains_stuck_at_different_values_have_an_infinite_rhat():
    apart = np.arange(2.0, dtype=np.float32)[None, :, None] * np.ones(
        (100, 1, 1), np.float32
    )
    assert convergence.rhat(apart) > 1e4


def test_rhat_runs_inside_jit():
    np.testing.assert_allclose(
        jax.jit(convergence.rhat)(RUNS["mala"]),
        convergence.rhat(RUNS["mala"]),
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", [n for n in PAIRS if n != "rhat"])
def test_one_chain_is_split(name):
    ours, theirs = PAIRS[name]
    draws = RUNS["walk"][:, :1]
    assert np.isfinite(convergence.rhat(draws)).all()  # ArviZ raises
    expected = [
        float(theirs(np.asarray(draws[..., d].T, np.float64))) for d in range(2)
    ]
    np.testing.assert_allclose(ours(draws), expected, rtol=RTOL)


def test_an_interval_of_a_beta_is_right_wherever_float32_is_not_enough():
    """Against scipy, to a thousandth of its length, from no draws to a million."""
    ess = np.array([0.0, 3.0, 60.0, 900.0, 3000.0, 1e5, 1e6])[:, None]
    p = np.array([0.05, 0.5, 0.9])
    a, b = (ess * p + 1).ravel(), (ess * (1 - p) + 1).ravel()
    ends = scipy.stats.beta.ppf([[0.1586553], [0.8413447]], a, b)
    found = np.asarray(jax.jit(jax.vmap(_coordinate.beta_interval))(a, b), np.float64).T
    assert (np.abs(found - ends) < 1e-3 * (ends[1] - ends[0])).all()


def test_memory_does_not_grow_with_the_number_of_coordinates():
    def beside(num_coordinates, estimator):
        draws = jax.ShapeDtypeStruct((10_000, 100, num_coordinates), jnp.float32)
        return (
            jax.jit(estimator)
            .lower(draws)
            .compile()
            .memory_analysis()
            .temp_size_in_bytes
        )

    for estimator in (convergence.ess_bulk, convergence.rhat):
        assert (
            beside(100, estimator) <= 1.01 * beside(20, estimator) < 4e8
        )  # the draws are 400 MB


def test_coordinates_taken_in_parts_are_those_taken_at_once(monkeypatch):
    draws = np.asarray(jax.random.normal(jax.random.key(9), (40, 4, 7))).cumsum(axis=0)
    whole = convergence.ess_tail(draws)
    monkeypatch.setattr(convergence, "AT_ONCE", 2 * 160)  # two at a time, and one
    jax.clear_caches()
    parts = convergence.ess_tail(draws)
    np.testing.assert_allclose(whole, parts, rtol=1e-6)


def test_constant_chains_have_an_ess_of_zero():
    draws = np.ones((100, 4, 1), np.float32)
    assert (
        convergence.ess_bulk(draws)
        == convergence.ess_tail(draws)
        == convergence.ess_mean(draws)
        == 0
    )
    assert not np.isfinite(convergence.mcse_mean(draws)) and not np.isfinite(
        convergence.mcse_sd(draws)
    )
    assert convergence.ess_quantile(draws, 0.3) == 0 and np.isnan(
        convergence.mcse_quantile(draws, 0.3)
    )


def test_nested_rhat_by_its_definition():
    draws = RUNS["mala"]
    grouped = draws.reshape(len(draws), 4, 4, 2).astype(np.float64)
    between = grouped.mean((0, 2)).var(0, ddof=1)
    within = (grouped.mean(0).var(1, ddof=1) + grouped.var(0, ddof=1).mean(1)).mean(0)
    np.testing.assert_allclose(
        convergence.nested_rhat(draws, 4), np.sqrt(1 + between / within), rtol=RTOL
    )
    one = convergence.nested_rhat(
        np.asarray(jax.random.normal(jax.random.key(3), (1, 4096, 1))), 64
    )
    assert abs(one - 1) < 0.05
    with pytest.raises(ValueError, match="num_groups .* got 3 of 16"):
        convergence.nested_rhat(draws, 3)


@pytest.mark.parametrize("draws", [np.ones((3, 4)), np.ones(100), 1.0])
def test_bad_draws(draws):
    with pytest.raises(
        ValueError, match=r"draws must be \[T, C, ...\] with at least 6 steps, got"
    ):
        convergence.rhat(draws)


def test_infinite_draws_give_nan_and_bad_probabilities_raise():
    draws = np.random.default_rng(0).normal(size=(100, 4, 2)).astype(np.float32)
    draws[3, 1, 0] = np.inf
    for estimator in (
        convergence.rhat,
        convergence.ess_bulk,
        convergence.ess_mean,
        convergence.mcse_mean,
    ):
        found = np.asarray(estimator(draws))
        assert np.isnan(found[0]) and np.isfinite(found[1]), estimator
    for probability in (0.0, 1.0, 2.0, float("nan")):
        with pytest.raises(ValueError, match="probability must"):
            convergence.ess_quantile(draws, probability)
