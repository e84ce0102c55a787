"""A tree of arrays, leaf by leaf: its names, what its bytes mean, and how it differs from another."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from ebmjax.sampling import devices


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or written, or belongs to something else."""


class CorruptCheckpointError(CheckpointError):
    """A checkpoint whose bytes are not those that were written."""


def flatten(tree: Any) -> dict[str, Any]:
    """The leaves under their paths."""
    return {
        jax.tree_util.keystr(p) or ".": x
        for p, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def encode(leaf: Any) -> tuple[Any, str]:
    """An array without typed keys, on the devices where it is, and the dtype that it means."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is not None and _is_key(dtype):
        return jax.random.key_data(leaf), f"key<{jax.random.key_impl(leaf)}>"
    array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
    return array, array.dtype.name


def decode(array: Any, dtype: str, like: Any) -> Any:
    """What was encoded, where ``like`` wants it: on its mesh, if it has one."""
    if not dtype.startswith("key<"):
        array = array if dtype == array.dtype.name else array.view(jnp.dtype(dtype))
    if (sharding := sharding_of(like)) is not None:
        array = devices.put(array, sharding)
    on_device = jnp.asarray(array)
    if dtype.startswith("key<"):
        return jax.random.wrap_key_data(on_device, impl=dtype[4:-1])
    return (
        on_device if on_device.dtype == array.dtype else array
    )  # without x64, float64 stays NumPy's


def sharding_of(like: Any) -> NamedSharding | None:
    sharding = getattr(like, "sharding", None)
    return sharding if isinstance(sharding, NamedSharding) else None


def check_same(path: Any, stored: dict[str, dict], wanted: dict[str, Any]) -> None:
    """Raise :class:`CheckpointError` unless shapes and dtypes are those wanted, with what differs."""
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
            leaf = jax.eval_shape(jax.random.key_data, leaf)
            return list(leaf.shape), f"key<{jax.config.jax_default_prng_impl}>"
        return list(leaf.shape), np.dtype(leaf.dtype).name
    data, dtype = encode(leaf)
    return list(data.shape), dtype


def _is_key(dtype) -> bool:
    return jnp.issubdtype(dtype, jax.dtypes.prng_key)
