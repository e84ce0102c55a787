"""Coordinates scaled and clipped by quantiles of exact draws,

    s = clip((x - center) / width, -5, 5),

so that every function of them is bounded and has all moments, whatever the tails of the
target; ``s`` has mean zero under the target.
"""

from typing import NamedTuple

import numpy as np

CLIP = 5.0


class Scaling(NamedTuple):
    """Center and width of each coordinate, from exact draws."""

    center: np.ndarray
    width: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.clip(self.unclipped(x), -CLIP, CLIP)

    def unclipped(self, x: np.ndarray) -> np.ndarray:
        return (x - self.center) / self.width


def scaling_of(x: np.ndarray) -> Scaling:
    """From exact draws ``[N, D]``: quantiles, and the mean of the clipped values."""
    low, middle, high = np.quantile(x, [0.16, 0.5, 0.84], axis=0)
    width = (high - low) / 2
    width = np.where(width > 0, width, x.std(axis=0))
    width = np.where(width > 0, width, 1.0)
    clipped = np.clip((x - middle) / width, -CLIP, CLIP)
    return Scaling(middle + width * clipped.mean(axis=0), width)
