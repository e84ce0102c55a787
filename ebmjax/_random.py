"""The random numbers of a step: Threefry-2x32 with 20 rounds (Salmon et al. 2011), in a
form that XLA fuses.

A key defines 2^64 blocks of two words each, ``threefry(key, (high, low))``.  The hash
is JAX's, bit for bit, so keys, ``split`` and ``fold_in`` are those of JAX.  The numbers
differ, because JAX uses one of the two words and calls the hash in a loop, while this
module uses both words, in one fused expression.

    normal       +-sqrt(2) erf^-1(1 - u),  u in (0, 1] from 31 bits of a word, the sign
                 from its last bit
    exponential  -log u

The tail comes from ``u`` near 0, where float32 has a fine resolution: it reaches 6.3
standard deviations (5.4 in JAX's float32), and no number is infinite.  erf^-1 is that
of Giles (2010, "Approximating the erfinv function", single precision), in
``w = -log(u (2 - u))``.  His fit ends at w = 16, 5.4 standard deviations; beyond it is
extrapolated, with an error of at most 2.5e-3 at 6.3.  The logarithm in ``w`` is a
polynomial with a small absolute error, which is all that erf^-1 needs; XLA's logarithm
took a third of the time of a number.

Functions of a step's key use blocks with ``high = 0``, as in JAX.  The accept step uses
a separate block, ``high = 2^32 - 1``, so it needs no split.  Keys of other
implementations fall back to ``jax.random``.

Where the numbers shall be those of ``jax.random``: :mod:`ebmjax._inlined`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
ACCEPT = 0xFFFFFFFF  # the high word of the block that decides on acceptance

_CENTRE: tuple[float, ...] = (
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
)
_CENTRE += (-0.00125372503, -0.00417768164, 0.246640727, 1.50140941)
_TAIL: tuple[float, ...] = (
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
)
_TAIL += (-0.0076224613, 0.00943887047, 1.00167406, 2.83297682)
# log(1 + f) / f on [sqrt(1/2) - 1, sqrt(2) - 1]; minimax, error of the logarithm 3.4e-8
_LOG: tuple[float, ...] = (-0.101022296, 0.164199874, -0.173334658, 0.198730469)
_LOG += (-0.249593437, 0.333361834, -0.500006676, 0.999999821)


once = jax.jit  # traced once, and called wherever it is used


@once
def threefry(
    key: tuple[Any, Any], counter: tuple[Any, Any]
) -> tuple[jax.Array, jax.Array]:
    """Two words from two words and a key of two, all uint32 and broadcast."""
    keys = (*key, key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for i in range(5):
        for r in ROTATIONS[i % 2]:
            x = x + y
            y = ((y << np.uint32(r)) | (y >> np.uint32(32 - r))) ^ x
        x, y = x + keys[(i + 1) % 3], y + keys[(i + 2) % 3] + np.uint32(i + 1)
    return x, y


def fold_in(key: jax.Array, data: Any) -> jax.Array:
    """``jax.random.fold_in``, bit for bit, without its loop."""
    words = words_of(key)
    if words is None:
        return jax.random.fold_in(key, data)
    first, second = threefry(
        words, (jnp.uint32(0), jnp.asarray(data).astype(jnp.uint32))
    )
    # XLA computes the hash again for each part of a concatenation, in code of its own
    folded = jnp.where(np.array([True, False]), first, second)
    is_typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return jax.random.wrap_key_data(folded, impl="threefry2x32") if is_typed else folded


def split(key: jax.Array, num: int = 2) -> jax.Array:
    """``jax.random.split``, bit for bit, without its loop."""
    return jax.random.split(key, num) if is_foreign(key) else fold_in_each(key, num)


def fold_on_host(key: jax.Array, data: np.ndarray) -> jax.Array | None:
    """``fold_in`` of one concrete key and each of the data, in NumPy: nothing is
    compiled.  ``None`` for traced keys and other implementations."""
    if isinstance(key, jax.core.Tracer) or not key.is_fully_addressable:
        return None
    if str(jax.random.key_impl(key)) != "threefry2x32":
        return None
    with jax.ensure_compile_time_eval():  # also where a function that uses it is traced
        words = np.asarray(jax.random.key_data(key)).reshape(2, 1)
    high = np.zeros(len(data), np.uint32)
    on_host = threefry.__wrapped__  # type: ignore[attr-defined]
    folded = np.stack(on_host(words, (high, data.astype(np.uint32))), axis=1)
    return jax.random.wrap_key_data(
        folded,  # type: ignore[arg-type]
        impl="threefry2x32",
    )


def fold_in_each(key: jax.Array, num: int) -> jax.Array:
    """``fold_in(key, i)`` for i below ``num``, ``[num]`` keys, in one expression."""
    return jax.vmap(fold_in, (None, 0))(key, jnp.arange(num))


def normal(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Standard normal numbers; float32 and narrower types use both words of each
    block."""
    size = math.prod(shape)
    if words_of(key) is None or jnp.finfo(dtype).bits > 32 or size >= 2**32:
        return jax.random.normal(key, shape, dtype)
    return normal_of(bits(key, size)).reshape(shape).astype(dtype)


