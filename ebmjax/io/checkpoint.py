"""Checkpoints: one ``.npz``, no pickle, written aside, synced and renamed.

A tree of arrays is stored leaf by leaf under its path, with a manifest of shapes, dtypes, SHA-256, versions.
The file ends in a seal, the SHA-256 of every byte before it, in the place where zip keeps a comment: whatever
is flipped, cut off or exchanged is noticed.  A file made for another tree is refused with the paths that
differ; a crash or a full disk while writing leaves the older file as it was.  Typed keys and bfloat16
survive: the manifest says what the stored bytes mean.
"""

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ebmjax.io import serialization as leaves
from ebmjax.io.serialization import CheckpointError, CorruptCheckpointError

__all__ = ["CheckpointError", "CorruptCheckpointError", "load", "notes", "save"]

MANIFEST = "manifest"
FORMAT = 2
SEAL = 64  # hexadecimal digits of SHA-256


def save(path: str | Path, tree: Any, **notes: Any) -> None:
    """Write a tree of arrays; ``notes`` (JSON values) go into the manifest.

    Raises:
      CheckpointError: the disk is full, the folder read-only; what was at ``path`` before is still there.
    """
    path = Path(path)
    arrays, entries = {}, {}
    for name, leaf in leaves.flatten(tree).items():
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
    arrays[MANIFEST] = np.frombuffer(manifest.encode(), np.uint8)
    aside = path.with_name(path.name + ".tmp")
    try:
        with open(aside, "w+b") as file:
            _write(file, arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        why = error.strerror or error
        raise CheckpointError(
            f"{path} cannot be written: {why}; what was saved before is intact"
        ) from error


def load(
    path: str | Path,
    like: Any,
    *,
    check: Callable[[dict[str, Any]], None] | None = None,
) -> Any:
    """Read a tree in the structure of ``like`` (arrays or ``ShapeDtypeStruct``), on its mesh if it has one.

    Args:
      path: of the file.
      like: what is expected.
      check: called with the notes first; may raise.

    Raises:
      FileNotFoundError: there is no such file.
      CorruptCheckpointError: it is not as it was written.
      CheckpointError: its leaves are not those of ``like``, which are named.
    """
    manifest, arrays = _read(Path(path))
    if check is not None:
        check(manifest["notes"])
    wanted, stored = leaves.flatten(like), manifest["leaves"]
    leaves.check_same(path, stored, wanted)
    found = [
        leaves.decode(arrays[name], stored[name]["dtype"], leaf)
        for name, leaf in wanted.items()
    ]
    return jax.tree.unflatten(jax.tree.structure(like), found)


def notes(path: str | Path) -> dict[str, Any]:
    """What was written into the manifest beside the tree."""
    return _read(Path(path))[0]["notes"]


def _write(file, arrays):
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(name + ".npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        archive.comment = b"0" * SEAL
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


def _read(path):
    try:
        with open(path, "rb") as file:
            size = max(file.seek(0, os.SEEK_END) - SEAL, 0)
            seal = _seal(file, size)
            if file.read() != seal:
                raise ValueError("its bytes are not those that were written")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        manifest = json.loads(arrays.pop(MANIFEST).tobytes())
        for name, entry in manifest["leaves"].items():
            if _digest(arrays[name]) != entry["sha256"]:
                raise ValueError(f"the bytes of {name} do not match their SHA-256")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no checkpoint at {path}") from None
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror or error}"
        ) from error
    except (
        ValueError,
        KeyError,
        EOFError,
        zipfile.BadZipFile,
        zipfile.zlib.error,
    ) as error:
        raise CorruptCheckpointError(f"{path} is damaged: {error}") from error
    if manifest["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has format {manifest['format']}; this version reads format {FORMAT}"
        )
    return manifest, arrays


def _plain(leaf):
    """Bytes that NumPy can store, and the dtype that they mean."""
    data, dtype = leaves.encode(leaf)
    array = np.asarray(data)
    if (
        array.dtype.kind == "V"
    ):  # bfloat16, float8, int4: NumPy alone does not know them
        array = array.view(f"uint{8 * array.dtype.itemsize}")
    return array, dtype


def _digest(array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def sync_folder(folder: Path) -> None:
    """What was renamed there, on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
