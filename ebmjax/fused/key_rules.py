"""Rules of ``jax.random`` for threefry keys, which are held as two words.

They are JAX's own, bit for bit, in the form that does not depend on how many numbers
are drawn together (``jax_threefry_partitionable``, the default).
"""

import math

import jax
import numpy as np

from ebmjax._random import threefry
from ebmjax.fused.entries import NotEntrywise, entries
from ebmjax.fused.program import rule

HASH = 110  # operations of a block of two words


@rule("random_fold_in")
def _fold_in(program, equation, key, data):
    number = data[()] if _is_one(key) and data.ndim == 0 else None
    if number is None:
        raise NotEntrywise("fold_in of many keys is not computed number by number")
    is_known = isinstance(number, np.generic)
    word = np.uint32(int(number) % 2**32) if is_known else number.astype(np.uint32)
    return [entries(_hashed(program, key, word), (2,))]


@rule("random_split")
def _split(program, equation, key):
    shape = tuple(equation.params["shape"])
    words = _blocks(program, key, math.prod(shape))
    return [entries([word for pair in words for word in pair], (*shape, 2))]


@rule("random_bits")
def _bits(program, equation, key):
    shape = tuple(equation.params["shape"])
    if equation.params["bit_width"] != 32:
        raise NotEntrywise("random bits of 32 alone are computed number by number")
    pairs = _blocks(program, key, math.prod(shape))
    return [entries([first ^ second for first, second in pairs], shape)]


def _blocks(program, key, num):
    if not _is_one(key) or not jax.config.jax_threefry_partitionable:
        raise NotEntrywise("numbers of many keys at once are not computed one by one")
    return [_hashed(program, key, np.uint32(i)) for i in range(num)]


def _hashed(program, key, word):
    program.count(HASH)
    return threefry(tuple(key), (np.uint32(0), word))


def _is_one(key) -> bool:
    return key.shape == (2,)
