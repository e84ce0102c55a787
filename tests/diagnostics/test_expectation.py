"""The standard error of an expectation has the stated coverage, with and without
weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ebmjax import collect_stats, mala, random_walk, sample, targets
from ebmjax.diagnostics import expectation as monte_carlo

TARGET = targets.correlated_gaussian()
DRAWS = sample(
    jax.random.key(1),
    mala(TARGET.energy, 0.5),
    TARGET.sample(jax.random.key(2), 16),
    500,
).draws


def test_standard_error_of_an_expectation_covers():
    """Over 300 runs of a walk, (estimate - truth) / standard error has the spread of a
    standard normal; with the autocorrelation ignored it has not."""
    target, key = targets.standard_normal(1), jax.random.key(5)
    draws = sample(
        key, random_walk(target.energy, 2.4), target.sample(key, 1200), 400
    ).draws
    groups = draws.reshape(400, 300, 4, 1).swapaxes(0, 1)
    value, error = jax.vmap(lambda d: monte_carlo.expectation(lambda x: x**2, d))(
        groups
    )
    z = np.asarray((value - 1) / error)[:, 0]
    spread_error = 1 / np.sqrt(2 * len(z))
    assert abs(z.std() - 1) < 5 * spread_error
    naive = np.asarray(
        (value[:, 0] - 1) / (groups**2).std(axis=(1, 2))[:, 0] * np.sqrt(1600)
    )
    assert naive.std() > 1 + 5 * spread_error


WRONG = targets.gaussian(
    [0.3], [[2.0]]
)  # the draws come from there, the target is N(0, 1)


def importance(x):
    return jnp.exp(
        -(x[..., 0] ** 2) / 2 + (x[..., 0] - 0.3) ** 2 / 4
    )  # up to a constant


def test_standard_error_with_importance_weights_covers():
    """Over 300 runs of a walk on the wrong density, weighed: E[x^2] = 1 within its
    standard errors.  Without the weights, or with the weights and without the
    autocorrelation, not."""
    key = jax.random.key(6)
    draws = sample(
        key, random_walk(WRONG.energy, 3.0), WRONG.sample(key, 1200), 400
    ).draws
    groups = draws.reshape(400, 300, 4, 1).swapaxes(0, 1)
    value, error = jax.vmap(
        lambda d: monte_carlo.expectation(lambda x: x**2, d, importance(d))
    )(groups)
    z = np.asarray((value - 1) / error)[:, 0]
    spread_error = 1 / np.sqrt(2 * len(z))
    assert abs(z.std() - 1) < 5 * spread_error and abs(z.mean()) < 5 / np.sqrt(len(z))
    w = np.asarray(importance(groups))
    w = w / w.mean(axis=(1, 2), keepdims=True)
    residual = w * (np.asarray(groups[..., 0]) ** 2 - np.asarray(value)[:, :, None])
    naive = (np.asarray(value)[:, 0] - 1) / residual.std(axis=(1, 2)) * np.sqrt(1600)
    assert naive.std() > 1 + 5 * spread_error
    plain = monte_carlo.expectation(lambda x: x**2, groups[0])
    assert abs(plain.value - 1) > 5 * plain.standard_error


def test_expectation_takes_samples_and_draws(key):
    samples = sample(
        key, mala(TARGET.energy, 0.5), TARGET.sample(key, 4), 50, collect=collect_stats
    )
    plain = monte_carlo.expectation(jnp.sin, samples.draws.position)
    for found in (samples, samples.draws):
        assert np.array_equal(
            monte_carlo.expectation(jnp.sin, found).value, plain.value
        )


def test_equal_weights_change_no_estimate():
    draws = DRAWS
    plain = monte_carlo.expectation(jnp.sin, draws)
    weighed = monte_carlo.expectation(
        jnp.sin, draws, np.full(draws.shape[:2], 7.0, np.float32)
    )
    np.testing.assert_allclose(plain, weighed, rtol=1e-4)


BAD_WEIGHTS = {
    "shape": (np.ones(4), r"weights must be one a draw, \(500, 16\), got shape \(4,\)"),
    "negative": (
        -np.ones((500, 16)),
        "weights must be finite and at least 0, got -1.0",
    ),
    "nan": (np.full((500, 16), np.nan), "weights must be finite"),
    "zero": (np.zeros((500, 16)), "weights must not all be zero"),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_bad_weights(name):
    weights, message = BAD_WEIGHTS[name]
    with pytest.raises(ValueError, match=message):
        monte_carlo.expectation(jnp.sin, DRAWS, weights)


def test_one_large_weight_warns():
    weights = np.ones((500, 16))
    weights[3, 2] = 2000.0
    with pytest.warns(RuntimeWarning, match="one draw has 20% of the weight"):
        monte_carlo.expectation(jnp.sin, DRAWS, weights)
