"""The numbers of ``jax.random``, bit for bit, without the loop of its hash, which costs
time in each step of a chain and to compile.

    jax.random.logistic(inlined(key), shape)

Not for one key that many parts of a program use: XLA repeats the hash in each of them.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl

from ebmjax._random import is_foreign, threefry, words_of


def inlined(key: jax.Array) -> jax.Array:
    """The key for a call of ``jax.random``: the same numbers, bit for bit, without
    JAX's loop.  Not to be returned, and not for functions of a user."""
    if is_foreign(key):
        return key
    return jax.random.wrap_key_data(jnp.stack(words_of(key)), impl=_INLINED)


def _bits_of_jax(words, bit_width, shape):
    """What ``jax.random.bits`` makes of the two words of a key: a block a number, its
    words xored."""
    size = math.prod(shape)
    is_symbolic = not isinstance(size, int | np.integer)  # of jax.export
    if is_symbolic or size >= 2**32 or bit_width > 32:
        key = jax.random.wrap_key_data(words, impl="threefry2x32")
        return jax.random.bits(key, shape, f"uint{bit_width}")
    low = jax.lax.iota(np.uint32, size).reshape(shape)
    first, second = threefry((words[0], words[1]), (np.uint32(0), low))
    return (first ^ second).astype(f"uint{bit_width}")


def _split_words(words, shape):
    low = jax.lax.iota(np.uint32, math.prod(shape)).reshape(*shape, 1)
    return jnp.where(
        np.array([True, False]), *threefry((words[0], words[1]), (np.uint32(0), low))
    )


def _refuse(*arguments):
    raise TypeError("an inlined key is for one call of jax.random")


_INLINED = define_prng_impl(
    key_shape=(2,),
    seed=_refuse,
    split=_split_words,
    random_bits=_bits_of_jax,
    fold_in=_refuse,
    name="inlined threefry2x32",
    tag="inlined",
)
