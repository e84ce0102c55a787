"""The application: its console, and error messages.

A wrong option or a bad file gives one line and exit code 2, and nothing is
overwritten.  An error raised in the user's code is shown with its file and line.
``EBMJAX_TRACEBACK=1`` in the environment shows the whole traceback.
"""

import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import jax
import typer
from rich.console import Console
from rich.text import Text

from ebmjax.training.divergence import TrainingDiverged

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train energy-based models, sample from them, and verify kernels.",
)
console = Console()
STOPPED = 130  # the exit code after Ctrl-C
MOST_FRAMES = 3  # frames of the user's code, shown with an error
_user_files: set[str] = set()  # the user's modules named on the command line


def say(text: object, style: str = "") -> None:
    """Print text without markup: brackets and colons, in a path for example, are
    plain."""
    console.print(Text(str(text), style), soft_wrap=True)


def warn(text: object) -> None:
    """Print a warning."""
    console.print(Text.assemble(("warning: ", "yellow"), str(text)), soft_wrap=True)


def fail(message: str, code: int) -> NoReturn:
    """Print an error and exit."""
    shown = Text.assemble(("error: ", "red"), message)
    Console(stderr=True, soft_wrap=True).print(shown)
    raise typer.Exit(code)


def require(module: str, extra: str) -> None:
    """Exit with an install hint unless a module of an extra is installed."""
    if importlib.util.find_spec(module) is None:
        fail(f"this needs {module}: pip install 'ebmjax[{extra}]'", 2)


@contextmanager
def one_line() -> Iterator[None]:
    """Turn errors into one line and exit code 2; diverged training into code 1."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: warn(message)
            yield
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        fail("stopped; no further file was written", STOPPED)
    except TrainingDiverged as error:
        fail(f"{error}; the last healthy state is in the checkpoint", 1)
    except Exception as error:
        if os.environ.get("EBMJAX_TRACEBACK"):
            raise
        message = _message(error)
        if message is None:
            raise
        fail(message, 2)


def _message(error: Exception) -> str | None:
    """The message of an error; None if only its traceback is useful."""
    kind = type(error).__name__
    if where := in_user_code(error):
        return f"{kind}: {error}\n{where}"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return f"not enough memory: {str(error)[:200] or kind}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}"
    if isinstance(error, OSError | ValueError | TypeError | ImportError):
        return str(error)
    return None


def in_user_code(error: BaseException) -> str:
    """The frames of a traceback in the user's code, one line each."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f)]
    if isinstance(error, SyntaxError) and error.filename:
        return (
            f"  in {error.filename}, line {error.lineno}: {(error.text or '').strip()}"
        )
    return "\n".join(
        f"  in {f.name}, {f.filename}, line {f.lineno}: {f.line}"
        for f in frames[-MOST_FRAMES:]
    )


def _is_users(frame: traceback.FrameSummary) -> bool:
    if frame.filename in _user_files:
        return True
    if not os.path.isfile(frame.filename):  # <string>, <frozen importlib>
        return False
    paths = sysconfig.get_paths()
    ours = [str(Path(__file__).parent.parent), str(Path(typer.__file__).parent.parent)]
    ours += [paths[n] for n in ("stdlib", "platstdlib", "purelib", "platlib")]
    ours.append(str(Path(jax.__file__).parent))
    return not any(frame.filename.startswith(p + os.sep) for p in ours)


def load_attribute(name: str) -> Any:
    """The object ``module:attribute``, from the current folder or an installed
    module."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        fail(f"give the factory as module:function, got {name!r}", 2)
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(module)
        _user_files.add(str(getattr(found, "__file__", None)))
        return getattr(found, attribute)
    except (Exception, SystemExit) as error:
        where = in_user_code(error)
        reason = error if not where else f"{type(error).__name__}: {error}\n{where}"
        fail(f"{name} cannot be loaded: {reason}", 2)
