"""An energy at a flat point ``[D]``, for the numerical parts of
:func:`ebmjax.verify.check`: what they evaluate, where, and in which precision.

``value(points) -> [N]``, ``grad(points) -> [N, D]`` and ``curvature(points, v) -> [N]``
are compiled.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax._value import as_function
from ebmjax.base import Key
from ebmjax.energies.constrained import Constrained
from ebmjax.verify.features import labels_of

NUM_PROBES = 16
BATCH = 64  # points of a call


class Issue(NamedTuple):
    """An issue, and a suggestion."""

    message: str
    suggestion: str


class Probe(NamedTuple):
    """An energy at a flat point."""

    value: Callable[[np.ndarray], np.ndarray]
    grad: Callable[[np.ndarray], np.ndarray]
    curvature: Callable[[np.ndarray, np.ndarray], np.ndarray]  # v^T H v
    unravel: Callable[[Any], Any]  # from a flat point to a position
    point: np.ndarray
    near: np.ndarray  # points around it, [N, D]
    scale: float
    labels: list[str]
    rng: np.random.Generator
    eps: float  # of the dtype of the energy
    is_periodic: np.ndarray  # [D] coordinates on circles, which end nowhere

    @property
    def dim(self) -> int:
        return len(self.point)

    @property
    def lines(self) -> np.ndarray:
        """The coordinates that are not on circles."""
        return np.flatnonzero(~self.is_periodic)

    def directions(self, num: int) -> np.ndarray:
        v = self.rng.normal(size=(num, self.dim))
        return v / np.linalg.norm(v, axis=1, keepdims=True)


def probe_at(energy, position, key: Key, scale: float, dtype) -> Probe:
    """The probe of an energy at a position; ``dtype`` is that of the energy."""
    flat, unravel = ravel_pytree(position)
    rng = np.random.default_rng(int(jax.random.randint(key, (), 0, 2**31 - 1)))
    point = np.asarray(flat, np.float64)
    near = point + scale * rng.normal(size=(NUM_PROBES, flat.size))
    is_periodic = np.zeros(flat.size, bool)
    if isinstance(energy, Constrained):
        is_periodic = np.asarray(ravel_pytree(energy.periods(unravel(flat)))[0]) > 0
    energy = as_function(energy, "energy")
    in_batches = lambda program: functools.partial(
        _in_batches, functools.partial(program, energy, position), flat.dtype
    )
    return Probe(
        in_batches(_values),
        in_batches(_grads),
        functools.partial(_or_nan, in_batches(_curvatures)),
        unravel,
        point,
        near,
        scale,
        labels_of(position),
        rng,
        float(max(jnp.finfo(dtype).eps, jnp.finfo(flat.dtype).eps)),
        is_periodic,
    )


# --- programs, one of each kind for all numbers of points -----------------------------


def _in_batches(program, dtype, *points) -> np.ndarray:
    """A program of ``BATCH`` points for points ``[N, D]``, the last one repeated."""
    num = len(points[0])
    padded = [np.pad(x, ((0, -num % BATCH), (0, 0)), "edge") for x in points]
    parts = [
        np.asarray(program(*(np.asarray(x[i : i + BATCH], dtype) for x in padded)))
        for i in range(0, num, BATCH)
    ]
    return np.concatenate(parts)[:num].astype(np.float64)


def _or_nan(curvature, points, directions) -> np.ndarray:
    """NaN for a ``custom_vjp``, which has no second derivative."""
    try:
        return curvature(points, directions)
    except Exception:
        return np.full(len(points), np.nan)


def _flat(energy, position):
    unravel = ravel_pytree(position)[1]
    return lambda v: energy(unravel(v))


@jax.jit
def _values(energy, position, points):
    return jax.vmap(_flat(energy, position))(points)


@jax.jit
def _grads(energy, position, points):
    return jax.vmap(jax.grad(_flat(energy, position)))(points)


@jax.jit
def _curvatures(energy, position, points, directions):
    grad = jax.grad(_flat(energy, position))
    along = lambda x, v: v @ jax.jvp(grad, (x,), (v,))[1]
    return jax.vmap(along)(points, directions)
