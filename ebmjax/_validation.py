"""Checks of arguments before compilation; messages name the argument, what it got and
what it wants.

Only values known on the host can be checked here.  A traced value passes, and bad
values at run time are counted in :class:`~ebmjax.base.Info`.
"""

import inspect
import operator
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PACKAGE = str(Path(__file__).parent)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """A warning that points at the caller's line, the first one outside the library."""
    frame: types.FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def is_traced(value: Any) -> bool:
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(value))


def key(value: Any, name: str = "key") -> jax.Array:
    """One typed PRNG key; a raw ``uint32[2]`` is wrapped, a seed raises."""
    if isinstance(value, jax.Array) and jnp.issubdtype(
        value.dtype, jax.dtypes.prng_key
    ):
        wrapped = value
    elif getattr(value, "dtype", None) == np.uint32 and np.shape(value)[-1:] == (2,):
        wrapped = jax.random.wrap_key_data(jnp.asarray(value), impl="threefry2x32")
    else:
        raise TypeError(
            f"{name} must be a PRNG key, got {describe(value)}; pass jax.random.key(0)"
        )
    if wrapped.shape != ():
        raise ValueError(
            f"{name} must be one key, got {wrapped.size} keys of shape {wrapped.shape}; "
            "the runner derives one for each chain and step"
        )
    return wrapped


def keys(value: Any, name: str = "key") -> jax.Array:
    """PRNG keys, of one chain or of many; raw ones are wrapped, traced ones pass."""
    if jnp.issubdtype(getattr(value, "dtype", np.float32), jax.dtypes.prng_key):
        return value
    return jax.vmap(key)(value) if np.ndim(value) == 2 else key(value, name)


def path(value: Any, name: str) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path, got {describe(value)}")
    return Path(value)


def instance(value: Any, kind: type, name: str, source: str) -> Any:
    """An instance of a type; ``source`` names the package of the type."""
    if not isinstance(value, kind):
        raise TypeError(
            f"{name} must be a {kind.__name__}, of {source}; got {describe(value)}"
        )
    return value


def between(value: Any, name: str) -> None:
    """A number inside (0, 1)."""
    positive(value, name)
    if not is_traced(value) and not np.all(np.asarray(value) < 1):
        raise ValueError(f"{name} must lie in (0, 1), got {value}")


def seed(value: Any, name: str = "seed") -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {describe(value)}")
    if not 0 <= value < 2**32:
        raise ValueError(f"{name} must lie in [0, 2**32), got {value}")
    return int(value)


def function(value: Any, name: str) -> Callable:
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {describe(value)}")
    return value


def keywords(value: Any, wanted: tuple[str, ...], name: str) -> None:
    """A function that can be called with these keywords."""
    function(value, name)
    try:
        inspect.signature(value).bind(**dict.fromkeys(wanted))
    except TypeError as error:
        call = ", ".join(f"{k}=" for k in wanted)
        raise TypeError(f"{name} must be a function {name}({call}): {error}") from None
    except ValueError:  # a builtin without a signature
        return


def one_of(value: Any, name: str, known: Iterable[str]) -> str:
    """One of some names."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    return value


def count(value: Any, name: str, *, least: int = 1) -> int:
    """A whole number, at least ``least``."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be a whole number, got a bool")
    try:
        number = operator.index(value)
    except TypeError:
        message = f"{name} must be a whole number, got {describe(value)}"
        raise TypeError(message) from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def thinned(num_steps: Any, thin: Any) -> tuple[int, int]:
    """Whole numbers, the first a multiple of the second."""
    num_steps, thin = count(num_steps, "num_steps"), count(thin, "thin")
    if num_steps % thin:
        raise ValueError(
            f"num_steps must be a multiple of thin, got {num_steps} and thin {thin}"
        )
    return num_steps, thin


def counts(value: Any, name: str, *, least: int = 1) -> None:
    """Whole numbers in an array, at least ``least``; traced ones pass."""
    if not jnp.issubdtype(value.dtype, jnp.integer):
        raise TypeError(f"{name} must be a whole number, got {describe(value)}")
    if not is_traced(value) and np.any(np.asarray(value) < least):
        raise ValueError(f"{name} must be at least {least}, got {np.min(value)}")


def positive(value: Any, name: str, *, zero: bool = False) -> None:
    """Every number in a tree is finite and above zero (or at least zero)."""
    for leaf in jax.tree.leaves(value):
        if isinstance(leaf, jax.core.Tracer):
            continue
        array = _numbers(leaf, name)
        bad = ~np.isfinite(array) | (array < 0 if zero else array <= 0)
        if bad.any():
            wants = "at least 0" if zero else "above 0"
            raise ValueError(
                f"{name} must be finite and {wants}, got {array[bad].flat[0]!s}"
            )
    if not jax.tree.leaves(value):
        raise TypeError(f"{name} must be a number or an array, got {describe(value)}")


def step_size(value: Any, name: str = "step_size") -> None:
    """Positive numbers, in an array or a tree; or ``Dense``, which checks itself."""
    if not hasattr(value, "matrix"):
        positive(value, name)


def full_rank(value: Any, name: str) -> None:
    """A finite square matrix of full rank; its rows and columns may have any scale."""
    if is_traced(value):
        return
    matrix = _numbers(value, name)
    with np.errstate(divide="ignore", invalid="ignore"):
        balanced = matrix / np.abs(matrix).max(axis=1, keepdims=True)
        balanced = balanced / np.abs(balanced).max(axis=0, keepdims=True)
    rank = 0
    if np.isfinite(balanced).all():
        rank = np.linalg.matrix_rank(balanced)
    if not np.isfinite(matrix).all() or rank < len(matrix):
        raise ValueError(
            f"{name} as a matrix must be finite and of full rank, got rank {rank} of "
            f"{len(matrix)}"
        )


