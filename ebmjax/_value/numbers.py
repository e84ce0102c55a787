"""Numbers, the leaves of values: their type, and whether they are equal.

A number becomes an array of the default float type when the value is made, so that
``0.1`` and ``jnp.float32(0.1)`` are the same to ``jit``.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_number(item: Any) -> bool:
    """An array of numbers or keys, of JAX or NumPy, traced or not."""
    if isinstance(item, jax.Array):
        return True
    return isinstance(item, np.ndarray | np.generic) and item.dtype.kind in "biufcV"


def canonical(tree: Any) -> Any:
    """Numbers as arrays without weak types, in the types that JAX would give them."""
    return jax.tree.map(_canonical, tree)


def _canonical(item: Any) -> Any:
    if isinstance(item, jax.Array):
        weak = getattr(item, "weak_type", False) or getattr(
            item.aval, "weak_type", False
        )
        return jnp.asarray(item, item.dtype) if weak else item
    if isinstance(item, bool | int | float | np.ndarray | np.generic):
        array = np.asarray(item)
        if array.dtype.kind in "iu":
            array = array.astype(np.float64)
        return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
    return item


def equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    (x, s), (y, t) = jax.tree.flatten(a), jax.tree.flatten(b)
    if s != t:
        return False
    if any(isinstance(v, jax.core.Tracer) for v in (*x, *y)):
        return all(v is w for v, w in zip(x, y, strict=True))
    return all(_same(v, w) for v, w in zip(x, y, strict=True))


def _same(a: Any, b: Any) -> bool:
    if not (is_number(a) or is_number(b)):
        return bool(a == b)
    if jnp.issubdtype(getattr(a, "dtype", np.float32), jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=False)
