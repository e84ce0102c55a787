"""Checkpoints: one ``.npz`` without pickle, written atomically.

A tree of arrays is stored leaf by leaf under its path, with a manifest of shapes,
dtypes, SHA-256 and versions.  The zip comment at the end of the file is the SHA-256 of
all bytes before it, so a flipped, missing or exchanged byte is detected.  A file of
another tree raises with the paths that differ, before any leaf is read.  A crash or a
full disk while writing leaves the older file unchanged.  Typed keys and bfloat16 are
supported: the manifest records the types of the stored bytes.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax.io import archive, files, serialization
from ebmjax.io.files import sync_folder
from ebmjax.io.serialization import CheckpointError, CorruptCheckpointError

__all__ = [
    "CheckpointError",
    "CorruptCheckpointError",
    "load",
    "notes",
    "save",
    "sync_folder",
]

MANIFEST = "manifest"
FORMAT = 2
SEAL = 64  # hexadecimal digits of SHA-256


def save(path: str | Path, tree: Any, **notes: Any) -> None:
    """Write a tree of arrays; ``notes`` (JSON values) are stored in the manifest.

    Raises:
      CheckpointError: the disk is full or the folder read-only; an older file is
        intact.
    """
    arrays, entries = {}, {}
    for name, leaf in serialization.flatten(tree).items():
        data, dtype = _plain(leaf)
        arrays[name] = data
        entries[name] = {
            "shape": list(data.shape),
            "dtype": dtype,
            "sha256": _digest(data),
        }
    versions = {"jax": jax.__version__, "numpy": np.__version__}
    manifest = json.dumps(
        {"format": FORMAT, "versions": versions, "notes": notes, "leaves": entries}
    )
    arrays = {MANIFEST: np.frombuffer(manifest.encode(), np.uint8), **arrays}
    try:
        with files.replacing(path) as aside, open(aside, "x+b") as file:
            _write(file, arrays)
    except files.WriteError as error:
        raise CheckpointError(
            f"{path} cannot be written: {error.reason}; what was saved before is intact"
        ) from error


def load(
    path: str | Path,
    like: Any,
    *,
    check: Callable[[dict[str, Any]], None] | None = None,
) -> Any:
    """Read a tree in the structure of ``like``, on its mesh if it has one.

    Args:
      path: of the file.
      like: the tree that is expected, of arrays or ``ShapeDtypeStruct``.
      check: called with the notes first; may raise.

    Raises:
      FileNotFoundError: the file does not exist.
      CorruptCheckpointError: the file is damaged.
      CheckpointError: its leaves differ from those of ``like``; the message names them.
        Or it cannot be read.
    """
    wanted = serialization.flatten(like)
    with _opened(path) as (file, manifest):
        stored = manifest["leaves"]
        if check is not None:
            check(manifest["notes"])
        serialization.check_same(path, stored, wanted)
        with _damages(path):
            arrays = archive.read(file, wanted)
            for name, array in arrays.items():
                _check_leaf(name, array, stored[name])
    found = [
        serialization.decode(arrays[name], stored[name]["dtype"], leaf)
        for name, leaf in wanted.items()
    ]
    return jax.tree.unflatten(jax.tree.structure(like), found)


def notes(path: str | Path) -> dict[str, Any]:
    """The notes in the manifest; no leaf is read."""
    with _opened(path) as (_, manifest):
        return manifest["notes"]


def _write(file, arrays):
    archive.write(file, arrays, comment=b"0" * SEAL)
    file.seek(0, os.SEEK_END)
    size = file.tell() - SEAL
    seal = _seal(file, size)
    file.seek(size)
    file.write(seal)


def _seal(file, size) -> bytes:
    """The digest of the first ``size`` bytes of an open file."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0 and (piece := file.read(min(size, 2**20))):
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest().encode()


@contextlib.contextmanager
def _opened(path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The verified file, and its manifest."""
    try:
        file = files.open_regular(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no checkpoint at {path}") from None
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        with _damages(path):
            size = max(file.seek(0, os.SEEK_END) - SEAL, 0)
            seal = _seal(file, size)
            if file.read() != seal:
                raise ValueError("its bytes are not those that were written")
            if MANIFEST not in archive.names(file):
                raise ValueError("it has no manifest")
            text = archive.read(file, [MANIFEST])[MANIFEST].tobytes()
            manifest = serialization.parsed_manifest(text)
        if manifest["format"] != FORMAT:
            raise CheckpointError(
                f"{path} has format {manifest['format']}; this version reads format "
                f"{FORMAT}"
            )
        yield file, manifest


@contextlib.contextmanager
def _damages(path) -> Iterator[None]:
    """Convert errors of reading to errors of a checkpoint."""
    try:
        yield
    except OSError as error:
        raise _unreadable(path, error) from error
    except archive.DAMAGES as error:
        raise CorruptCheckpointError(f"{path} is damaged: {error}") from error


def _unreadable(path, error) -> CheckpointError:
    return CheckpointError(f"{path} cannot be read: {error.strerror or error}")


def _check_leaf(name, array, entry) -> None:
    """Raise unless an array agrees with the manifest."""
    if _digest(array) != entry["sha256"]:
        raise ValueError(f"the bytes of {name} do not match their SHA-256")
    dtype = "uint32" if entry["dtype"].startswith("key<") else entry["dtype"]
    if (list(array.shape), array.dtype) != (
        entry["shape"],
        _storable(jnp.dtype(dtype)),
    ):
        raise ValueError(f"{name} is stored as {array.dtype}{list(array.shape)}")


def _plain(leaf):
    """Bytes that NumPy can store, as the dtype of the leaf."""
    data, dtype = serialization.encode(leaf)
    array = np.asarray(data)
    return array.view(_storable(array.dtype)), dtype


def _storable(dtype):
    """The dtype, or an unsigned integer for bfloat16, float8, int4, which NumPy
    lacks."""
    return np.dtype(f"uint{8 * dtype.itemsize}") if dtype.kind == "V" else dtype


def _digest(array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
