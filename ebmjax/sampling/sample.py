"""Running chains from the host: checks, compilation, chunks, progress, checkpoints, warnings.

``sample`` is :func:`ebmjax.sampling.loop.run` in pieces.  Between them live progress, checkpoints, Ctrl-C and the
eyes of the host, so that no callback lives in compiled code; within them the state is donated.  A start whose
energy is not finite is refused, a chain that never moved is named.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Info, Kernel, Key, Position, State
from ebmjax.io import run_directory as folder
from ebmjax.io.chunk_store import Interrupted, Journal, fingerprint
from ebmjax.kernels.combinators import parallel, reject_nonfinite
from ebmjax.sampling import devices as dev
from ebmjax.sampling.initialization import begin, check_energy
from ebmjax.sampling.loop import (
    Collect,
    Record,
    Reducer,
    chain_keys,
    discard,
    no_info,
    position_of,
    run,
)
from ebmjax.sampling.nonfinite import POLICIES, Totals, count, restart_lost, warn
from ebmjax.sampling.progress import Progress, reporter

LAST_STEP = 2**31 - 1


class Samples(NamedTuple):
    """What :func:`sample` returns."""

    draws: Any  # [T // thin, C, ...] what was collected, positions by default; or what was reduced
    state: State  # [C, ...] the last state; pass it on, with ``start=num_steps``, to go on bit for bit
    num_steps: int  # taken since step 0, warm-up included
    acceptance_rate: np.ndarray  # [C] mean over the steps after warm-up
    num_nonfinite: np.ndarray  # [C] proposals that were NaN or minus infinity
    num_restarted: (
        np.ndarray
    )  # [C] how often a chain was put elsewhere (``on_fault="reinit"``)

    def __repr__(self) -> str:
        shapes = jax.tree.map(np.shape, self.draws)
        rate = f"acceptance {self.acceptance_rate.mean():.2f}"
        return f"Samples(draws {shapes}, {len(self.acceptance_rate)} chains, {self.num_steps} steps, {rate})"


def draws_of(found: Any) -> tuple[Position, Info | None]:
    """Draws ``[T, C, ...]``, and infos where they were kept: of samples, of a record, or as they are."""
    if isinstance(found, Samples):
        found = found.draws
    return (found.position, found.info) if isinstance(found, Record) else (found, None)


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
    devices: dev.Devices = None,
    checkpoint: str | Path | None = None,
    backend: str = "npz",
    on_fault: str = "revert",
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
        statistic of :mod:`ebmjax.diagnostics.streaming`, so that memory does not grow with the number of steps.
      start: steps already taken, ``Samples.num_steps`` of the run that is continued.
      num_chunks: pieces to run in, between which progress is shown and saved; by default one, or twenty with
        progress or a checkpoint.
      devices: to divide the chains over: a number, a list, or a mesh with an axis ``"chains"``.
      checkpoint: a folder.  Each chunk is saved there, its draws with it; the same call, made again after a
        crash, computes what is missing and returns the same bytes.
      backend: what writes it: ``"npz"``, one file that process 0 gathers; ``"orbax"``, each process its own
        chains, for several hosts (needs ``ebmjax[orbax]``).
      on_fault: what becomes of a chain that meets NaN: ``"revert"`` undoes the step; ``"reinit"`` also puts
        a chain that never moved in a chunk where another one is, which biases, and is counted; ``"raise"``
        stops.
      progress: ``True`` for a bar (needs rich), or a function ``(done, total, text)``.

    Returns:
      :class:`Samples`.

    Raises:
      TypeError, ValueError: naming the argument, what it got and what it wants; among them a start whose
        energy is not finite, naming the chain, and a checkpoint of another call or energy.
      ChainFault: under ``on_fault="raise"``, naming the chain and the steps.
      Interrupted: told to stop (SIGTERM, Ctrl-C) with a checkpoint, after the chunk was saved.

    Warns:
      where a chain never moved, proposed points without a finite energy, or a checkpoint was damaged.

    >>> kernel = hmc(lambda x: 0.5 * jnp.sum(x**2), 0.5, 5)
    >>> samples = sample(jax.random.key(0), kernel, jnp.zeros((4, 2)), 1000)
    >>> samples.draws.shape
    (1000, 4, 2)
    """
    inside = "run(chain_keys(key, C), parallel(kernel), parallel(kernel).init(positions), num_steps)"
    checks.on_host((key, positions), "sample", inside)
    key = checks.key(key)
    checks.instance(kernel, Kernel, "kernel", "this library or from_blackjax")
    num_steps, thin = checks.count(num_steps, "num_steps"), checks.count(thin, "thin")
    num_warmup = checks.count(num_warmup, "num_warmup", least=0)
    start = checks.count(start, "start", least=0)
    if getattr(kernel.move, "is_parallel", False):
        raise TypeError(
            "kernel must be a kernel of one chain, which sample runs on all; got one of parallel()"
        )
    if (last := start + num_warmup + num_steps) > LAST_STEP:
        raise ValueError(
            f"start and the steps must end at {LAST_STEP} or before, the last a key knows, got {last}"
        )
    if num_steps % thin:
        raise ValueError(
            f"num_steps must be a multiple of thin, got {num_steps} and thin {thin}"
        )
    if num_chunks is None:
        num_chunks = 20 if progress or checkpoint else 1
    num_chunks = checks.count(num_chunks, "num_chunks")
    checks.one_of(on_fault, "on_fault", POLICIES)
    if not isinstance(collect, Reducer):
        checks.function(collect, "collect")
    mesh = dev.mesh_of(devices)
    plan = list(_chunks(num_warmup, num_steps, thin, num_chunks))
    call: dict[str, Any] = {
        "num_steps": num_steps,
        "num_warmup": num_warmup,
        "thin": thin,
        "start": start,
    }
    call |= {"num_chunks": num_chunks, "on_fault": on_fault}
    if checkpoint is not None:
        folder.check_backend(backend)
        folder.check_writable(checks.path(checkpoint, "checkpoint"))
        call |= {"key": fingerprint(key), "positions": fingerprint(positions)}
    state = begin(kernel, positions, mesh)
    return _run_plan(
        key, kernel, state, plan, call, collect, mesh, (checkpoint, backend), progress
    )


