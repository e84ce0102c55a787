"""Files: written atomically (temporary file, sync, rename); only regular files are
read.

A crash, a full disk or an interrupt while writing leaves an older file unchanged and no
partial file under its name.

>>> with replacing("draws.csv") as aside:  # doctest: +SKIP
...     aside.write_text("0.1,0.2")
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class WriteError(OSError):
    """A file cannot be written; an older file at its path is unchanged.

    ``reason`` is the system's message, such as "No space left on device".
    """

    def __init__(self, path: str | Path, error: BaseException):
        self.reason = getattr(error, "strerror", None) or str(error) or repr(error)
        super().__init__(getattr(error, "errno", None), self.reason)
        self.path = str(path)

    def __str__(self) -> str:
        return (
            f"{self.path} cannot be written: {self.reason}; what was there before is "
            "intact, and what is in memory can be written elsewhere"
        )

    def __reduce__(self):
        return type(self), (self.path, OSError(self.errno, self.reason))


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder, with the same suffix; renamed at the end.

    Raises:
      WriteError: an ``OSError`` inside, or while syncing and renaming.
    """
    path = Path(path)
    aside = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        aside.unlink(missing_ok=True)  # left by a killed process; or a link
        yield aside
        with open(aside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, WriteError):
            raise WriteError(path, error) from error
        raise


def reserve(path: str | Path, size: int) -> None:
    """Raise ``OSError`` unless the disk has space for so many bytes; leaves no file.

    For writers such as HDF5 that do not handle a full disk.
    """
    try:
        with open(path, "xb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
    finally:
        Path(path).unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically; raises :class:`WriteError`."""
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file to read; raises ``OSError`` for a folder, a named pipe, a device.

    It does not wait for a pipe.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder when all links are followed."""
    return path.resolve().is_relative_to(folder.resolve())


def sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
