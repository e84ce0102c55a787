"""Have the chains converged, and what is an average over them worth?

    rhat          sqrt(var+ / W) on split chains, of ranks and of folded ranks, the larger    [V21]
    ess_bulk      effective sample size of the ranks                                          [V21]
    ess_tail      the smaller of those of the indicators at the 5 % and the 95 % quantile     [V21]
    ess_mean      effective sample size of the values themselves
    mcse_mean     sd / sqrt(ess_mean), the standard error of a mean
    nested_rhat   sqrt(1 + B / W) over groups of chains that began together                   [M24]

    W     mean over chains of the variance within,   var+ = (T - 1) / T W + variance of the means of chains
    ESS   C T / tau,   tau = -1 + 2 sum_k min_{j <= k} (rho_2j + rho_2j+1)  while positive (Geyer 1992)

[V21] Vehtari, Gelman, Simpson, Carpenter & Burkner 2021; [M24] Margossian et al. 2024.  All functions take
``draws``, ``[T, C, ...]``, return one figure a coordinate, and work inside ``jit``.  A coordinate that never
moves has an effective sample size of zero, not of its length.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from ebmjax import checks
from ebmjax.base import Array, Position

LARGEST_RHAT, LEAST_ESS = 1.01, 400  # recommended by [V21]
TAILS = (0.05, 0.95)


def rhat(draws: Array) -> Array:
    """Rank-normalised split R-hat, ``[...]``; near one where chains agree.  Infinite where chains stand still
    at different values, NaN where all stand at the same.

    >>> rhat(jax.random.normal(jax.random.key(0), (1000, 4, 3))).shape
    (3,)
    """
    halves = _halves(_checked(draws))
    folded = jnp.abs(halves - jnp.median(halves, axis=(0, 1)))
    return jnp.maximum(_plain_rhat(_normal_scores(halves)), _plain_rhat(_normal_scores(folded)))


def nested_rhat(draws: Array, num_groups: int) -> Array:
    """R-hat for many short chains: ``num_groups`` groups of ``C / num_groups`` neighbours, each begun at one
    point.  Raises unless the groups are at least two and divide the chains into twos or more."""
    draws = _checked(draws, least=1)
    length, num_chains = draws.shape[:2]
    if checks.count(num_groups, "num_groups", least=2) > num_chains // 2 or num_chains % num_groups:
        raise ValueError(
            f"num_groups must divide the chains into twos or more, got {num_groups} of {num_chains}"
        )
    grouped = draws.reshape(length, num_groups, -1, *draws.shape[2:])
    means = grouped.mean(axis=0)  # [K, M, ...]
    within = grouped.var(axis=0, ddof=1).mean(axis=1) if length > 1 else 0.0
    inside = means.var(axis=1, ddof=1) + within
    between = means.mean(axis=1).var(axis=0, ddof=1)
    return jnp.sqrt(1 + between / inside.mean(axis=0))


def ess_bulk(draws: Array) -> Array:
    """Effective sample size of the ranks, ``[...]``: for the middle of the distribution."""
    return _ess(_normal_scores(_halves(_checked(draws))))


def ess_tail(draws: Array) -> Array:
    """The smaller effective sample size of the 5 % and the 95 % quantile, ``[...]``."""
    halves = _halves(_checked(draws))
    quantiles = jnp.quantile(halves, jnp.array(TAILS), axis=(0, 1))
    sizes = [_ess((halves <= q).astype(halves.dtype)) for q in quantiles]
    return jnp.minimum(*sizes)


def ess_mean(draws: Array) -> Array:
    """Effective sample size of the values, ``[...]``: for their mean."""
    return _ess(_halves(_checked(draws)))


def mcse_mean(draws: Array) -> Array:
    """Standard error of the mean over all draws, ``[...]``; infinite where nothing moves."""
    draws = _checked(draws)
    return draws.std(axis=(0, 1), ddof=1) / jnp.sqrt(ess_mean(draws))


class Estimate(NamedTuple):
    """An expectation and what it is worth."""

    value: Array
    standard_error: Array


def expectation(function: Callable[[Position], Array], draws: Position) -> Estimate:
    """E[f(x)] as the mean over draws (notes, eq. 11), its standard error through their autocorrelation.

    Args:
      function: of one point, to an array.
      draws: ``[T, C, ...]`` on every leaf.

    >>> second = expectation(lambda x: x**2, jax.random.normal(jax.random.key(0), (1000, 4)))
    """
    checks.function(function, "function")
    values = jax.vmap(jax.vmap(function))(draws)
    return Estimate(values.mean(axis=(0, 1)), mcse_mean(values))


class Summary(NamedTuple):
    """What :func:`summary` found; prints as a table, with warnings in words."""

    names: list[str]
    columns: dict[str, np.ndarray]
    warnings: list[str]

    def __str__(self) -> str:
        width = max(4, *(len(name) for name in self.names))
        head = " " * width + "".join(f"{name:>10s}" for name in self.columns)
        rows = [
            f"{name:{width}s}" + "".join(f"{values[i]:10.4g}" for values in self.columns.values())
            for i, name in enumerate(self.names)
        ]
        return "\n".join([head, *rows, *(f"! {warning}" for warning in self.warnings)])


def summary(draws: Position) -> Summary:
    """Mean, deviation, standard error, quantiles, both effective sample sizes and R-hat of each coordinate.

    Args:
      draws: ``[T, C, ...]`` on every leaf, at least four draws; ``Samples.draws``.

    Raises:
      ValueError: fewer than four draws, or draws that are not finite.
    """
    draws = checks.position(draws, "draws")
    names, parts = [], []
    for path, leaf in jax.tree_util.tree_leaves_with_path(draws):
        flat = _checked(leaf).reshape(*leaf.shape[:2], -1)
        parts.append(np.asarray(flat))
        base = jax.tree_util.keystr(path) or "x"
        shape = leaf.shape[2:]
        names += [base + (str(list(i)) if shape else "") for i in np.ndindex(*shape)]
    x = np.concatenate(parts, axis=2)
    columns = {name: np.asarray(values) for name, values in _table(jnp.asarray(x)).items()}
    return Summary(names, columns, _warnings(x, names, columns))


def assert_healthy(draws: Position) -> Summary:
    """The summary, or ``RuntimeError`` with it where it has a warning."""
    found = summary(draws)
    if found.warnings:
        raise RuntimeError(f"the chains are not healthy\n{found}")
    return found


@jax.jit
def _table(x):
    low, high = jnp.quantile(x, jnp.array(TAILS), axis=(0, 1))
    return {
        "mean": x.mean(axis=(0, 1)),
        "sd": x.std(axis=(0, 1), ddof=1),
        "mcse": mcse_mean(x),
        "5%": low,
        "95%": high,
        "ess_bulk": ess_bulk(x),
        "ess_tail": ess_tail(x),
        "rhat": rhat(x),
    }


def _warnings(x, names, columns) -> list[str]:
    found = []
    still = np.ptp(x, axis=0).max(axis=1) == 0
    if still.any():
        found.append(f"{still.sum()} of {len(still)} chains never moved: {_few(np.flatnonzero(still))}")
    _, first = np.unique(x.swapaxes(0, 1).reshape(x.shape[1], -1), axis=0, return_index=True)
    if len(first) < x.shape[1]:
        copies = np.setdiff1d(np.arange(x.shape[1]), first)
        found.append(f"{len(copies)} chains are copies of another: {_few(copies)}; give each its own key")
    bad = ~(columns["rhat"] <= LARGEST_RHAT)
    if bad.any():
        found.append(f"R-hat above {LARGEST_RHAT} in {_few(np.array(names)[bad])}: the chains do not agree")
    for name in ("ess_bulk", "ess_tail"):
        small = ~(columns[name] >= LEAST_ESS)
        if small.any():
            found.append(f"{name} below {LEAST_ESS} in {_few(np.array(names)[small])}: run longer")
    return found


def _few(items) -> str:
    return ", ".join(str(i) for i in items[:5]) + (f" and {len(items) - 5} more" if len(items) > 5 else "")


def _checked(draws, least=4) -> Array:
    if not hasattr(draws, "ndim") or draws.ndim < 2 or draws.shape[0] < least:
        raise ValueError(
            f"draws must be [T, C, ...] with at least {least} steps, got {checks.describe(draws)}"
        )
    return jnp.asarray(draws)


def _halves(draws):
    """The halves of each chain as chains of their own; of an odd number the middle draw is dropped."""
    half = len(draws) // 2
    return jnp.concatenate([draws[:half], draws[-half:]], axis=1)


def _normal_scores(x):
    """Average ranks over all draws, as quantiles of a normal (Blom 1958)."""
    flat = x.reshape(x.shape[0] * x.shape[1], -1)

    def ranks(values):
        ordered = jnp.sort(values)
        below, upto = (jnp.searchsorted(ordered, values, side=side) for side in ("left", "right"))
        return (below + upto + 1) / 2

    r = jax.vmap(ranks, 1, 1)(flat)
    return ndtri((r - 0.375) / (len(flat) + 0.25)).reshape(x.shape)


def _plain_rhat(x):
    length = len(x)
    within = x.var(axis=0, ddof=1).mean(axis=0)
    between = x.mean(axis=0).var(axis=0, ddof=1)
    return jnp.sqrt((length - 1) / length + between / within)


def _ess(x):
    """C T / tau by Geyer's initial monotone sequence, with tau at least 1 / log10(C T)."""
    length, num_chains = x.shape[:2]
    centred = x - x.mean(axis=0)
    spectrum = jnp.abs(jnp.fft.rfft(centred, 2 * length, axis=0)) ** 2
    covariance = jnp.fft.irfft(spectrum, axis=0)[:length].mean(axis=1) / length  # [T, ...]
    within = covariance[0] * length / (length - 1)
    total = covariance[0] + (x.mean(axis=0).var(axis=0, ddof=1) if num_chains > 1 else 0.0)
    rho = (1 - (within - covariance) / total).at[0].set(1.0)

    num_pairs = 1 + (length - 3) // 2
    even, odd = rho[0 : 2 * num_pairs : 2], rho[1 : 2 * num_pairs : 2]
    pairs = even + odd
    is_last = jnp.arange(num_pairs) == num_pairs - 1
    is_end = (pairs <= 0) | is_last.reshape(-1, *[1] * (x.ndim - 2))
    end = jnp.argmax(is_end, axis=0)  # the first pair that no longer counts
    counts = jnp.arange(num_pairs).reshape(-1, *[1] * (x.ndim - 2)) < end
    monotone = jax.lax.cummin(pairs, axis=0)
    edge = jnp.take_along_axis(even, end[None], axis=0)[0]
    tau = -1 + 2 * jnp.sum(jnp.where(counts, monotone, 0.0), axis=0) + jnp.maximum(edge, 0.0)
    size = length * num_chains
    moves = jnp.ptp(x, axis=(0, 1)) > 0
    return jnp.where(moves, size / jnp.maximum(tau, 1 / np.log10(size)), 0.0)
