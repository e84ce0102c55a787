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
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import Value, function, number, part, value
from ebmjax.base import Array, Energy, Position, scalar
from ebmjax.tempering.bases import Base

AT_BASE = 1e-3  # relative difference of the path at beta = 0 from its base


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
        return jax.grad(lambda b: self(b)(x))(jnp.asarray(beta, jnp.float32))


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


# --- checks ---------------------------------------------------------------------------


def check_path(path: Any) -> Path:
    """The path.  Raises TypeError for any other type."""
    return checks.instance(
        path, Path, "path", "geometric(base, energy) or Path(energy, base)"
    )


def check_base(path: Path) -> None:
    """Raise unless draws of the base are points of the path, and the path starts there.

    Raises:
      ValueError: no base, draws of a shape that the energy does not accept, a path that
        differs from its base at beta = 0, a log density that is not finite.
    """
    if path.base is None:
        raise ValueError(
            "path must start from a base with a sampler and a log density, got an "
            "energy alone; use geometric(Base(sample, log_prob), energy)"
        )
    x = path.base.sample(jax.random.key(0), 2)
    try:
        at_base, _, log_prob = _ends(path, x)
    except (TypeError, ValueError, IndexError) as error:
        shapes = jax.tree.map(lambda leaf: jnp.shape(leaf)[1:], x)
        raise ValueError(
            f"energy cannot be evaluated at draws of the base, of shape {shapes}: "
            f"{error}"
        ) from None
    at_base, log_prob = np.asarray(at_base), np.asarray(log_prob)
    if not np.isfinite(log_prob).all():
        raise ValueError(
            f"base.log_prob must be finite at draws of the base, got {log_prob}"
        )
    if np.abs(at_base + log_prob).max() > AT_BASE * (1 + np.abs(log_prob).max()):
        raise ValueError(
            "path at beta = 0 must be minus the log density of its base, got "
            f"{at_base[0]:.6g} where it is {-log_prob[0]:.6g}"
        )


def check_support(path: Path, positions: Position, name: str) -> None:
    """Raise unless positions ``[C, ...]`` lie in the support of the base.

    Raises:
      ValueError: with the number of positions outside.
    """
    log_prob = np.asarray(_ends(path, positions)[2])
    num = int(np.isneginf(log_prob).sum())
    if num:
        raise ValueError(
            f"base must have the support of the target: its density is 0 at {num} of "
            f"{len(log_prob)} {name}, so that log Z would be that of a part; use a "
            "wider base"
        )


def check_positions(path: Path, positions: Position) -> None:
    """Raise unless samples of the target ``[C, ...]`` are points of base and target.

    Raises:
      ValueError: another shape than draws of the base, outside its support, or an
        infinite energy.
    """
    of_base = jax.eval_shape(
        lambda: path.base.sample(jax.random.key(0), 1)  # type: ignore[union-attr]
    )
    shapes = [
        jax.tree.map(lambda x: jnp.shape(x)[1:], tree) for tree in (of_base, positions)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"positions must have the shape of draws of the base, {shapes[0]}, "
            f"got {shapes[1]}"
        )
    check_support(path, positions, "positions")
    num = int((~np.isfinite(np.asarray(_ends(path, positions)[1]))).sum())
    if num:
        raise ValueError(
            f"positions must have a finite energy at the target, got {num} that have "
            "not"
        )


def check_betas(betas: Any) -> np.ndarray:
    """Raise unless inverse temperatures ``[L + 1]`` rise from 0 to 1."""
    found = np.asarray(betas, np.float64)
    if found.ndim != 1 or len(found) < 2 or (found[0], found[-1]) != (0.0, 1.0):
        raise ValueError(
            f"betas must be numbers [L + 1] that run from 0 to 1, got shape "
            f"{found.shape}, first and last {found.ravel()[[0, -1][: found.size]]}"
        )
    if not (np.diff(found) > 0).all():
        raise ValueError("betas must rise at each level")
    return found


@jax.jit
def _ends(path, x):
    """Energies at both ends of the path and the log density of its base, ``[C]``."""
    log_prob = jax.vmap(path.base.log_prob)(x)
    return jax.vmap(path(0.0))(x), jax.vmap(path(1.0))(x), log_prob


# --- the functions of the values ------------------------------------------------------


def _mix(e0, e1, beta):
    """(1 - beta) e0 + beta e1; an infinite energy of weight 0 does not count."""
    inside = e0 + beta * (e1 - e0)
    is_out = ((e0 == jnp.inf) & (beta < 1)) | ((e1 == jnp.inf) & (beta > 0))
    one = jnp.where(e0 == jnp.inf, e1, e0)  # the other has weight 0
    at_end = jnp.where(is_out, jnp.inf, one)
    return jnp.where((e0 == jnp.inf) | (e1 == jnp.inf), at_end, inside)
