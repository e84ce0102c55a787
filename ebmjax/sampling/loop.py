"""The loop over steps.

Chain ``c`` takes its step ``t`` with the key ``fold_in(fold_in(key, c), t)``.  So its
random numbers depend neither on how many chains run nor on the chunks in which they
run: 1000 steps are 600 and then 400, bit for bit, and chain 7 of a million can be run
again alone.

``run`` is pure and composes with ``jit``, ``grad``, ``vmap`` and ``scan``;
:func:`~ebmjax.sampling.sample.sample` runs it from the host.  The kernel is an argument
of the program and its numbers are leaves, so that another step size or other parameters
of the same energy compile nothing.

Noise is drawn for a block of steps in one operation, each number still from its own
chain's key.  :func:`~ebmjax.sampling.blocks.block_length` picks blocks that stay in
cache.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._random import fold_in as fold
from ebmjax._random import fold_on_host, once
from ebmjax._value import as_function
from ebmjax.base import (
    Array,
    Info,
    Kernel,
    Key,
    State,
    add,
    draw_noise,
    merge,
    shapes_of,
)
from ebmjax.kernels.free_coordinates import wrapping
from ebmjax.sampling.blocks import block_length, unrolled
from ebmjax.sampling.collect import Collect, Reducer, position_of


def chain_keys(key: Key, num_chains: int) -> Key:
    """One key a chain, ``[C]``: ``fold_in(key, c)``."""
    key = checks.key(key)
    chains = np.arange(checks.count(num_chains, "num_chains"), dtype=np.uint32)
    keys = fold_on_host(key, chains)
    return jax.vmap(lambda c: fold(key, c))(chains) if keys is None else keys


class Run(NamedTuple):
    """What :func:`run` returns."""

    state: State  # the last state
    draws: Any  # [T // thin, ...] what was collected; or what was reduced
    info: Info  # of all steps, merged


def run(
    key: Key,
    kernel: Kernel,
    state: State,
    num_steps: int,
    *,
    start: int | Array = 0,
    thin: int = 1,
    collect: Collect | Reducer = position_of,
    block: int | None = None,
) -> Run:
    """``num_steps`` steps of a kernel: pure, for use inside ``jit``.

    Args:
      key: one key; for ``parallel(kernel)`` one a chain, ``chain_keys(key, C)``.
      kernel: to step with.
      state: from ``kernel.init``.
      num_steps: a multiple of ``thin``.
      start: steps already taken; the keys go on from there.
      thin: store every ``thin``-th step.
      collect: from ``(state, info)`` to what is stored; or a :class:`Reducer`.
      block: steps whose noise is drawn together;
        :func:`~ebmjax.sampling.blocks.block_length` by default.

    Returns:
      :class:`Run`, the state, what was collected, the infos merged.

    Raises:
      TypeError, ValueError: naming the argument; when traced, too.

    >>> kernel = mala(lambda x: 0.5 * jnp.sum(x**2), 0.5)
    >>> found = run(jax.random.key(0), kernel, kernel.init(jnp.zeros(2)), 100)
    >>> found.draws.shape
    (100, 2)
    """
    key = checks.keys(key)
    checks.instance(kernel, Kernel, "kernel", "this library or from_blackjax")
    checks.instance(state, State, "state", "kernel.init(position)")
    num_steps, thin = checks.thinned(num_steps, thin)
    block = None if block is None else checks.count(block, "block")
    collect = as_function(collect, "collect") if callable(collect) else collect
    arguments = key, kernel, state, start, collect
    steps = _run if checks.is_traced(arguments) else _run_jit
    return steps(*arguments, num_steps=num_steps, thin=thin, block=block)


def _run(key, kernel, state, start, collect, *, num_steps, thin, block) -> Run:
    num_kept = num_steps // thin
    shapes = shapes_of(state.position)
    longest = block_length(kernel, key, state, thin, num_kept)
    block = block or longest
    fold_in = fold if key.ndim == 0 else jax.vmap(fold, (0, None))
    wrap = wrapping(kernel)

    @once
    def move(noise, state):
        state, info = kernel.move(noise, state)
        return wrap(state), info

    def draw(step):
        return draw_noise(kernel, fold_in(key, step), shapes)

    begin = jnp.asarray(start)
    noise = jax.eval_shape(draw, begin)
    num_unrolled = unrolled(move, noise, state) if thin == 1 else 1
    kept_step = _kept_step(move, collect, thin)
    averaged_steps = _averaged(_steps(draw, kept_step, thin, num_unrolled))

    def block_of_steps(carry, _):
        first, carry = carry
        num_before = (first - begin) // thin
        carry, kept = averaged_steps(carry, first, block, num_before)
        return (first + block * thin, carry), kept

    num_blocks, rest = divmod(num_kept, block)
    # of the functions that run, so that the kernel is traced once
    empty = zeros_like_shapes(jax.eval_shape(move, noise, state)[1])
    is_reducing = isinstance(collect, Reducer)
    carry = (state, empty, collect.init(state, empty) if is_reducing else None)
    (first, carry), kept = jax.lax.scan(
        block_of_steps, (begin, carry), None, length=num_blocks
    )
    merged = lambda x: x.reshape(num_blocks * block, *x.shape[2:])
    kept = jax.tree.map(merged, kept)
    if rest:
        carry, last = averaged_steps(carry, first, rest, num_blocks * block)
        kept = jax.tree.map(lambda *x: jnp.concatenate(x), kept, last)
    state, total, reduced = carry
    return Run(state, reduced if is_reducing else kept, total)


def _kept_step(move, collect, thin):
    """``thin`` steps, of which the last is kept; the carry is the state, the total of
    the infos, and what is reduced."""

    def kept_step(carry, noise):
        state, total, reduced = carry
        if thin == 1:
            state, info = move(noise, state)
        else:
            step = lambda state, noise: move(noise, state)
            state, infos = jax.lax.scan(step, state, noise, length=thin)
            info = merge(infos)
        total = add(total, info)
        if isinstance(collect, Reducer):
            return (state, total, collect.update(reduced, state, info)), None
        return (state, total, reduced), collect(state, info)

    return kept_step


def _steps(draw, kept_step, thin, num_unrolled):
    """A block of ``length`` kept steps from step ``first`` on, its noise drawn
    together."""

    def steps(carry, first, length):
        if length * thin == 1:  # no loop within the loop, which would copy the state
            carry, kept = kept_step(carry, draw(first))
            return carry, jax.tree.map(lambda x: x[None], kept)
        noise = jax.vmap(draw)(first + jnp.arange(length * thin))
        if thin > 1:
            split = lambda x: x.reshape(length, thin, *x.shape[1:])
            noise = jax.tree.map(split, noise)
        return jax.lax.scan(
            kept_step, carry, noise, length=length, unroll=min(num_unrolled, length)
        )

    return steps


def _averaged(steps):
    """The same, with a running mean of the acceptance rate over ``num_before`` earlier
    steps and these: sums over many blocks would lose digits in float32."""

    def averaged_steps(carry, first, length, num_before):
        state, total, reduced = carry
        mean = total.acceptance_rate
        total = total._replace(acceptance_rate=jnp.zeros_like(mean))
        (state, total, reduced), kept = steps((state, total, reduced), first, length)
        num = jnp.asarray(num_before + length, mean.dtype)
        gain = (total.acceptance_rate - length * mean) / num
        total = total._replace(acceptance_rate=(mean + gain).astype(mean.dtype))
        return (state, total, reduced), kept

    return averaged_steps


_run_jit = functools.partial(jax.jit, static_argnames=("num_steps", "thin", "block"))(
    _run
)


def no_info(kernel: Kernel, key: Key, state: State) -> Info:
    """Zeros in the shapes of the info of a step."""
    shapes = shapes_of(state.position)

    def one(key, state):
        return kernel.move(draw_noise(kernel, key, shapes), state)[1]

    return zeros_like_shapes(jax.eval_shape(one, key, state))


def zeros_like_shapes(shapes: Any) -> Any:
    """Zeros of these shapes and types."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
