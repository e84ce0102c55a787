"""Data: toy sets, real digits from installed packages, and a user's file.

    two_moons, spirals (with labels), checkerboard, targets in the plane
                                       :mod:`ebmjax.experiments.data.toys`
    mnist, digits, binary_digits, lfw  :mod:`ebmjax.experiments.data.real`
    FILE.npy, .npz, .csv, .tsv, .txt   :mod:`ebmjax.experiments.data.files`

Data are finite numbers; a bad file raises with one line that states the problem and its
position.
"""

from pathlib import Path

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax.experiments.data.conditions import split
from ebmjax.experiments.data.dataset import DataError, Dataset, is_image, quantised
from ebmjax.experiments.data.files import SUFFIXES, read
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
    "is_image",
    "load",
    "mnist",
    "quantised",
    "read",
    "spirals",
    "two_moons",
]

NUM_TOY = 10_000
READING = {"labels": "auto", "header": "auto", "layout": "auto"}


def load(
    name: str,
    *,
    seed: int = 0,
    num_points: int = NUM_TOY,
    condition_on: str = "",
    levels: int = 0,
    **reading: str,
) -> Dataset:
    """A data set by its name, or a file by its path.

    ``reading`` are the options of :func:`read`, for files; ``condition_on`` names what
    points are given (:mod:`ebmjax.experiments.data.conditions`); with ``levels`` of two
    and more the values are put into so many levels (:func:`quantised`).

    Raises:
      DataError: an unknown name, a missing package, an option of files with a name, or
        a file that is missing, empty, ragged, not numeric, or not finite.

    >>> load("two_moons").x.shape
    (10000, 2)
    """
    dataset = _load(name, seed, num_points, reading)
    if levels:
        dataset = quantised(dataset, checks.count(levels, "levels", least=2))
    return split(dataset, condition_on)


def _load(name, seed, num_points, reading) -> Dataset:
    if name in REAL or name in TOYS:
        for option, value in reading.items():
            if value != "auto" and not (option, value) == ("labels", "none"):
                raise DataError(
                    f"--{option} is an option of files, and {name} is not a file"
                )
        dataset = REAL[name]() if name in REAL else _toy(name, seed, num_points)
        is_plain = reading.get("labels") == "none"
        return dataset._replace(labels=None, classes=None) if is_plain else dataset
    if Path(name).suffix.lower() in SUFFIXES:
        return read(Path(name), **reading)
    raise DataError(
        f"data must be one of {', '.join([*REAL, *TOYS])}, or a file "
        f"{', '.join(SUFFIXES)}; got {name!r}"
    )


def _toy(name, seed, num_points):
    key = jax.random.key(checks.seed(seed))
    labels = np.asarray(arm(key, num_points), np.int32) if name in WITH_ARMS else None
    x = np.asarray(TOYS[name](key, num_points), np.float32)
    return Dataset(name, x, labels)
