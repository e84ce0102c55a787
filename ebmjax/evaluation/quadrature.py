"""log Z by quadrature, in one or two dimensions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Energy, scalar


def log_z(energy: Energy, low: Any, high: Any, *, resolution: int = 400) -> float:
    """log of the integral of exp(-energy) over a box, by the midpoint rule.

    For a smooth density that vanishes at the edges the error falls faster than any
    power of the resolution.  For bits see :func:`ebmjax.energies.enumeration.log_z`.

    Args:
      energy: of one point ``[D]``, D at most 2.
      low, high: corners of the box, ``[D]``.
      resolution: cells along each side.

    Raises:
      ValueError: a box of more than two dimensions, or of no volume; an energy that is
        NaN at a point, or infinite at all of them.
      TypeError: an energy that is not a scalar.

    >>> round(log_z(lambda x: 0.5 * jnp.sum(x**2), [-9.0], [9.0]), 4)
    0.9189
    """
    low, high = (np.atleast_1d(np.asarray(v, np.float64)) for v in (low, high))
    if low.shape != high.shape or low.ndim != 1 or len(low) > 2:
        raise ValueError(
            f"low and high must be corners [1] or [2], got shapes {low.shape} and "
            f"{high.shape}"
        )
    checks.positive(high - low, "high - low")
    checks.count(resolution, "resolution", least=2)
    axes = [
        a + (b - a) * (np.arange(resolution) + 0.5) / resolution
        for a, b in zip(low, high, strict=True)
    ]
    points = (
        np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, len(low)).astype(np.float32)
    )
    values = -np.asarray(
        jax.jit(jax.vmap(scalar(energy)))(jnp.asarray(points)), np.float64
    )
    if np.isnan(values).any() or not np.isfinite(values.max()):
        raise ValueError(
            "energy must be a number or infinite, and finite somewhere in the box, got "
            f"{np.isnan(values).sum()} NaN and a smallest value of {-values.max()}"
        )
    cell = np.log((high - low) / resolution).sum()
    return float(values.max() + np.log(np.exp(values - values.max()).sum()) + cell)
