"""log Z of energies with periodic coordinates, against von Mises distributions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import supports
from ebmjax.tempering.bases import fit_gaussian, gaussian, uniform_box
from ebmjax.tempering.circles import fit_base

BESSEL = 2.2795853023360673  # I0(2)
LOG_Z = math.log(2 * math.pi * BESSEL)
AT_SEAM = eb.constrain(lambda x: -2 * jnp.cos(x - math.pi), supports.periodic())
MIXED = eb.constrain(
    lambda x: (
        -2 * jnp.cos(x["angle"] - 3) + 0.5 * jnp.sum((x["shift"] - x["angle"]) ** 2)
    ),
    {"angle": supports.periodic(), "shift": None},
)


def draws_at_seam(key, num):
    walk = eb.random_walk(AT_SEAM, 1.5)
    start = jnp.full(num, 3.0)
    return eb.sample(key, walk, start, 300, num_warmup=50).state.position


def test_bounds_hold_log_z_of_a_mode_at_the_seam(key):
    """The default base is uniform on the circle."""
    found = eb.bracket_log_z(key, AT_SEAM, draws_at_seam(key, 256), num_levels=64).log_z
    assert found.lower < LOG_Z < found.upper
    assert abs(found.log_z - LOG_Z) < 5 * found.standard_error < 0.1
    assert found.upper - found.lower < 0.3


def test_bases_that_reach_beyond_a_period_are_refused(key):
    betas = np.linspace(0, 1, 17)
    for base in (
        gaussian(jnp.zeros(()), 1.0),
        uniform_box(jnp.zeros(()), jnp.float32(6.0)),
    ):
        path = eb.geometric(base, AT_SEAM)
        with pytest.raises(ValueError, match="base must lie within one period"):
            eb.annealed_importance_sampling(key, path, eb.random_walk, betas, 1.0)
        with pytest.raises(ValueError, match="base must lie within one period"):
            eb.sequential_monte_carlo(key, path, eb.random_walk, 1.0)
    inside = uniform_box(jnp.float32(-math.pi), jnp.float32(math.pi))
    found = eb.annealed_importance_sampling(
        key, eb.geometric(inside, AT_SEAM), eb.random_walk, betas, 1.0, num_chains=2000
    )
    assert abs(found.log_z - LOG_Z) < 5 * found.standard_error < 0.1


def test_a_fitted_base_is_normalised_and_uniform_on_circles(key):
    """Its density is that of its own draws: uniform angles, and the others normal with
    the mean and the deviation of the data, 1.1 times as wide."""
    keys = jax.random.split(key, 3)
    data = {
        "angle": 3 + 0.1 * jax.random.normal(keys[0], (500,)),
        "shift": 5 + 2 * jax.random.normal(keys[1], (500, 2)),
    }
    base = fit_base(MIXED, data, widen=1.1)
    x = base.sample(keys[2], 20_000)
    angle = np.asarray(x["angle"])
    assert (abs(angle) <= np.float32(math.pi)).all()
    assert abs(np.histogram(angle, 8)[0] / 2500 - 1).max() < 0.11
    rest = fit_gaussian(data["shift"], widen=1.1)
    log_prob = jax.vmap(base.log_prob)(x)
    expected = jax.vmap(rest.log_prob)(x["shift"]) - math.log(2 * math.pi)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=1e-4)
    assert abs(x["shift"].mean() - 5) < 0.2 and abs(x["shift"].std() / 2.2 - 1) < 0.1


def test_log_z_of_an_angle_and_real_coordinates(key):
    """The integral over the shifts is 2 pi, whatever the angle."""
    start = {"angle": jnp.full(256, 3.0), "shift": jnp.zeros((256, 2))}
    tuned = eb.warm_up(key, eb.random_walk, MIXED, start, num_steps=200)
    state = eb.sample(key, tuned.kernel, tuned.position, 300).state
    found = eb.bracket_log_z(key, MIXED, state.position, num_levels=512).log_z
    assert abs(found.log_z - LOG_Z - math.log(2 * math.pi)) < 0.1
