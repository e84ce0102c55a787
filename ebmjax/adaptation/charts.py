"""Periodic coordinates for adapters: as numbers about the middle of the chains.

An angle that is kept in [-pi, pi) has no variance of use where the chains lie at its
ends: they are one heap, and look like two.  Adapters get

    m + r(x - m),      r(d) = d - P round(d / P)  in [-P/2, P/2],

a chart of the circle about the circular mean m of the window before,

    m = P / 2 pi  atan2(sum sin(2 pi x / P), sum cos(2 pi x / P))

(Mardia & Jupp 2000, "Directional Statistics", section 2.2), over chains and steps.  It
is the same for all steps of a window, so that their moments can be added; |r(x - m)| is
continuous on the whole circle.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ebmjax.base import Array, Position
from ebmjax.energies.constrained import Constrained


class Chart(NamedTuple):
    """Where the charts of coordinates are centred, and sums for the next centres."""

    period: Array  # [D] or 0 where a coordinate is not periodic
    centre: Array  # [D]
    sines: Array  # [D] sums over chains and steps
    cosines: Array  # [D]

    @staticmethod
    def of(energy: Constrained | None, position: Position) -> "Chart | None":
        """Of positions like one point in free coordinates; ``None`` without circles."""
        if energy is None or not energy.is_periodic:
            return None
        period = ravel_pytree(energy.periods(position))[0]
        zero = jnp.zeros_like(period)
        return Chart(period, zero, zero, zero)

    def flat(self, x: Array) -> Array:
        """Points ``[C, D]`` as numbers about the centres."""
        period = self._safe()
        distance = x - self.centre
        distance = distance - period * jnp.round(distance / period)
        return jnp.where(self.period > 0, self.centre + distance, x)

    def add(self, x: Array, weight: Array) -> "Chart":
        """With the sums of points ``[C, D]`` of weight ``[C]``."""
        angle = 2 * jnp.pi * (x - self.centre) / self._safe()
        return self._replace(
            sines=self.sines + weight @ jnp.sin(angle),
            cosines=self.cosines + weight @ jnp.cos(angle),
        )

    def renewed(self) -> "Chart":
        """Centred at the circular means of what was added."""
        shift = self._safe() * jnp.arctan2(self.sines, self.cosines) / (2 * jnp.pi)
        zero = jnp.zeros_like(self.sines)
        return Chart(self.period, self.flat(self.centre + shift), zero, zero)

    def _safe(self) -> Array:
        return jnp.where(self.period > 0, self.period, 1.0)
