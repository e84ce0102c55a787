"""The cells of a text table: numbers, or the words of one column.

NumPy's ``loadtxt`` reads the numbers and Python's ``csv`` the quotes.
"""

from typing import Any

import numpy as np

from ebmjax.experiments.data.dataset import DataError
from ebmjax.experiments.data.dialect import Rows, is_missing, is_number


def numbers(rows: Rows, used: list[int], width: int) -> np.ndarray:
    """The columns ``used``, ``[N, D]`` float64.

    Raises:
      DataError: a ragged file, or a cell that is no number, with line and column.
    """
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


def words_of(rows: Rows, i: int, *, is_checked: bool = True) -> Any:
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
