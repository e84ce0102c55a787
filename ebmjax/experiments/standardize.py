"""The units of training, an affine map of the data computed in float64.

    images   to [0, 1], by the range of their values
    points   z = (x - mean) / sd, each coordinate to mean 0 and standard deviation 1
    bits     as they are

A constant coordinate has no density: it is omitted from z and restored with its value.
"Constant" is relative to the size of the values, so the rule is the same for data of
any scale and offset.
"""

import hashlib
from typing import Any, NamedTuple

import jax
import numpy as np

from ebmjax.experiments.data import TOYS, DataError, Dataset, is_image

__all__ = ["Standard", "atoms", "digest", "is_image"]

SMALLEST_SPREAD = 1e-14  # smallest spread relative to the mean: rounding in float64
NUM_LOOKED_AT = 2000  # points in which repeated values are counted
LARGEST_SHARE = 0.05  # largest share of points with the same value of a coordinate


def digest(dataset: Dataset) -> str:
    """A digest of points and labels; for a toy set, whose last bits depend on device
    and compiler, of its moments to three decimals."""
    x = dataset.x
    if dataset.name in TOYS:
        x = np.round([x.mean(axis=0, dtype=float), x.std(axis=0, dtype=float)], 3) + 0.0
    content = hashlib.sha256(
        f"{dataset.x.shape}".encode() + np.ascontiguousarray(x).tobytes()
    )
    if dataset.labels is not None:
        content.update(np.ascontiguousarray(dataset.labels).tobytes())
    if dataset.conditions is not None:
        content.update(np.ascontiguousarray(dataset.conditions).tobytes())
    return content.hexdigest()[:16]


class Standard(NamedTuple):
    """The affine map to the units of training and back."""

    center: Any  # [] or [D'], of the coordinates that vary
    spread: Any  # [] or [D']
    varying: Any = None  # [D] bool; None where all coordinates vary
    constants: Any = None  # [D] values, of which those of the others are used

    @staticmethod
    def of(dataset: Dataset) -> "Standard":
        """The map of a data set, in float64.

        Raises:
          DataError: all values, or all points, are the same.

        >>> Standard.of(Dataset("mine", np.array([[1e9, 5], [3e9, 5]]))).varying
        array([ True, False])
        """
        x = dataset.x
        if is_image(dataset):
            low, high = dataset.range or (float(x.min()), float(x.max()))
            if not high > low:
                raise DataError(f"{dataset.name}: every pixel is {low:g}")
            return Standard(np.float64(low), np.float64(high - low))
        center, spread = _moments(x)
        varying = spread > SMALLEST_SPREAD * np.abs(center)
        varying &= (x != x[:1]).any(axis=0)
        if not varying.any():
            raise DataError(f"{dataset.name}: all points are the same")
        if varying.all():
            return Standard(center, spread)
        if x.ndim > 2:  # an axis cannot lose single coordinates
            return Standard(center, np.where(varying, spread, 1.0))
        constants = x[0].astype(np.float64)
        return Standard(center[varying], spread[varying], varying, constants)

    def forward(self, x: Any) -> Any:
        """From units of the data ``[..., D]`` to those of training, in float32."""
        if self.varying is not None:
            x = x[..., np.flatnonzero(self.varying)]
        if isinstance(x, jax.Array):
            return (x - self.center) / self.spread
        z = (np.asarray(x, np.float64) - self.center) / self.spread
        return z.astype(np.float32)

    def backward(self, z: Any) -> Any:
        """Back to units of the data, in float64, with the constant coordinates."""
        if isinstance(z, jax.core.Tracer):
            return z * self.spread + self.center
        x = np.asarray(z, np.float64) * self.spread + self.center
        if self.varying is None:
            return x
        whole = np.broadcast_to(self.constants, (*x.shape[:-1], len(self.varying)))
        whole = whole.copy()
        whole[..., np.flatnonzero(self.varying)] = x
        return whole


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the first axis, in two passes of float64."""
    center = x.mean(axis=0, dtype=np.float64)
    apart = x - center
    shift = apart.mean(axis=0)
    apart -= shift
    size = np.abs(apart).max(axis=0)  # so that squares neither overflow nor underflow
    apart /= np.where(size > 0, size, 1.0)
    return center + shift, size * np.sqrt((apart**2).mean(axis=0))


def names_of(dataset: Dataset, which: np.ndarray, most: int = 8) -> str:
    """The first few coordinates, by name or by number from 1."""
    index = np.flatnonzero(which)
    named = dataset.columns or [str(i + 1) for i in range(which.size)]
    more = f" and {len(index) - most} more" if len(index) > most else ""
    return ", ".join(named[i] for i in index[:most]) + more


def atoms(dataset: Dataset, standard: Standard) -> list[str]:
    """Messages about coordinates without a density: constant ones, and those that
    repeat a value in more than 5 % of the points."""
    x, found = dataset.x, []
    if is_image(dataset):
        return []
    flat = x.reshape(len(x), -1)
    constant = (flat == flat[:1]).all(axis=0)
    if standard.varying is not None:
        constant = ~standard.varying
        found.append(
            f"{constant.sum()} constant columns ({names_of(dataset, constant)}) are "
            "excluded from the model; samples have their values"
        )
    elif constant.any():
        found.append(
            f"{constant.sum()} of {constant.size} numbers of a point are constant: a "
            "density has no maximum there; noise on the data (--noise 0.1) gives it one"
        )
    some = flat[:: max(1, len(flat) // NUM_LOOKED_AT)][:NUM_LOOKED_AT]
    repeats = np.array([np.unique(c, return_counts=True)[1].max() for c in some.T])
    often = (repeats > max(4, LARGEST_SHARE * len(some))) & ~constant
    if often.any():
        share = repeats[often].max() / len(some)
        found.append(
            f"{often.sum()} columns ({names_of(dataset, often)}) repeat a value in up "
            f"to {share:.0%} of the points: their likelihood has no bound, and "
            "training may diverge; noise on the data (--noise 0.1) gives it one"
        )
    return found
