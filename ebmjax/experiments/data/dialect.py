"""The format of a text table, decided on its first rows.

Encoding (UTF-8 or UTF-16, by the byte-order mark), lines of comments, the delimiter, a
decimal comma, and whether the first row holds names.  An ambiguous file raises.
"""

import csv
import re
from pathlib import Path
from typing import Any, NamedTuple

from ebmjax import _validation as checks
from ebmjax.experiments.data.arrays import check_fits, check_regular
from ebmjax.experiments.data.dataset import DataError

HEAD = 200  # rows on which the format is decided
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}
MISSING = (
    "",
    "na",
    "n/a",
    "nan",
    "null",
    "none",
    "nil",
    "-",
    "?",
    "#n/a",
    ".",
    "missing",
)
_NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.I
)
_LIKE = re.compile(r"[+-]?[.,]?\d")  # a number in another notation, 0x10 or 1_000
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


class Rows(NamedTuple):
    """Lines of a file with their numbers, and the rule that splits them into cells."""

    path: Path
    lines: list[str]
    numbers: list[int]
    delimiter: str
    shown: str = ""  # the delimiter of the file, if the lines were split again
    names: list[str] | None = None
    note: str = ""

    def cells(self, begin: int = 0, end: int | None = None) -> list[list[str]]:
        try:
            return _cut(self.lines[begin:end], self.delimiter)
        except csv.Error as error:
            message = f"{self.path} has a line that cannot be split into cells: {error}"
            raise DataError(message) from None

    def name(self, i: int) -> str:
        named = self.names[i] if self.names and self.names[i] else ""
        return f"column {i + 1}" + (f" ({named})" if named else "")


def dialect_of(path: Path) -> Rows:
    """The lines of a file with its delimiter, and decimal commas replaced by points."""
    lines: list[str] = []
    numbers: list[int] = []
    comment = ""
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.lstrip().startswith("#"):
            comment = line.lstrip().lstrip("#").strip() if not lines else comment
        elif line.strip():
            lines.append(line)
            numbers.append(number)
    if not lines:
        raise DataError(f"{path} is empty")
    delimiter = _delimiter(lines[:HEAD])
    rows = Rows(path, lines, numbers, delimiter)
    names = _cut([comment], delimiter)[0] if comment else []
    if len(names) == len(rows.cells(-1)[0]) and not all(map(is_number, names)):
        rows = rows._replace(names=[n.strip() for n in names])
    return _decimals(rows)


def _text(path) -> str:
    check_regular(path)
    check_fits(8 * path.stat().st_size, str(path))
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    wide = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = raw.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text in UTF-8") from None
    if "\0" in text:
        raise DataError(f"{path} is not text: it holds zero bytes")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _cut(lines, delimiter) -> list[list[str]]:
    if delimiter == " ":
        return [[c.strip('"') for c in line.split()] for line in lines]
    options: dict[str, Any] = {"delimiter": delimiter, "skipinitialspace": True}
    rows = (next(csv.reader([line], strict=True, **options)) for line in lines)
    return [[c.strip() for c in row] for row in rows]


def _delimiter(head) -> str:
    """The delimiter that splits most lines into equally many cells, mostly numbers."""
    best, best_score = ",", 0.0
    for delimiter in DELIMITERS:
        try:
            rows = _cut(head, delimiter)
        except csv.Error:  # quotes that do not match this delimiter
            continue
        widths = [len(row) for row in rows]
        mode = max(sorted(set(widths), reverse=True), key=widths.count)
        if mode == 1:
            continue
        cells = [c for row in rows for c in row]
        known = [
            is_number(c)
            or is_missing(c)
            or bool(delimiter != "," and _COMMA.fullmatch(c))
            for c in cells
        ]
        share = sum(known) / len(known)
        score = widths.count(mode) / len(widths) + 2 * share
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _decimals(rows) -> Rows:
    """Rows with decimal commas replaced by points, split by another delimiter."""
    head = [c for row in rows.cells(0, HEAD) for c in row]
    with_comma = [c for c in head if _COMMA.fullmatch(c)]
    if not with_comma or len(rows.cells(0, 1)[0]) == 1:
        return rows
    with_point = [c for c in head if is_number(c) and "." in c]
    is_thousands = all(re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", c) for c in with_comma)
    if with_point or (rows.delimiter == "," and is_thousands):
        raise DataError(
            f"{rows.path} reads {with_comma[0]!r}, in which the comma may be decimal "
            "or divide thousands; write numbers with a point and thousands together"
        )
    swap = lambda c: c.replace(",", ".") if _COMMA.fullmatch(c) else c
    quoted = lambda c: '"' + swap(c).replace('"', '""') + '"'
    lines = ["|".join(map(quoted, row)) for row in rows.cells()]
    shown = f"{DELIMITERS[rows.delimiter]}, decimal comma"
    return rows._replace(lines=lines, delimiter="|", shown=shown)


def headed(rows: Rows, header: str) -> Rows:
    """The rows with their names, if the first row or a comment holds them."""
    first, rest = rows.cells(0, 1)[0], rows.cells(1, HEAD)
    narrower = bool(rest) and len(first) == len(rest[0]) - 1
    if rows.names and header != "yes":
        return rows
    is_header, note = _is_header(first, rest, narrower)
    if header != "auto":
        is_header, note = header == "yes", ""
    elif not is_header and _may_be_header(first, rest):
        shown = ", ".join(first[:6])
        checks.warn(
            f"{rows.path}: its first row ({shown}) has whole numbers and all others "
            "fractions; it is taken for a point; --header yes makes it the heading, "
            "--header no a point"
        )
    if not is_header:
        return rows._replace(note=note)
    names = ["", *first] if narrower else list(first)
    return rows._replace(
        lines=rows.lines[1:], numbers=rows.numbers[1:], names=names, note=note
    )


def _is_header(first, rest, narrower) -> tuple[bool, str]:
    """Whether the first row holds names, and a note on names that are numbers."""
    words = [i for i, c in enumerate(first) if is_word(c) and not _LIKE.match(c)]
    if narrower:  # R writes no header over the names of rows
        return len(words) == len(first), ""
    if words:
        below = [row[i] for row in rest for i in words if i < len(row)]
        is_data = bool(below) and all(map(is_word, below)) and len(words) < len(first)
        return not is_data, ""
    counted = [str(i) for i in range(len(first))]
    is_pandas = first[:1] == [""] and first[1:] == counted[:-1] and len(first) > 1
    if is_pandas:
        return True, " (columns numbered by pandas)"
    if first != counted or not rest:
        return False, ""
    if len(first) == 1:
        return False, " (its first row is the point 0; a heading: --header yes)"
    has_fractions = all("." in c for row in rest for c in row if not is_missing(c))
    beyond = len(first) > 2 and all(
        is_number(row[-1]) and float(row[-1]) < len(first) - 1 for row in rest
    )
    is_header = has_fractions or beyond
    return is_header, " (columns numbered by pandas)" if is_header else ""


def _may_be_header(first, rest) -> bool:
    """Whether the first row alone has distinct whole numbers: years, wave lengths."""
    is_whole = all(c.lstrip("+-").isdecimal() for c in first)
    if not is_whole or len(set(first)) < max(len(first), 2) or not rest:
        return False
    return all(is_number(c) and not c.isdecimal() for row in rest for c in row)


def is_number(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell))


def is_missing(cell: str) -> bool:
    return cell.lower() in MISSING


def is_word(cell: str) -> bool:
    """Whether a cell is neither a number nor a missing value."""
    return not (is_number(cell) or is_missing(cell) or _COMMA.fullmatch(cell))
