"""Where a stretch of a trajectory of the no-U-turn sampler turns: with momenta n_a to
n_b where

    rho . n_a <= 0   or   rho . n_b <= 0,   rho = sum of its momenta - (n_a + n_b) / 2.

On circles, coordinates of :func:`~ebmjax.supports.periodic`, a trajectory may go round
for ever without turning.  There a stretch also turns where it has gone further than
half a period in any of them, and gets nearer to where it began: S rho is its
displacement, up to the gradients at its ends.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ebmjax.base import Array, Energy, Position, scale
from ebmjax.energies.constrained import constrained_in


def _turns(rho: Array, n_first: Array, n_last: Array) -> Array:
    """Whether stretches ``[..., D]`` turn: the trapezium sum of momenta against that of
    either end."""
    rho = rho - (n_first + n_last) / 2
    return (jnp.sum(rho * n_first, axis=-1) <= 0) | (
        jnp.sum(rho * n_last, axis=-1) <= 0
    )


def turning(
    energy: Energy, step_size: Any, unravel: Callable[[Array], Position]
) -> Callable[..., Array]:
    """The criterion of a turn: :func:`_turns`, or half a circle where there are any."""
    constrained = constrained_in(energy)
    if constrained is None or not constrained.is_periodic:
        return _turns

    def turns(rho, n_first, n_last):
        moved = scale(step_size, unravel(rho - (n_first + n_last) / 2))
        half = ravel_pytree(constrained.periods(moved))[0] / 2
        is_past = (half > 0) & (jnp.abs(ravel_pytree(moved)[0]) > half)
        return _turns(rho, n_first, n_last) | jnp.any(is_past)

    return turns