def bits(key: jax.Array, size: int) -> jax.Array:
    """Random words, ``[size]`` uint32: both of each block."""
    words = words_of(key)
    if words is None:
        return jax.random.bits(key, (size,))
    num_blocks = (size + 1) // 2
    low = jnp.arange(num_blocks, dtype=jnp.uint32)
    first, second = threefry(words, (jnp.uint32(0), low))
    # a slice of the whole would take ten times as long on a CPU: XLA fuses it into
    # the hash, which then has no vector instructions
    return jnp.concatenate([first, second[: size - num_blocks]])


def uniform(key: jax.Array) -> jax.Array:
    """One number in (0, 1]."""
    return unit(bits(key, 1)[0])


def accept_noise(key: jax.Array) -> jax.Array:
    """One exponential number, from a block that no other function of the key uses."""
    return exponential(key, 0)


def exponential(key: jax.Array, number: Any) -> jax.Array:
    """An exponential number, the first or another, from the blocks of the accept
    step."""
    words, number = words_of(key), jnp.asarray(number).astype(jnp.uint32)
    if words is None:
        key = jax.random.fold_in(jax.random.fold_in(key, ACCEPT), number)
        return jax.random.exponential(key)
    return -jnp.log(unit(threefry(words, (np.uint32(ACCEPT), number))[0]))


def unit(bits: jax.Array) -> jax.Array:
    """(k + 1/2) / 2^31 of the upper 31 bits k, in float32: more than 0, at most 1."""
    k = (bits >> np.uint32(1)).astype(jnp.int32)
    return (k.astype(jnp.float32) + np.float32(0.5)) * np.float32(2.0**-31)


@once
def normal_of(bits: jax.Array) -> jax.Array:
    """A standard normal number of each word."""
    u = unit(bits)
    w = -_log(u * (2.0 - u))
    is_centre = w < 5.0
    v = jnp.where(is_centre, w - 2.5, jnp.sqrt(jnp.maximum(w, 5.0)) - 3.0)
    p = jnp.where(is_centre, np.float32(_CENTRE[0]), np.float32(_TAIL[0]))
    for centre, tail in zip(_CENTRE[1:], _TAIL[1:], strict=True):
        p = jnp.where(is_centre, np.float32(centre), np.float32(tail)) + p * v
    sign = jnp.where(
        (bits & np.uint32(1)) == 0, np.float32(math.sqrt(2)), np.float32(-math.sqrt(2))
    )
    return sign * p * (1.0 - u)


def _log(x):
    """log x in float32 for normal x; absolute error 1e-7 near 1, else rounding
    error."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)
    exponent = (
        bits - np.int32(0x3F3504F3)
    ) >> 23  # x = 2^exponent m, with m from sqrt(1/2) to sqrt(2)
    f = jax.lax.bitcast_convert_type(bits - (exponent << 23), jnp.float32) - 1.0
    p = jnp.full_like(f, np.float32(_LOG[0]))
    for c in _LOG[1:]:
        p = np.float32(c) + p * f
    return exponent.astype(jnp.float32) * np.float32(math.log(2)) + f * p


def is_foreign(key):
    """Whether it is not a threefry key of the default form."""
    is_default = getattr(jax.config, "jax_threefry_partitionable", True)
    return words_of(key) is None or not is_default


def words_of(key):
    """The two words of a threefry key, typed or raw; ``None`` for any other, and for
    several keys.  A raw key of two words is taken for one of threefry."""
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        if str(jax.random.key_impl(key)) != "threefry2x32" or key.shape:
            return None
        key = jax.random.key_data(key)
    elif key.shape != (2,):
        return None
    return key[0], key[1]
