"""Text tables, ``.csv``, ``.tsv`` or ``.txt``: points, and notes on how they were read.

NumPy's ``loadtxt`` reads the numbers and Python's ``csv`` the quotes;
:mod:`ebmjax.experiments.data.dialect` decides the format.  This module decides which
columns are coordinates, labels, row numbers or empty.  Each decision is in the notes,
and an ambiguous file raises.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ebmjax import _validation as checks
from ebmjax.experiments.data.arrays import LABELS
from ebmjax.experiments.data.dataset import DataError
from ebmjax.experiments.data.dialect import (
    DELIMITERS,
    HEAD,
    dialect_of,
    headed,
    is_missing,
    is_number,
    is_word,
)

SURE_LABELS = ("label", "labels", "class", "classes")
INDEX_NAMES = ("", "unnamed: 0", "index", "id", "row", "rownames")
CODES = tuple(sign * (10.0**k - 1) for k in (2, 3, 4, 5, 6) for sign in (-1, 1))
FAR_CODE = 3.0  # times the reach of the other values: a code of a missing value
MOST_SUSPECTED = 20  # largest number of classes in a column of labels


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
    x = _numbers(rows, used, width)
    y = None if label is None else _words(rows, label)
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


# --- the columns ---------------------------------------------------------------------


def _without_numbers(rows, width) -> tuple[list[int], list[str]]:
    """Columns that are empty, or an index without a header."""
    left_out, notes, head = [], [], rows.cells(0, HEAD)
    for i in range(width):
        cells = [row[i] for row in head if i < len(row)]
        if all(c == "" for c in cells) and not any(_words(rows, i, is_checked=False)):
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
    cells = _words(rows, i, is_checked=False)
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


def suspected_labels(x: np.ndarray) -> int | None:
    """The first or last of columns ``[N, D]`` if it alone holds few whole numbers."""
    if x.ndim != 2 or x.shape[1] < 2 or len(x) < 10:
        return None
    is_whole = (x == np.round(x)).all(axis=0)
    if is_whole.sum() != 1:
        return None
    i = int(np.flatnonzero(is_whole)[0])
    num = len(np.unique(x[:, i]))
    is_few = 2 <= num <= min(MOST_SUSPECTED, len(x) // 2)
    return i if is_few and i in (0, x.shape[1] - 1) else None


def missing_code(x: np.ndarray) -> tuple[int, float, int] | None:
    """The column, the number and how often, where one of the usual codes of a missing
    value lies far from all other values of its column ``[N, D]``."""
    if x.ndim != 2:
        return None
    x = x.astype(np.float64)
    for code in CODES:
        is_code = x == code
        for i in np.flatnonzero(is_code.any(axis=0)):
            others = x[~is_code[:, i], i]
            if len(others) < max(3, len(x) // 2):
                continue
            reach = np.abs(others - others.mean()).max()
            if abs(code - others.mean()) > FAR_CODE * reach:
                return int(i), code, int(is_code[:, i].sum())
    return None


# --- the cells -----------------------------------------------------------------------


def _numbers(rows, used, width) -> np.ndarray:
    options: dict[str, Any] = {"comments": None, "ndmin": 2, "usecols": used}
    if rows.delimiter != " ":
        options |= {"delimiter": rows.delimiter, "quotechar": '"'}
    try:
        x = np.loadtxt(rows.lines, np.float64, **options)
    except (ValueError, IndexError):
        x = None
    if x is None or not _is_rectangular(rows, width):
        x = _by_cell(rows, used, width)
    return x


def _is_rectangular(rows, width) -> bool:
    """Whether each line has as many delimiters as the first: ``usecols`` skips."""
    if rows.delimiter == " ":
        return all(len(line.split()) == width for line in rows.lines)
    return all(line.count(rows.delimiter) == width - 1 for line in rows.lines)


def _by_cell(rows, used, width) -> np.ndarray:
    """The same with ``csv``: slower, but it names the first invalid cell."""
    found = []
    for number, row in zip(rows.numbers, rows.cells(), strict=True):
        if len(row) != width:
            raise DataError(
                f"{rows.path} is ragged: line {number} has {len(row)} values, the "
                f"first has {width}"
            )
        for i in used:
            if not is_number(row[i]):
                what = ", a missing value" if is_missing(row[i]) else ""
                raise DataError(
                    f"{rows.path} must be numeric: line {number}, {rows.name(i)} reads "
                    f"{row[i][:40]!r}{what}"
                )
        found.append([float(row[i]) for i in used])
    return np.array(found)


def _words(rows, i, *, is_checked=True) -> Any:
    """The cells of one column, as numbers if all of them are numbers."""
    cells = [row[i] if i < len(row) else "" for row in rows.cells()]
    if not is_checked:
        return cells
    for number, cell in zip(rows.numbers, cells, strict=True):
        if is_missing(cell):
            raise DataError(f"{rows.path} has no label in line {number}: {cell!r}")
    if all(map(is_number, cells)):
        return np.array([float(c) for c in cells])
    return np.array(cells)
