"""Differences of discrete energies between states that differ in one site,

    d_i(v; x) = E(x with x_i = v) - E(x).

They are all that Gibbs sampling and locally balanced proposals need.  An energy is any
function of a position ``[...]`` of bits, spins or levels; it may offer more:

    state_space             BITS, SPINS or levels(K)
    difference(x, site, v)  d_i(v; x), ``site`` an index into ``x.ravel()``
    differences(x)          d of all sites and values, ``[*x.shape, K]``
    one_hot(z)              the energy of one-hot vectors ``[*x.shape, K]``
    blocks                  :class:`Blocks`, sites that are independent given the others

Without them a difference costs an energy.  To first order (Grathwohl et al. 2021,
equation 3), by one gradient g,

    d_i(v; x) = g_i (v - x_i)      bits and spins
    d_i(v; x) = G_iv - G_i,x_i     levels, G the gradient of one-hot vectors,

which is exact where the energy is linear in each site.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import Value, function, static, value
from ebmjax.base import Array, Energy, State, evaluate, scalar
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


# --- states and differences ---------------------------------------------------------


def discrete_state(
    energy: Energy, space: Space, x: Array, *, with_grad: bool = False
) -> State:
    """The state at a position, its energy infinite outside the space.

    With a gradient that of the one-hot vectors, ``[*x.shape, K]``, for levels.
    """
    if not hasattr(x, "shape"):
        raise TypeError(
            "a kernel of discrete states moves one array, got "
            f"{checks.describe(x)}; use within for an entry of a tree"
        )
    of_one_hot = one_hot_of(energy)
    if with_grad and space.num_values > 2 and of_one_hot is not None:
        z = encode(x, space.num_values)
        state = State(x, *jax.value_and_grad(scalar(of_one_hot))(z))
    else:
        state = evaluate(energy, x, with_grad=with_grad)
    is_inside = space.contains(x)
    return state._replace(energy=jnp.where(is_inside, state.energy, jnp.inf))


def renewed(energy: Energy, space: Space, state: State, x: Array) -> State:
    """The state at another position, with a gradient if this one has it."""
    new = discrete_state(energy, space, x, with_grad=state.grad is not None)
    return new._replace(momentum=state.momentum)


def differences(energy: Energy, space: Space, state: State) -> Array:
    """d of all sites and values, exact, ``[*x.shape, K]``.

    Costs what ``energy.differences`` costs, else N (K - 1) differences, else as many
    energies.
    """
    x = state.position
    if isinstance(energy, Tempered):
        inner = state._replace(energy=state.energy * energy.temperature)
        return differences(energy.energy, space, inner) / energy.temperature
    if hasattr(energy, "differences"):
        return energy.differences(x)
    local, index = difference_of(energy), space.index(x).ravel()

    def one(site, shift):
        k = (index[site] + shift) % space.num_values
        v = space.value(k, x.dtype)
        if local is not None:
            return k, local(x, site, v)
        return k, scalar(energy)(replaced(x, site, v)) - state.energy

    sites, shifts = jnp.arange(x.size), jnp.arange(1, space.num_values)
    k, d = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(sites, shifts)
    found = jnp.zeros((x.size, space.num_values), state.energy.dtype)
    found = found.at[sites[:, None], k].set(d)
    return found.reshape(*x.shape, space.num_values)


def first_order(space: Space, state: State) -> Array:
    """d of all sites and values to first order, ``[*x.shape, K]``, of a state with a
    gradient."""
    x, grad = state.position, jnp.asarray(state.grad)
    if space.num_values == 2:
        values = space.value(jnp.arange(2), x.dtype)
        return grad[..., None] * (values - x[..., None])
    here = jnp.sum(grad * encode(x, space.num_values), axis=-1, keepdims=True)
    return grad - here


def replaced(x: Array, site: Any, v: Any) -> Array:
    """The position with another value at one site of ``x.ravel()``."""
    return jnp.where(jnp.arange(x.size).reshape(x.shape) == site, v, x).astype(x.dtype)
