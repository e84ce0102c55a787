"""What a discrete energy may offer beside its values, for kernels to use.

Gibbs sampling and locally balanced proposals need differences between states that
differ in one site, d_i(v; x) = E(x with x_i = v) - E(x)
(:mod:`ebmjax.energies.differences`).
An energy is any function of a position ``[...]`` of bits, spins or levels; it may offer

    state_space             BITS, SPINS or levels(K)
    difference(x, site, v)  d_i(v; x), ``site`` an index into ``x.ravel()``
    differences(x)          d of all sites and values, ``[*x.shape, K]``
    one_hot(z)              the energy of one-hot vectors ``[*x.shape, K]``
    blocks                  :class:`Blocks`, sites that are independent given the others

Without them a difference costs an energy.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import Value, function, static, value
from ebmjax.base import Array, Energy
from ebmjax.energies.transforms import Tempered
from ebmjax.spaces import Space, levels, space_of

Difference = Callable[[Array, Any, Any], Array]


class Blocks(NamedTuple):
    """Sites in blocks, those of a block independent given the others.

    ``conditional(blocks, i)`` are the energies of the values 1, ..., K - 1 of the sites
    of block i, less that of the first value: ``[K - 1, *blocks[i].shape]``;
    ``energy(blocks)`` is that of the position, where that is faster than the energy.
    """

    split: Callable[[Array], tuple[Array, ...]]
    conditional: Callable[[tuple[Array, ...], int], Array]
    join: Callable[[tuple[Array, ...]], Array]
    energy: Callable[[tuple[Array, ...]], Array] | None = None


@value
class Local(Value):
    """Made by :func:`with_difference`."""

    energy: Energy = function()
    difference: Difference = function()
    space: Space | None = static(default=None)

    def check(self):
        if not isinstance(self.state_space, Space) or not self.state_space.is_discrete:
            raise TypeError(
                "space must be BITS, SPINS or levels(K); the energy names none"
            )

    @property
    def state_space(self):
        return self.space or space_of(self.energy)

    def __call__(self, x: Any) -> Array:
        return self.energy(x)


def with_difference(
    energy: Energy, difference: Difference, space: Space | None = None
) -> Energy:
    """An energy with its differences, so that a sweep of Gibbs costs N of them.

    Args:
      energy: of a position.
      difference: ``difference(x, site, value)``, E(x with x_i = value) - E(x), ``site``
        an index into ``x.ravel()``.
      space: of the positions; that of the energy by default.

    Raises:
      TypeError: no functions; neither the energy nor ``space`` says the state space.

    >>> from ebmjax.spaces import BITS
    >>> difference = lambda x, i, v: x.ravel()[i] - v
    >>> biased = with_difference(lambda x: -jnp.sum(x), difference, BITS)
    """
    return Local(energy, difference, space)


@value
class OneHot(Value):
    """Made by :func:`of_one_hot`."""

    energy: Callable[..., Array] = function()
    num_levels: int = static()

    def check(self):
        checks.count(self.num_levels, "num_levels", least=2)

    @property
    def state_space(self):
        return levels(self.num_levels)

    def one_hot(self, *arguments: Any) -> Array:
        """The energy of one-hot vectors ``[..., K]``, the last argument."""
        return self.energy(*arguments)

    def __call__(self, *arguments: Any) -> Array:
        *params, x = arguments
        energy = self.energy(*params, encode(x, self.num_levels))
        return self.state_space.only(x, energy)


def of_one_hot(energy: Callable[..., Array], num_levels: int) -> Energy:
    """An energy of K levels, of one that takes one-hot vectors ``[..., K]``.

    Positions are levels ``[...]``; gradients are of the one-hot vectors, so that
    ``gibbs_with_gradients``, ``dmala`` and ``dula`` apply.  With ``energy(params, z)``
    it is a trainable energy.

    >>> weights = jnp.arange(6.0).reshape(2, 3)
    >>> energy = of_one_hot(lambda z: jnp.sum(weights * z), 3)
    >>> float(energy(jnp.array([2.0, 0.0])))
    5.0
    """
    return OneHot(energy, num_levels)


def encode(x: Array, num_levels: int) -> Array:
    """One-hot vectors ``[..., K]`` of levels ``[...]``."""
    return jax.nn.one_hot(x.astype(jnp.int32), num_levels, dtype=x.dtype)


# --- what an energy offers ----------------------------------------------------------


def offered(energy: Any, name: str) -> Any:
    """What an energy offers by name; of ``partial(energy, params)`` it takes the
    parameters first, as ``one_hot(params, z)``."""
    energy = energy.unwrap() if hasattr(energy, "unwrap") else energy
    if hasattr(energy, name):
        return getattr(energy, name)
    if hasattr(energy, "func") and hasattr(energy, "args"):
        inner = offered(energy.func, name)
        return inner and functools.partial(inner, *energy.args, **energy.keywords)
    wrapped = getattr(energy, "__wrapped__", None)
    return None if wrapped is None else offered(wrapped, name)


def difference_of(energy: Energy) -> Difference | None:
    """The ``difference`` of an energy, if it has one; that of E / T divided by T."""
    if isinstance(energy, Tempered):
        inner, T = difference_of(energy.energy), energy.temperature
        return inner and (lambda x, site, v: inner(x, site, v) / T)
    return offered(energy, "difference")


def blocks_of(energy: Energy) -> Blocks | None:
    """The ``blocks`` of an energy, if it has any; those of E / T divided by T."""
    if isinstance(energy, Tempered):
        inner, T = blocks_of(energy.energy), energy.temperature
        if inner is None:
            return None
        of_blocks = inner.energy
        return inner._replace(
            conditional=lambda b, i: inner.conditional(b, i) / T,
            energy=of_blocks and (lambda b: of_blocks(b) / T),
        )
    return getattr(energy, "blocks", None)


def one_hot_of(energy: Energy) -> Energy | None:
    """The energy of one-hot vectors, if there is one; that of E / T divided by T."""
    if isinstance(energy, Tempered):
        inner, T = one_hot_of(energy.energy), energy.temperature
        return inner and (lambda z: inner(z) / T)
    return offered(energy, "one_hot")
