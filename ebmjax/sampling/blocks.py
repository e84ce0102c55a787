"""How many steps share a draw of noise, and how many the body of a loop."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax._jaxpr import num_equations
from ebmjax._value import show
from ebmjax.base import READS_VALUES, Kernel, Key, State, draw_noise, shapes_of

# bytes of the noise of a block: a quarter of a core's L2 cache
BLOCK_BYTES = {"cpu": 2**18}
BLOCK_STEPS = 64
# equations of the body of a loop on a GPU, where a turn costs three launches of its own
# and elementwise operations of neighbouring steps fuse
BODY_EQUATIONS, MOST_UNROLLED = 1500, 8


def block_length(
    kernel: Kernel, key: Key, state: State, thin: int, num_kept: int
) -> int:
    """Kept steps whose noise is drawn together: as many as stay in cache, and divide
    the whole if any do."""
    shapes = shapes_of(state.position)
    draw = lambda key: draw_noise(kernel, key, shapes)
    program, noise = jax.make_jaxpr(draw, return_shape=True)(key)
    if any(isinstance(x, jax.ShapeDtypeStruct) for x in program.consts):
        raise TypeError(READS_VALUES.format(show(kernel)))
    size = sum(x.size * _bytes(x.dtype) for x in jax.tree.leaves(noise))
    budget = BLOCK_BYTES.get(jax.default_backend(), 16 * BLOCK_BYTES["cpu"])
    longest = max(1, min(BLOCK_STEPS, budget // max(size * thin, 1), num_kept))
    least = max(longest // 4, 1)
    divisors = [b for b in range(longest, least - 1, -1) if num_kept % b == 0]
    return divisors[0] if divisors else longest


def unrolled(move: Callable, noise: Any, state: State) -> int:
    """Steps in the body of the loop: one, except on a GPU."""
    if jax.default_backend() != "gpu":
        return 1
    size = num_equations(jax.make_jaxpr(move)(noise, state).jaxpr)
    most = min(MOST_UNROLLED, BODY_EQUATIONS // max(size, 1))
    return 1 << max(most.bit_length() - 1, 0)  # a power of two divides most blocks


def _bytes(dtype) -> int:
    return 8 if jnp.issubdtype(dtype, jax.dtypes.extended) else dtype.itemsize
