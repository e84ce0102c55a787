"""Progress of long work: a function ``(done, total, text)``; a bar where rich is
installed."""

import importlib.util
import sys
import time
from collections.abc import Callable

Progress = Callable[[int, int, str], None]
SECONDS = 5.0  # between plain lines


def reporter(progress: bool | Progress, title: str) -> Progress:
    """The function to call: the caller's own, a bar on a terminal with rich, or plain
    lines."""
    if callable(progress):
        return progress
    if not isinstance(progress, bool | None):
        raise TypeError(
            "progress must be True, False or a function (done, total, text), got "
            f"{progress!r}"
        )
    if not progress:
        return lambda done, total, text: None
    if sys.stderr.isatty() and importlib.util.find_spec("rich"):
        return _bar(title)
    return _lines(title)


def _bar(title):
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    # no markup: a title or a text may hold a path with brackets
    bar = Bar(
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        console=Console(stderr=True),
    )
    task = bar.add_task(title, text="compiling")

    def report(done, total, text):
        bar.start()
        bar.update(task, completed=done, total=total, text=text)
        if done >= total:
            bar.stop()

    return report


def _lines(title):
    last = [0.0]

    def report(done, total, text):
        if done >= total or time.monotonic() - last[0] > SECONDS:
            last[0] = time.monotonic()
            print(f"{title} {done}/{total}  {text}", file=sys.stderr, flush=True)

    return report
