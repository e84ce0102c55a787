"""Diagnostics agree with ArviZ where it is right, and see what it does not."""

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ebmjax import diagnostics, mala, random_walk, sample, targets

RTOL = 1e-4
PAIRS = {
    "rhat": (diagnostics.rhat, lambda x: arviz.rhat(x)),
    "ess_bulk": (diagnostics.ess_bulk, lambda x: arviz.ess(x, method="bulk")),
    "ess_tail": (diagnostics.ess_tail, lambda x: arviz.ess(x, method="tail")),
    "ess_mean": (diagnostics.ess_mean, lambda x: arviz.ess(x, method="mean")),
    "mcse_mean": (diagnostics.mcse_mean, lambda x: arviz.mcse(x, method="mean")),
}


def _runs():
    target, key = targets.correlated_gaussian(), jax.random.key(0)
    for name, kernel, steps, chains in (
        ("walk", random_walk(target.energy, 0.7), 1001, 4),
        ("mala", mala(target.energy, 0.5), 500, 16),
        ("short", mala(target.energy, 0.5), 9, 64),
    ):
        yield name, np.asarray(sample(key, kernel, target.sample(key, chains), steps).draws)
    yield "shifted", np.asarray(jax.random.normal(key, (200, 4, 2)) + 0.3 * jnp.arange(4)[:, None])
    antithetic = lambda x, noise: (x := -0.8 * x + 0.6 * noise, x)
    noise = jax.random.normal(key, (300, 4, 2))
    yield "antithetic", np.asarray(jax.lax.scan(antithetic, noise[0], noise)[1])


RUNS = dict(_runs())


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("run", RUNS)
def test_agrees_with_arviz(name, run):
    ours, theirs = PAIRS[name]
    draws = RUNS[run]
    expected = [float(theirs(np.asarray(draws[..., d].T, np.float64))) for d in range(draws.shape[-1])]
    np.testing.assert_allclose(ours(draws), expected, rtol=RTOL)


def test_compiles():
    np.testing.assert_allclose(
        jax.jit(diagnostics.rhat)(RUNS["mala"]), diagnostics.rhat(RUNS["mala"]), rtol=1e-5
    )


def test_one_chain_is_split():
    draws = RUNS["walk"][:, :1]
    assert np.isfinite(diagnostics.rhat(draws)).all()  # ArviZ declines
    expected = [float(arviz.ess(np.asarray(draws[..., d].T, np.float64))) for d in range(2)]
    np.testing.assert_allclose(diagnostics.ess_bulk(draws), expected, rtol=RTOL)


def test_constant_chains_are_worth_nothing():
    draws = np.ones((100, 4, 1), np.float32)
    assert diagnostics.ess_bulk(draws) == diagnostics.ess_tail(draws) == diagnostics.ess_mean(draws) == 0
    assert np.isinf(diagnostics.mcse_mean(draws)).all() or np.isnan(diagnostics.mcse_mean(draws)).all()


def test_nested_rhat_by_its_definition():
    draws = RUNS["mala"]
    grouped = draws.reshape(len(draws), 4, 4, 2).astype(np.float64)
    between = grouped.mean((0, 2)).var(0, ddof=1)
    within = (grouped.mean(0).var(1, ddof=1) + grouped.var(0, ddof=1).mean(1)).mean(0)
    np.testing.assert_allclose(diagnostics.nested_rhat(draws, 4), np.sqrt(1 + between / within), rtol=RTOL)
    one = diagnostics.nested_rhat(np.asarray(jax.random.normal(jax.random.key(3), (1, 4096, 1))), 64)
    assert abs(one - 1) < 0.05
    with pytest.raises(ValueError, match="num_groups .* got 3 of 16"):
        diagnostics.nested_rhat(draws, 3)


def test_standard_error_of_an_expectation_covers():
    """Over 300 runs of a walk, (estimate - truth) / standard error has the spread of a standard normal; with
    the autocorrelation ignored it has not."""
    target, key = targets.standard_normal(1), jax.random.key(5)
    draws = sample(key, random_walk(target.energy, 2.4), target.sample(key, 1200), 400).draws
    groups = draws.reshape(400, 300, 4, 1).swapaxes(0, 1)
    value, error = jax.vmap(lambda d: diagnostics.expectation(lambda x: x**2, d))(groups)
    z = np.asarray((value - 1) / error)[:, 0]
    spread_error = 1 / np.sqrt(2 * len(z))
    assert abs(z.std() - 1) < 5 * spread_error
    naive = np.asarray((value[:, 0] - 1) / (groups**2).std(axis=(1, 2))[:, 0] * np.sqrt(1600))
    assert naive.std() > 1 + 5 * spread_error


def test_summary_names_what_is_wrong():
    good = np.asarray(jax.random.normal(jax.random.key(0), (2000, 4, 2)))
    assert diagnostics.summary(good).warnings == []
    assert "rhat" in str(diagnostics.assert_healthy({"a": good}))
    stuck, copied = good.copy(), good.copy()
    stuck[:, 2] = stuck[0, 2]
    copied[:, 3] = copied[:, 1]
    assert "1 of 4 chains never moved: 2" in str(diagnostics.summary(stuck))
    assert "1 chains are copies of another: 3" in str(diagnostics.summary(copied))
    frozen = np.broadcast_to(good[:1], good.shape)
    with pytest.raises(RuntimeError, match="4 of 4 chains never moved"):
        diagnostics.assert_healthy(frozen)
    assert "R-hat above 1.01 in x[0], x[1]" in str(diagnostics.summary(RUNS["shifted"]))


@pytest.mark.parametrize("draws", [np.ones((3, 4)), np.ones(100), 1.0])
def test_bad_draws(draws):
    with pytest.raises(ValueError, match=r"draws must be \[T, C, ...\] with at least 4 steps, got"):
        diagnostics.rhat(draws)
