"""Running chains from the host: checks, compilation, chunks, progress, checkpoints,
warnings.

``sample`` is :func:`ebmjax.sampling.loop.run` in chunks.  Between them there is live
progress, checkpoints and Ctrl-C, so that no callback is needed in compiled code; within
them the state is donated.  A start whose energy is not finite is refused, a chain that
never moved is named.
"""

import functools
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax._compile import FASTER, SMALL_RUN, is_short, short, work
from ebmjax._value import as_function, show
from ebmjax.base import Info, Kernel, Key, Position, State
from ebmjax.io import run_directory as folder
from ebmjax.io.chunk_store import ChunkStore, Interrupted, fingerprint
from ebmjax.io.code_digest import code_digest
from ebmjax.kernels.chains import Stacked, parallel
from ebmjax.kernels.combinators import reject_nonfinite
from ebmjax.sampling import devices as dev
from ebmjax.sampling.coordinates import collected, support_of
from ebmjax.sampling.initialization import _init, begin, check_energy
from ebmjax.sampling.interrupts import Kept, interrupts, longest_chunk
from ebmjax.sampling.interrupts import num_chunks as num_chunks_of
from ebmjax.sampling.loop import (
    Collect,
    Record,
    Reducer,
    chain_keys,
    collect_stats,
    discard,
    no_info,
    position_of,
    run,
)
from ebmjax.sampling.nonfinite import POLICIES, Totals, count, restart_lost, warn
from ebmjax.sampling.progress import Progress, reporter
from ebmjax.sampling.provenance import check_not_repeated, remember
from ebmjax.sampling.recompiled import warn_of_many

LAST_STEP = 2**31 - 1
WITHOUT_FILES = (
    ": the draws until then are the result of this exception, sys.last_value.result at a "
    "prompt; go on from its state, with its num_steps as start"
)
DISCARD = as_function(discard)


class Samples(NamedTuple):
    """What :func:`sample` returns."""

    # [T // thin, C, ...] what was collected, positions by default; or what was reduced
    draws: Any
    # [C, ...] the last state; with ``start=num_steps`` a run goes on from it bit for bit
    state: State
    num_steps: int  # taken since step 0, warm-up included
    acceptance_rate: np.ndarray  # [C] mean over the steps after warm-up
    num_nonfinite: np.ndarray  # [C] proposals that were NaN or minus infinity
    num_restarted: np.ndarray  # [C] restarts of chains (``on_fault="reinit"``)
    support: Any = None  # of the positions in draws, where the energy is constrained

    def __repr__(self) -> str:
        shapes = jax.tree.map(np.shape, self.draws)
        rate = f"acceptance {self.acceptance_rate.mean():.2f}"
        return f"Samples(draws {shapes}, {len(self.acceptance_rate)} chains, {self.num_steps} steps, {rate})"


