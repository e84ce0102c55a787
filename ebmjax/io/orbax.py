"""Checkpoints of several hosts: Orbax writes a folder, each process its own shards.

    STEP.orbax/state/      of Orbax; nothing is gathered
    STEP.orbax/manifest    shapes, dtypes, notes, the SHA-256 of every file and of
                           itself

Orbax does not detect a flipped bit.  So each file is verified before Orbax reads it:
its digest, and that it is a regular file inside the folder.  The processes share this
work and agree on the result.  The folder is written atomically, so an incomplete one
never has the final name.

Every process makes these calls.  Orbax is imported by them; it comes with
``ebmjax[orbax]``.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from ebmjax.io import archive, serialization
from ebmjax.io.files import is_inside, open_regular, sync_folder
from ebmjax.io.serialization import CheckpointError, CorruptCheckpointError
from ebmjax.sampling import devices

FORMAT = 1
STATE, MANIFEST = "state", "manifest"


def orbax() -> Any:
    """The package; raises :class:`CheckpointError` if it is missing."""
    try:
        import orbax.checkpoint
    except ImportError:
        raise CheckpointError(
            "checkpoints by orbax need orbax-checkpoint: pip install 'ebmjax[orbax]'"
        ) from None
    return orbax.checkpoint


def save(path: str | Path, tree: Any, **notes: Any) -> None:
    """Write a tree of arrays with their sharding over devices and processes.

    Raises:
      CheckpointError: no Orbax, a full disk, a read-only folder; other checkpoints are
        intact.
    """
    ocp, path = orbax(), Path(path).absolute()
    entries, arrays = _described(tree)
    aside = path.with_name(path.name + ".tmp")
    old = path.with_name(path.name + ".old")
    try:
        if devices.is_main():
            for left in (aside, old):  # left by a killed process
                shutil.rmtree(left, ignore_errors=True)
            aside.mkdir()
        devices.wait("folder made")
        ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).save(
            aside / STATE, args=ocp.args.PyTreeSave(arrays)
        )
        devices.wait("state written")
        digests = _sealed(aside)
        if devices.is_main():
            manifest = {
                "format": FORMAT,
                "jax": jax.__version__,
                "orbax": ocp.__version__,
                "notes": notes,
            }
            _write_manifest(aside, {**manifest, "leaves": entries, "files": digests})
            if path.exists():
                os.replace(path, old)
            os.replace(aside, path)
            sync_folder(path.parent)
            shutil.rmtree(old, ignore_errors=True)
        devices.wait("folder named")
    except Exception as error:
        if devices.is_main():
            with contextlib.suppress(OSError):
                shutil.rmtree(aside, ignore_errors=True)
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise CheckpointError(
            f"{path} cannot be written: {why}; what was saved before is intact"
        ) from error


def _described(tree) -> tuple[dict[str, Any], dict[str, Any]]:
    """Entries of the manifest, and the non-empty arrays, which Orbax stores."""
    entries, arrays = {}, {}
    for i, (name, leaf) in enumerate(serialization.flatten(tree).items()):
        data, dtype = serialization.encode(leaf)
        entries[name] = {"shape": list(data.shape), "dtype": dtype, "stored": str(i)}
        if data.size:
            is_local = jax.process_count() > 1 and getattr(
                data, "is_fully_addressable", False
            )
            arrays[str(i)] = np.asarray(data) if is_local else data
    return entries, arrays


def _sealed(folder) -> dict[str, str]:
    """The digests of all files of a folder, each synced."""
    paths = (f for f in folder.rglob("*") if f.is_file())
    names = sorted(str(f.relative_to(folder)) for f in paths)
    return dict(zip(names, _digests(folder, names, is_synced=True), strict=True))


def _write_manifest(folder, manifest) -> None:
    text = json.dumps(manifest) + "\n"
    with open(folder / MANIFEST, "x") as file:
        file.write(text + _sha256(text.encode()))
        file.flush()
        os.fsync(file.fileno())
    for part in (folder, *(f for f in folder.rglob("*") if f.is_dir())):
        sync_folder(part)


def load(
    path: str | Path,
    like: Any,
    *,
    check: Callable[[dict[str, Any]], None] | None = None,
) -> Any:
    """Read a tree in the structure of ``like``; each process reads its own shards.

    Arguments and errors are those of :func:`ebmjax.io.checkpoint.load`.  The mesh may
    differ from that of saving.
    """
    ocp, path = orbax(), Path(path).absolute()
    manifest = _verified(path)
    if check is not None:
        check(manifest["notes"])
    wanted, stored = serialization.flatten(like), manifest["leaves"]
    serialization.check_same(path, stored, wanted)
    items, args = {}, {}
    for name, leaf in wanted.items():
        entry, sharding = stored[name], serialization.sharding_of(leaf)
        if 0 in entry["shape"]:
            continue
        items[entry["stored"]] = 0
        args[entry["stored"]] = (
            ocp.RestoreArgs(restore_type=np.ndarray)
            if sharding is None
            else ocp.ArrayRestoreArgs(sharding=sharding)
        )
    arrays = {}
    if items:
        restore = ocp.args.PyTreeRestore(item=items, restore_args=args)
        reader = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
        arrays = reader.restore(path / STATE, args=restore)
    found = []
    for name, leaf in wanted.items():
        dtype = stored[name]["dtype"]
        kind = np.uint32 if dtype.startswith("key<") else jnp.dtype(dtype)
        empty = np.zeros(
            stored[name]["shape"] if 0 in stored[name]["shape"] else 0, kind
        )
        array = arrays.get(stored[name]["stored"], empty)
        found.append(serialization.decode(array, dtype, leaf))
    return jax.tree.unflatten(jax.tree.structure(like), found)


def _verified(path) -> dict[str, Any]:
    """The manifest, after all files are verified."""
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    try:
        with open_regular(path / MANIFEST) as file:
            text, _, seal = file.read().decode().rpartition("\n")
        if _sha256(f"{text}\n".encode()) != seal:
            raise ValueError("its manifest is not as it was written")
        manifest = serialization.parsed_manifest(text.encode())
        files = manifest["files"]
        outside = [f for f in files if not is_inside(path / f, path)]
        if outside:
            raise ValueError(f"{outside[0]} lies outside of it")
    except (OSError, *archive.DAMAGES) as error:
        raise CorruptCheckpointError(f"{path} is damaged: {error}") from error
    if manifest["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has format {manifest['format']}; this version reads format "
            f"{FORMAT}"
        )
    digests = zip(files, _digests(path, list(files)), strict=True)
    wrong = [name for name, now in digests if now != files[name]]
    if wrong:
        raise CorruptCheckpointError(
            f"{path} is damaged: {wrong[0]} is not as it was written"
        )
    return manifest


def _digests(folder, files, *, is_synced=False) -> list[str]:
    """Digests of files, each read by one of the processes; zeros for unreadable
    files."""
    table = np.zeros((len(files), 32), np.uint8)
    for i in range(jax.process_index(), len(files), jax.process_count()):
        with contextlib.suppress(OSError), open_regular(folder / files[i]) as file:
            if is_synced:
                os.fsync(file.fileno())
            table[i] = np.frombuffer(
                hashlib.file_digest(file, "sha256").digest(),  # type: ignore[arg-type]
                np.uint8,  # type: ignore[arg-type]
            )
    if jax.process_count() > 1:
        table = multihost_utils.process_allgather(table).max(axis=0)
    return [row.tobytes().hex() for row in table]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
