"""The application: its console, and how errors are told.

A wrong option or a bad file is one clear line and exit code 2, and nothing is overwritten.
"""

import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console

from ebmjax.training.divergence import TrainingDiverged

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train energy-based models, sample from them, and prove kernels right.",
)
console = Console()


@contextmanager
def one_line() -> Iterator[None]:
    """Turn the errors a user can mend into one line and exit code 2; diverged training into code 1."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: console.print(
                f"[yellow]warning:[/] {message}"
            )
            yield
    except (FileNotFoundError, ValueError, TypeError) as error:
        fail(str(error), 2)
    except TrainingDiverged as error:
        fail(f"{error}; the last good state is in the checkpoint", 1)


def fail(message: str, code: int) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(
        f"[red]error:[/] {message}", highlight=False
    )
    raise typer.Exit(code)


def load_attribute(name: str) -> Any:
    """What ``module:attribute`` names, of the modules here and of those installed."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        fail(f"give the factory as module:function, got {name!r}", 2)
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        fail(f"{name} cannot be loaded: {error}", 2)
