"""Energy discrepancy against the contrastive potential of a Gaussian."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import finite_differences
from helpers import isotropic_energy as energy

from ebmjax import targets
from ebmjax.objectives.energy_discrepancy import energy_discrepancy

NUM, DRAWS = 8_000, 256
DATA = targets.gaussian([0.5], [[0.7]])
X = DATA.sample(jax.random.key(5), NUM)


def closed_form(a, mu, t):
    """E[E(x)] - E[a y^2 / (2 (1 + t a)) + log(1 + t a) / 2], y of variance t more, and
    its gradient in a, mu."""
    x = np.asarray(X, np.float64)
    second, shift = ((x - mu) ** 2).mean(), mu - x.mean()
    value = (
        0.5 * a * second
        - 0.5 * a * (second + t) / (1 + t * a)
        - 0.5 * np.log(1 + t * a)
    )
    slope = 0.5 * second - 0.5 * (second + t) / (1 + t * a) ** 2 - 0.5 * t / (1 + t * a)
    return value, np.array([slope, a * shift - a * shift / (1 + t * a)])


def test_the_loss_is_the_gap_to_the_contrastive_potential():
    for noise in (0.3, 1.0):
        loss = energy_discrepancy(energy, noise, DRAWS, stabiliser=0.0)
        run = jax.jit(
            jax.value_and_grad(
                lambda p, k, loss=loss: loss(p, k, X, None), has_aux=True
            )
        )
        for params in ((1.3, 0.2), (3.0, -0.4)):
            (value, (_, metrics)), grads = run(jnp.array(params), jax.random.key(1))
            expected, slope = closed_form(*params, noise**2)
            error = (
                5 * float(metrics["loss_spread"]) / np.sqrt(NUM) + 2 / DRAWS
            )  # a log of a mean is low
            assert abs(value - expected) < error
            assert np.abs(grads - slope).max() < 0.03 * max(1.0, np.abs(slope).max())
            assert (
                abs(value - expected - 0.5 * np.log(1 + noise**2 * params[0])) > error
            )  # without its logarithm


def test_the_minimum_is_at_the_moments_of_the_data():
    mean, variance = float(X.mean()), float(X.var())
    assert np.abs(closed_form(1 / variance, mean, 0.5)[1]).max() < 1e-6
    loss = jax.jit(energy_discrepancy(energy, 0.7, 64, stabiliser=0.0))
    at = lambda a, mu: float(loss(jnp.array([a, mu]), jax.random.key(2), X, None)[0])
    best = at(1 / variance, mean)
    assert best < min(at(1.4 / variance, mean), at(0.7 / variance, mean))
    assert best < min(at(1 / variance, mean + 0.3), at(1 / variance, mean - 0.3))


def test_the_gradient_equals_finite_differences():
    with jax.enable_x64(True):
        x, key = jnp.asarray(np.asarray(X[:50], np.float64)), jax.random.key(3)
        value = jax.jit(
            lambda p: energy_discrepancy(energy, 0.5, 4)(p, key, x, None)[0]
        )
        params = jnp.array([1.3, 0.2])
        slopes = finite_differences(value, params)
        assert np.allclose(jax.grad(value)(params), slopes, rtol=1e-7)
        assert not np.allclose(jax.grad(value)(params), 1.01 * slopes, rtol=1e-7)


def test_the_loss_of_a_flat_energy_is_log_1_plus_w_over_m():
    for w, num_draws in ((0.0, 3), (1.0, 4), (2.0, 1)):
        loss = energy_discrepancy(lambda p, x: p, 0.5, num_draws, stabiliser=w)
        (value, _), slope = jax.value_and_grad(loss, has_aux=True)(
            2.0, jax.random.key(0), X[:9], None
        )
        assert float(value) == pytest.approx(np.log(1 + w / num_draws), abs=1e-6)
        assert float(slope) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            partial(energy_discrepancy, None, 0.5),
            TypeError,
            "energy must be a function",
        ),
        (
            partial(energy_discrepancy, energy, 0.0),
            ValueError,
            "noise must be finite and above 0",
        ),
        (
            partial(energy_discrepancy, energy, 0.5, 0),
            ValueError,
            "num_draws must be at least 1",
        ),
        (
            partial(energy_discrepancy, energy, 0.5, stabiliser=-1.0),
            ValueError,
            "stabiliser must be finite and at least 0",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
