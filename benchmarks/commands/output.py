"""Rows of a benchmark as they come, tables, and files of results."""

import json
import sys
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import measure

Row = dict[str, Any]
console = Console(width=None if sys.stdout.isatty() else 220)
Quick = Annotated[
    bool, typer.Option("--quick", help="A small grid, about two minutes.")
]


def name_of(command: str, is_quick: bool) -> str:
    """The name of the files of results."""
    return f"{command}-quick" if is_quick else command


def names_in(text: str, separator: str = ",") -> tuple[str, ...]:
    """The names of an option, none of an empty one."""
    names = (name.strip() for name in text.split(separator))
    return tuple(filter(None, names))


def say(*lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False)


def collect(name: str | None, rows: Iterable[tuple[int, int, Row]]) -> list[Row]:
    """Collect rows; those of an interrupted run stay in ``results/NAME.part``."""
    found: list[Row] = []
    for number, total, row in rows:
        found.append(row)
        shown = {k: v for k, v in row.items() if isinstance(v, str | int | float)}
        if name:
            measure.keep(f"{name}.part", found)
        cells = "  ".join(f"{k} {_text(v)}" for k, v in shown.items())
        say(f"{number}/{total}  {cells}")
    return found


def stored(name: str, new: list[Row], which: Callable[[Row], Any]) -> list[Row]:
    """The rows of the stored results that no new row replaces."""
    path = measure.path_of(name)
    old = json.loads(path.read_text())["rows"] if path.exists() else []
    replaced = set(map(which, new))
    return [row for row in old if which(row) not in replaced]


def show(title, columns, rows, *, lost=None, about=None) -> None:
    """Show a table; ``lost`` is the interval of each column in which a cell is marked
    as lost, ``about`` the machine of the rows, by default this one."""
    about = about or measure.machine()
    table = Table(
        title=f"{title}: {about['device']}, {about['date']}", title_justify="left"
    )
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(c, row.get(c), lost or {}) for c in columns))
    console.print(table)
    say(str(about["versions"]))


def _cell(column, value, lost) -> str:
    low, high = lost.get(column, (0, 0))
    is_lost = isinstance(value, float) and low < value < high
    return f"[bold red]{_text(value)} lost[/]" if is_lost else _text(value)


def _text(value) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.2e}"
    return str(value)


def keep(name: str, found: list[Row], figure=None) -> None:
    """Write the results, and a picture of them."""
    say(f"kept in {measure.keep(name, found)}")
    measure.path_of(f"{name}.part").unlink(missing_ok=True)
    if figure is not None:
        from benchmarks import pictures

        say(f"drawn in {pictures.keep(name, figure)}")
