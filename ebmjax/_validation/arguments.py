"""Kinds of arguments: keys, functions, paths, names; how a wrong one is described."""

import inspect
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

PACKAGE = str(Path(__file__).parents[1])


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """A warning that points at the caller's line, the first one outside the library."""
    frame: types.FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level + 1)


def is_traced(value: Any) -> bool:
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(value))


def on_host(values: Any, name: str, instead: str) -> None:
    """Raise if any value is traced: functions that compile and warn cannot run in
    ``jit``."""
    if is_traced(values):
        raise TypeError(
            f"{name} runs from the host and got traced values; inside jit use {instead}"
        )


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
            f"{name} must be one key, got {wrapped.size} keys of shape "
            f"{wrapped.shape}; the runner derives one for each chain and step"
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


def seed(value: Any, name: str = "seed") -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {describe(value)}")
    if not 0 <= value < 2**32:
        raise ValueError(f"{name} must lie in [0, 2**32), got {value}")
    return int(value)


def describe(value: Any) -> str:
    """A short description of a wrong value."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    if isinstance(value, int | float | str | bool | complex):
        return f"{value!r} ({type(value).__name__})"
    return kind_of(value)


def kind_of(value: Any) -> str:
    """The name of its type."""
    return "None" if value is None else type(value).__name__
