"""The estimators of :mod:`ebmjax.diagnostics.convergence` in NumPy, float64, on the
host.

Nothing is compiled, so a table of a few thousand draws takes milliseconds.  All
functions take draws ``[T, C, D]``; a test compares them with those of JAX.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ebmjax.diagnostics._normal_quantile import normal_quantile

TAILS = (0.05, 0.95)
AT_ONCE = 2**19  # numbers of the coordinates in one batch


class Spread(NamedTuple):
    """Spread of the scores of ranks or folded ranks; halves are ``[2 C, D]``."""

    means: np.ndarray  # of the first halves of the chains, then of the second
    variances: np.ndarray
    tau: np.ndarray  # [D] autocorrelation time within halves


def table(x: np.ndarray) -> tuple[dict[str, np.ndarray], tuple[Spread, Spread]]:
    """The columns of a summary, ``[D]`` each, and the spreads of ranks and folded
    ranks."""
    width = max(1, AT_ONCE // (x.shape[0] * x.shape[1]))
    starts = range(0, x.shape[2], width)
    part = lambda i: _columns(x[:, :, i : i + width].astype(np.float64))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy releases the lock
        parts = list(pool.map(part, starts)) if len(starts) > 1 else [part(0)]
    joined = {k: np.concatenate([p[0][k] for p in parts]) for k in parts[0][0]}
    bulk, folded = (
        Spread(*(np.concatenate(s, axis=-1) for s in zip(*spreads, strict=True)))
        for spreads in zip(*(p[1] for p in parts), strict=True)
    )
    return joined, (bulk, folded)


@np.errstate(divide="ignore", invalid="ignore")
def _columns(x) -> tuple[dict[str, np.ndarray], tuple[Spread, Spread]]:
    origin = x[0, 0]
    x = x - origin
    mean, sd = x.mean(axis=(0, 1)), _pooled(x).std(axis=0, ddof=1)
    low, high = quantile(x, TAILS)
    split = halves(x)
    squares = (x - mean) ** 2
    scores = normal_scores(split)
    folded = normal_scores(np.abs(split - np.median(_pooled(split), axis=0)))
    covariance = autocovariance(scores)
    columns = {
        "mean": origin + mean,
        "sd": sd,
        "mcse_mean": sd / np.sqrt(ess(split)),
        "mcse_sd": np.sqrt(
            squares.var(axis=(0, 1)) / ess(halves(squares)) / squares.mean(axis=(0, 1))
        )
        / 2,
        "5%": origin + low,
        "95%": origin + high,
        "ess_bulk": ess(scores, covariance),
        "ess_tail": np.minimum(*(_ess_below(x, q) for q in (low, high))),
        "rhat": np.fmax(plain_rhat(scores), plain_rhat(folded)),
    }
    bulk, tails = spread(scores, covariance), spread(folded, autocovariance(folded))
    return columns, (bulk, tails)


def halves(x: np.ndarray) -> np.ndarray:
    """The halves of each chain as chains, ``[T // 2, 2 C, D]``."""
    half = len(x) // 2
    return np.concatenate([x[:half], x[-half:]], axis=1)


def normal_scores(x: np.ndarray) -> np.ndarray:
    """Average ranks over all draws, as quantiles of a normal (Blom 1958)."""
    values = _pooled(x)
    order = np.argsort(values, axis=0)
    ordered = np.take_along_axis(values, order, axis=0)
    is_new = ordered[1:] != ordered[:-1]
    edge, place = np.ones_like(is_new[:1]), np.arange(len(values))[:, None]
    first = np.where(np.concatenate([edge, is_new]), place, 0)
    last = np.where(np.concatenate([is_new, edge]), place, len(values))
    first = np.maximum.accumulate(first, axis=0)
    last = np.minimum.accumulate(last[::-1], axis=0)[::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=0)
    # ranks are whole or half: a table of them serves all coordinates
    all_ranks = np.arange(2, 2 * len(values) + 1) / 2
    quantiles = normal_quantile((all_ranks - 0.375) / (len(values) + 0.25))
    return quantiles[(2 * ranks).astype(np.intp) - 2].reshape(x.shape)


def plain_rhat(x: np.ndarray) -> np.ndarray:
    """R-hat of chains, neither split nor rank-normalised, ``[D]``."""
    length = len(x)
    between = x.mean(axis=0).var(axis=0, ddof=1)
    within = x.var(axis=0, ddof=1).mean(axis=0)
    return np.sqrt((length - 1) / length + between / within)


def ess(x: np.ndarray, covariance: np.ndarray | None = None) -> np.ndarray:
    """C T / tau, ``[D]``; tau by Geyer's initial monotone sequence, at least
    1 / log10(C T)."""
    length, num_chains = x.shape[:2]
    covariance = autocovariance(x) if covariance is None else covariance
    within = covariance[0] * length / (length - 1)
    total = covariance[0] + (
        x.mean(axis=0).var(axis=0, ddof=1) if num_chains > 1 else 0.0
    )
    size = length * num_chains
    tau = np.maximum(_tau(1 - (within - covariance) / total), 1 / np.log10(size))
    return np.where(np.ptp(_pooled(x), axis=0) > 0, size / tau, 0.0)


def spread(x: np.ndarray, covariance: np.ndarray) -> Spread:
    """Means and variances of split chains, and their autocorrelation time."""
    tau = np.maximum(_tau(covariance / covariance[0]), 1.0)
    return Spread(x.mean(axis=0), x.var(axis=0, ddof=1), tau)


def autocovariance(x: np.ndarray) -> np.ndarray:
    """Mean over chains, about the mean of each, ``[T, D]``."""
    length = len(x)
    size = fast_length(2 * length)
    spectrum = np.abs(np.fft.rfft(x - x.mean(axis=0), size, axis=0)) ** 2
    return np.fft.irfft(spectrum.mean(axis=1), axis=0)[:length] / length


def fast_length(least: int) -> int:
    """The smallest even 2^a 3^b 5^c from ``least`` on, of which the FFT is fast.

    >>> fast_length(300), fast_length(1001)
    (300, 1024)
    """
    most = 1 << (least - 1).bit_length()
    odd = (3**b * 5**c for b in range(12) for c in range(8) if 3**b * 5**c <= most)
    return min(k << max(1, (-(-least // k) - 1).bit_length()) for k in odd)


def quantile(x: np.ndarray, probabilities) -> np.ndarray:
    """Over all draws, ``[P, D]``, linear between order statistics."""
    return np.quantile(_pooled(x), probabilities, axis=0)


def _tau(rho) -> np.ndarray:
    rho[0] = 1.0
    num_pairs = 1 + (len(rho) - 3) // 2
    even, odd = rho[0 : 2 * num_pairs : 2], rho[1 : 2 * num_pairs : 2]
    pairs = even + odd
    is_end = pairs <= 0
    is_end[-1] = True
    end = np.argmax(is_end, axis=0)
    counted = np.where(
        np.arange(num_pairs)[:, None] < end, np.minimum.accumulate(pairs, axis=0), 0.0
    )
    last_pair, last_even = (
        np.take_along_axis(values, end[None], axis=0)[0] for values in (pairs, even)
    )
    last = np.where(last_pair > 0, last_even, np.maximum(last_even, 0.0))
    return -1 + 2 * counted.sum(axis=0) + last


def _ess_below(x, value) -> np.ndarray:
    is_below = x <= value
    is_edge = is_below.all(axis=(0, 1)) & (np.ptp(_pooled(x), axis=0) > 0)
    size = x.shape[0] * x.shape[1]
    return np.where(is_edge, size, ess(halves(is_below.astype(np.float64))))


def _pooled(x) -> np.ndarray:
    return x.reshape(-1, x.shape[-1])
