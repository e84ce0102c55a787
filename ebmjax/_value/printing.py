"""Printed forms: one line for any content of a value."""

import functools
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax._value.functions import Partial, unfold
from ebmjax._value.numbers import is_number
from ebmjax._value.structure import Static

SHOWN = 8  # numbers of an array that are printed


def show(item: Any) -> str:
    """One line for any content of a value."""
    if isinstance(item, jax.core.Tracer):
        return f"{item.dtype}{list(item.shape)}"
    if is_number(item):
        return _show_array(item)
    if isinstance(item, Static):
        return show(item.item)
    if isinstance(item, functools.partial):
        return show(unfold(item))
    if isinstance(item, Partial | jax.tree_util.Partial):
        inner = [show(x) for x in item.args]
        inner += [f"{k}={show(x)}" for k, x in item.keywords.items()]
        return f"partial({', '.join([show(item.func), *inner])})"
    if isinstance(item, types.MethodType):
        return f"{show(item.__self__)}.{item.__name__}"
    if isinstance(item, types.FunctionType | types.BuiltinFunctionType | type):
        return item.__qualname__.rpartition("<locals>.")[2]
    if type(item) in (dict, list, tuple) or hasattr(item, "_fields"):
        leaves = jax.tree.leaves(item)
        total = sum(np.size(x) for x in leaves if is_number(x))
        if total > SHOWN:
            return f"<{len(leaves)} arrays, {total:,} numbers>"
        if isinstance(item, dict):
            return "{" + ", ".join(f"{k!r}: {show(x)}" for k, x in item.items()) + "}"
        inner = ", ".join(show(x) for x in item)  # type: ignore[assignment]
        if isinstance(item, list):
            return f"[{inner}]"
        if hasattr(item, "_fields"):
            pairs = zip(item._fields, item, strict=True)
            fields = ", ".join(f"{k}={show(x)}" for k, x in pairs)
            return f"{type(item).__name__}({fields})"
        return f"({inner},)" if len(item) == 1 else f"({inner})"
    text = " ".join(repr(item).split())
    return text if len(text) <= 120 else f"<{type(item).__name__}>"


def _show_array(item: Any) -> str:
    if jnp.issubdtype(item.dtype, jax.dtypes.prng_key) or np.size(item) > SHOWN:
        return f"<{item.dtype}{list(np.shape(item))}>"
    array = np.asarray(item)
    if array.ndim == 0:
        return str(array)
    numbers = " ".join(np.array2string(array, separator=", ").split())
    return f"array({numbers})"
