"""Sums without loss of precision over very many steps: pairs of floats, pairs of words.

    s + e = a + b exactly,  s = fl(a + b),  v = fl(s - a),  e = (a - (s - v)) + (b - v)

(Knuth, The Art of Computer Programming 2, 4.2.2, theorem B).  A total is a pair (high,
low) with high = fl(high + low), about 48 bits of float32 words: a float32 total alone
ignores what is smaller than 6e-8 of it, so that a sum of ones stops at 2^24.  A count
is two int32 words.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Array

BLOCK_BITS = 30
BLOCK = 2**BLOCK_BITS


class TwoFloat(NamedTuple):
    """An unevaluated sum high + low; both are arrays, or trees of arrays alike."""

    high: Any
    low: Any


def two_sum(a: Array, b: Array) -> TwoFloat:
    """a + b exactly, as the rounded sum and its rounding error."""
    total = a + b
    b_rounded = total - a
    return TwoFloat(total, (a - (total - b_rounded)) + (b - b_rounded))


def add(total: TwoFloat, value: Array, low: Array | float = 0.0) -> TwoFloat:
    """total + (value + low), as a pair; ``low`` is small beside the value."""
    high, error = two_sum(total.high, value)
    error = error + (total.low + low)
    rounded = high + error
    return TwoFloat(rounded, error - (rounded - high))


def subtract(a: TwoFloat, b: TwoFloat) -> Array:
    """a - b as one float, accurate to its rounding if both are close."""
    return (a.high - b.high) + (a.low - b.low)


class Count(NamedTuple):
    """A whole number up to 2^61 in two int32 words: blocks 2^30 + rest."""

    blocks: Array
    rest: Array

    @staticmethod
    def zero() -> "Count":
        return Count(jnp.int32(0), jnp.int32(0))

    def plus_one(self) -> "Count":
        rest = self.rest + 1
        is_full = rest == BLOCK
        return Count(self.blocks + jnp.int32(is_full), jnp.where(is_full, 0, rest))

    def is_zero(self) -> Array:
        return (self.blocks == 0) & (self.rest == 0)

    def is_power(self, exponent: Array) -> Array:
        """Whether the count is 2^exponent."""
        bit = jnp.int32(1) << (exponent % BLOCK_BITS)
        is_small = exponent < BLOCK_BITS
        blocks, rest = jnp.where(is_small, 0, bit), jnp.where(is_small, bit, 0)
        return (self.blocks == blocks) & (self.rest == rest)

    def as_float(self, dtype: Any = jnp.float32) -> Array:
        """The count as a rounded float, accurate enough for a division."""
        return self.blocks.astype(dtype) * BLOCK + self.rest.astype(dtype)

    def value(self) -> Any:
        """int64 of NumPy on the host, exact; inside ``jit`` a rounded float."""
        if checks.is_traced(self):
            return self.as_float()
        return np.int64(self.blocks) * BLOCK + np.int64(self.rest)


def power_of_two(exponent: Array) -> Array:
    """2^exponent as float32, exact."""
    return jnp.ldexp(jnp.float32(1), exponent)


def map_pairs(function: Any, tree: Any, *rest: Any) -> tuple[TwoFloat, ...]:
    """``function`` of the leaves, which returns pairs, as pairs of trees.

    A pair of trees among ``rest`` reaches the function as a pair of leaves.
    """
    leaves, treedef = jax.tree.flatten(tree)
    flatten = treedef.flatten_up_to  # type: ignore[attr-defined]
    unflatten = treedef.unflatten  # type: ignore[attr-defined]
    columns = [leaves]
    for argument in rest:
        if isinstance(argument, TwoFloat):
            parts = (flatten(part) for part in argument)
            columns.append([TwoFloat(*pair) for pair in zip(*parts, strict=True)])
        else:
            columns.append(flatten(argument))
    rows = [function(*row) for row in zip(*columns, strict=True)]
    return tuple(
        TwoFloat(
            unflatten([pair.high for pair in pairs]),
            unflatten([pair.low for pair in pairs]),
        )
        for pairs in zip(*rows, strict=True)
    )
