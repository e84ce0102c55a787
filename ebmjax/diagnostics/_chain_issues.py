"""Checks for chains that never moved or repeat another, and for exchanged axes."""

import hashlib
from collections import Counter
from math import comb
from typing import Any

import numpy as np

CHANCE = 0.01  # of equal chains by chance


def of_chains(leaves: list[np.ndarray]) -> list[str]:
    """Messages about draws ``[T, C, ...]``."""
    is_stuck = stuck(leaves)
    found = []
    if is_stuck.any():
        which = few(np.flatnonzero(is_stuck))
        found.append(f"{is_stuck.sum()} of {len(is_stuck)} chains never moved: {which}")
    copied = copies(leaves, is_stuck)
    if len(copied):
        found.append(
            f"{len(copied)} chains are copies of another: {few(copied)}; give each its "
            "own key"
        )
    if _is_exchanged(leaves):
        steps, chains = leaves[0].shape[:2]
        found.append(
            f"draws of {steps} steps of {chains} chains: neighbouring chains are "
            "correlated and neighbouring steps are not, as if the axes were [C, T]; "
            "wanted [T, C, ...]"
        )
    return found


def stuck(leaves: list[np.ndarray]) -> np.ndarray:
    """Which chains never moved, ``[C]``."""
    moved = [
        (x != x[:1]).any(axis=tuple(i for i in range(x.ndim) if i != 1)) for x in leaves
    ]
    return ~np.any(moved, axis=0)


def copies(leaves: list[np.ndarray], is_stuck: np.ndarray) -> np.ndarray:
    """The indices of chains that repeat an earlier one, unless chance explains it.

    Short chains of few values may be equal by chance; then many more pairs are equal
    over one half of the draws than over both.  For few chains the probability is
    estimated, from the values that occur and the times at which chains move.
    """
    half = len(leaves[0]) // 2
    parts = [_prints(x[:half] for x in leaves), _prints(x[half:] for x in leaves)]
    whole = list(zip(*parts, strict=True))
    free = [c for c in range(len(whole)) if not is_stuck[c]]
    seen: dict[Any, int] = {}
    found = [c for c in free if seen.setdefault(whole[c], c) != c]
    if not found:
        return np.array([], int)
    num_pairs = _pairs([whole[c] for c in free])
    in_half = sum(_pairs([part[c] for c in free]) - num_pairs for part in parts)
    if in_half > num_pairs:
        return np.array([], int)
    if len(free) < 10:
        chance = comb(len(free), 2) * _chance(leaves, found[0])
        if chance > CHANCE:
            return np.array([], int)
    return np.array(found)


def _prints(leaves) -> list[bytes]:
    """A digest of the bits of each chain."""
    digests: list[Any] = []
    for leaf in leaves:
        digests = digests or [
            hashlib.blake2b(digest_size=16) for _ in range(leaf.shape[1])
        ]
        for c, digest in enumerate(digests):
            digest.update(np.ascontiguousarray(leaf[:, c]).tobytes())
    return [digest.digest() for digest in digests]


def _pairs(prints) -> int:
    """The number of equal pairs."""
    return sum(comb(number, 2) for number in Counter(prints).values())


def _chance(leaves, chain) -> float:
    """The approximate probability that another chain equals this one bit for bit."""
    flat = [np.ascontiguousarray(x.reshape(*x.shape[:2], -1)) for x in leaves]
    moves = np.any(
        [(np.diff(x[:, chain], axis=0) != 0).any(axis=1) for x in flat], axis=0
    )
    points = np.concatenate([x.astype(np.float64) for x in flat], axis=2)
    points = points.reshape(-1, points.shape[2])[: 2**16]
    counts = np.unique(points, axis=0, return_counts=True)[1]
    same_value = np.sum((counts / counts.sum()) ** 2)
    same_times = 1 / comb(len(moves), int(moves.sum()))
    return min(same_value ** (moves.sum() + 1), same_times)


def _is_exchanged(leaves) -> bool:
    """Whether neighbours along the second axis are correlated and those along the first
    are not."""
    x = np.concatenate([x.reshape(*x.shape[:2], -1)[..., :64] for x in leaves], axis=2)
    steps, chains = x.shape[:2]
    if chains < 30 or chains <= steps:
        return False
    along_steps, along_chains = _lag_one(x), _lag_one(x.swapaxes(0, 1))
    noise = 1 / np.sqrt(steps * chains)
    return bool(
        np.median(along_chains) > max(0.1, 6 * noise)
        and np.median(np.abs(along_steps)) < 0.3 * np.median(along_chains)
    )


@np.errstate(divide="ignore", invalid="ignore")
def _lag_one(x) -> np.ndarray:
    """Correlation of neighbours along the first axis, ``[D]``."""
    x = x.astype(np.float64) - x.mean(axis=(0, 1), dtype=np.float64)
    both = np.mean(x[1:] * x[:-1], axis=(0, 1)) / np.mean(x**2, axis=(0, 1))
    return np.nan_to_num(both)


def few(items) -> str:
    """The first five, and how many more."""
    listed = ", ".join(str(i) for i in items[:5])
    return listed + (f" and {len(items) - 5} more" if len(items) > 5 else "")
