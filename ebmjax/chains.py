"""Chains: the only loop over time, and the runner around it.

Chain ``c`` takes its step ``t`` with the key ``fold_in(fold_in(key, c), t)``.  So its random numbers depend
neither on how many chains run, nor on the chunks in which they run: 1000 steps are 600 and then 400, bit for
bit, and chain 7 of a million can be run again alone.

``run`` is pure and composes with ``jit``, ``grad`` and ``scan``.  ``sample`` is what a user calls: it
compiles, runs in chunks so that progress and Ctrl-C live between them, and says so when a chain is frozen.

Noise is drawn for a block of steps in one operation, each number still from its own chain's key.  The block
fits the cache; :func:`block_length` picks it for everyone.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import checks
from ebmjax.base import Array, Info, Kernel, Key, Position, State, add, merge
from ebmjax.combinators import parallel
from ebmjax.progress import Progress, reporter

Collect = Callable[[State, Info], Any]

BLOCK_BYTES = {"cpu": 2**18}  # noise of a block: a quarter of a core's L2 cache, so that it stays there
BLOCK_STEPS = 64


def chain_keys(key: Key, num_chains: int) -> Key:
    """One key a chain, ``[C]``: ``fold_in(key, c)``."""
    return jax.vmap(lambda c: jax.random.fold_in(key, c))(jnp.arange(num_chains))


def position_of(state: State, info: Info) -> Position:
    """What is stored by default: the position."""
    return state.position


def nothing(state: State, info: Info) -> None:
    """Store nothing; the last state is what is wanted."""


def run(
    key: Key,
    kernel: Kernel,
    state: State,
    num_steps: int,
    *,
    start: int | Array = 0,
    thin: int = 1,
    collect: Collect = position_of,
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
      collect: from ``(state, info)`` to what is stored.
      block: steps whose noise is drawn together; :func:`block_length` by default.

    Returns:
      The last state, what was collected ``[T // thin, ...]``, and the infos of all steps, merged.
    """
    num_kept = num_steps // thin
    block = block or block_length(kernel, key, state, thin, num_kept)
    fold_in = jax.random.fold_in if key.ndim == 0 else jax.vmap(jax.random.fold_in, (0, None))

    def draw(step, position):
        return kernel.draw(fold_in(key, step), position)

    def kept_step(carry, noise):
        state, total = carry
        state, infos = jax.lax.scan(lambda s, n: kernel.move(n, s), state, noise)
        info = merge(infos)
        total = add(total, info)
        return (state, total), collect(state, info)

    def steps(carry, first, length):
        steps = first + jnp.arange(length * thin)
        noise = jax.vmap(draw, (0, None))(steps, carry[0].position)
        noise = jax.tree.map(lambda x: x.reshape(length, thin, *x.shape[1:]), noise)
        return jax.lax.scan(kept_step, carry, noise)

    num_blocks, rest = divmod(num_kept, block)
    firsts = start + block * thin * jnp.arange(num_blocks)
    carry = (state, _no_info(kernel, key, state, fold_in))
    carry, collected = jax.lax.scan(lambda c, first: steps(c, first, block), carry, firsts)
    collected = jax.tree.map(lambda x: x.reshape(num_blocks * block, *x.shape[2:]), collected)
    if rest:
        carry, last = steps(carry, start + block * thin * num_blocks, rest)
        collected = jax.tree.map(lambda *x: jnp.concatenate(x), collected, last)
    state, total = carry
    return state, collected, total._replace(acceptance_rate=total.acceptance_rate / num_kept)