def covariance(value: Any, name: str) -> None:
    """A vector of variances, all positive, or a symmetric positive definite matrix."""
    if is_traced(value):
        return
    array = _numbers(value, name)
    if array.ndim == 1:
        positive(array, name)
        return
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(
            f"{name} must be a vector [D] or a matrix [D, D], got shape {array.shape}"
        )
    if not np.allclose(array, array.T, rtol=1e-5, atol=1e-6 * np.abs(array).max()):
        raise ValueError(
            f"{name} must be symmetric, got a difference of "
            f"{np.abs(array - array.T).max():.3g} from its transpose"
        )
    smallest = np.linalg.eigvalsh(array)[0]
    if not smallest > 0:
        raise ValueError(
            f"{name} must be positive definite, got smallest eigenvalue {smallest:.3g}"
        )


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


def _native(leaf: Any) -> Any:
    """A NumPy array in native byte order, the only one that JAX accepts."""
    if isinstance(leaf, np.ndarray) and not leaf.dtype.isnative:
        return leaf.astype(leaf.dtype.newbyteorder("="))
    return leaf


def parameters(params: Any, name: str = "params") -> None:
    """Trainable parameters: a tree of floating arrays without batch statistics."""
    if isinstance(params, dict) and "batch_stats" in params:
        raise ValueError(
            f"{name} holds batch_stats, which are statistics and not learned: train "
            'variables["params"], and bind the statistics to the energy, lambda params, x: '
            'network.apply({"params": params, "batch_stats": stats}, x)'
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        where = name + jax.tree_util.keystr(path)
        kind = getattr(leaf, "dtype", None)
        if kind is None and not isinstance(leaf, float):
            raise TypeError(
                f"{where} must be a floating array, got {describe(leaf)}; split a module "
                "into arrays and the rest, params, rest = eqx.partition(model, "
                "eqx.is_inexact_array) in Equinox, and combine them in the energy"
            )
        if kind is not None and not jnp.issubdtype(kind, jnp.floating):
            raise TypeError(
                f"{where} must be a floating array, got {describe(leaf)}; keys and counts "
                "are not learned: split them off, graphdef, params, rest = nnx.split("
                "model, nnx.Param, ...) in Flax NNX, and merge them in the energy"
            )


def finite_rows(leaf: Any, where: str) -> None:
    """Raise, naming the rows, if an array holds NaN or infinity."""
    bad = ~(
        np.isfinite(leaf)
        if isinstance(leaf, np.ndarray)
        else np.asarray(jnp.isfinite(leaf))
    )
    if bad.any():
        rows = np.unique(np.nonzero(bad)[0]) if bad.ndim else np.zeros(0, int)
        listed = f" in rows {_few(rows)}" if bad.ndim else ""
        raise ValueError(
            f"{where} must be finite, got {bad.sum()} NaN or infinite values{listed}"
        )


def num_chains(positions: Any, name: str = "positions") -> int:
    """The length of the chain axis, the first of every leaf."""
    shapes = {
        jax.tree_util.keystr(p): np.shape(x)
        for p, x in jax.tree_util.tree_leaves_with_path(positions)
    }
    if any(len(s) == 0 for s in shapes.values()):
        raise ValueError(
            f"{name} must have a leading chain axis [C, ...], got a scalar leaf; for one chain "
            "add an axis: x[None]"
        )
    lengths = {s[0] for s in shapes.values()}
    if len(lengths) > 1:
        raise ValueError(
            f"{name} must have the same number of chains in every leaf, got {shapes}"
        )
    return lengths.pop()


def on_host(values: Any, name: str, instead: str) -> None:
    """Raise if any value is traced: functions that compile and warn cannot run in
    ``jit``."""
    if is_traced(values):
        raise TypeError(
            f"{name} runs from the host and got traced values; inside jit use {instead}"
        )


def describe(value: Any) -> str:
    """A short description of a wrong value."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    if isinstance(value, int | float | str | bool | complex):
        return f"{value!r} ({type(value).__name__})"
    return "None" if value is None else type(value).__name__


def _few(rows) -> str:
    listed = ", ".join(str(r) for r in rows[:5])
    return listed + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")


def _is_integer(leaf, dtype) -> bool:
    return (
        isinstance(leaf, int) if dtype is None else jnp.issubdtype(dtype, jnp.integer)
    )


def _numbers(value, name):
    if jnp.issubdtype(getattr(value, "dtype", np.float32), jax.dtypes.extended):
        raise TypeError(
            f"{name} must be a number or an array of numbers, got {describe(value)}"
        )
    array = np.asarray(value)
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    if array.dtype == bool or not (
        np.issubdtype(array.dtype, np.number)
        or jnp.issubdtype(array.dtype, jnp.floating)
    ):
        raise TypeError(
            f"{name} must be a number or an array of numbers, got {describe(value)}"
        )
    if np.iscomplexobj(array):
        raise TypeError(f"{name} must be real, got {describe(value)}")
    return array.astype(np.float64)


def scalar_step(value: Any, other: str) -> None:
    """With a covariance or a mass the step size must be a scalar."""
    if np.ndim(value) != 0:
        raise ValueError(
            f"step_size must be a scalar when {other} is given, got shape {np.shape(value)}"
        )
