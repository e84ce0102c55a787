"""A folder that one run writes: locked, its last good checkpoints kept, left in order when told to stop.

    FOLDER/000001500.npz     what stood after 1500 steps, gathered and written by process 0
                             (:mod:`ebmjax.io.checkpoint`)
    FOLDER/000001500.orbax   or written by all processes, each its own part (:mod:`ebmjax.io.orbax`)

What is read is told by its name, so that a folder may hold both.  Every process calls :func:`save`.

The lock is on the folder itself and belongs to the process: the system lets go of it however that one ends.
"""

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ebmjax import _validation as checks
from ebmjax.io import checkpoint
from ebmjax.io import orbax as sharded
from ebmjax.io.checkpoint import CheckpointError, CorruptCheckpointError
from ebmjax.sampling import devices

KEEP = 3


class Backend(NamedTuple):
    """One way to write a checkpoint; called by every process."""

    suffix: str
    save: Callable[..., None]  # (path, tree, **notes)
    load: Callable[..., Any]  # (path, like, check=)
    require: Callable[[], Any]  # raises where something is not installed


def _gathered(path, tree, **notes):
    tree = devices.to_host(tree)
    if devices.is_main():
        checkpoint.save(path, tree, **notes)


BACKENDS = {
    "npz": Backend(".npz", _gathered, checkpoint.load, lambda: None),
    "orbax": Backend(".orbax", sharded.save, sharded.load, sharded.orbax),
}
_BY_SUFFIX = {backend.suffix: name for name, backend in BACKENDS.items()}


def check_backend(name: str) -> str:
    """Raise, before the hours, unless there is such a backend and it is installed."""
    BACKENDS[checks.one_of(name, "backend", BACKENDS)].require()
    return name


class FolderError(ValueError):
    """A folder that cannot be used, in one line."""


def check_writable(folder: Path) -> None:
    """Make the folder; raise unless it can be written: before the hours, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(
            dir=folder
        ).close()  # no name: several processes may look at once
    except OSError as error:
        raise FolderError(
            f"{folder} cannot be written: {error.strerror or error}"
        ) from None


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a folder; raises :class:`FolderError` where another run does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def postponed_stop() -> Iterator[Callable[[], bool]]:
    """SIGTERM, SIGHUP and Ctrl-C wait for the end of a chunk; says whether one came.

    A SIGHUP that is ignored, as under nohup, stays so.  A second signal is not waited for.  Outside the main thread Python allows no handler, and nothing waits.
    """
    is_told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield is_told.is_set
        return

    def tell(signum, frame):
        if is_told.is_set():
            raise KeyboardInterrupt
        is_told.set()

    signals = [signal.SIGTERM, signal.SIGINT]
    hangup = getattr(signal, "SIGHUP", None)  # not on every system
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        signals.append(hangup)
    previous = {s: signal.signal(s, tell) for s in signals}
    try:
        yield is_told.is_set
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
    """Of the checkpoints in a folder, the newest first; their files may be damaged."""
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
    """By the backend that wrote it."""
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
    """Write the checkpoint of a step, and remove all but the last ``keep`` (``None``: none is removed)."""
    BACKENDS[backend].save(file_of(folder, step, backend), tree, step=step, **notes)
    if keep is not None and devices.is_main():
        for path in (
            path for old in steps(folder)[keep:] for path in files(folder, old)
        ):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(
                missing_ok=True
            )


def newest(folder: Path, like: Any) -> tuple[int, Any]:
    """The step and the tree of the newest good checkpoint.

    Raises:
      CheckpointError: none is good; or the newest that is whole belongs to something else.

    Warns:
      naming each damaged file that was passed over.
    """
    damages = []
    for step, path in [(s, path) for s in steps(folder) for path in files(folder, s)]:
        try:
            tree = load(path, like)
        except CorruptCheckpointError as error:
            damages.append(str(error))
            continue
        for damage in damages:
            warnings.warn(
                f"{damage}; going on from step {step}", RuntimeWarning, stacklevel=2
            )
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
        warnings.warn(
            f"{folder} cannot be locked ({error.strerror}): see to it that one run uses it at a time",
            RuntimeWarning,
            stacklevel=4,
        )