def block_length(kernel: Kernel, key: Key, state: State, thin: int, num_kept: int) -> int:
    """Kept steps whose noise is drawn together: as many as stay in cache, and divide the whole if any do."""
    noise = jax.eval_shape(kernel.draw, key, state.position)
    size = sum(
        x.size * (8 if jnp.issubdtype(x.dtype, jax.dtypes.extended) else x.dtype.itemsize)
        for x in jax.tree.leaves(noise)
    )
    budget = BLOCK_BYTES.get(jax.default_backend(), 16 * BLOCK_BYTES["cpu"])
    longest = max(1, min(BLOCK_STEPS, budget // max(size * thin, 1), num_kept))
    divisors = [b for b in range(longest, max(longest // 2, 1) - 1, -1) if num_kept % b == 0]
    return divisors[0] if divisors else longest


def _no_info(kernel, key, state, fold_in) -> Info:
    def one(state):
        return kernel.move(kernel.draw(fold_in(key, 0), state.position), state)[1]

    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one, state))


# --- the runner -------------------------------------------------------------------------------------------


class Samples(NamedTuple):
    """What :func:`sample` returns."""

    draws: Any  # [T // thin, C, ...] what was collected, positions by default
    state: State  # [C, ...] the last state; pass it on, with ``start=num_steps``, to go on bit for bit
    num_steps: int  # taken since step 0, warm-up included
    acceptance_rate: np.ndarray  # [C] mean over the steps after warm-up
    num_nonfinite: np.ndarray  # [C] proposals that were NaN or minus infinity


def sample(
    key: Key,
    kernel: Kernel,
    positions: Position | State,
    num_steps: int,
    *,
    num_warmup: int = 0,
    thin: int = 1,
    collect: Collect = position_of,
    start: int = 0,
    num_chunks: int | None = None,
    progress: bool | Progress = False,
) -> Samples:
    """Run ``C`` chains and store what ``collect`` returns.

    Args:
      key: one key; every chain and step derives its own.
      kernel: for one chain.
      positions: where the chains start, ``[C, ...]`` on every leaf; or the ``state`` of earlier
        :class:`Samples` of the same kernel.
      num_steps: steps after the warm-up, a multiple of ``thin``.
      num_warmup: steps before, thrown away.
      thin: store every ``thin``-th step.
      collect: from ``(state, info)`` of one step, with the chain axis, to what is stored.
      start: steps already taken, ``Samples.num_steps`` of the run that is continued.
      num_chunks: pieces to run in, between which progress is shown; by default one, or twenty with progress.
      progress: ``True`` for a bar (needs rich), or a function ``(done, total, text)``.

    Returns:
      :class:`Samples`.

    Raises:
      TypeError, ValueError: naming the argument, what it got and what it wants; among them a start whose
        energy is not finite, naming the chain.

    Warns:
      where a chain never moved, or proposed points without a finite energy.

    >>> kernel = hmc(lambda x: 0.5 * jnp.sum(x**2), 0.5, 5)
    >>> samples = sample(jax.random.key(0), kernel, jnp.zeros((4, 2)), 1000)
    >>> samples.draws.shape
    (1000, 4, 2)
    """
    key = checks.key(key)
    if not isinstance(kernel, Kernel):
        raise TypeError(f"kernel must be a Kernel, got {checks.describe(kernel)}")
    num_steps, thin = checks.count(num_steps, "num_steps"), checks.count(thin, "thin")
    num_warmup = checks.count(num_warmup, "num_warmup", least=0)
    start = checks.count(start, "start", least=0)
    if num_steps % thin:
        raise ValueError(f"num_steps must be a multiple of thin, got {num_steps} and thin {thin}")
    state = _start(kernel, positions)
    keys = chain_keys(key, len(state.energy))

    report = reporter(progress, "sampling")
    num_chunks = num_chunks or (20 if progress else 1)
    total_steps = num_warmup + num_steps
    pieces, infos, step = [], [], start
    for is_warmup, length in _chunks(num_warmup, num_steps, thin, num_chunks):
        state, draws, info = _chunk(
            kernel, nothing if is_warmup else collect, length, 1 if is_warmup else thin, keys, state, step
        )
        step += length
        if not is_warmup:
            pieces.append(draws)
            infos.append((length, info))
        if progress:
            rate = float(jnp.mean(info.acceptance_rate))
            report(step - start, total_steps, f"acceptance {rate:.2f}" + (" warm-up" * is_warmup))
    draws = pieces[0] if len(pieces) == 1 else jax.tree.map(lambda *x: jnp.concatenate(x), *pieces)
    rate = sum(length * np.asarray(info.acceptance_rate) for length, info in infos) / num_steps
    num_nonfinite = sum(np.asarray(info.num_nonfinite) for _, info in infos)
    is_frozen = ~np.any([info.is_accepted for _, info in infos], axis=0)
    _warn(is_frozen, num_nonfinite, num_steps)
    return Samples(draws, state, step, rate, num_nonfinite)


@functools.partial(
    jax.jit, static_argnames=("kernel", "collect", "num_steps", "thin"), donate_argnames=("state",)
)
def _chunk(kernel, collect, num_steps, thin, keys, state, start):
    return run(keys, parallel(kernel), state, num_steps, start=start, thin=thin, collect=collect)


@functools.partial(jax.jit, static_argnames=("kernel",))
def _init(kernel, positions):
    return parallel(kernel).init(positions)


def _start(kernel, positions) -> State:
    if isinstance(positions, State):
        state = jax.tree.map(jnp.copy, positions)  # the chunks consume theirs, not the caller's
        wants = jax.eval_shape(functools.partial(_init, kernel), state.position)
        if jax.tree.structure(wants) != jax.tree.structure(state):
            raise TypeError("positions is the state of another kernel; pass its position, state.position")
    else:
        positions = checks.position(positions)
        checks.num_chains(positions)
        state = jax.tree.map(jnp.copy, _init(kernel, positions))
    bad = np.flatnonzero(~np.isfinite(np.asarray(state.energy)))
    if len(bad):
        raise ValueError(
            f"energy must be finite where a chain starts, got {state.energy[bad[0]]} at chain "
            f"{bad[0]} ({len(bad)} of {len(state.energy)} chains)"
        )
    return state


def _chunks(num_warmup, num_steps, thin, num_chunks):
    """(is_warmup, length) of each chunk; at most two lengths for each phase, so at most two compilations."""
    for is_warmup, steps, unit in ((True, num_warmup, 1), (False, num_steps, thin)):
        length = -(-steps // (unit * num_chunks)) * unit
        while steps > 0:
            yield is_warmup, min(length, steps)
            steps -= length


def _warn(is_frozen, num_nonfinite, num_steps):
    if is_frozen.any():
        listed = ", ".join(str(c) for c in np.flatnonzero(is_frozen)[:5])
        warnings.warn(
            f"{is_frozen.sum()} of {len(is_frozen)} chains never moved in {num_steps} steps (chain "
            f"{listed}): the step size is too large, or the energy is not finite around them",
            RuntimeWarning,
            stacklevel=3,
        )
    if num_nonfinite.any():
        worst = int(np.argmax(num_nonfinite))
        warnings.warn(
            f"{num_nonfinite.sum()} proposals had an energy or a ratio of NaN or minus infinity and "
            f"were rejected; most in chain {worst}, {num_nonfinite[worst]} of {num_steps}",
            RuntimeWarning,
            stacklevel=3,
        )
