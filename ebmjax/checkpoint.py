"""Checkpoints: one ``.npz``, no pickle, written aside and renamed.

A tree of arrays is stored leaf by leaf under its path, with a manifest of shapes, dtypes and SHA-256.  A file
that was cut short, flipped or made for another tree is refused by name; a crash while writing leaves the
older file as it was.  Typed keys and bfloat16 survive: the manifest says what the stored bytes mean.
"""

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

MANIFEST = "manifest"


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or belongs to something else."""


def save(path: str | Path, tree: Any, **notes: Any) -> None:
    """Write a tree of arrays; ``notes`` (JSON values) go into the manifest."""
    path = Path(path)
    arrays, leaves = {}, {}
    for name, leaf in _flatten(tree).items():
        data, dtype = _encode(leaf)
        arrays[name] = data
        leaves[name] = {"shape": list(data.shape), "dtype": dtype, "sha256": _digest(data)}
    manifest = json.dumps({"format": 1, "jax": jax.__version__, "notes": notes, "leaves": leaves})
    arrays[MANIFEST] = np.frombuffer(manifest.encode(), np.uint8)
    aside = path.with_name(path.name + ".tmp")
    try:
        with open(aside, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def load(path: str | Path, like: Any) -> Any:
    """Read a tree in the structure of ``like`` (arrays or ``ShapeDtypeStruct``).

    Raises:
      FileNotFoundError: there is no such file.
      CheckpointError: it is damaged, or its leaves are not those of ``like``, which are named.
    """
    manifest, arrays = _read(Path(path))
    wanted = _flatten(like)
    differences = _differences(manifest["leaves"], wanted)
    if differences:
        listed = "; ".join(differences[:5])
        more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise CheckpointError(f"{path} is a checkpoint of something else: {listed}{more}")
    leaves = [_decode(arrays[name], manifest["leaves"][name]["dtype"]) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def notes(path: str | Path) -> dict[str, Any]:
    """What was written into the manifest beside the tree."""
    return _read(Path(path))[0]["notes"]


def _read(path):
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        manifest = json.loads(arrays.pop(MANIFEST).tobytes())
        for name, entry in manifest["leaves"].items():
            if _digest(arrays[name]) != entry["sha256"]:
                raise ValueError(f"the bytes of {name} do not match their SHA-256")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no checkpoint at {path}") from None
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zipfile.zlib.error) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    return manifest, arrays


def _flatten(tree):
    return {jax.tree_util.keystr(p) or ".": x for p, x in jax.tree_util.tree_leaves_with_path(tree)}


def _is_key(dtype) -> bool:
    return jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _encode(leaf):
    """Bytes that NumPy can store, and the dtype that they mean."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is not None and _is_key(dtype):
        return np.asarray(jax.random.key_data(leaf)), f"key<{jax.random.key_impl(leaf)}>"
    array = np.asarray(leaf)
    if array.dtype == jnp.bfloat16:
        return array.view(np.uint16), "bfloat16"
    return array, array.dtype.name


def _decode(array, dtype):
    if dtype.startswith("key<"):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=dtype[4:-1])
    return jnp.asarray(array.view(jnp.bfloat16) if dtype == "bfloat16" else array)


def _differences(stored, wanted):
    lines = [f"{name} is missing" for name in wanted if name not in stored]
    lines += [f"{name} is not wanted" for name in stored if name not in wanted]
    for name in wanted.keys() & stored.keys():
        entry, leaf = stored[name], wanted[name]
        shape, dtype = _wants(leaf)
        if (entry["shape"], entry["dtype"]) != (shape, dtype):
            lines.append(f"{name} is {entry['dtype']}{entry['shape']}, wanted {dtype}{shape}")
    return lines


def _wants(leaf):
    if isinstance(leaf, jax.ShapeDtypeStruct):
        if _is_key(leaf.dtype):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
            return list(leaf.shape), f"key<{jax.config.jax_default_prng_impl}>"
        return list(leaf.shape), np.dtype(leaf.dtype).name
    data, dtype = _encode(leaf)
    return list(data.shape), dtype


def _digest(array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _sync_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
