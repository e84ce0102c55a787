"""Bennett's acceptance ratio: log Z from forward and reverse weights.

With W = -log w of forward runs, V = -log w of reverse runs and D = -log Z_L/Z_0, D
solves

    sum_forward f(W - D + M) = sum_reverse f(V + D - M),    f(u) = 1 / (1 + exp u),
    M = log n_forward / n_reverse                            (Bennett 1976, eq. 12)

This is valid if the distributions of the work satisfy  p_F(W) = exp(W - D) p_R(-W)
(Crooks 1999, "Entropy production fluctuation theorem"), which holds for reversible
kernels: Metropolis, MALA, HMC, single flips, palindromic sweeps.  It has the smallest
variance of all estimates of that form (Shirts & Pande 2005).  The error is Bennett's,

    var D = (<f^2>_F / <f>_F^2 - 1) / n_F + (<f^2>_R / <f>_R^2 - 1) / n_R.

For kernels that are not reversible the estimate is the mean of the forward and the
reverse estimate, weighted by their inverse variances, or the forward one if the target
has a smaller support than the base; the bounds hold all the same.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from ebmjax import _validation as checks
from ebmjax.tempering import weights
from ebmjax.tempering.weights import AnnealedWeights

APART = 10.0  # errors of the estimate by which forward and reverse may disagree


class LogZ(NamedTuple):
    """log Z_L / Z_0 with its standard error, and bounds of the given ``confidence``."""

    log_z: float
    standard_error: float
    lower: float
    upper: float
    confidence: float

    @property
    def width(self) -> float:
        return self.upper - self.lower


def bennett(
    forward: AnnealedWeights, reverse: AnnealedWeights, *, confidence: float = 0.99
) -> LogZ:
    """The combined estimate, and bounds that fail with probability
    ``(1 - confidence) / 2`` each.

    Raises:
      ValueError: runs in the wrong order, or a confidence outside (0, 1).

    Warns if the bounds cross: then the initial samples of the reverse run are not draws
    of the target, or the kernels do not leave the densities of the path invariant.

    >>> bennett(forward, reverse).log_z  # doctest: +SKIP
    """
    for found, name in ((forward, "forward"), (reverse, "reverse")):
        checks.instance(found, AnnealedWeights, name, "annealed_importance_sampling")
        if bool(np.all(found.is_reversed)) != (name == "reverse"):
            raise ValueError(f"{name} must be a {name} run, got the other")
    checks.between(confidence, "confidence")
    one_sided = 1 - (1 - confidence) / 2
    lower, upper = forward.bound(one_sided), reverse.bound(one_sided)
    if np.all(forward.is_reversible) and np.all(reverse.is_reversible):
        log_z, error = acceptance_ratio(forward.log_weights, reverse.log_weights)
    else:
        log_z, error = _weighted_mean(forward, reverse)
    if lower > upper:
        checks.warn(
            f"the bounds cross: at least {lower:.4f} by the forward run and at most "
            f"{upper:.4f} by the reverse run. The samples of the reverse run are no "
            "draws of the target, or a kernel is not invariant"
        )
    return LogZ(log_z, error, lower, upper, confidence)


def _weighted_mean(forward, reverse) -> tuple[float, float]:
    """The forward run alone if it has weights of 0: the target has a smaller support,
    and reverse weights have the mean Z_0 / Z_L of that part of the base."""
    if np.isneginf(forward.log_weights).any():
        return forward.log_z, forward.standard_error
    ahead, back = forward.standard_error**2, reverse.standard_error**2
    share = ahead / (ahead + back) if ahead + back > 0 else 0.5  # of the reverse run
    mean = (1 - share) * forward.log_z + share * reverse.log_z
    return mean, float((share * back) ** 0.5)


def acceptance_ratio(forward, reverse) -> tuple[float, float]:
    """log of the ratio and its standard error, of log weights ``[C]`` and ``[C']``.

    Raises:
      ValueError: runs without a finite weight.
    """
    forward, reverse = (np.asarray(x, np.float64) for x in (forward, reverse))
    ends = weights.log_mean_exp(forward), -weights.log_mean_exp(reverse)
    if not np.isfinite(ends).all():
        raise ValueError(f"weights must not be all zero, got log means {ends}")
    shift = np.log(len(forward) / len(reverse))

    def accepted(log_z):  # log f of both runs
        return (
            -np.logaddexp(0.0, -forward + log_z + shift),
            -np.logaddexp(0.0, -reverse - log_z - shift),
        )

    def gap(log_z):
        ahead, back = accepted(log_z)
        return special.logsumexp(ahead) - special.logsumexp(back)

    low, high = min(ends) - 1.0, max(ends) + 1.0
    while gap(low) < 0:
        low -= high - low
    while gap(high) > 0:
        high += high - low
    log_z = float(optimize.brentq(gap, low, high, xtol=1e-12))
    variance = 0.0
    for log_f in accepted(log_z):
        square = weights.log_mean_exp(2 * log_f) - 2 * weights.log_mean_exp(log_f)
        variance += float(np.expm1(square)) / len(log_f)
    return log_z, variance**0.5
