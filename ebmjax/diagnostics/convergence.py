"""Convergence diagnostics and effective sample sizes.

    rhat            sqrt(var+ / W) on split chains, of ranks and folded ranks [V21]
    ess_bulk        effective sample size of the ranks [V21]
    ess_quantile    that of the indicator x <= quantile
    ess_tail        the smaller at 5 % and 95 %
    ess_mean        effective sample size of the values themselves
    mcse_mean       sd / sqrt(ess_mean), the standard error of a mean
    mcse_sd         by the delta method from the squares
    mcse_quantile   half the distance of the order statistics at the 16 % and 84 %
                    points of Beta(ess p + 1, ess (1 - p) + 1)
    nested_rhat     sqrt(1 + B / W) over groups of chains with one initial point [M24]

    W     mean over chains of the variance within
    var+  (T - 1) / T W + variance of the means of chains
    ESS   C T / tau,   tau = -1 + 2 sum_k min_{j <= k} (rho_2j + rho_2j+1)  while
          positive (Geyer 1992)

[V21] Vehtari, Gelman, Simpson, Carpenter & Burkner 2021; [M24] Margossian et al. 2024.
All functions take ``draws``, ``[T, C, ...]``, return one number for each coordinate,
and work inside ``jit``.  Their additional memory does not grow with the number of
coordinates. A coordinate that never moves has an effective sample size of zero.  Issues
in words: :mod:`ebmjax.diagnostics.summary`; averages and their errors:
:mod:`ebmjax.diagnostics.expectation`.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax.base import Array
from ebmjax.diagnostics._coordinate import (
    beta_interval,
    ess_below,
    ess_of,
    halves,
    normal_scores,
    plain_rhat,
)

TAILS = (0.05, 0.95)
AT_ONCE = 2**22  # numbers of the coordinates in one batch


def _by_coordinate(estimator: Callable[..., Array]) -> Callable[..., Array]:
    """An estimator of ``[T, C]``, lifted to draws ``[T, C, ...]`` in batches of
    coordinates.

    NaN for a coordinate with a non-finite draw.
    """

    @functools.wraps(estimator)
    def lifted(draws, *arguments):
        for probability in arguments:
            checks.between(probability, "probability")
        return mapped(checked(draws), *arguments)

    @jax.jit
    def mapped(draws, *arguments):
        x = draws.reshape(*draws.shape[:2], -1)
        number, at_once = x.shape[2], max(1, AT_ONCE // (x.shape[0] * x.shape[1]))

        def of(one):
            centred = one - one[0, 0]  # to reduce rounding
            found = estimator(centred, *arguments)
            return jnp.where(jnp.isfinite(one).all(), found, jnp.nan)

        if at_once >= number:
            found = jax.vmap(of, 2)(x)
        else:
            found = jax.lax.map(
                lambda i: of(x[:, :, i]), jnp.arange(number), batch_size=at_once
            )
        return found.reshape(draws.shape[2:])

    return lifted


@_by_coordinate
def rhat(draws: Array) -> Array:
    """Rank-normalised split R-hat, ``[...]``; near one if chains agree.

    Infinite, or as large as rounding allows, if chains are constant at different
    values; NaN if all are constant at the same value.

    >>> rhat(jax.random.normal(jax.random.key(0), (1000, 4, 3))).shape
    (3,)
    """
    split = halves(draws)
    folded = jnp.abs(split - jnp.median(split))
    return jnp.fmax(*(plain_rhat(normal_scores(x)) for x in (split, folded)))


def nested_rhat(draws: Array, num_groups: int) -> Array:
    """R-hat for many short chains, ``[...]``: in ``num_groups`` groups of neighbours,
    each with one initial point.

    Raises:
      ValueError: unless there are at least two groups of equal size, two or more chains
        each.
    """
    draws = checked(draws, least=1)
    variances = (
        draws.var(axis=0, ddof=1) if len(draws) > 1 else jnp.zeros(draws.shape[1:])
    )
    return nested_rhat_of_moments(draws.mean(axis=0), variances, num_groups)


def nested_rhat_of_moments(means: Array, variances: Array, num_groups: int) -> Array:
    """:func:`nested_rhat` from the mean and the variance of each chain,
    ``[C, ...]``."""
    num_chains = len(means)
    if (
        checks.count(num_groups, "num_groups", least=2) > num_chains // 2
        or num_chains % num_groups
    ):
        raise ValueError(
            "num_groups must divide the chains into twos or more, got "
            f"{num_groups} of {num_chains}"
        )
    means, variances = (
        x.reshape(num_groups, -1, *x.shape[1:]) for x in (means, variances)
    )  # [K, M, ...]
    inside = means.var(axis=1, ddof=1) + variances.mean(axis=1)
    between = means.mean(axis=1).var(axis=0, ddof=1)
    return jnp.sqrt(1 + between / inside.mean(axis=0))


@_by_coordinate
def ess_bulk(draws: Array) -> Array:
    """Effective sample size of the ranks, ``[...]``: for the middle of the
    distribution."""
    return ess_of(normal_scores(halves(draws)))


@_by_coordinate
def ess_quantile(draws: Array, probability: float) -> Array:
    """Effective sample size for the quantile at a probability, ``[...]``."""
    return ess_below(draws, probability)


@_by_coordinate
def ess_tail(draws: Array) -> Array:
    """The smaller effective sample size of the 5 % and the 95 % quantile, ``[...]``."""
    return jnp.minimum(*(ess_below(draws, p) for p in TAILS))


@_by_coordinate
def ess_mean(draws: Array) -> Array:
    """Effective sample size of the values, ``[...]``: for their mean."""
    return ess_of(halves(draws))


@_by_coordinate
def mcse_mean(draws: Array) -> Array:
    """Standard error of the mean over all draws, ``[...]``; not finite for a
    constant."""
    return draws.std(ddof=1) / jnp.sqrt(ess_of(halves(draws)))


@_by_coordinate
def mcse_sd(draws: Array) -> Array:
    """Standard error of the standard deviation over all draws, ``[...]``; not finite
    for a constant."""
    squares = (draws - draws.mean()) ** 2
    variance = squares.mean()
    return jnp.sqrt(squares.var() / ess_of(halves(squares)) / variance) / 2


@_by_coordinate
def mcse_quantile(draws: Array, probability: float) -> Array:
    """Standard error of the quantile at a probability, ``[...]``; NaN for a
    constant."""
    ess = ess_below(draws, probability)
    places = (
        beta_interval(ess * probability + 1, ess * (1 - probability) + 1) * draws.size
        - 1
    )
    low = jnp.maximum(jnp.floor(places[0]), 0).astype(int)
    high = jnp.minimum(jnp.ceil(places[1]), draws.size - 1).astype(int)
    ordered = jnp.sort(draws.ravel())
    return jnp.where(ess > 0, (ordered[high] - ordered[low]) / 2, jnp.nan)


def checked(draws, least=6) -> Array:
    """Draws as a floating array ``[T, C, ...]`` of at least so many steps."""
    if not hasattr(draws, "ndim") or draws.ndim < 2 or draws.shape[0] < least:
        raise ValueError(
            f"draws must be [T, C, ...] with at least {least} steps, got "
            f"{checks.describe(draws)}"
        )
    return jnp.asarray(draws, jnp.promote_types(draws.dtype, jnp.float32))
