"""An energy at a flat point ``[D]``, for the numerical parts of
:func:`ebmjax.verify.check`: what they evaluate, where, and in which precision.

``value(points) -> [N]``, ``grad(points) -> [N, D]`` and ``curvature(points, v) -> [N]``
are compiled.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax.base import Key
from ebmjax.energies.constrained import Constrained
from ebmjax.verify.features import labels_of

NUM_PROBES = 16


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
    of_flat = lambda v: energy(unravel(v))
    rng = np.random.default_rng(int(jax.random.randint(key, (), 0, 2**31 - 1)))
    point = np.asarray(flat, np.float64)
    near = point + scale * rng.normal(size=(NUM_PROBES, flat.size))
    is_periodic = np.zeros(flat.size, bool)
    if isinstance(energy, Constrained):
        is_periodic = np.asarray(ravel_pytree(energy.periods(unravel(flat)))[0]) > 0
    return Probe(
        _compiled(of_flat, flat.dtype),
        _compiled(jax.grad(of_flat), flat.dtype),
        _curvature(of_flat, flat.dtype),
        unravel,
        point,
        near,
        scale,
        labels_of(position),
        rng,
        float(max(jnp.finfo(dtype).eps, jnp.finfo(flat.dtype).eps)),
        is_periodic,
    )


def _compiled(function, dtype):
    """``function`` of points ``[N, D]`` in float64, computed in another type."""
    program = jax.jit(jax.vmap(function))

    def call(*points):
        found = program(*(jnp.asarray(x, dtype) for x in points))
        return np.asarray(found, np.float64)

    return call


def _curvature(energy, dtype):
    along = _compiled(lambda x, v: v @ jax.jvp(jax.grad(energy), (x,), (v,))[1], dtype)

    def curvature(points, directions):
        try:
            return along(points, directions)
        except Exception:  # a custom_vjp has no second derivative
            return np.full(len(points), np.nan)

    return curvature
