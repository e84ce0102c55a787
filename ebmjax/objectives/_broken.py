"""Chains that end at an energy that is not finite."""

import jax
import jax.numpy as jnp

from ebmjax.base import Array, Position


def mark_broken(position: Position, energy: Array) -> tuple[Position, Array]:
    """Chains whose energy is not finite, filled with NaN; and which of them are finite,
    ``[C]``."""
    is_finite = jnp.isfinite(energy)

    def mark(leaf):
        return jnp.where(is_finite.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, jnp.nan)

    return jax.tree.map(mark, position), is_finite


def without_broken(position: Position, is_finite: Array) -> Position:
    """The positions with non-finite ones replaced by a finite one: 0 x NaN is NaN, so a
    weight of zero is not enough."""
    whole = jnp.argmax(is_finite)
    return jax.tree.map(
        lambda x: jnp.where(is_finite.reshape(-1, *[1] * (x.ndim - 1)), x, x[whole]),
        position,
    )
