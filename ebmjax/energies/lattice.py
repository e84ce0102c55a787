"""Ising and Potts models on a periodic square lattice ``[H, W]``.

    ising   E(s) = -J sum_<ij> s_i s_j - sum_i h_i s_i        s_i in {-1, 1}
    potts   E(x) = -J sum_<ij> [x_i = x_j] - sum_i h[x_i]     x_i in {0, ..., K - 1}

The sum is over the 2 H W pairs of neighbours to the right and below, so that a side of
two counts each of its pairs twice.  The infinite Ising lattice is critical at
J = log(1 + sqrt 2) / 2 (Onsager 1944), the Potts lattice at J = log(1 + sqrt K).

All sites of a colour of the checkerboard (:mod:`ebmjax.energies.lattice_sites`) are
drawn at once.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import Value, number, static, value
from ebmjax.base import Array, Energy
from ebmjax.energies.lattice_sites import (
    across,
    by_columns,
    check_sides,
    colours,
    from_colours,
    neighbours_of,
)
from ebmjax.energies.local import Blocks, encode
from ebmjax.spaces import SPINS, levels

ISING_CRITICAL = math.log(1 + math.sqrt(2)) / 2


def potts_critical(num_levels: int) -> float:
    """The critical coupling of the infinite lattice, log(1 + sqrt K) (Potts 1952)."""
    return math.log(1 + math.sqrt(checks.count(num_levels, "num_levels", least=2)))


@value
class Ising(Value):
    """Made by :func:`ising`."""

    coupling: Any = number()
    field: Any = number(default=0.0)
    state_space = SPINS

    def __call__(self, x: Array) -> Array:
        check_sides(x)
        bonds = x * (jnp.roll(x, -1, 0) + jnp.roll(x, -1, 1))
        energy = -(self.coupling * jnp.sum(bonds) + jnp.sum(self.field * x))
        return SPINS.only(x, energy)

    def difference(self, x: Array, site: Any, v: Any) -> Array:
        """E(x with x_i = v) - E(x), from the four neighbours."""
        local = self.coupling * sum(neighbours_of(x, site)) + self._field(x, site)
        return -(v - x.ravel()[site]) * local

    def differences(self, x: Array) -> Array:
        """Of all sites and both values, ``[H, W, 2]``."""
        around = sum(jnp.roll(x, shift, axis) for shift in (-1, 1) for axis in (0, 1))
        local = self.coupling * around + self.field
        return -(jnp.array([-1.0, 1.0], x.dtype) - x[..., None]) * local[..., None]

    def site_energies(self, x: Array) -> Array:
        """-h_i v of both values of all sites, ``[H, W, 2]``."""
        field = jnp.broadcast_to(jnp.asarray(self.field, x.dtype), x.shape)
        return jnp.stack([field, -field], axis=-1)

    @property
    def bond_strength(self) -> Any:
        """The energy that a pair of equal neighbours saves, 2 J."""
        return 2 * self.coupling

    @property
    def blocks(self) -> Blocks:
        """The two colours."""
        fields = None if jnp.ndim(self.field) == 0 else colours(self.field)

        def conditional(blocks, i):
            field = self.field if fields is None else fields[i]
            around = sum(across(blocks[1 - i], i))
            return -2 * (self.coupling * around + field)[None]

        def energy(blocks):
            black, white = blocks
            of_black, of_white = [self.field] * 2 if fields is None else fields
            local = self.coupling * sum(across(black, 1)) + of_white
            return -by_columns(white * local + of_black * black)

        return Blocks(colours, conditional, from_colours, energy)

    def _field(self, x, site):
        return jnp.broadcast_to(self.field, x.shape).ravel()[site]


def ising(coupling: Any, field: Any = 0.0) -> Energy:
    """The Ising model of spins ``[H, W]`` with even sides.

    Args:
      coupling: J, positive for a ferromagnet; inverse temperature included.
      field: h, a number or ``[H, W]``.

    Raises:
      ValueError: numbers that are not finite; when called, sides that are not even.

    >>> float(ising(0.4)(jnp.ones((4, 6))))  # 48 pairs
    -19.200000762939453
    """
    for name, item in (("coupling", coupling), ("field", field)):
        finite(item, name)
    if jnp.ndim(coupling) != 0:
        raise ValueError(
            f"coupling must be a number, got shape {jnp.shape(coupling)}; use pairwise "
            "for couplings that differ"
        )
    if jnp.ndim(field) not in (0, 2):
        raise ValueError(
            f"field must be a number or [H, W], got shape {jnp.shape(field)}"
        )
    return Ising(coupling, field)


@value
class Potts(Value):
    """Made by :func:`potts`."""

    num_levels: int = static()
    coupling: Any = number()
    field: Any = number(default=None)

    @property
    def state_space(self):
        return levels(self.num_levels)

    def __call__(self, x: Array) -> Array:
        check_sides(x)
        bonds = (x == jnp.roll(x, -1, 0)).astype(x.dtype) + (x == jnp.roll(x, -1, 1))
        energy = -self.coupling * jnp.sum(bonds)
        if self.field is not None:
            energy -= jnp.sum(self.field[x.astype(jnp.int32)])
        return self.state_space.only(x, energy)

    def one_hot(self, z: Array) -> Array:
        """The energy of one-hot vectors ``[H, W, K]``, for gradients."""
        energy = -self.coupling * jnp.sum(z * (jnp.roll(z, -1, 0) + jnp.roll(z, -1, 1)))
        return energy if self.field is None else energy - jnp.sum(z * self.field)

    def difference(self, x: Array, site: Any, v: Any) -> Array:
        """E(x with x_i = v) - E(x), from the four neighbours."""
        old, equal = x.ravel()[site], lambda v, n: (v == n).astype(x.dtype)
        gain = sum(equal(v, n) - equal(old, n) for n in neighbours_of(x, site))
        found = -self.coupling * gain
        if self.field is None:
            return found
        return found - self.field[jnp.int32(v)] + self.field[jnp.int32(old)]

    def differences(self, x: Array) -> Array:
        """Of all sites and values, ``[H, W, K]``."""
        z = encode(x, self.num_levels)
        around = sum(jnp.roll(z, shift, axis) for shift in (-1, 1) for axis in (0, 1))
        local = -self.coupling * around + self.site_energies(x)
        return local - jnp.sum(z * local, axis=-1, keepdims=True)

    def site_energies(self, x: Array) -> Array:
        """-h[v] of all sites and values, ``[H, W, K]``."""
        field = jnp.zeros(self.num_levels) if self.field is None else self.field
        return jnp.broadcast_to(-field.astype(x.dtype), (*x.shape, self.num_levels))

    @property
    def bond_strength(self) -> Any:
        """The energy that a pair of equal neighbours saves, J."""
        return self.coupling

    @property
    def blocks(self) -> Blocks:
        """The two colours."""

        def conditional(blocks, i):
            around = across(blocks[1 - i], i)
            equal = lambda k: sum((n == k).astype(blocks[i].dtype) for n in around)
            first = equal(0)
            gaps = [
                self.coupling * (first - equal(k)) for k in range(1, self.num_levels)
            ]
            if self.field is not None:
                gaps = [
                    g + self.field[0] - self.field[k] for k, g in enumerate(gaps, 1)
                ]
            return jnp.stack(gaps)

        def energy(blocks):
            black, white = blocks
            bonds = sum((n == white).astype(black.dtype) for n in across(black, 1))
            found = -self.coupling * by_columns(bonds)
            if self.field is None:
                return found
            return found - sum(jnp.sum(self.field[b.astype(jnp.int32)]) for b in blocks)

        return Blocks(colours, conditional, from_colours, energy)


def potts(num_levels: int, coupling: Any, field: Any = None) -> Energy:
    """The Potts model of levels ``[H, W]`` with even sides.

    Args:
      num_levels: K, at least two.
      coupling: J, positive for a ferromagnet; inverse temperature included.
      field: h, ``[K]``; none by default.

    Raises:
      ValueError: numbers that are not finite or of another shape; when called, sides
        that are not even.

    >>> float(potts(3, 1.0)(jnp.zeros((4, 4))))  # 32 pairs
    -32.0
    """
    num_levels = checks.count(num_levels, "num_levels", least=2)
    finite(coupling, "coupling")
    if jnp.ndim(coupling) != 0:
        raise ValueError(f"coupling must be a number, got shape {jnp.shape(coupling)}")
    if field is not None:
        finite(field, "field")
        if jnp.shape(field) != (num_levels,):
            raise ValueError(
                f"field must be [K], one number a level, [{num_levels}], got shape "
                f"{jnp.shape(field)}"
            )
        field = jnp.asarray(field, float)
    return Potts(num_levels, coupling, field)


def finite(item: Any, name: str) -> None:
    """Raise unless all numbers are finite; traced ones pass."""
    if not checks.is_traced(item):
        checks.finite_rows(np.atleast_1d(np.asarray(item, float)), name)
