"""Importance weights: estimates, bounds and effective sample size of log weights.

For independent weights with ``E w = R``:

    estimate      log R^ = log (1/C) sum_c w_c
    error         sd(w) / (mean(w) sqrt(C)), by the delta method
    bound         E log (1/m) sum_m w <= log R (Jensen; Burda, Grosse & Salakhutdinov
                  2015): the mean over blocks of C / B weights of log of their mean,
                  minus Student's quantile times its standard error
    ESS           (sum w)^2 / sum w^2                        (Kong, Liu & Wong 1994)

The bound holds in expectation however bad the weights are; its confidence rests on
the normality of a mean of ``B`` logarithms.
"""

from typing import Any

import numpy as np
from scipy import special, stats

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
    """Of :func:`log_mean_exp`, ``[]``."""
    x = np.asarray(log_weights, np.float64)
    w = np.exp(x - x.max())
    return float(w.std(ddof=1) / (w.mean() * np.sqrt(len(w))))


def lower_bound(log_weights: Any, confidence: float) -> float:
    """A number below ``log E w`` with the given one-sided confidence.

    Chains that do not fill the blocks are left out.

    Raises:
      ValueError: fewer than two weights a block.
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
