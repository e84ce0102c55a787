"""State spaces: which numbers a site of a discrete model may take.

    REAL        any real number
    BITS        0, 1
    SPINS       -1, 1
    levels(K)   0, 1, ..., K - 1      Potts models, categorical variables

Positions are floating arrays of any shape whose entries, the sites, are these values,
as everywhere in the library.  An energy of K levels that has a gradient takes one-hot
vectors inside (:func:`ebmjax.energies.local.of_one_hot`); positions stay ``[...]``
levels.

Kernels and energies name their space, ``kernel.state_space`` and
``energy.state_space``. A kernel refuses an energy of another space when it is made, and
``sample`` refuses positions outside the space before anything is compiled.
"""

import dataclasses
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks


@dataclasses.dataclass(frozen=True)
class Space:
    """The values of a site; compared by equality, hashable."""

    name: str
    values: tuple[float, ...] | None = None  # None: all real numbers

    def __str__(self) -> str:
        return self.name

    @property
    def is_discrete(self) -> bool:
        return self.values is not None

    @property
    def num_values(self) -> int:
        """K; raises for the real numbers."""
        if self.values is None:
            raise TypeError(f"the state space {self.name} has no finite set of values")
        return len(self.values)

    def index(self, x: Any) -> jax.Array:
        """From values to 0, ..., K - 1, int32."""
        gap = 2 if self == SPINS else 1
        return jnp.round((x - self.first) / gap).astype(jnp.int32)

    def value(self, index: Any, dtype: Any = jnp.float32) -> jax.Array:
        """From 0, ..., K - 1 to values."""
        gap = 2 if self == SPINS else 1
        return (gap * jnp.asarray(index) + self.first).astype(dtype)

    @property
    def first(self) -> int:
        """The smallest value."""
        return -1 if self == SPINS else 0

    @property
    def square_distance(self) -> float:
        """Of two different values; levels count as one-hot vectors."""
        return {"bits": 1.0, "spins": 4.0}.get(self.name, 2.0)

    def contains(self, x: Any) -> jax.Array:
        """Whether all sites of a position lie in the space; for compiled code."""
        if self.values is None:
            return jnp.bool_(True)
        inside = (x == jnp.round(x)) & (x >= self.values[0]) & (x <= self.values[-1])
        return jnp.all(inside & (x != 0) if self == SPINS else inside)

    def only(self, x: Any, energy: Any) -> jax.Array:
        """The energy at a position in the space, and infinity outside it."""
        return jnp.where(self.contains(x), energy, jnp.inf)

    def check(self, positions: Any, name: str = "positions") -> None:
        """Raise ValueError, naming the value and its place, outside the space.

        >>> BITS.check(jnp.array([0.0, 2.0]))
        Traceback (most recent call last):
        ValueError: positions must be bits, each 0 or 1, got 2.0 at [1]
        """
        if self.values is None or checks.is_traced(positions):
            return
        for path, leaf in jax.tree_util.tree_leaves_with_path(positions):
            array = np.asarray(leaf)
            bad = np.argwhere(~np.isin(array, self.values))
            if len(bad):
                where = name + jax.tree_util.keystr(path)
                got = array[tuple(bad[0])]
                at = ", ".join(map(str, bad[0]))
                raise ValueError(
                    f"{where} must be {self.name}, {self.listed}, got {got} at [{at}]"
                )

    @property
    def listed(self) -> str:
        """The values in words."""
        assert self.values is not None
        if len(self.values) == 2:
            return f"each {self.values[0]:g} or {self.values[1]:g}"
        return f"each a whole number from 0 to {self.values[-1]:g}"


REAL = Space("real")
BITS = Space("bits", (0.0, 1.0))
SPINS = Space("spins", (-1.0, 1.0))


def levels(num_levels: int) -> Space:
    """K levels 0, ..., K - 1, at least two.

    >>> str(levels(3))
    'levels(3)'
    """
    num = checks.count(num_levels, "num_levels", least=2)
    return Space(f"levels({num})", tuple(float(k) for k in range(num)))


def space_of(energy: Any) -> Space | None:
    """The state space that an energy names, ``None`` where it names none.

    ``functools.partial`` and ``jax.tree_util.Partial`` name that of their function,
    energies made of an energy (``temper``) that of this one.
    """
    while True:
        space = getattr(energy, "state_space", None)
        if isinstance(space, Space):
            return space
        inner = _inside(energy)
        if inner is None:
            return None
        energy = inner


def _inside(energy: Any) -> Any:
    """What an energy is made of: a partial's function, a method's object."""
    if hasattr(energy, "unwrap"):
        return energy.unwrap()
    if isinstance(energy, types.MethodType):
        return energy.__self__
    if hasattr(energy, "func") and hasattr(energy, "args"):
        return energy.func
    return getattr(energy, "__wrapped__", None)


def chosen(space: Space | None, energy: Any, default: Space = BITS) -> Space:
    """The space of a kernel: that of its energy, or the one given, which must agree."""
    if space is not None and not (isinstance(space, Space) and space.is_discrete):
        raise TypeError(f"space must be BITS, SPINS or levels(K), got {space!s}")
    own = space_of(energy)
    if None not in (space, own) and space != own:
        raise TypeError(f"space is {space}, and the energy is of {own}")
    return space or own or default


def check_energy(energy: Any, space: Space, kernel: str) -> None:
    """Raise TypeError where the energy names another space than that of the kernel."""
    own = space_of(energy)
    if own is not None and own != space:
        raise TypeError(
            f"{kernel} is a kernel of {space} points, and its energy is of {own}; "
            f"{_instead(own)}"
        )


def _instead(space: Space) -> str:
    if space.is_discrete:
        return "use gibbs, dmala or another kernel of discrete states"
    return "use mala, hmc, nuts or another kernel of real numbers"
