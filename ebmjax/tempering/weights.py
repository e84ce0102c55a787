"""Importance weights: estimates, bounds and effective sample size of log weights.

For independent weights with ``E w = R``:

    estimate      log R^ = log (1/C) sum_c w_c
    error         sd(w) / (mean(w) sqrt(C)), by the delta method
    bound         E log (1/m) sum_m w <= log R (Jensen; Burda, Grosse & Salakhutdinov
                  2015): the mean over blocks of C / B weights of log of their mean,
                  minus Student's quantile times its standard error
    ESS           (sum w)^2 / sum w^2                        (Kong, Liu & Wong 1994)

The bound holds in expectation for any weights; its confidence assumes that a mean of
``B`` logarithms is normal.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import special, stats

from ebmjax import _validation as checks
from ebmjax.base import Array, Position

NUM_BLOCKS = 16


def log_mean_exp(log_weights: Any, axis: int = 0) -> Any:
    """``log (1/C) sum_c exp(log_weights)`` in double precision."""
    x = np.asarray(log_weights, np.float64)
    return special.logsumexp(x, axis=axis) - np.log(x.shape[axis])


def effective_sample_size(log_weights: Any) -> float:
    """``(sum w)^2 / sum w^2``, between 1 and C; 0 if all weights are 0."""
    x = np.asarray(log_weights, np.float64)
    if not (x > -np.inf).any():
        return 0.0
    return float(np.exp(2 * special.logsumexp(x) - special.logsumexp(2 * x)))


def standard_error(log_weights: Any) -> float:
    """Of :func:`log_mean_exp`, ``[]``; NaN of one weight."""
    x = np.asarray(log_weights, np.float64)
    if len(x) < 2:
        return float("nan")
    w = np.exp(x - x.max())
    return float(w.std(ddof=1) / (w.mean() * np.sqrt(len(w))))


def lower_bound(log_weights: Any, confidence: float) -> float:
    """A number below ``log E w`` with the given one-sided confidence.

    Chains that do not fill the blocks are omitted.

    Raises:
      ValueError: fewer than two weights per block.
    """
    x = np.asarray(log_weights, np.float64)
    if len(x) < 2 * NUM_BLOCKS:
        raise ValueError(
            f"num_chains must be at least {2 * NUM_BLOCKS} for a bound, got {len(x)}"
        )
    size = len(x) // NUM_BLOCKS
    blocks = x[: size * NUM_BLOCKS].reshape(NUM_BLOCKS, size)
    means = log_mean_exp(blocks, axis=1)
    if np.isneginf(means).any():
        return -np.inf
    quantile = stats.t.ppf(confidence, NUM_BLOCKS - 1)
    return float(means.mean() - quantile * means.std(ddof=1) / np.sqrt(NUM_BLOCKS))


class AnnealedWeights(NamedTuple):
    """Log weights of chains moved along a path; see
    :mod:`ebmjax.tempering.ais`.

    ``log_weights [C]`` estimate ``Z_L / Z_0``, or ``Z_0 / Z_L`` if ``is_reversed``.
    """

    log_weights: Array  # [C]
    positions: Position  # [C, ...] at the end of the run
    acceptance_rate: Array  # [L] of the levels in the order they were visited
    num_nonfinite: Array  # [] proposals whose energy was NaN or minus infinity
    num_grads: Array  # [] gradients of the energy, all chains
    drift: Array  # [] of the energies under T_L, in standard errors; reverse runs
    is_reversed: Any = False
    is_reversible: Any = False  # whether all kernels are reversible

    @property
    def sign(self) -> float:
        return -1.0 if np.all(self.is_reversed) else 1.0

    @property
    def log_z(self) -> float:
        """The estimate of ``log Z_L / Z_0``."""
        return self.sign * float(log_mean_exp(self.log_weights))

    @property
    def standard_error(self) -> float:
        """Of :attr:`log_z`, by the delta method: too small where weights are uneven;
        NaN of one chain."""
        return standard_error(self.log_weights)

    @property
    def effective_sample_size(self) -> float:
        return effective_sample_size(self.log_weights)

    def bound(self, confidence: float = 0.995) -> float:
        """A lower bound on ``log Z_L / Z_0``, one-sided; an upper one in reverse.

        Raises:
          ValueError: fewer than 32 chains, a confidence outside (0, 1).
        """
        checks.between(confidence, "confidence")
        return self.sign * lower_bound(self.log_weights, confidence)
