"""Trees of arrays: positions with a chain axis, parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax._validation.arguments import describe, warn


def position(value: Any, name: str = "positions") -> Any:
    """A tree of floating arrays, none empty, all finite; returned as JAX arrays."""
    leaves = jax.tree_util.tree_leaves_with_path(value)
    if not leaves:
        raise TypeError(
            f"{name} must be an array or a tree of arrays, got {describe(value)}"
        )
    for path, leaf in leaves:
        where = name + jax.tree_util.keystr(path)
        dtype = getattr(leaf, "dtype", None)
        if dtype is None and isinstance(leaf, float):
            dtype = np.dtype(np.float32)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            suggestion = "; use .astype('float32')" if _is_integer(leaf, dtype) else ""
            raise TypeError(
                f"{where} must be floating, got {describe(leaf)}{suggestion}"
            )
        if np.size(leaf) == 0:
            raise ValueError(f"{where} must not be empty, got shape {np.shape(leaf)}")
        if dtype == np.float64 and not jax.config.read("jax_enable_x64"):
            warn(f"{where} is float64 and becomes float32: x64 is off (jax_enable_x64)")
        if not isinstance(leaf, jax.core.Tracer):
            finite_rows(leaf, where)
    return jax.tree.map(lambda leaf: jnp.asarray(_native(leaf)), value)


def parameters(params: Any, name: str = "params") -> None:
    """Trainable parameters: a tree of floating arrays without batch statistics."""
    if isinstance(params, dict) and "batch_stats" in params:
        raise ValueError(
            f"{name} holds batch_stats, which are statistics and not learned: train "
            'variables["params"], and bind the statistics to the energy, '
            'lambda params, x: network.apply({"params": params, '
            '"batch_stats": stats}, x)'
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        where = name + jax.tree_util.keystr(path)
        kind = getattr(leaf, "dtype", None)
        if kind is None and not isinstance(leaf, float):
            raise TypeError(
                f"{where} must be a floating array, got {describe(leaf)}; split a "
                "module into arrays and the rest, params, rest = eqx.partition(model, "
                "eqx.is_inexact_array) in Equinox, and combine them in the energy"
            )
        if kind is not None and not jnp.issubdtype(kind, jnp.floating):
            raise TypeError(
                f"{where} must be a floating array, got {describe(leaf)}; keys and "
                "counts are not learned: split them off, graphdef, params, rest = "
                "nnx.split(model, nnx.Param, ...) in Flax NNX, and merge them in the "
                "energy"
            )


def finite_rows(leaf: Any, where: str) -> None:
    """Raise, naming the rows, if an array holds NaN or infinity."""
    bad = ~(
        np.isfinite(np.asarray(leaf))
        if _is_on_host(leaf)
        else np.asarray(jnp.isfinite(leaf))
    )
    if bad.any():
        rows = np.unique(np.nonzero(bad)[0]) if bad.ndim else np.zeros(0, int)
        listed = f" in rows {_few(rows)}" if bad.ndim else ""
        raise ValueError(
            f"{where} must be finite, got {bad.sum()} NaN or infinite values{listed}"
        )


def _is_on_host(leaf: Any) -> bool:
    """Whether NumPy can read it without a copy, so that nothing is compiled."""
    if not isinstance(leaf, jax.Array):
        return isinstance(leaf, np.ndarray)
    kinds = {device.platform for device in leaf.devices()}
    return kinds == {"cpu"} and leaf.is_fully_addressable


def num_chains(positions: Any, name: str = "positions") -> int:
    """The length of the chain axis, the first of every leaf."""
    shapes = {
        jax.tree_util.keystr(p): np.shape(x)
        for p, x in jax.tree_util.tree_leaves_with_path(positions)
    }
    if any(len(s) == 0 for s in shapes.values()):
        raise ValueError(
            f"{name} must have a leading chain axis [C, ...], got a scalar leaf; for "
            "one chain add an axis: x[None]"
        )
    lengths = {s[0] for s in shapes.values()}
    if len(lengths) > 1:
        raise ValueError(
            f"{name} must have the same number of chains in every leaf, got {shapes}"
        )
    return lengths.pop()


def _native(leaf: Any) -> Any:
    """A NumPy array in native byte order, the only one that JAX accepts."""
    if isinstance(leaf, np.ndarray) and not leaf.dtype.isnative:
        return leaf.astype(leaf.dtype.newbyteorder("="))
    return leaf


def _is_integer(leaf, dtype) -> bool:
    return (
        isinstance(leaf, int) if dtype is None else jnp.issubdtype(dtype, jnp.integer)
    )


def _few(rows) -> str:
    listed = ", ".join(str(r) for r in rows[:5])
    return listed + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
