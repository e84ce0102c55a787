"""Data: toy sets, real digits out of installed packages, and a user's own file.

    two_moons, spirals with labels, checkerboard, and every target in the plane    :mod:`ebmjax.experiments.data.toys`
    mnist, digits, binary_digits                                                   :mod:`ebmjax.experiments.data.real`
    FILE.npy, FILE.npz, FILE.csv       an array [N, ...]                           :mod:`ebmjax.experiments.data.files`
        labels, whole numbers from 0: the array y or labels of an npz, the last column of a csv where it is
        headed y, label or labels

Everything comes as finite float32, or not at all: a bad file gives one line that says what is wrong with it.
"""

from pathlib import Path

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax.experiments.data.dataset import DataError, Dataset
from ebmjax.experiments.data.files import READERS, read
from ebmjax.experiments.data.real import REAL, binary_digits, digits, mnist
from ebmjax.experiments.data.toys import (
    TOYS,
    WITH_ARMS,
    arm,
    checkerboard,
    spirals,
    two_moons,
)

__all__ = [
    "REAL",
    "TOYS",
    "DataError",
    "Dataset",
    "arm",
    "binary_digits",
    "checkerboard",
    "digits",
    "load",
    "mnist",
    "read",
    "spirals",
    "two_moons",
]

NUM_TOY = 10_000


def load(name: str, *, seed: int = 0, num_points: int = NUM_TOY) -> Dataset:
    """A data set by its name, or a file by its path.

    Raises:
      DataError: an unknown name, a missing package, or a file that is missing, empty, ragged, not numeric, or
        not finite.

    >>> load("two_moons").x.shape
    (10000, 2)
    """
    if name in REAL:
        return REAL[name]()
    if name in TOYS:
        key = jax.random.key(checks.seed(seed))
        labels = (
            np.asarray(arm(key, num_points), np.int32) if name in WITH_ARMS else None
        )
        return Dataset(
            name, np.asarray(TOYS[name](key, num_points), np.float32), labels
        )
    if Path(name).suffix in READERS:
        return read(Path(name))
    raise DataError(
        f"data must be one of {', '.join([*REAL, *TOYS])}, or a file {', '.join(READERS)}; got {name!r}"
    )
