"""Targets: their draws, moments and log Z against their energy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import standard_error, z_score

from ebmjax import targets

NUM = 200_000
FINITE_MOMENTS = [n for n in targets.TARGETS if n != "funnel"]


@pytest.mark.parametrize("name", FINITE_MOMENTS)
def test_draws_have_the_mean_and_covariance(name, key):
    target = targets.TARGETS[name]()
    x = np.asarray(target.sample(key, NUM), np.float64)
    error = np.sqrt(np.diag(target.covariance) / NUM)
    assert (np.abs(x.mean(axis=0) - target.mean) < 5 * error).all()
    centred = x - target.mean
    products = (
        centred[:, :, None] * centred[:, None, :] if target.dim < 20 else centred**2
    )
    expected = target.covariance if target.dim < 20 else np.diag(target.covariance)
    error = standard_error(products)
    assert (np.abs(products.mean(axis=0) - expected) < 5.5 * error + 1e-12).all()


@pytest.mark.parametrize("name", targets.TARGETS)
def test_draws_belong_to_the_energy(name, key):
    """E[grad E . f] = E[div f] (Stein), with bounded f = sin(x / s + 0.7); at twice the
    temperature it fails."""
    target = targets.TARGETS[name]()
    num = NUM if target.dim > 20 else 5 * NUM
    x = target.sample(key, num)
    low, high = np.quantile(x, [0.16, 0.84], axis=0)
    width = jnp.asarray((high - low) / 2)

    @jax.jit
    def stein(x, temperature=1.0):
        grad = jax.vmap(jax.grad(target.energy))(x) / temperature
        f, df = jnp.sin(x / width + 0.7), jnp.cos(x / width + 0.7) / width
        return (grad * f - df) * width

    for temperature, holds in ((1.0, True), (2.0, False)):
        z = z_score(stein(x, temperature))
        assert (np.abs(z) < 5.2).all() == holds


@pytest.mark.parametrize("name", ["two_modes", "standard_normal"])
def test_log_z_on_the_line(name):
    target = targets.TARGETS[name]()
    grid = np.linspace(-12, 12, 4001)
    energies = np.asarray(
        jax.vmap(target.energy)(jnp.asarray(grid[:, None], jnp.float32)), np.float64
    )
    assert np.log(np.exp(-energies).sum() * (grid[1] - grid[0])) == pytest.approx(
        target.log_z, abs=1e-4
    )


@pytest.mark.parametrize(
    "name",
    ["figure_one", "eight_gaussians", "grid25", "rosenbrock", "banana", "double_well"],
)
def test_log_z_in_the_plane(name):
    target = targets.TARGETS[name]()
    reach = {"rosenbrock": (20.0, 250.0), "banana": (20.0, 40.0)}.get(name, (8.0, 8.0))
    axes = [
        m + np.linspace(-r, r, 4001) for m, r in zip(target.mean, reach, strict=True)
    ]
    area = np.prod([a[1] - a[0] for a in axes])

    @jax.jit
    def column(x1):
        return jax.vmap(lambda x2: target.energy(jnp.stack([x1, x2])))(
            jnp.asarray(axes[1], jnp.float32)
        )

    total = sum(
        np.exp(-np.asarray(column(x1), np.float64)).sum()
        for x1 in axes[0].astype(np.float32)
    )
    assert np.log(total * area) == pytest.approx(target.log_z, abs=2e-3)


def test_funnel_is_a_normal_and_conditional_normals(key):
    target = targets.funnel(4)
    x = np.asarray(target.sample(key, NUM), np.float64)
    z = x[:, 1:] * np.exp(-x[:, :1] / 2)
    assert abs(x[:, 0].std() - 3) < 5 * 3 / np.sqrt(2 * NUM)
    assert (np.abs(z.std(axis=0) - 1) < 5 / np.sqrt(2 * NUM)).all()
    expected = x[:, 0] ** 2 / 18 + 0.5 * (z**2).sum(axis=1) + 1.5 * x[:, 0]
    assert np.allclose(
        jax.vmap(target.energy)(jnp.asarray(x[:100], jnp.float32)),
        expected[:100],
        rtol=1e-4,
        atol=1e-4,
    )


def test_rosenbrock_is_a_normal_and_a_conditional_normal(key):
    """Then its energy is half a chi-square of two degrees: mean 1, deviation 1."""
    target = targets.rosenbrock()
    energies = np.asarray(jax.vmap(target.energy)(target.sample(key, NUM)), np.float64)
    assert abs(energies.mean() - 1) < 5 / np.sqrt(NUM)
    assert abs(energies.std() - 1) < 5 * np.sqrt(2 / NUM)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: targets.gaussian([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]),
            "covariance must be positive definite",
        ),
        (lambda: targets.gaussian([0.0], np.eye(2)), "must agree"),
        (
            lambda: targets.mixture([1.0, -1.0], [[0.0], [1.0]], 1.0),
            "weights must be finite and above 0",
        ),
        (lambda: targets.mixture([1.0], [[0.0], [1.0]], 1.0), "must agree"),
        (lambda: targets.funnel(1), "dim must be at least 2"),
        (lambda: targets.rosenbrock(a=0.0), "a and b must be finite and above 0"),
    ],
)
def test_bad_parameters(call, message):
    with pytest.raises(ValueError, match=message):
        call()
