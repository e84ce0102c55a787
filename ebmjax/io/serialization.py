"""Trees of arrays, leaf by leaf: names, dtypes, and differences from another tree."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from ebmjax.sampling import devices


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or written, or belongs to another tree."""


class CorruptCheckpointError(CheckpointError):
    """A damaged checkpoint."""


def flatten(tree: Any) -> dict[str, Any]:
    """The leaves under their paths."""
    return {
        jax.tree_util.keystr(p) or ".": x
        for p, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def encode(leaf: Any) -> tuple[Any, str]:
    """An array without typed keys, on its devices, and its original dtype."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is not None and _is_key(dtype):
        return jax.random.key_data(leaf), f"key<{jax.random.key_impl(leaf)}>"
    array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
    return array, array.dtype.name


def decode(array: Any, dtype: str, like: Any) -> Any:
    """The inverse of :func:`encode`, on the mesh of ``like`` if it has one."""
    if not dtype.startswith("key<"):
        array = array if dtype == array.dtype.name else array.view(jnp.dtype(dtype))
    if (sharding := sharding_of(like)) is not None:
        array = devices.put(array, sharding)
    on_device = jnp.asarray(array)
    if dtype.startswith("key<"):
        return jax.random.wrap_key_data(on_device, impl=dtype[4:-1])
    # without x64, float64 stays an array of NumPy
    return on_device if on_device.dtype == array.dtype else array


def sharding_of(like: Any) -> NamedSharding | None:
    sharding = getattr(like, "sharding", None)
    return sharding if isinstance(sharding, NamedSharding) else None


def check_same(path: Any, stored: dict[str, dict], wanted: dict[str, Any]) -> None:
    """Raise :class:`CheckpointError` with the differences of shapes and dtypes, if
    any."""
    lines = [f"{name} is missing" for name in wanted if name not in stored]
    lines += [f"{name} is not wanted" for name in stored if name not in wanted]
    for name in wanted.keys() & stored.keys():
        entry = stored[name]
        shape, dtype = _wants(wanted[name])
        if (entry["shape"], entry["dtype"]) != (shape, dtype):
            lines.append(
                f"{name} is {entry['dtype']}{entry['shape']}, wanted {dtype}{shape}"
            )
    if lines:
        more = f" and {len(lines) - 5} more" if len(lines) > 5 else ""
        raise CheckpointError(
            f"{path} is a checkpoint of something else: {'; '.join(lines[:5])}{more}"
        )


def _wants(leaf):
    if isinstance(leaf, jax.ShapeDtypeStruct):
        if _is_key(leaf.dtype):
            impl: list[Any] = []  # of any kind of key; a traced key has its own

            def data_of(key):
                impl.append(jax.random.key_impl(key))
                return jax.random.key_data(key)

            leaf = jax.eval_shape(data_of, leaf)
            return list(leaf.shape), f"key<{impl[0]}>"
        return list(leaf.shape), np.dtype(leaf.dtype).name
    data, dtype = encode(leaf)
    return list(data.shape), dtype


def _is_key(dtype) -> bool:
    return jnp.issubdtype(dtype, jax.dtypes.prng_key)


def parsed_manifest(text: bytes) -> dict[str, Any]:
    """A manifest from JSON; raises ``ValueError`` unless all entries are present."""
    manifest = json.loads(text)
    wanted = {"format": int, "notes": dict, "leaves": dict}
    for name, kind in wanted.items():
        if not isinstance(manifest, dict) or not isinstance(manifest.get(name), kind):
            raise ValueError(f"its manifest has no {name}")
    for name, entry in manifest["leaves"].items():
        shape = entry.get("shape")
        if not isinstance(entry.get("dtype"), str) or not isinstance(shape, list):
            raise ValueError(f"its manifest does not describe {name}")
    return manifest
