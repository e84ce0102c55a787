"""Paths between densities: from a base with an exact sampler to a target.

    geometric    E_beta(x) = (1 - beta) E_0(x) + beta E_1(x),   0 <= beta <= 1

with ``E_0 = -log q`` of a base ``q`` (Neal 2001, "Annealed importance sampling",
eq. 3; Gelman & Meng 1998).  A user's path is ``Path(energy, base)`` with
``energy(beta, x)``; at beta = 0 it is the energy of the base.

Bases are in :mod:`ebmjax.tempering.bases`.  Positions are trees of real or binary
arrays.

Paths are pytrees (:mod:`ebmjax._value`): numbers are leaves and code is structure, so
that new numbers compile nothing.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import Value, function, number, part, value
from ebmjax.base import Array, Energy, Position, scalar
from ebmjax.tempering.bases import Base


@value
class Path(Value):
    """``energy(beta, x)``, and its base if there is a sampler at beta = 0."""

    energy: Callable[[Array, Position], Array] = function()
    base: Base | None = part(default=None)

    def __call__(self, beta: Any) -> Energy:
        """The energy at ``beta``, which may be traced."""
        return Level(self.energy, beta)

    def work(self, old: Any, new: Any, x: Position) -> Array:
        """``E_new(x) - E_old(x)``; plus infinity outside the support at ``new``."""
        if isinstance(self.energy, Geometric):
            e0, e1 = self.energy.ends(x)
            change = (new - old) * (e1 - e0)
            before, after = _mix(e0, e1, old), _mix(e0, e1, new)
        else:
            before, after = self(old)(x), self(new)(x)
            change = after - before
        stays = jnp.where(before == jnp.inf, 0.0, change)
        return jnp.where(after == jnp.inf, jnp.inf, stays)

    def slope(self, beta: Any, x: Position) -> Array:
        """``dE_beta(x) / d beta``."""
        if isinstance(self.energy, Geometric):
            return self.work(0.0, 1.0, x)
        return jax.grad(lambda b: self(b)(x))(jnp.asarray(beta, jnp.result_type(float)))


@value
class Level(Value):
    """The energy of a path at ``beta``."""

    energy: Callable[[Array, Position], Array] = function()
    beta: Array = number()

    def __call__(self, x: Position) -> Array:
        return scalar(self.energy)(self.beta, x)


@value
class Geometric(Value):
    """``(1 - beta) E_0(x) + beta E_1(x)``; a term of weight 0 is omitted."""

    first: Energy = function()
    last: Energy = function()

    def ends(self, x: Position) -> tuple[Array, Array]:
        return scalar(self.first)(x), scalar(self.last)(x)

    def __call__(self, beta: Array, x: Position) -> Array:
        return _mix(*self.ends(x), beta)


def geometric(base: Base | Energy, energy: Energy) -> Path:
    """The geometric path from a base, or from an energy, to an energy.

    A path from an energy ``E_0`` has no sampler.  Parallel tempering accepts it, and
    log Z is relative to that of ``E_0``; annealed importance sampling needs a base.

    Raises:
      TypeError: an argument that is not a function.

    >>> from ebmjax.tempering.bases import gaussian
    >>> path = geometric(gaussian(jnp.zeros(2)), lambda x: jnp.sum(x**4))
    >>> path(0.5)(jnp.ones(2)).shape
    ()
    """
    checks.function(energy, "energy")
    if isinstance(base, Base):
        return Path(Geometric(base.energy(), energy), base)
    return Path(Geometric(checks.function(base, "base"), energy))


# --- the functions of the values ------------------------------------------------------


def _mix(e0, e1, beta):
    """(1 - beta) e0 + beta e1; an infinite energy of weight 0 does not count."""
    inside = e0 + beta * (e1 - e0)
    is_out = ((e0 == jnp.inf) & (beta < 1)) | ((e1 == jnp.inf) & (beta > 0))
    one = jnp.where(e0 == jnp.inf, e1, e0)  # the other has weight 0
    at_end = jnp.where(is_out, jnp.inf, one)
    return jnp.where((e0 == jnp.inf) | (e1 == jnp.inf), at_end, inside)
