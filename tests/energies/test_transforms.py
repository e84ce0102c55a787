"""Functions of energies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import targets

X = jnp.array([0.3, -1.2])
GAUSSIAN = targets.correlated_gaussian()


def test_product_adds():
    assert np.isclose(
        eb.product(GAUSSIAN.energy, jnp.sum)(X), GAUSSIAN.energy(X) + X.sum()
    )


def test_from_log_density_turns_the_sign():
    assert eb.from_log_density(lambda x: -jnp.sum(x**2))(X) == jnp.sum(X**2)


def test_confine_adds_a_parabola_to_trees():
    energy = eb.confine(lambda x: 0.0 * x["a"][0], 2.0, mean=1.0)
    assert np.isclose(
        energy({"a": X, "b": X[:1]}), (np.sum((X - 1) ** 2) + (X[0] - 1) ** 2) / 8
    )


def test_denoise_is_the_posterior_mean():
    """x ~ N(0, s^2), y = x + noise: E[x | y] = y s^2 / (s^2 + noise^2)."""
    s, noise = 1.5, 0.4
    energy = lambda y: 0.5 * jnp.sum(y**2) / (s**2 + noise**2)
    assert np.allclose(
        eb.denoise(energy, noise)(X), X * s**2 / (s**2 + noise**2), rtol=1e-5
    )


def test_energies_compose_with_traced_numbers():
    value = jax.jit(lambda t: eb.temper(GAUSSIAN.energy, t)(X))(2.0)
    assert np.isclose(value, GAUSSIAN.energy(X) / 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: eb.temper(GAUSSIAN.energy, -1.0),
        lambda: eb.confine(GAUSSIAN.energy, 0.0),
        lambda: eb.denoise(GAUSSIAN.energy, float("nan")),
        lambda: eb.product(GAUSSIAN.energy, 3),
        lambda: eb.from_log_density(None),
    ],
)
def test_bad_input(call):
    with pytest.raises((TypeError, ValueError), match="must be"):
        call()
