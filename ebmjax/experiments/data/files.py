"""A user's own file: points ``[N, ...]`` as .npy, .npz or .csv, or one line that says what is wrong."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ebmjax import _validation as checks
from ebmjax.experiments.data.dataset import DataError, Dataset

LABELS = ("y", "label", "labels")


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
        raise DataError(
            f"{path} must hold points [N, ...], got an array of shape {x.shape}"
        )
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
    if labels is not None and (
        labels.shape != (len(x),) or labels.dtype.kind not in "iu"
    ):
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
    raise DataError(
        f"{path} must hold one array, or x and y; got {', '.join(names) or 'nothing'}"
    )


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
            raise DataError(
                f"{path} is ragged: line {number} has {len(cells)} values, the first has {width}"
            )
        if not _is_numeric(cells):
            raise DataError(
                f"{path} must be numeric: line {number} reads {line[:40]!r}"
            )
        rows.append([float(c) for c in cells])
    table = np.array(rows, np.float64).reshape(len(rows), width)
    if (
        first
        and width > 1
        and lines[0].split(",")[-1].strip().strip('"').lower() in LABELS
    ):
        labels = table[:, -1]
        if (labels != labels.round()).any():
            raise DataError(
                f"{path} must hold whole labels in its last column, got {labels[:5].tolist()}"
            )
        return table[:, :-1], labels.astype(np.int64)
    return table, None


def _is_numeric(cells) -> bool:
    try:
        [float(c) for c in cells]
    except ValueError:
        return False
    return True


READERS: dict[str, Callable] = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv}
