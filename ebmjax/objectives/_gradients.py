"""Derivatives of maps of points that are pytrees, without matrices.

With J the Jacobian of a map f from points to points,

    quadratic_form(f, x, v)   v^T J v, one forward derivative; for f = grad E it is
                              v^T (hess E) v, forward over reverse
    trace(f, x)               tr J, one direction at a time: D derivatives
    E[v^T J v] = tr J         for v with E[v v^T] = I (Hutchinson 1989), such as
                              :func:`random_signs`
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ebmjax.base import Array, Key, Position, normal_like

Map = Callable[[Position], Position]


def inner(a: Position, b: Position) -> Array:
    """The inner product of two trees of the same structure."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    products = [jnp.vdot(x, y) for x, y in pairs]
    return sum(products[1:], products[0])


def quadratic_form(f: Map, x: Position, v: Position) -> Array:
    """v^T J v at a point."""
    return inner(v, jax.jvp(f, (x,), (v,))[1])


def trace(f: Map, x: Position) -> Array:
    """tr J at a point, exactly."""
    flat, unravel = ravel_pytree(x)
    along = lambda i: quadratic_form(f, x, unravel(jnp.zeros_like(flat).at[i].set(1)))
    return jnp.sum(jax.lax.map(along, jnp.arange(flat.size)))


def random_signs(key: Key, x: Position) -> Position:
    """Independent signs, 1 or -1, in the shape of a point."""
    return jax.tree.map(jnp.sign, normal_like(key, x))
