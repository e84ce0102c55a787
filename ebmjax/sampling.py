"""Running chains from the host: checks, compilation, chunks, progress, warnings.

``sample`` is :func:`ebmjax.chains.run` in pieces.  Between them live progress, Ctrl-C and the eyes of the
host, so that no callback lives in compiled code; within them the state is donated.  A start whose energy is
not finite is refused, a chain that never moved is named.
"""

import functools
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import checks
from ebmjax.base import Kernel, Key, Position, State
from ebmjax.chains import Collect, Reducer, chain_keys, no_info, nothing, position_of, run
from ebmjax.combinators import parallel
from ebmjax.progress import Progress, reporter

FROZEN = 0.01  # a chain that never moved, and had this acceptance rate or less, is stuck and not unlucky
FEWEST = 10  # steps that can tell


class Samples(NamedTuple):
    """What :func:`sample` returns."""

    draws: Any  # [T // thin, C, ...] what was collected, positions by default; or what was reduced
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
    collect: Collect | Reducer = position_of,
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
      collect: from ``(state, info)`` of one step, with the chain axis, to what is stored; or a running
        statistic of :mod:`ebmjax.streaming`, so that memory does not grow with the number of steps.
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
    if isinstance(collect, Reducer):
        pieces, collect = [_empty(kernel, collect.init, keys, state)], collect._replace(init=nothing)
    for is_warmup, length in _chunks(num_warmup, num_steps, thin, num_chunks):
        what, unit = (nothing, 1) if is_warmup else (collect, thin)
        reduced = pieces.pop() if isinstance(what, Reducer) else None
        state, draws, info = _chunk(kernel, what, length, unit, keys, state, step, reduced)
        step += length
        if not is_warmup:
            pieces.append(draws)
            infos.append((length, info))
        if progress:
            rate = float(jnp.mean(info.acceptance_rate))
            report(step - start, total_steps, f"acceptance {rate:.2f}" + (" warm-up" * is_warmup))
    draws = pieces[0] if len(pieces) == 1 else jax.tree.map(lambda *x: jnp.concatenate(x), *pieces)
    rate = sum(length * np.asarray(info.acceptance_rate) for length, info in infos) / num_steps
    num_nonfinite = np.sum([info.num_nonfinite for _, info in infos], axis=0)
    is_frozen = ~np.any([info.is_accepted for _, info in infos], axis=0) & (rate <= FROZEN)
    _warn(is_frozen & (num_steps >= FEWEST), num_nonfinite, num_steps)
    return Samples(draws, state, step, rate, num_nonfinite)


@functools.partial(
    jax.jit,
    static_argnames=("kernel", "collect", "num_steps", "thin"),
    donate_argnames=("state", "reduced"),
)
def _chunk(kernel, collect, num_steps, thin, keys, state, start, reduced):
    if isinstance(collect, Reducer):
        collect = collect.continued(reduced)
    return run(keys, parallel(kernel), state, num_steps, start=start, thin=thin, collect=collect)


@functools.partial(jax.jit, static_argnames=("kernel", "init"))
def _empty(kernel, init, keys, state):
    return init(state, no_info(parallel(kernel), keys, state))


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
