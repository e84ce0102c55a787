"""The folder of one run: a lock, the last checkpoints, and orderly interruption.

    FOLDER/000001500.npz     the state after 1500 steps, gathered and written by process
                             0 (:mod:`ebmjax.io.checkpoint`)
    FOLDER/000001500.orbax   or written by all processes, each its own part
                             (:mod:`ebmjax.io.orbax`)

The suffix determines the backend, so a folder may hold both.  Every process calls
:func:`save`.  A checkpoint that is a link to a path outside of the folder raises.

The lock is on the folder and belongs to the process: the system releases it when the
process ends in any way.
"""

import contextlib
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ebmjax import _validation as checks
from ebmjax.io import checkpoint, orbax
from ebmjax.io.files import is_inside
from ebmjax.io.serialization import CheckpointError, CorruptCheckpointError
from ebmjax.sampling import devices

KEEP = 3


class Backend(NamedTuple):
    """One way to write a checkpoint; called by every process."""

    suffix: str
    save: Callable[..., None]  # (path, tree, **notes)
    load: Callable[..., Any]  # (path, like, check=)
    require: Callable[[], Any]  # raises if a package is not installed


def _gathered(path, tree, **notes):
    tree = devices.to_host(tree)
    if devices.is_main():
        checkpoint.save(path, tree, **notes)


BACKENDS = {
    "npz": Backend(".npz", _gathered, checkpoint.load, lambda: None),
    "orbax": Backend(".orbax", orbax.save, orbax.load, orbax.orbax),
}
_BY_SUFFIX = {backend.suffix: name for name, backend in BACKENDS.items()}


def check_backend(name: str) -> str:
    """Raise early unless the backend exists and is installed."""
    BACKENDS[checks.one_of(name, "backend", BACKENDS)].require()
    return name


class FolderError(ValueError):
    """A folder that cannot be used, in one line."""


def check_writable(folder: Path) -> None:
    """Make the folder; raise :class:`FolderError` early unless it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # without a name: several processes may check at once
        tempfile.TemporaryFile(dir=folder).close()
    except FileExistsError:
        raise FolderError(f"{folder} is not a folder") from None
    except OSError as error:
        raise FolderError(
            f"{folder} cannot be written: {error.strerror or error}"
        ) from None


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lock a folder; raises :class:`FolderError` if another run holds the lock."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def postponed_stop(
    numbers: Sequence[int] | None = None,
) -> Iterator[Callable[[], bool]]:
    """SIGTERM, SIGHUP and Ctrl-C, or other signals, wait for the end of a chunk.

    Yields a function that returns whether a signal came.  A second signal stops at
    once. A SIGHUP that is ignored (nohup) stays ignored.  Outside the main thread
    Python allows no handler, and signals act at once.
    """
    is_stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield is_stopped.is_set
        return

    def stop(signum, frame):
        if is_stopped.is_set():
            raise KeyboardInterrupt
        is_stopped.set()

    if numbers is None:
        numbers = [signal.SIGTERM, signal.SIGINT]
        hangup = getattr(signal, "SIGHUP", None)
        if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
            numbers.append(hangup)
    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield is_stopped.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def file_of(folder: Path, step: int, backend: str = "npz") -> Path:
    return folder / f"{step:09d}{BACKENDS[backend].suffix}"


def files(folder: Path, step: int) -> list[Path]:
    """The checkpoints of a step: one, or one of each backend."""
    paths = (file_of(folder, step, backend) for backend in BACKENDS)
    return [path for path in paths if path.exists()]


def steps(folder: Path) -> list[int]:
    """Steps that have a checkpoint in a folder, the newest first; its file may be
    damaged."""
    names = {p.stem for p in folder.glob("*") if p.suffix in _BY_SUFFIX}
    return sorted((int(n) for n in names if n.isdecimal()), reverse=True)


def backend_of(folder: Path) -> str:
    """The backend of the newest checkpoint."""
    return (
        _BY_SUFFIX[files(folder, steps(folder)[0])[-1].suffix]
        if steps(folder)
        else "npz"
    )


def load(path: Path, like: Any, **options: Any) -> Any:
    """Read a checkpoint by the backend that wrote it; options are those of the backend.

    Raises:
      CheckpointError: as the backend; or the path is a link out of its folder.
    """
    if not is_inside(path, path.parent):
        raise CheckpointError(
            f"{path} is a link to {path.resolve()}, outside of its folder; copy the "
            "file there"
        )
    return BACKENDS[_BY_SUFFIX[path.suffix]].load(path, like, **options)


def save(
    folder: Path,
    step: int,
    tree: Any,
    *,
    keep: int | None = KEEP,
    backend: str = "npz",
    **notes: Any,
) -> None:
    """Write the checkpoint of a step, and remove all but the last ``keep`` (``None``:
    keep all)."""
    BACKENDS[backend].save(file_of(folder, step, backend), tree, step=step, **notes)
    if keep is None or not devices.is_main():
        return
    for old in steps(folder)[keep:]:
        for path in files(folder, old):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def newest(folder: Path, like: Any) -> tuple[int, Any]:
    """The step and the tree of the newest valid checkpoint.

    Raises:
      CheckpointError: none is valid; or the newest valid one belongs to another run.

    Warns:
      of each damaged file that is skipped.
    """
    damages = []
    for step, path in [(s, path) for s in steps(folder) for path in files(folder, s)]:
        try:
            tree = load(path, like)
        except CorruptCheckpointError as error:
            damages.append(str(error))
            continue
        for damage in damages:
            checks.warn(f"{damage}; continuing from step {step}", RuntimeWarning)
        return step, tree
    raise CheckpointError("; ".join(damages) or f"there is no checkpoint in {folder}")


def _lock(descriptor, folder):
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FolderError(
            f"another run is writing in {folder}; wait for it, or choose another folder"
        ) from None
    except OSError as error:  # a file system without locks
        checks.warn(
            f"{folder} cannot be locked ({error.strerror}): let one run use it at a "
            "time",
            RuntimeWarning,
        )
