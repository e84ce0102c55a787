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
import numpy as np
from jax.scipy.special import betainc, ndtri

from ebmjax import _validation as checks
from ebmjax.base import Array

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
    halves = _halves(draws)
    folded = jnp.abs(halves - jnp.median(halves))
    return jnp.fmax(*(_plain_rhat(_normal_scores(x)) for x in (halves, folded)))


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
    return _ess(_normal_scores(_halves(draws)))


@_by_coordinate
def ess_quantile(draws: Array, probability: float) -> Array:
    """Effective sample size for the quantile at a probability, ``[...]``."""
    return _ess_quantile(draws, probability)


@_by_coordinate
def ess_tail(draws: Array) -> Array:
    """The smaller effective sample size of the 5 % and the 95 % quantile, ``[...]``."""
    return jnp.minimum(*(_ess_quantile(draws, p) for p in TAILS))


@_by_coordinate
def ess_mean(draws: Array) -> Array:
    """Effective sample size of the values, ``[...]``: for their mean."""
    return _ess(_halves(draws))


@_by_coordinate
def mcse_mean(draws: Array) -> Array:
    """Standard error of the mean over all draws, ``[...]``; not finite for a
    constant."""
    return draws.std(ddof=1) / jnp.sqrt(_ess(_halves(draws)))


@_by_coordinate
def mcse_sd(draws: Array) -> Array:
    """Standard error of the standard deviation over all draws, ``[...]``; not finite
    for a constant."""
    squares = (draws - draws.mean()) ** 2
    variance = squares.mean()
    return jnp.sqrt(squares.var() / _ess(_halves(squares)) / variance) / 2


@_by_coordinate
def mcse_quantile(draws: Array, probability: float) -> Array:
    """Standard error of the quantile at a probability, ``[...]``; NaN for a
    constant."""
    ess = _ess_quantile(draws, probability)
    places = (
        _beta_interval(ess * probability + 1, ess * (1 - probability) + 1) * draws.size
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


def _halves(draws):
    """The halves of each chain as chains; the middle draw of an odd number is
    dropped."""
    half = len(draws) // 2
    return jnp.concatenate([draws[:half], draws[-half:]], axis=1)


def _normal_scores(x):
    """Average ranks over all draws, as quantiles of a normal (Blom 1958)."""
    values, ordered = x.ravel(), jnp.sort(x.ravel())
    below, upto = (
        jnp.searchsorted(ordered, values, side=side) for side in ("left", "right")
    )
    rank = (below + upto + 1) / 2
    return ndtri((rank - 0.375) / (x.size + 0.25)).reshape(x.shape)


def _plain_rhat(x):
    length = len(x)
    return jnp.sqrt(
        (length - 1) / length
        + x.mean(axis=0).var(ddof=1) / x.var(axis=0, ddof=1).mean()
    )


def _ess_quantile(x, probability):
    is_below = x <= jnp.quantile(x, probability)
    is_edge = is_below.all() & (jnp.ptp(x) > 0)  # binary draws: no value lies beyond
    return jnp.where(is_edge, x.size, _ess(_halves(is_below.astype(x.dtype))))


def _ess(x):
    """C T / tau of ``[T, C]`` by Geyer's initial monotone sequence; tau at least
    1 / log10(C T)."""
    length, num_chains = x.shape
    spectrum = jnp.abs(jnp.fft.rfft(x - x.mean(axis=0), 2 * length, axis=0)) ** 2
    covariance = jnp.fft.irfft(spectrum, axis=0)[:length].mean(axis=1) / length  # [T]
    within = covariance[0] * length / (length - 1)
    total = covariance[0] + (x.mean(axis=0).var(ddof=1) if num_chains > 1 else 0.0)
    rho = (1 - (within - covariance) / total).at[0].set(1.0)

    num_pairs = 1 + (length - 3) // 2
    even, odd = rho[0 : 2 * num_pairs : 2], rho[1 : 2 * num_pairs : 2]
    pairs = even + odd
    place = jnp.arange(num_pairs)
    # the first pair that no longer counts
    end = jnp.argmax((pairs <= 0) | (place == num_pairs - 1))
    monotone = jnp.where(place < end, jax.lax.cummin(pairs), 0.0)
    tau = (
        -1
        + 2 * jnp.sum(monotone)
        + jnp.where(pairs[end] > 0, even[end], jnp.maximum(even[end], 0.0))
    )
    size = length * num_chains
    return jnp.where(jnp.ptp(x) > 0, size / jnp.maximum(tau, 1 / np.log10(size)), 0.0)


def _beta_interval(a, b):
    """A standard deviation to each side: the 16 % and 84 % points of Beta(a, b).

    By bisection, or where float32 is not precise enough, by Abramowitz & Stegun
    26.5.22.
    """

    def halve(_, interval):
        low, high = interval
        middle = (low + high) / 2
        is_below = betainc(a, b, middle) < probability
        return jnp.where(is_below, middle, low), jnp.where(is_below, high, middle)

    y = jnp.array([1.0, -1.0])
    probability = jax.scipy.special.ndtr(-y)
    bisected = sum(jax.lax.fori_loop(0, 40, halve, (jnp.zeros(2), jnp.ones(2)))) / 2
    p, q = 1 / (2 * a - 1), 1 / (2 * b - 1)
    h = 2 / (p + q)
    w = y * jnp.sqrt(h - 1 / 3) / h - (q - p) * (1 / 2 - 2 / (3 * h))
    return jnp.where(
        jnp.minimum(a, b) > 100, 1 / (1 + b / a * jnp.exp(2 * w)), bisected
    )