def _run_plan(
    key, kernel, state, plan, call, collect, mesh, checkpoint, progress
) -> Samples:
    """The chunks in turn, from the journal where it has them."""
    path, backend = checkpoint
    num_chains = len(state.energy)
    keys = dev.spread(chain_keys(key, num_chains), mesh)
    totals = Totals.zeros(num_chains)
    report = reporter(progress, "sampling")
    is_reducing = isinstance(collect, Reducer)
    reduced = _empty(kernel, collect.init, keys, state) if is_reducing else None
    collect = collect._replace(init=discard) if is_reducing else collect
    ends = call["start"] + np.cumsum([length for _, length in plan])

    def compiled(i):
        is_warmup, length = plan[i]
        thin = 1 if is_warmup else call["thin"]
        return functools.partial(
            _chunk, kernel, discard if is_warmup else collect, length, thin, keys
        )

    def shapes(i):
        after, draws, _ = jax.eval_shape(
            compiled(i), state, 0, None if plan[i][0] else reduced
        )
        axis = 0 if is_reducing else 1
        return (
            dev.divided(after, mesh),
            dev.divided(draws, mesh, axis=axis, length=num_chains),
            totals,
        )

    is_collecting = not is_reducing and bool(
        path and jax.tree.leaves(shapes(len(plan) - 1)[1])
    )
    with Journal.at(
        path, call, is_collecting=is_collecting, backend=backend
    ) as journal:
        pieces, is_loaded = [], False
        for i in range(journal.first(ends, shapes), len(plan)):
            is_warmup, length = plan[i]
            step = int(ends[i]) - length
            found = journal.load(int(ends[i]), functools.partial(shapes, i))
            if found is None:
                if is_loaded:
                    check_energy(kernel, state, f"{journal.path} is a run")
                state, draws, info = compiled(i)(
                    state, step, None if is_warmup else reduced
                )
                info = dev.to_host(info)
                totals, is_lost = count(totals, info, length, is_warmup)
                state, totals = restart_lost(
                    key, step, state, totals, is_lost, info, call["on_fault"]
                )
                journal.save(int(ends[i]), (state, draws, totals))
            else:
                state, draws, totals = found
                totals = jax.tree.map(np.asarray, totals)
            is_loaded = found is not None
            if is_reducing and not is_warmup:
                reduced = draws
            elif not is_warmup:
                pieces.append(draws)
            if progress:
                text = (
                    f"acceptance {totals.last_rate.mean():.2f}" + " warm-up" * is_warmup
                )
                report(
                    int(ends[i]) - call["start"], int(ends[-1]) - call["start"], text
                )
            if journal.is_stopped() and i + 1 < len(plan):
                raise Interrupted(
                    f"stopped after step {ends[i]} of {ends[-1]}, saved in {journal.path}; "
                    "make the same call again to go on"
                )
        if is_loaded:
            check_energy(kernel, state, f"{journal.path} is a run")
    draws = reduced if is_reducing else jax.tree.map(_join, *pieces)
    rate = totals.acceptance / call["num_steps"]
    warn(totals, rate, call["num_steps"], dev.to_host(state.energy))
    return Samples(
        draws, state, int(ends[-1]), rate, totals.num_nonfinite, totals.num_restarted
    )


@functools.partial(
    jax.jit,
    static_argnames=("kernel", "collect", "num_steps", "thin"),
    donate_argnames=("state", "reduced"),
)
def _chunk(kernel, collect, num_steps, thin, keys, state, start, reduced):
    if isinstance(collect, Reducer):
        collect = collect.continued(reduced)
    return run(
        keys,
        parallel(reject_nonfinite(kernel)),
        state,
        num_steps,
        start=start,
        thin=thin,
        collect=collect,
    )


def _join(*pieces):
    return pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces)


@functools.partial(jax.jit, static_argnames=("kernel", "init"))
def _empty(kernel, init, keys, state):
    return init(state, no_info(parallel(kernel), keys, state))


def _chunks(num_warmup, num_steps, thin, num_chunks):
    """(is_warmup, length) of each chunk; at most two lengths for each phase, so at most two compilations."""
    for is_warmup, steps, unit in ((True, num_warmup, 1), (False, num_steps, thin)):
        length = -(-steps // (unit * num_chunks)) * unit
        while steps > 0:
            yield is_warmup, min(length, steps)
            steps -= length
