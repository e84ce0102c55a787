"""Helpers of running statistics: checks of values, sums relative to a first value."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Array
from ebmjax.diagnostics import _two_float as two
from ebmjax.diagnostics._two_float import Count, TwoFloat


def value_shapes(value_fn, state, info):
    value = jax.eval_shape(lambda *step: value_fn(*step), state, info)
    if not jax.tree.leaves(value):
        raise TypeError("value_fn must return floating arrays [C, ...], got none")
    for leaf in jax.tree.leaves(value):
        if not jnp.issubdtype(leaf.dtype, jnp.floating) or not leaf.shape:
            raise TypeError(
                "value_fn must return floating arrays [C, ...], got "
                f"{checks.describe(leaf)}"
            )
    return value


def with_origin(value, origin, steps: Count):
    """The value in the dtype of the sums, and the first value."""
    value = jax.tree.map(lambda x, o: x.astype(o.dtype), value, origin)
    is_first = steps.is_zero()
    return value, jax.tree.map(lambda x, o: jnp.where(is_first, x, o), value, origin)


def zeros(x, *leading):
    return jnp.zeros((*leading, *x.shape), jnp.promote_types(x.dtype, jnp.float32))


def as_float(sums) -> Array:
    return sums.steps.as_float()


def total_of(*parts):
    """A sum of parts of decreasing size, in float64 on the host."""
    if checks.is_traced(parts):
        return functools.reduce(jnp.add, parts[::-1])
    return np.sum([np.asarray(part, np.float64) for part in parts], axis=0)


def relative_to_first(origin, high, low, first_high, first_low):
    """origin + high + low minus that of the first chain, without the common digits."""
    apart = two.two_sum(origin, -origin[:1])
    total = two.add(apart, high, low)
    return two.subtract(total, TwoFloat(first_high[:1], first_low[:1]))
