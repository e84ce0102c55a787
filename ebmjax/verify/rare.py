"""A single step from many exact draws, including all tail points of a larger sample.

N exact draws seldom reach a branch of a kernel that only runs in the tails.  So M draws
are made, with M large; the kernel takes one step from all of those in the tails (beyond
the 99.5 % quantile of the largest coordinate, or of the energy) and from the first
``num_starts`` of the rest.  With pi_t = M_t / M the share of tails,

    E[f(x_1) - f(x_0)] = (1 - pi_t) E[. | bulk] + pi_t E[. | tails] = 0,

so that the weights are exact; the variance is that of two-phase sampling,

    sum_S pi_S^2 var_S / n_S  +  sum_S pi_S (mean_S - mean)^2 / M.
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ebmjax.verify.features import Features
from ebmjax.verify.running import Chains, Meter, chain_keys
from ebmjax.verify.statistics import ROUNDING, Row, powers

LEVELS = (0.99, 0.995, 0.998, 0.9995)
TAIL = 1  # the index of the level beyond which all draws are used
LARGER = 5  # M over the number of starts
MAX_NUMBERS = 4e7  # of all draws together
BATCH = 20_000


class Tails:
    """Scores of a point (largest scaled coordinate, energy) and their levels."""

    def __init__(self, features: Features, meter: Meter, key, num_batches: int = 5):
        self.features = features
        keys = [jax.random.fold_in(key, i) for i in range(num_batches)]
        draws = [meter(meter.sample(k, BATCH)) for k in keys]
        scores = np.concatenate([self.scores(x, e) for x, e, _ in draws])
        self.levels = np.quantile(scores, LEVELS, axis=0)

    def scores(self, x, e) -> np.ndarray:
        """``[N, 2]``."""
        largest = np.abs(self.features.scaling.unclipped(x)).max(axis=1)
        return np.stack([largest, np.nan_to_num(e, nan=np.inf)], axis=1)

    def beyond(self, x, e) -> np.ndarray:
        """Whether a point lies in the tails, ``[N]``."""
        return (self.scores(x, e) > self.levels[TAIL]).any(axis=1)

    def columns(self, x, e) -> np.ndarray:
        """Functions of the points in the tails, ``[N, M]``."""
        scores = self.scores(x, e)
        is_beyond = (scores[:, None, :] > self.levels).reshape(len(x), -1)
        is_tail = (scores > self.levels[TAIL]).any(axis=1)[:, None]
        s = self.features.scaling(x)[:, :10]
        return np.concatenate([is_beyond, is_tail * s, is_tail * s**2], axis=1)

    def names(self) -> list[str]:
        parts = ("largest |coordinate|", "energy")
        names = [f"{p} beyond its {q:.4g} quantile" for q in LEVELS for p in parts]
        labels = self.features.labels[:10]
        return names + [
            f"{k} of {n} in the tails" for k in ("mean", "variance") for n in labels
        ]


class Stratum:
    """Sums of f(x_1) - f(x_0) over starts in one region."""

    def __init__(self) -> None:
        self.num, self.sums = 0, np.zeros((2, 1))

    def add(self, difference: np.ndarray) -> None:
        self.num += len(difference)
        self.sums = self.sums + powers(difference)

    @property
    def mean(self):
        return self.sums[0] / max(self.num, 1)

    @property
    def var(self):
        return np.maximum(self.sums[1] / max(self.num, 1) - self.mean**2, 0)


def single_step(
    chains: Chains, meter: Meter, features: Features, key, num_starts: int
) -> list[Row]:
    """Rows of all features, and of functions of the tails, after one step."""
    key_draws, key_levels, key_steps = jax.random.split(key, 3)
    tails = Tails(features, meter, key_levels)
    dim = len(features.labels)
    most = int(MAX_NUMBERS / dim)
    num_starts = min(num_starts, most)
    num_draws = min(LARGER * num_starts, most)
    bulk, far = Stratum(), Stratum()
    counts, moments, first = np.zeros(2), np.zeros((3, 1)), 0
    source = _starts(meter, tails, key_draws, num_draws, num_starts, counts)
    for start, before, is_far, is_bulk in source:
        keys = chain_keys(key_steps, first, BATCH)
        first += BATCH
        after = meter(chains.single(keys, start))
        old, new = (
            np.concatenate(
                [features(x, e, extra), tails.columns(x, e)], axis=1, dtype=np.float32
            )
            for x, e, extra in (before, after)
        )
        if is_bulk:
            moments = moments + [np.full(old.shape[1], len(old)), *powers(old)]
            bulk.add((new - old)[~is_far])
        far.add((new - old)[is_far])
    mean = moments[1] / moments[0]
    spread = np.sqrt(np.maximum(moments[2] / moments[0] - mean**2, 0))
    return _rows(
        features, tails, bulk, far, counts[1] / counts[0], counts[0], mean, spread
    )


def _starts(
    meter, tails, key, num_draws, num_starts, counts
) -> Iterator[tuple[Any, tuple, np.ndarray, bool]]:
    """Batches of starts, their values, a mask of the tails, and whether all count.

    ``counts`` is filled with the numbers of draws and of those in the tails.
    """
    kept: list[Any] = []
    num_kept = 0
    for b in range(max(1, num_draws // BATCH)):
        positions = meter.sample(jax.random.fold_in(key, b), BATCH)
        before = meter(positions)
        is_far = tails.beyond(*before[:2])
        counts += len(is_far), is_far.sum()
        if b < max(1, num_starts // BATCH):
            yield positions, before, is_far, True
            continue
        kept.append(jax.tree.map(lambda leaf, f=is_far: np.asarray(leaf)[f], positions))
        num_kept += int(is_far.sum())
        if num_kept >= BATCH:
            joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *kept)
            start = jax.tree.map(lambda leaf: leaf[:BATCH], joined)
            kept = [jax.tree.map(lambda leaf: leaf[BATCH:], joined)]
            num_kept -= BATCH
            yield start, meter(start), np.ones(BATCH, bool), False


def _rows(features, tails, bulk, far, share, num_draws, mean, spread) -> list[Row]:
    strata = ((1 - share, bulk), (share, far))
    t = sum(p * s.mean for p, s in strata)
    variance = sum(p**2 * s.var / max(s.num, 1) for p, s in strata)
    variance = variance + sum(p * (s.mean - t) ** 2 for p, s in strata) / num_draws
    error = np.hypot(np.sqrt(variance), ROUNDING * spread)
    widest = max(p / max(s.num, 1) for p, s in strata)
    names, size = tails.names(), len(features.names)
    ranges = np.concatenate([features.ranges, np.full(len(names), 10.0)])
    ranges[size : size + 2 * len(LEVELS)] = 1.0
    units = np.concatenate([features.units, np.ones(len(names))])
    offsets = np.concatenate([features.offsets, np.zeros(len(names))])
    families = [*features.families, *["rare"] * len(names)]
    return [
        Row(
            f"{name}, 1 step",
            family,
            float(t[i]),
            float(error[i]),
            float(ranges[i] * widest / 2),
            float(spread[i]),
            float(offsets[i] + units[i] * mean[i]),
            float(units[i]),
        )
        for i, (name, family) in enumerate(
            zip([*features.names, *names], families, strict=True)
        )
    ]
