"""Chains: the only loop over time.

Chain ``c`` takes its step ``t`` with the key ``fold_in(fold_in(key, c), t)``.  So its random numbers depend
neither on how many chains run, nor on the chunks in which they run: 1000 steps are 600 and then 400, bit for
bit, and chain 7 of a million can be run again alone.

``run`` is pure and composes with ``jit``, ``grad`` and ``scan``; :func:`~ebmjax.sampling.sample` runs it from
the host.

Noise is drawn for a block of steps in one operation, each number still from its own chain's key.  The block
fits the cache; :func:`block_length` picks it for everyone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._random import fold_in as fold
from ebmjax._random import once
from ebmjax.base import Array, Info, Kernel, Key, Position, State, add, merge

Collect = Callable[[State, Info], Any]

BLOCK_BYTES = {
    "cpu": 2**18
}  # noise of a block: a quarter of a core's L2 cache, so that it stays there
BLOCK_STEPS = 64


def chain_keys(key: Key, num_chains: int) -> Key:
    """One key a chain, ``[C]``: ``fold_in(key, c)``."""
    key = checks.key(key)
    return jax.vmap(lambda c: fold(key, c))(
        jnp.arange(checks.count(num_chains, "num_chains"))
    )


def position_of(state: State, info: Info) -> Position:
    """What is stored by default: the position."""
    return state.position


class Record(NamedTuple):
    """A step with what is known of it; see :func:`collect_stats`."""

    position: Position
    energy: Array
    info: Info


def collect_stats(state: State, info: Info) -> Record:
    """Store position, energy and info: what diagnostics of the sampler and ``export.to_arviz`` can use."""
    return Record(state.position, state.energy, info)


def discard(state: State, info: Info) -> None:
    """Store nothing; the last state is what is wanted."""


class Reducer(NamedTuple):
    """A running statistic to give as ``collect``: what is stored does not grow with the number of steps.

    See :mod:`ebmjax.diagnostics.streaming`.
    """

    init: Callable[
        [State, Info], Any
    ]  # before any step, for states and infos of these shapes
    update: Callable[[Any, State, Info], Any]  # after one

    def continued(self, reduced: Any) -> "Reducer":
        """The same statistic, going on from what an earlier run returned."""
        return self._replace(init=lambda state, info: reduced)


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
) -> tuple[State, Any, Info]:
    """``num_steps`` steps of a kernel: pure, for use inside ``jit``.

    Args:
      key: one key; for ``parallel(kernel)`` one a chain, ``chain_keys(key, C)``.
      kernel: to step with.
      state: from ``kernel.init``.
      num_steps: a multiple of ``thin``.
      start: steps already taken; the keys go on from there.
      thin: store every ``thin``-th step.
      collect: from ``(state, info)`` to what is stored; or a :class:`Reducer`.
      block: steps whose noise is drawn together; :func:`block_length` by default.

    Returns:
      The last state, what was collected ``[T // thin, ...]`` or reduced, and the infos of all steps, merged.

    Raises:
      TypeError, ValueError: naming the argument; when traced, too.
    """
    key = checks.keys(key)
    checks.instance(state, State, "state", "kernel.init(position)")
    num_steps, thin = checks.count(num_steps, "num_steps"), checks.count(thin, "thin")
    if num_steps % thin:
        raise ValueError(
            f"num_steps must be a multiple of thin, got {num_steps} and thin {thin}"
        )
    block = None if block is None else checks.count(block, "block")
    num_kept = num_steps // thin
    block = block or block_length(kernel, key, state, thin, num_kept)
    fold_in = fold if key.ndim == 0 else jax.vmap(fold, (0, None))
    move = once(lambda noise, state: kernel.move(noise, state))

    def draw(step, position):
        return kernel.draw(fold_in(key, step), position)

    def kept_step(carry, noise):
        state, total, reduced = carry
        if thin == 1:
            state, info = move(noise, state)
        else:
            state, infos = jax.lax.scan(lambda s, n: move(n, s), state, noise)
            info = merge(infos)
        total = add(total, info)
        if isinstance(collect, Reducer):
            return (state, total, collect.update(reduced, state, info)), None
        return (state, total, reduced), collect(state, info)

    def steps(carry, first, length):
        if length * thin == 1:  # no loop within the loop, which would copy the state
            carry, kept = kept_step(carry, draw(first, carry[0].position))
            return carry, jax.tree.map(lambda x: x[None], kept)
        steps = first + jnp.arange(length * thin)
        noise = jax.vmap(draw, (0, None))(steps, carry[0].position)
        if thin > 1:
            noise = jax.tree.map(lambda x: x.reshape(length, thin, *x.shape[1:]), noise)
        return jax.lax.scan(kept_step, carry, noise)

    def block_of_steps(carry, _):
        first, carry = carry
        carry, kept = steps(carry, first, block)
        return (first + block * thin, carry), kept

    num_blocks, rest = divmod(num_kept, block)
    empty = no_info(kernel._replace(move=move), key, state)
    carry = (
        state,
        empty,
        collect.init(state, empty) if isinstance(collect, Reducer) else None,
    )
    begin = (jnp.asarray(start), carry)
    (first, carry), collected = jax.lax.scan(
        block_of_steps, begin, None, length=num_blocks
    )
    collected = jax.tree.map(
        lambda x: x.reshape(num_blocks * block, *x.shape[2:]), collected
    )
    if rest:
        carry, last = steps(carry, first, rest)
        collected = jax.tree.map(lambda *x: jnp.concatenate(x), collected, last)
    state, total, reduced = carry
    total = total._replace(acceptance_rate=total.acceptance_rate / num_kept)
    return state, reduced if isinstance(collect, Reducer) else collected, total


def block_length(
    kernel: Kernel, key: Key, state: State, thin: int, num_kept: int
) -> int:
    """Kept steps whose noise is drawn together: as many as stay in cache, and divide the whole if any do."""
    noise = jax.eval_shape(kernel.draw, key, state.position)
    size = sum(
        x.size
        * (8 if jnp.issubdtype(x.dtype, jax.dtypes.extended) else x.dtype.itemsize)
        for x in jax.tree.leaves(noise)
    )
    budget = BLOCK_BYTES.get(jax.default_backend(), 16 * BLOCK_BYTES["cpu"])
    longest = max(1, min(BLOCK_STEPS, budget // max(size * thin, 1), num_kept))
    divisors = [
        b for b in range(longest, max(longest // 4, 1) - 1, -1) if num_kept % b == 0
    ]
    return divisors[0] if divisors else longest


def no_info(kernel: Kernel, key: Key, state: State) -> Info:
    """Zeros in the shapes of the info of a step."""

    def one(key, state):
        return kernel.move(kernel.draw(key, state.position), state)[1]

    return jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one, key, state)
    )
