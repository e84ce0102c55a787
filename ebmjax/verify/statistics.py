"""Sums over chains, and their p-values.

Let f be bounded with range R, chains start at exact draws x_0 and end at x_k, and let
mu be the mean of f over further exact draws.  With the regression b of f(x_k) on
f(x_0),

    t = mean f(x_k) - b mean f(x_0) - (1 - b) mu

has mean zero, and a variance that is smaller than that of f(x_k) - f(x_0) and of f(x_k)
- mu.  A normal approximation fails if a mean depends on rare events that N chains may
have missed: an event of probability lambda is missed with probability exp(-N lambda)
and contributes up to R.  So z solves

    |t| = z se + z^2 R / 2N,

as in Bernstein's inequality, and p = 2 Phi(-z).
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from ebmjax.verify.report import Finding

POWER = 1.2816  # the 90 % quantile of a normal
ROUNDING = 2e-6  # sd; rounding of a conserved statistic in float32


class Sums:
    """Of columns before and after some steps, and of further exact draws."""

    def __init__(self, size: int):
        self.num = self.num_exact = 0
        self.before, self.after, self.exact = (np.zeros((2, size)) for _ in range(3))
        self.cross = np.zeros(size)

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        self.num += len(before)
        self.before += powers(before)
        self.after += powers(after)
        self.cross += (before * after).sum(axis=0, dtype=np.float64)

    def add_exact(self, exact: np.ndarray) -> None:
        self.num_exact += len(exact)
        self.exact += powers(exact)

    def shift(self) -> tuple[np.ndarray, ...]:
        """t, its standard error, the sd of f, mu and b."""
        n, m = self.num, self.num_exact
        mean_0, var_0 = moments(self.before, n)
        mean_k, var_k = moments(self.after, n)
        mu, var = moments(self.exact, m)
        covariance = self.cross / n - mean_0 * mean_k
        b = np.clip(covariance / np.maximum(var_0, 1e-30), -1, 1)
        t = mean_k - b * mean_0 - (1 - b) * mu
        residual = np.maximum(var_k - 2 * b * covariance + b**2 * var_0, 0)
        error = np.sqrt(residual / n + (1 - b) ** 2 * var / m)
        return t, np.hypot(error, ROUNDING * np.sqrt(var)), np.sqrt(var), mu, b


def powers(x):
    sums = x.sum(axis=0, dtype=np.float64), (x * x).sum(axis=0, dtype=np.float64)
    return np.stack(sums)


def moments(sums, num):
    mean = sums[0] / num
    return mean, np.maximum(sums[1] / num - mean**2, 0)


def z_values(t, error, allowance) -> np.ndarray:
    """z of ``|t| = z error + z^2 allowance``."""
    t, c = np.abs(t), np.maximum(allowance, 1e-300)
    root = np.sqrt(error**2 + 4 * c * t)
    return 2 * t / np.maximum(error + root, 1e-300)


def p_of(z) -> np.ndarray:
    return 2 * special.ndtr(-np.asarray(z))


class Row(NamedTuple):
    """A bias ``t`` of a statistic, before its threshold is known."""

    name: str
    family: str
    t: float
    error: float
    allowance: float
    spread: float  # the sd of the statistic
    expected: float  # in the user's units
    unit: float

    def finding(self, share: float, alpha: float) -> Finding:
        threshold = -special.ndtri(max(alpha * share / 2, 1e-300)) + POWER
        effect = threshold * self.error + threshold**2 * self.allowance
        size = effect / max(self.spread, 1e-300)
        z = z_values(self.t, self.error, self.allowance)
        seen = f"{effect * abs(self.unit):.2g} ({size:.2g} sd)"
        return Finding(
            self.name,
            self.expected + self.unit * self.t,
            self.expected,
            float(p_of(z)),
            seen,
            self.family,
            size,
            share,
        )


def rows_of(sums: Sums, features, suffix: str) -> list[Row]:
    """One row per column of the features."""
    t, error, spread, mu, _ = sums.shift()
    allowance = features.ranges / (2 * sums.num)
    expected = features.offsets + features.units * mu
    names = [f"{n}{suffix}" for n in features.names]
    columns = (t, error, allowance, spread, expected, features.units)
    columns = [  # type: ignore[assignment]
        np.asarray(c, float).tolist() for c in columns
    ]
    return [
        Row(name, family, *values)
        for name, family, values in zip(
            names, features.families, zip(*columns, strict=True), strict=True
        )
    ]


def with_shares(rows: list[Row], others: list[Finding], alpha: float) -> list[Finding]:
    """Findings of rows and others; each family has the same share of alpha."""
    counts: dict[str, int] = {}
    for row in (*rows, *others):
        counts[row.family] = counts.get(row.family, 0) + 1  # type: ignore[attr-defined]
    counts.pop("check", None)
    share = {f: 1 / (n * len(counts)) for f, n in counts.items()} | {"check": 1.0}
    found = [f._replace(share=share[f.family]) for f in others]
    return found + [r.finding(share[r.family], alpha) for r in rows]


# --- distribution functions -----------------------------------------------------------


class Histograms:
    """Counts between quantiles of exact draws, by column: a KS test of any size."""

    def __init__(self, exact: np.ndarray, num_bins: int = 512):
        levels = np.linspace(0, 1, num_bins + 1)[1:-1]
        self.edges = [np.unique(np.quantile(c, levels)) for c in exact.T]
        self.counts = [[np.zeros(len(e) + 1), np.zeros(len(e) + 1)] for e in self.edges]

    def add(self, values: np.ndarray, which: int) -> None:
        """Count columns of ``[N, M]``; ``which`` is 0 for exact draws, 1 after."""
        for column, edges, counts in zip(
            values.T, self.edges, self.counts, strict=True
        ):
            bins = np.searchsorted(edges, np.nan_to_num(column, nan=np.inf), "left")
            counts[which] += np.bincount(bins, minlength=len(edges) + 1)

    def findings(self, names: list[str]) -> list[Finding]:
        found = []
        for name, (a, b) in zip(names, self.counts, strict=True):
            gap = np.abs(np.cumsum(a) / a.sum() - np.cumsum(b) / b.sum()).max()
            size = np.sqrt(a.sum() * b.sum() / (a.sum() + b.sum()))
            p = float(special.kolmogorov(size * gap))
            detectable = f"{(special.kolmogi(1e-6) + 0.5) / size:.2g} gap"
            found.append(Finding(name, float(gap), 0.0, p, detectable, "ks"))
        return found


# --- equal values ---------------------------------------------------------------------


def atoms(after: np.ndarray, exact: np.ndarray, labels) -> list[Finding]:
    """Test whether the most common value of a coordinate occurs too often.

    A binomial test of its counts in two samples, times the number of values.
    """
    found = []
    for label, a, b in zip(labels, after.T, exact.T, strict=True):
        values, counts = np.unique(a, return_counts=True)
        top = values[counts.argmax()]
        num, others = int(counts.max()), int((b == top).sum())
        share = len(a) / (len(a) + len(b))
        # P(Binomial(num + others, share) >= num)
        tail = special.betainc(num, others + 1, share)
        p = min(1.0, float(tail) * len(values))
        name = f"share of {label} = {top:.4g}"
        found.append(Finding(name, num / len(a), others / len(b), p, "", "ties"))
    return found
