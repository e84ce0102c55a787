"""Statistics of draws before and after, each with its p-value.

Coordinates are scaled by quantiles of the target and clipped at five: bounded functions have all moments,
whatever the tails of the target.
"""

import jax
import numpy as np
from scipy import special

from ebmjax.verify.report import Finding

STATISTICS = ("moments", "projections", "energy", "ks")
NUM_PROJECTIONS = 4
CLIP = 5.0
POWER = 1.2816  # the 90 % quantile of a normal
ROUNDING = 2e-6  # standard deviations: what float32 may move a statistic that a kernel conserves


def features(
    statistics, before, after, energies, directions
) -> tuple[list[str], list[np.ndarray]]:
    """Bounded functions of a point, ``[N, M]``, before and after, and their names."""
    names: list[str] = []
    columns: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    low, middle, high = np.quantile(before, [0.16, 0.5, 0.84], axis=0)
    width = np.maximum((high - low) / 2, 1e-12)
    scaled = [np.clip((x - middle) / width, -CLIP, CLIP) for x in (before, after)]
    coordinates = list(coordinate_names(before.shape[1]))

    def add(new_names, function, pair):
        names.extend(new_names)
        for column, x in zip(columns, pair, strict=True):
            column.append(function(x))

    if "moments" in statistics:
        add(coordinates, lambda x: x, scaled)
        add([f"{c}^2" for c in coordinates], lambda x: x**2, scaled)
        pairs = [f"{a} {b}" for a, b in zip(coordinates, coordinates[1:], strict=False)]
        add(pairs, lambda x: x[:, 1:] * x[:, :-1], scaled)
    if "projections" in statistics and before.shape[1] > 1:
        labels = [f"v{i + 1}.x" for i in range(len(directions))]
        add(labels, lambda x: x @ directions.T, scaled)
        add([f"({n})^2" for n in labels], lambda x: (x @ directions.T) ** 2, scaled)
    if "energy" in statistics:
        low, middle, high = np.quantile(energies[0], [0.16, 0.5, 0.84])
        width = max((high - low) / 2, 1e-12)
        add(
            ["E"],
            lambda e: np.clip((e - middle) / width, -CLIP, CLIP)[:, None],
            energies[:2],
        )
    stacked = [
        np.concatenate(c, axis=1) if c else np.zeros((len(before), 0)) for c in columns
    ]
    return names, stacked


def paired(names, before, after, alpha) -> list[Finding]:
    """z-tests of the mean of after - before."""
    difference = after - before
    shift, num = difference.mean(axis=0), len(difference)
    spread = np.maximum(before.std(axis=0), 1e-300)
    error = np.hypot(difference.std(axis=0, ddof=1) / np.sqrt(num), ROUNDING * spread)
    p_values = 2 * special.ndtr(-np.abs(shift / error))
    threshold = -special.ndtri(alpha / (2 * max(len(names), 1))) + POWER
    means = before.mean(axis=0)
    return [
        Finding(f"E {n}", m + s, m, float(p), f"{threshold * e / d:.2g} sd")
        for n, m, s, p, e, d in zip(
            names, means, shift, p_values, error, spread, strict=True
        )
    ]


def ks(name, a, b, alpha) -> Finding:
    """Two samples of the same size, asymptotic."""
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    gap = np.searchsorted(a, both, "right") / len(a) - np.searchsorted(
        b, both, "right"
    ) / len(b)
    distance = float(np.abs(gap).max())
    size = np.sqrt(len(a) * len(b) / (len(a) + len(b)))
    critical = (
        special.kolmogi(alpha) + 0.5
    ) / size  # a gap half a unit of sqrt(n) beyond is seen
    return Finding(
        name,
        distance,
        0.0,
        float(special.kolmogorov(size * distance)),
        f"{critical:.2g} gap",
    )


def moved(before, after) -> Finding:
    share = float((before != after).any(axis=1).mean())
    return Finding("chains that moved", share, 1.0, 1.0 if share > 0 else 0.0)


def finite(after) -> Finding:
    share = float(np.isfinite(after).all(axis=1).mean())
    return Finding("chains that are finite", share, 1.0, 1.0 if share == 1 else 0.0)


def directions(key, dim) -> np.ndarray:
    v = np.asarray(jax.random.normal(key, (NUM_PROJECTIONS, dim)), np.float64)
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def coordinate_names(dim: int):
    return (f"x{i + 1}" for i in range(dim)) if dim > 1 else ("x",)
