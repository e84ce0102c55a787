"""Log-likelihood of points under an energy, between bounds.

    log p(x) = -E(x) - log Z,       log p(u) = log p(x) - log |s|  for  u = m + s x

so a lower bound on log Z is an upper bound on the mean log-likelihood, and vice versa.
The points contribute a separate standard error.  In bits per dimension it is
-log p / (D log 2).
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import as_function
from ebmjax.base import Energy, scalar
from ebmjax.tempering.bennett import LogZ


@jax.jit
def _energies(energy: Energy, x: Any) -> jax.Array:
    return jax.vmap(scalar(energy))(x)


class Likelihood(NamedTuple):
    """Mean log-likelihood of points, in nats."""

    mean: float  # with the estimate of log Z
    lower: float
    upper: float
    standard_error: float  # of the mean over points, without that of log Z
    dim: int

    @property
    def bits_per_dim(self) -> tuple[float, float]:
        """``(lower, upper)``: of the upper and the lower bound in nats."""
        scale = self.dim * np.log(2)
        return -self.upper / scale, -self.lower / scale


def _known(log_z: Any) -> LogZ:
    """A number as bounds of no width."""
    if isinstance(log_z, LogZ):
        return log_z
    numbers = float | int | np.number | np.ndarray | jax.Array
    if not isinstance(log_z, numbers) or np.ndim(log_z) != 0:
        raise TypeError(
            "log_z must be a number or a LogZ, such as bracket_log_z(...).log_z; got "
            f"{checks.describe(log_z)}"
        )
    checks.finite_rows(np.asarray(log_z), "log_z")
    return LogZ(float(log_z), 0.0, float(log_z), float(log_z), 1.0)


def log_likelihood(
    energy: Energy, x: Any, log_z: LogZ | float, *, log_scale: float = 0.0
) -> Likelihood:
    """The mean log-likelihood of points ``[N, ...]``.

    Args:
      energy: of one point.
      x: a tree of arrays.
      log_z: from :func:`ebmjax.evaluation.log_z.bracket_log_z`, or a known number.
      log_scale: log |s| of the affine map from points of the energy to units of the
        data, summed over all coordinates.

    Raises:
      ValueError, TypeError: no points; an energy that is not finite at one; a log Z
        that is neither a finite number nor a :class:`LogZ`.

    >>> log_likelihood(lambda x: 0.5 * jnp.sum(x**2), jnp.ones((2, 1)), 0.0).mean
    -0.5
    """
    x = checks.position(x, "x")
    num = checks.num_chains(x, "x")
    energies = np.asarray(_energies(as_function(energy, "energy"), x), np.float64)
    bad = np.flatnonzero(~np.isfinite(energies))
    if len(bad):
        raise ValueError(
            f"energy must be finite at the points, got {energies[bad[0]]} at row "
            f"{bad[0]}, and {len(bad)} such rows"
        )
    log_z = _known(log_z)
    checks.finite_rows(np.asarray(log_scale, np.float64), "log_scale")
    mean = -energies.mean() - log_scale
    error = energies.std(ddof=1) / np.sqrt(num) if num > 1 else np.nan
    dim = sum(leaf[0].size for leaf in jax.tree.leaves(x))
    return Likelihood(
        float(mean - log_z.log_z),
        float(mean - log_z.upper),
        float(mean - log_z.lower),
        float(error),
        dim,
    )
