"""Differences of discrete energies between states that differ in one site,

    d_i(v; x) = E(x with x_i = v) - E(x),

from what the energy offers (:mod:`ebmjax.energies.local`).  To first order (Grathwohl
et al. 2021, equation 3), by one gradient g,

    d_i(v; x) = g_i (v - x_i)      bits and spins
    d_i(v; x) = G_iv - G_i,x_i     levels, G the gradient of one-hot vectors,

which is exact where the energy is linear in each site.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax.base import Array, Energy, State, evaluate, scalar
from ebmjax.energies.local import difference_of, encode, one_hot_of
from ebmjax.energies.transforms import Tempered
from ebmjax.spaces import Space


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
        values = jnp.expand_dims(values, tuple(range(x.ndim)))
        return grad[..., None] * (values - x[..., None])
    here = jnp.sum(grad * encode(x, space.num_values), axis=-1, keepdims=True)
    return grad - here


def replaced(x: Array, site: Any, v: Any) -> Array:
    """The position with another value at one site of ``x.ravel()``."""
    return jnp.where(jnp.arange(x.size).reshape(x.shape) == site, v, x).astype(x.dtype)
