"""A user's file: points ``[N, ...]``, or an error of one line."""

from pathlib import Path

import numpy as np

from ebmjax import _validation as checks
from ebmjax.experiments.data import labels as classes
from ebmjax.experiments.data import layout as layouts
from ebmjax.experiments.data.arrays import read_array, read_npz
from ebmjax.experiments.data.dataset import DataError, Dataset
from ebmjax.experiments.data.suspects import missing_code, suspected_labels
from ebmjax.experiments.data.table import read_table

TABLES = (".csv", ".tsv", ".txt")
SUFFIXES = (".npy", ".npz", *TABLES)


def read(
    path: str | Path,
    *,
    labels: str = "auto",
    header: str = "auto",
    layout: str = "auto",
) -> Dataset:
    """A user's array ``[N, ...]``; the notes of the result state how it was read.

    Args:
      labels: ``"auto"``: of an ``.npz`` the array ``y`` (``label``, ``class``,
        ``target``), of a table the column with such a header; ``"none"``; or a column
        of a table, by header or number from 1.
      header: of a table, ``"auto"``, ``"yes"`` or ``"no"``.
      layout: the meaning of the axes (:mod:`ebmjax.experiments.data.layout`).

    Bytes that are images are scaled to [0, 1]; bytes and booleans of 0 and 1 only are
    kept as bits.

    Raises:
      DataError: a file that cannot be read, or with contents that cannot be points.
    """
    path = Path(path)
    suffix, columns = path.suffix.lower(), None
    layouts.check(layout)
    if suffix in TABLES:
        table = read_table(path, labels=labels, header=header)
        x, y, columns, notes = table
    elif suffix in (".npy", ".npz"):
        x, y, notes = _array(path, suffix, labels)
    else:
        raise DataError(f"{path} must be a file {', '.join(SUFFIXES)}")
    x = _real(path, x)
    is_bytes = x.dtype == np.uint8
    x, is_image, note = layouts.arrange(path, x, layout, is_bytes=is_bytes)
    if suffix not in TABLES or x.ndim > 2:
        notes = [note, *notes]
    x, known, scaled = _scaled(x, is_image)
    notes += scaled
    try:
        checks.finite_rows(x, str(path))
    except ValueError as error:
        raise DataError(str(error)) from None
    names = None
    if y is not None:
        y, names, said = classes.encode(path, y, len(x))
        notes += said
    elif suffix not in TABLES and suspected_labels(x) is not None and labels == "auto":
        which = suspected_labels(x) + 1
        checks.warn(
            f"{path}: column {which} holds few whole numbers and is taken for a "
            "coordinate; if it holds labels, save them as y in an .npz"
        )
    if (code := missing_code(x)) is not None:
        i, number, num = code
        checks.warn(
            f"{path}: column {i + 1} of the points holds {number:g} {num} times, far "
            "from all its other values: the code of a missing value? Points are taken "
            "as they are; leave such rows out"
        )
    return Dataset(
        str(path), _floating(path, x), y, known, is_image, names, columns, tuple(notes)
    )


def _array(path, suffix, labels):
    if labels not in ("auto", "none"):
        raise DataError(
            f"labels {labels!r} names a column of a table; labels of arrays are the "
            "array y of an .npz"
        )
    if suffix == ".npy":
        return read_array(path), None, []
    x, y, left_out = read_npz(path)
    notes = [f"left out: {', '.join(left_out)}"] if left_out else []
    return x, (None if labels == "none" else y), notes


def _real(path, x):
    """Points of real numbers; ``[N]`` becomes ``[N, 1]``."""
    if x.ndim == 0 or x.size == 0:
        raise DataError(
            f"{path} must hold points [N, ...], got an array of shape {x.shape}"
        )
    if x.dtype.names:
        fields = ", ".join(x.dtype.names[:8])
        raise DataError(
            f"{path} must hold real numbers, got records with fields {fields}; "
            "numpy.lib.recfunctions.structured_to_unstructured makes columns"
        )
    if x.dtype.kind == "V":
        raise DataError(
            f"{path} must hold real numbers, got raw bytes {x.dtype}: bfloat16 is "
            "saved so; save x.astype('float32')"
        )
    if x.dtype.kind not in "fiub":
        raise DataError(f"{path} must hold real numbers, got {x.dtype}")
    return x[:, None] if x.ndim == 1 else x


def _scaled(x, is_image):
    """Bytes and booleans as numbers, their range, and a note."""
    if x.dtype == bool:
        return x.astype(np.float32), None, ["booleans, taken as 0 and 1"]
    if x.dtype != np.uint8:
        return x, None, []
    if x.max() <= 1:
        return x.astype(np.float32), None, ["bytes of 0 and 1, taken as bits"]
    if not is_image:
        return x.astype(np.float32), None, []
    if x.max() < 128:
        top = float(x.max())
        note = f"bytes of at most {top:g}: scaled from 0..{top:g} to 0..1"
        return x / np.float32(top), (0.0, 1.0), [note]
    return x / np.float32(255), (0.0, 1.0), ["bytes: scaled from 0..255 to 0..1"]


def _floating(path, x):
    """float32 if that is exact, else float64, which standardising centres."""
    with np.errstate(over="ignore", under="ignore"):
        narrow = x.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise DataError(f"{path} holds values beyond float32")
    return narrow if (narrow == x).all() else x.astype(np.float64)
