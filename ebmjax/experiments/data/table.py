"""Text tables, ``.csv``, ``.tsv`` or ``.txt``: points, and notes on how they were read.

:mod:`ebmjax.experiments.data.dialect` decides the format and
:mod:`ebmjax.experiments.data.cells` reads the numbers.  This module decides which
columns are coordinates, labels, row numbers or empty.  Each decision is in the notes,
and an ambiguous file raises.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ebmjax import _validation as checks
from ebmjax.experiments.data.arrays import LABELS
from ebmjax.experiments.data.cells import numbers, words_of
from ebmjax.experiments.data.dataset import DataError
from ebmjax.experiments.data.dialect import (
    DELIMITERS,
    HEAD,
    dialect_of,
    headed,
    is_word,
)
from ebmjax.experiments.data.suspects import suspected_labels

SURE_LABELS = ("label", "labels", "class", "classes")
INDEX_NAMES = ("", "unnamed: 0", "index", "id", "row", "rownames")


class Table(NamedTuple):
    """Numbers of a file, its labels, and the notes."""

    x: np.ndarray  # [N, D] float64
    labels: np.ndarray | None  # [N]
    columns: tuple[str, ...] | None
    notes: list[str]


def read_table(path: Path, *, labels: str = "auto", header: str = "auto") -> Table:
    """Points ``[N, D]`` of a text file, one per line.

    Args:
      labels: ``"auto"``, by the header; ``"none"``; or the column, by its header or its
        number from 1.
      header: ``"auto"``, ``"yes"`` or ``"no"``: whether the first line has names.

    Raises:
      DataError: not text, ragged, not numeric (with line and column), values missing,
        or a column that may be labels or a coordinate.
    """
    if header not in ("auto", "yes", "no"):
        raise DataError(f"header must be auto, yes or no, got {header!r}")
    rows = headed(dialect_of(path), header)
    if not rows.lines:
        width = len(rows.names or [1])
        raise DataError(
            f"{path} must hold points [N, ...], got an array of shape (0, {width})"
        )
    width = len(rows.cells(0, 1)[0])
    left_out, notes = _without_numbers(rows, width)
    label, more = _label_column(rows, width, left_out, labels)
    used = [i for i in range(width) if i not in (*left_out, label)]
    if not used:
        raise DataError(f"{path} has no column of coordinates beside its labels")
    x = numbers(rows, used, width)
    y = None if label is None else words_of(rows, label)
    index = _counter(x, rows, used) if 0 in used and len(used) > 1 else None
    if index:
        x, used, notes = x[:, 1:], used[1:], [*notes, index]
    _check_suspects(rows, x, used, labels if y is None else "known")
    names = tuple(rows.names[i] for i in used) if rows.names else None
    shown = (
        f" ({', '.join(names[:12])}{', ...' if len(names) > 12 else ''})"
        if names
        else ""
    )
    between = rows.shown or DELIMITERS[rows.delimiter] if width > 1 else "none"
    first = (
        f"{len(x)} rows, {len(used)} columns{shown}, delimiter {between}, "
        f"{'header' if rows.names else 'no header'}{rows.note}, "
        f"{'no labels' if label is None else 'labels in ' + rows.name(label)}"
    )
    return Table(x, y, names, [first, *notes, *more])


def _without_numbers(rows, width) -> tuple[list[int], list[str]]:
    """Columns that are empty, or an index without a header."""
    left_out, notes, head = [], [], rows.cells(0, HEAD)
    for i in range(width):
        cells = [row[i] for row in head if i < len(row)]
        if all(c == "" for c in cells) and not any(words_of(rows, i, is_checked=False)):
            left_out.append(i)
            notes.append(f"{rows.name(i)} is empty and left out")
    name = rows.names[0].lower() if rows.names else None
    if width > 1 and 0 not in left_out and name in ("", "unnamed: 0"):
        left_out.append(0)
        notes.append("column 1 has no heading: an index, left out")
    return left_out, notes


def _label_column(rows, width, left_out, labels) -> tuple[int | None, list[str]]:
    names = [n.lower() for n in rows.names or []]
    if labels == "none":
        return None, []
    if labels != "auto":
        if labels.lower() in names:
            return names.index(labels.lower()), []
        if labels.isdecimal() and 1 <= int(labels) <= width:
            return int(labels) - 1, []
        listed = ", ".join(rows.names or [f"1 to {width}"])
        raise DataError(
            f"{rows.path} has no column {labels!r} for labels; it has {listed}"
        )
    found = [i for i, n in enumerate(names) if n in LABELS and i not in left_out]
    notes = []
    if [names[i] for i in found] == ["y"] and "x" in names:
        notes.append("y is a coordinate beside x; as labels: --labels y")
        found = []
    words = _word_columns(rows, width, left_out)
    words = words if len(words) == 1 else []
    found = [i for i in found if names[i] in SURE_LABELS or _may_be_classes(rows, i)]
    sure = [i for i in found if names[i] in SURE_LABELS] or found or words
    if len(sure) > 1:
        listed = ", ".join(map(rows.name, sure))
        raise DataError(
            f"{rows.path}: any of {listed} may hold the labels; choose with --labels"
        )
    return (sure[0] if sure else None), notes


def _word_columns(rows, width, left_out) -> list[int]:
    head = rows.cells(0, HEAD)
    is_words = lambda i: all(len(row) > i and is_word(row[i]) for row in head)
    return [i for i in range(width) if i not in left_out and is_words(i)]


def _may_be_classes(rows, i) -> bool:
    """Whether a column named y or target holds words or few whole numbers."""
    cells = words_of(rows, i, is_checked=False)
    if all(map(is_word, cells)):
        return True
    try:
        values = np.array([float(c) for c in cells])
    except ValueError:
        return False
    is_whole = bool((values == np.round(values)).all())
    return is_whole and len(np.unique(values)) <= max(2, len(values) // 2)


def _counter(x, rows, used) -> str | None:
    """A note if the first column has row numbers."""
    name = rows.names[used[0]].lower() if rows.names else None
    counts = [np.array_equal(x[:, 0], np.arange(len(x)) + begin) for begin in (0, 1)]
    if not any(counts) or (len(x) < 10 and name not in INDEX_NAMES):
        return None
    return f"{rows.name(used[0])} counts the rows and is left out"


def _check_suspects(rows, x, used, labels) -> None:
    """Warn of a first or last column that looks like labels; raise without a header."""
    if labels != "auto" or (i := suspected_labels(x)) is None:
        return
    values = np.unique(x[:, i])
    shown = ", ".join(f"{v:g}" for v in values[:6]) + (
        ", ..." if len(values) > 6 else ""
    )
    what = f"{rows.name(used[i])} holds {len(values)} whole numbers ({shown})"
    choose = f"--labels {used[i] + 1} makes it the labels, --labels none a coordinate"
    if rows.names:
        checks.warn(f"{rows.path}: {what} and is taken for a coordinate; {choose}")
        return
    raise DataError(f"{rows.path}: {what}, all other columns have fractions; {choose}")
