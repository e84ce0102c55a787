"""Tables as plain text and as HTML; the only printer of tables in the package.

A table is columns by name, all of one length, and a label for each row.  Numbers are
right-aligned, text is left-aligned.
"""

import html as escape
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Columns = Mapping[str, Sequence[Any] | np.ndarray]


def text(
    columns: Columns,
    index: Sequence[str] | None = None,
    *,
    formats: Mapping[str, str] | None = None,
) -> str:
    """Lines of plain text, the names of the columns first.

    Args:
      columns: values by name, all of one length.
      index: a label for each row, in front.
      formats: format of a column's numbers, ``".4g"`` by default.

    >>> print(text({"mean": [0.5, 2.0]}, ["a", "b"]))
       mean
    a   0.5
    b     2
    """
    head, rows = _cells(columns, index, formats or {})
    table = [head, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    is_number = [_is_numeric(columns.get(name, ("",))) for name in head]
    lines = (
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, is_number, strict=True)
        )
        for row in table
    )
    return "\n".join(line.rstrip() for line in lines)


def html(
    columns: Columns,
    index: Sequence[str] | None = None,
    *,
    formats: Mapping[str, str] | None = None,
) -> str:
    """The same as an HTML table, for notebooks; arguments as :func:`text`."""
    head, rows = _cells(columns, index, formats or {})
    cells = lambda tag, row: "".join(
        f"<{tag}>{escape.escape(cell)}</{tag}>" for cell in row
    )
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    header = f"<thead><tr>{cells('th', head)}</tr></thead>"
    return f"<table>{header}<tbody>{body}</tbody></table>"


def _cells(columns, index, formats) -> tuple[list[str], list[list[str]]]:
    """The header and the rows, as text."""
    lengths = {len(values) for values in columns.values()}
    if index is not None:
        lengths.add(len(index))
    if len(lengths) > 1:
        raise ValueError(f"columns must be of one length, got {sorted(lengths)}")
    head = [] if index is None else [""]
    parts: list[list[str]] = [] if index is None else [[str(i) for i in index]]
    for name, values in columns.items():
        head.append(str(name))
        parts.append([_format(value, formats.get(name, ".4g")) for value in values])
    return head, [list(row) for row in zip(*parts, strict=True)]


def _format(value, form) -> str:
    if isinstance(value, bool | np.bool_) or not np.isscalar(value):
        return str(value)
    if isinstance(value, int | np.integer):
        return f"{value:d}"
    return f"{value:{form}}" if isinstance(value, float | np.floating) else str(value)


def _is_numeric(values) -> bool:
    return not any(isinstance(value, str) for value in values)


def paragraphs(lines: Sequence[str]) -> str:
    """Lines of text as HTML."""
    return "".join(f"<p>{escape.escape(line)}</p>" for line in lines)
