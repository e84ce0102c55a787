"""Bases of energies with periodic coordinates.

Kernels wrap such coordinates, so that a path between a base and a periodic energy must
be periodic, too: a Gaussian on the whole line is not.  Uniform on the circle is.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax._inlined import inlined
from ebmjax._random import split
from ebmjax.base import Energy, Position
from ebmjax.energies.constrained import Constrained, constrained_in
from ebmjax.tempering.bases import Base, fit_gaussian

NUM_CHECKED = 4096  # draws of a base of which none may lie outside of a period


def periodic_in(energy: Energy) -> Constrained | None:
    """The constrained energy with periodic coordinates in an energy, if any."""
    found = constrained_in(energy)
    return found if found is not None and found.is_periodic else None


def fit_base(energy: Energy, x: Position, *, widen: float = 1.0) -> Base:
    """A Gaussian fitted to ``x [N, ...]``; uniform in periodic coordinates of the
    energy, and independent of them.

    Raises:
      ValueError: as :func:`fit_gaussian`.
    """
    of = periodic_in(energy)
    if of is None:
        return fit_gaussian(x, widen=widen)
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], x)
    periods = np.asarray(ravel_pytree(of.periods(one))[0])
    others = np.flatnonzero(periods == 0)
    rest = None
    if len(others):
        rows = jax.vmap(lambda row: ravel_pytree(row)[0])(x)
        rest = fit_gaussian(rows[:, others], widen=widen)
    parts = of, one, jnp.asarray(periods), others, rest
    return Base(partial(_sample, *parts), partial(_log_prob, *parts))


def _sample(of, one, periods, others, rest, key, num):
    key_circle, key_rest = split(key)
    flat, unravel = ravel_pytree(one)
    x = jax.random.uniform(inlined(key_circle), (num, flat.size), flat.dtype) * periods
    if rest is not None:
        x = x.at[:, others].set(rest.sample(key_rest, num))
    return jax.vmap(lambda row: of.wrap(unravel(row)))(x)


def _log_prob(of, one, periods, others, rest, x):
    flat = ravel_pytree(x)[0]
    uniform = -jnp.sum(jnp.log(jnp.where(periods > 0, periods, 1.0)))
    return uniform if rest is None else uniform + rest.log_prob(flat[others])


def check_period(base: Base, energy: Energy) -> None:
    """Raise where draws of a base lie outside of the period of the energy.

    Raises:
      ValueError: with the number of draws.
    """
    of = periodic_in(energy)
    if of is None:
        return
    x = base.sample(jax.random.key(1), NUM_CHECKED)
    num = int(_num_outside(of, x))
    if num:
        raise ValueError(
            "base must lie within one period of the energy's periodic coordinates, as "
            "uniform_box(low, low + period) does: kernels wrap them, and the path from "
            f"this base is not periodic; {num} of {NUM_CHECKED} draws lie outside"
        )


@jax.jit
def _num_outside(of: Any, x: Position) -> jax.Array:
    wrapped = jax.vmap(of.wrap)(x)
    far = lambda a, b: (a != b).reshape(len(a), -1).any(axis=1)
    flags = jax.tree.leaves(jax.tree.map(far, x, wrapped))
    return jnp.sum(jnp.stack(flags).any(axis=0))
