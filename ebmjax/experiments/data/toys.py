"""Points in the plane, any number: moons, checkerboard, spirals, planar targets."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ebmjax.base import Array, Key
from ebmjax.targets import TARGETS

WITH_ARMS = ("two_moons", "spirals")


def arm(key: Key, num_points: int) -> Array:
    """Labels ``[N]``, the moon or arm (0 or 1), of the points of the same key."""
    return jax.random.bernoulli(jax.random.split(key, 3)[0], shape=(num_points,))


def two_moons(key: Key, num_points: int, *, noise: float = 0.1) -> Array:
    """Two half circles of radius one, the second shifted by (1, 1/2), and noise."""
    _, key_angle, key_noise = jax.random.split(key, 3)
    is_lower = arm(key, num_points)
    angle = jnp.pi * jax.random.uniform(key_angle, (num_points,))
    x = jnp.where(is_lower, 1 - jnp.cos(angle), jnp.cos(angle))
    y = jnp.where(is_lower, 0.5 - jnp.sin(angle), jnp.sin(angle))
    return jnp.stack([x, y], axis=1) + noise * jax.random.normal(
        key_noise, (num_points, 2)
    )


def checkerboard(key: Key, num_points: int) -> Array:
    """Uniform on the eight dark squares of a 4x4 board on [-2, 2]^2, density 1/8."""
    key_square, key_place = jax.random.split(key)
    square = jax.random.randint(key_square, (num_points,), 0, 8)
    row, pair = square // 2, square % 2
    corner = jnp.stack([2 * pair + row % 2, row], axis=1) - 2.0
    return corner + jax.random.uniform(key_place, (num_points, 2))


def spirals(key: Key, num_points: int, *, noise: float = 0.1) -> Array:
    """Two arms of one and a half turns, half a turn apart, with Gaussian noise."""
    _, key_angle, key_noise = jax.random.split(key, 3)
    sign = jnp.where(arm(key, num_points), 1.0, -1.0)
    angle = 3 * jnp.pi * jnp.sqrt(jax.random.uniform(key_angle, (num_points,)))
    place = (angle / 3)[:, None] * jnp.stack([-jnp.cos(angle), jnp.sin(angle)], axis=1)
    return sign[:, None] * place + noise * jax.random.normal(key_noise, (num_points, 2))


def _planar_targets() -> dict[str, Callable[[Key, int], Array]]:
    planar = (
        "figure_one",
        "eight_gaussians",
        "grid25",
        "rosenbrock",
        "banana",
        "double_well",
    )
    return {
        name: lambda key, n, name=name: TARGETS[name]().sample(key, n)
        for name in planar
    }


TOYS: dict[str, Callable[[Key, int], Array]] = {
    "two_moons": two_moons,
    "checkerboard": checkerboard,
    "spirals": spirals,
    **_planar_targets(),
}