def draws_of(found: Any) -> tuple[Position, Info | None]:
    """Draws ``[T, C, ...]``, and infos where they were kept: of samples, of a record, or
    as they are."""
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
    fused: bool = False,
) -> Samples:
    """Run ``C`` chains and store what ``collect`` returns.

    Another step size, another temperature, other parameters of the same energy or other
    positions of the same shape compile nothing.

    Args:
      key: one key; every chain and step derives its own.
      kernel: for one chain; or one kernel a chain, from :func:`~ebmjax.stack`.
      positions: where the chains start, ``[C, ...]`` on every leaf, constrained values
        where the energy is of :func:`~ebmjax.constrain`; or the ``state`` of earlier
        :class:`Samples` of the same kernel, which is in free coordinates.
      num_steps: steps after the warm-up, a multiple of ``thin``.
      num_warmup: steps before, thrown away.
      thin: store every ``thin``-th step.
      collect: from ``(state, info)`` of one step, with the chain axis, to what is
        stored (``state.position`` has constrained values); or a running statistic of :mod:`ebmjax.diagnostics.streaming`, so that
        memory does not grow with the number of steps.
      start: steps already taken, ``Samples.num_steps`` of the run that is continued.
      num_chunks: pieces to run in, between which progress is shown and saved; by default
        one, or twenty with progress or a checkpoint, and more for a long run, so that
        Ctrl-C waits for about a second.
      devices: to divide the chains over: a number, a list, or a mesh with an axis
        ``"chains"``.
      checkpoint: a folder.  Each chunk is saved there, its draws with it; the same call,
        made again after a crash, computes what is missing and returns the same bytes.
      backend: what writes it: ``"npz"``, one file that process 0 gathers; ``"orbax"``,
        each process its own chains, for several hosts (needs ``ebmjax[orbax]``).
      on_fault: handling of a chain that meets NaN: ``"revert"`` undoes the step;
        ``"reinit"`` also moves a chain that never moved in a chunk to the position of
        another one, which biases, and is counted; ``"raise"`` stops.
      progress: ``True`` for a bar (needs rich), or a function ``(done, total, text)``.
      fused: all steps of a chunk in two launches of a GPU (:mod:`ebmjax.fused.run`), for
        energies of few operations; positions, or ``collect_stats``, are collected.

    Returns:
      :class:`Samples`.

    Raises:
      TypeError, ValueError: naming the argument, what it got and what it wants; among
        them a start whose energy or gradient is not finite, naming the chain, a start
        where an earlier run with the same key ended, and a checkpoint of another call,
        kernel or energy.
      ChainFault: under ``on_fault="raise"``, naming the chain and the steps.
      Interrupted: by SIGTERM or Ctrl-C with a checkpoint, after the chunk was saved; by
        Ctrl-C without one, after the chunk, with the samples so far as ``result``.

    Warns:
      where a chain never moved, proposed points without a finite energy, a checkpoint
      was damaged, or chains end where those of an earlier run with the key ended; and at
      the sixteenth function of one code, each of which is compiled.

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
    if isinstance(positions, Samples):
        raise TypeError(
            "positions is Samples: give its state, with its num_steps as start to go on "
            "with the same key"
        )
    if kernel.is_parallel and not isinstance(kernel, Stacked):
        raise TypeError(
            "kernel must be a kernel of one chain, which sample runs on all, or one of "
            "stack(); got one of parallel()"
        )
    if (last := start + num_warmup + num_steps) > LAST_STEP:
        raise ValueError(
            f"start and the steps must end at {LAST_STEP} or before, the last that a key "
            f"can be folded with, got {last}"
        )
    if num_steps % thin:
        raise ValueError(
            f"num_steps must be a multiple of thin, got {num_steps} and thin {thin}"
        )
    # one that is not given is enlarged, so that Ctrl-C need not wait
    is_divided = num_chunks is None and not checkpoint and on_fault == "revert"
    is_divided = is_divided and not fused  # its run is a few launches
    if num_chunks is None:
        num_chunks = 20 if progress or checkpoint else 1
    num_chunks = checks.count(num_chunks, "num_chunks")
    checks.one_of(on_fault, "on_fault", POLICIES)
    if not isinstance(collect, Reducer):
        collect = as_function(collect, "collect")
    if isinstance(kernel, Stacked):
        got = checks.num_chains(
            positions.position if isinstance(positions, State) else positions
        )
        if got != kernel.num_chains:
            raise ValueError(
                f"positions must be one a kernel of the stack, {kernel.num_chains}, got "
                f"{got}"
            )
    mesh = dev.mesh_of(devices)
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
        call |= {"kernel": text_of(kernel), "numbers": fingerprint(kernel)}
        call |= {"collect": text_of(collect), "code": code_digest(kernel, collect)}
    if fused:
        _check_fused(key, collect, devices)
        call |= {"fused": True}
    dev.check_key(key)
    warn_of_many("sample", kernel, collect)
    taken = start, start + num_warmup + num_steps
    check_not_repeated(key, positions, taken)
    state = begin(kernel, positions, mesh)
    size = work(_init, kernel, state.position) * (num_warmup + num_steps)
    longest = None
    if is_divided and mesh is None:
        keys = chain_keys(key, len(state.energy))
        longest = longest_chunk(kernel, keys, state, size, taken[1] - start)
    plan = list(_chunks(num_warmup, num_steps, thin, num_chunks, longest))
    chunk = _short_chunk if is_short(size, SMALL_RUN) else _chunk
    chunk = _fused_chunk if fused else chunk
    place = checkpoint, backend
    begun = key, kernel, state
    try:
        samples = _run_plan(
            begun,
            plan,
            call,
            collect,
            mesh,
            place,
            progress,
            chunk,
            longest is not None,
        )
    except Interrupted as stopped:
        if (found := stopped.result) is not None:
            stopped.result = found = _with_support(found, kernel, collect)
            _remember_all(key, positions, found, start)
        raise
    samples = _with_support(samples, kernel, collect)
    _remember_all(key, positions, samples, start)
    return samples


def _with_support(samples, kernel, collect) -> Samples:
    if collect not in (as_function(position_of), as_function(collect_stats)):
        return samples
    return samples._replace(support=support_of(kernel))


def _remember_all(key, positions, samples, start) -> None:
    """Where the run ended, in free coordinates and in constrained values."""
    taken = start, samples.num_steps
    remember(key, positions, samples.state.position, taken)
    if samples.support is not None:
        last = jax.tree.map(lambda x: x[-1], draws_of(samples)[0])
        remember(key, positions, last, taken)


def text_of(item: Any) -> str:
    """One line that is the same in another process."""
    return re.sub(r" at 0x[0-9a-f]+", "", show(item))


def _run_plan(
    begun, plan, call, collect, mesh, checkpoint, progress, chunk, is_in_place
) -> Samples:
    """The chunks in turn, from the chunk store where it has them."""
    key, kernel, state = begun
    path, backend = checkpoint
    num_chains = len(state.energy)
    keys = dev.spread(chain_keys(key, num_chains), mesh)
    totals = Totals.zeros(num_chains)
    report = reporter(progress, "sampling")
    is_reducing = isinstance(collect, Reducer)
    reduced = _empty(kernel, collect, keys, state) if is_reducing else None
    ends = call["start"] + np.cumsum([length for _, length in plan])

    def compiled(i, chunk=chunk):
        is_warmup, length = plan[i]
        what = DISCARD if is_warmup else collect
        sizes = {"num_steps": length, "thin": 1 if is_warmup else call["thin"]}
        return functools.partial(chunk, kernel, what, keys, **sizes)

    def shapes(i):
        kept = None if plan[i][0] else reduced
        after, draws, _ = jax.eval_shape(compiled(i, _chunk), state, 0, kept)
        axis = 0 if is_reducing else 1
        draws = dev.divided(draws, mesh, axis=axis, length=num_chains)
        return dev.divided(after, mesh), draws, totals

    is_collecting = not is_reducing and bool(
        path and jax.tree.leaves(shapes(len(plan) - 1)[1])
    )
    kept_draws = Kept(call["num_steps"] // call["thin"], is_in_place)

    def found_until(end) -> Samples:
        draws = reduced if is_reducing else kept_draws.draws()
        rate = totals.acceptance / (end - call["start"] - call["num_warmup"])
        lost, restarted = totals.num_nonfinite, totals.num_restarted
        return Samples(draws, state, int(end), rate, lost, restarted)

    with ChunkStore.at(
        path,
        call,
        is_collecting=is_collecting,
        backend=backend,
        numbers=interrupts() if len(plan) > 1 else (),
    ) as store:
        is_loaded = False
        for i in range(store.first(ends, shapes), len(plan)):
            is_warmup, length = plan[i]
            step = int(ends[i]) - length
            found = store.load(int(ends[i]), functools.partial(shapes, i))
            if found is None:
                if is_loaded:
                    check_energy(kernel, state, f"{store.path} is a run")
                kept = None if is_warmup else reduced
                state, draws, info = compiled(i)(state, step, kept)
                info = dev.to_host(info)
                totals, is_lost = count(totals, info, length, is_warmup)
                state, totals = restart_lost(
                    key, step, state, totals, is_lost, info, call["on_fault"]
                )
                store.save(int(ends[i]), (state, draws, totals))
            else:
                state, draws, totals = found
                totals = jax.tree.map(np.asarray, totals)
            is_loaded = found is not None
            if is_reducing and not is_warmup:
                reduced = draws
            elif not is_warmup:
                kept_draws.add(draws)
            if progress:
                done, total = (
                    int(ends[i]) - call["start"],
                    int(ends[-1]) - call["start"],
                )
                rate = f"acceptance {totals.last_rate.mean():.2f}"
                report(done, total, rate + " warm-up" * is_warmup)
            if store.is_stopped() and i + 1 < len(plan):
                where = f"stopped after step {ends[i]} of {ends[-1]}"
                if path is None:
                    found = None if is_warmup else found_until(ends[i])
                    raise Interrupted(where + WITHOUT_FILES, found)
                raise Interrupted(
                    f"{where}, saved in {store.path}; make the same call again to go on"
                )
        if is_loaded:
            check_energy(kernel, state, f"{store.path} is a run")
    samples = found_until(ends[-1])
    rates = samples.acceptance_rate
    warn(totals, rates, call["num_steps"], dev.to_host(state.energy))
    return samples


_HOW = {
    "static_argnames": ("num_steps", "thin"),
    "donate_argnames": ("state", "reduced"),
}


@functools.partial(jax.jit, **_HOW)
def _chunk(kernel, collect, keys, state, start, reduced, *, num_steps, thin):
    if isinstance(collect, Reducer):
        collect = collect.continued(reduced)
    chains = parallel(reject_nonfinite(kernel))
    collect = collected(chains, collect)
    return run(keys, chains, state, num_steps, start=start, thin=thin, collect=collect)


_short_chunk = short(_chunk, FASTER, **_HOW)


@functools.partial(jax.jit, **_HOW)
def _fused_chunk(kernel, collect, keys, state, start, reduced, *, num_steps, thin):
    from ebmjax.fused import run as fused_run

    chains = parallel(reject_nonfinite(kernel))
    return fused_run.steps(keys, chains, state, start, collect, num_steps // thin, thin)


def _check_fused(key, collect, devices) -> None:
    from ebmjax.fused import run as fused_run  # Pallas takes a while to import

    if jax.default_backend() != "gpu":
        raise ValueError(
            "fused=True is for a GPU, and JAX runs on "
            f"{jax.default_backend()!r} here; leave it out"
        )
    if devices is not None:
        raise ValueError(f"fused=True runs on one device, got devices={devices!r}")
    fused_run.check_threefry(key)
    fused_run.checked(collect)


@jax.jit
def _empty(kernel, collect, keys, state):
    chains = parallel(kernel)
    return collected(chains, collect).init(state, no_info(chains, keys, state))


def _chunks(num_warmup, num_steps, thin, num_chunks, longest=None):
    """(is_warmup, length) of each chunk; at most two lengths for each phase, so at most
    two compilations."""
    for is_warmup, steps, unit in ((True, num_warmup, 1), (False, num_steps, thin)):
        length = -(-steps // (unit * num_chunks)) * unit
        if longest is not None and length > max(longest, unit):
            num = num_chunks_of(steps // unit, max(longest // unit, 1))
            length = -(-steps // (unit * num)) * unit
        while steps > 0:
            yield is_warmup, min(length, steps)
            steps -= length
