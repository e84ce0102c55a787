"""Arrays held as NumPy arrays of their numbers.

An entry is a constant (a NumPy scalar), a scalar that is the same for all chains, or a
row ``[B]`` of one number per chain.  A key is held as its two words.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Entries = np.ndarray  # of dtype object


class NotEntrywise(TypeError):
    """A primitive that cannot be computed number by number, or a program too large."""


def entries(items: Sequence[Any], shape: tuple[int, ...]) -> Entries:
    """Numbers as an array of a shape."""
    result = np.empty(len(items), object)
    for i, item in enumerate(items):
        result[i] = item
    return result.reshape(shape)


def scalar(x: Any) -> Entries:
    """One number as an array of shape ``()``."""
    return entries([x], ())


def filled(x: Any, shape: tuple[int, ...]) -> Entries:
    """An array with the same number everywhere."""
    return entries([x] * math.prod(shape), shape)


def constant(x: Any, aval: Any) -> Entries:
    """A constant of a jaxpr."""
    if isinstance(x, jax.core.Tracer):
        raise NotEntrywise(
            f"an array {aval.str_short()} that is being traced is in a closure of the "
            "energy; make it an argument, with jax.tree_util.Partial"
        )
    if jnp.issubdtype(aval.dtype, jax.dtypes.prng_key):
        x = np.asarray(jax.random.key_data(x))
    else:
        x = np.asarray(x, aval.dtype)
    return entries(list(x.ravel()), x.shape)


def as_array(x: Entries, dtype: Any) -> np.ndarray:
    """A constant as an ordinary array."""
    return np.array(list(x.flat), dtype).reshape(x.shape)


def taken(flat: Entries, where: np.ndarray) -> Entries:
    """The entries at these places, also if it is one."""
    return flat[where.ravel()].reshape((*where.shape, *flat.shape[1:]))


def broadcast(xs: Sequence[Any], shape: tuple[int, ...] | None = None) -> list[Any]:
    """Numbers and rows in one shape."""
    if shape is None:
        shape = max((x.shape for x in xs), key=len)
    return [x if x.shape == shape else jax.lax.broadcast(x, shape) for x in xs]


def row(x: Any, dtype: Any, shape: tuple[int, ...]) -> Any:
    """A number or a row as a row of this type."""
    if isinstance(x, np.generic):
        x = np.dtype(dtype).type(x)
    elif x.dtype != dtype:
        x = x.astype(dtype)
    return broadcast([x], shape)[0]


def flattened(
    arrays: Sequence[Entries], rows: tuple[int, ...]
) -> tuple[list[Any], Callable[[Sequence[Any]], list[Entries]]]:
    """The entries of arrays as a list of rows, booleans as int32, and what makes arrays
    of such a list."""
    shapes = [x.shape for x in arrays]
    ends = np.cumsum([0, *(x.size for x in arrays)])
    numbers = [x for array in arrays for x in array.flat]
    is_bool = [x.dtype == bool for x in numbers]
    flat = [
        row(x, jnp.int32 if b else x.dtype, rows)
        for x, b in zip(numbers, is_bool, strict=True)
    ]

    def rebuild(flat):
        numbers = [x != 0 if b else x for x, b in zip(flat, is_bool, strict=True)]
        return [
            entries(numbers[a:b], shape)
            for a, b, shape in zip(ends[:-1], ends[1:], shapes, strict=True)
        ]

    return flat, rebuild


def flattened_like(arrays: Sequence[Entries], flat: Sequence[Any]) -> list[Any]:
    """As :func:`flattened`, in the types of an earlier list."""
    numbers = [x for array in arrays for x in array.flat]
    return [row(x, y.dtype, y.shape) for x, y in zip(numbers, flat, strict=True)]
