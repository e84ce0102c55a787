"""Running chains from the host: checks, compilation, chunks, progress, checkpoints,
warnings.

``sample`` is :func:`ebmjax.sampling.loop.run` in chunks
(:mod:`ebmjax.sampling._chunked_run`), within which the state is donated.  A start whose
energy is not finite is refused, a chain that never moved is named.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from ebmjax import _validation as checks
from ebmjax._value import as_function, show
from ebmjax.base import Kernel, Key, Position, State
from ebmjax.io import run_directory as folder
from ebmjax.io.chunk_store import Interrupted, fingerprint
from ebmjax.io.code_digest import code_digest
from ebmjax.kernels.chains import Stacked
from ebmjax.sampling import _any_length as any_length
from ebmjax.sampling import _chunk_programs as programs
from ebmjax.sampling import devices as dev
from ebmjax.sampling._chunked_run import ChunkedRun
from ebmjax.sampling._chunks import Steps, chunks_of, longest_chunk
from ebmjax.sampling.collect import Collect, Reducer, collect_stats, position_of
from ebmjax.sampling.coordinates import support_of
from ebmjax.sampling.initialization import begin
from ebmjax.sampling.loop import chain_keys
from ebmjax.sampling.nonfinite import POLICIES
from ebmjax.sampling.progress import Progress
from ebmjax.sampling.provenance import check_not_repeated, remember
from ebmjax.sampling.recompiled import warn_of_many
from ebmjax.sampling.samples import Samples, draws_of


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
        stored (``state.position`` has constrained values); or a running statistic of
        :mod:`ebmjax.diagnostics.streaming`, so that memory does not grow with the
        number of steps.
      start: steps already taken, ``Samples.num_steps`` of the run that is continued.
      num_chunks: pieces to run in, between which progress is shown and saved; by
        default one, or twenty with progress or a checkpoint, and more for a long run,
        so that Ctrl-C waits for about a second.
      devices: to divide the chains over: a number, a list, or a mesh with an axis
        ``"chains"``.
      checkpoint: a folder.  Each chunk is saved there, its draws with it; the same
        call, made again after a crash, computes what is missing and returns the same
        bytes.
      backend: what writes it: ``"npz"``, one file that process 0 gathers; ``"orbax"``,
        each process its own chains, for several hosts (needs ``ebmjax[orbax]``).
      on_fault: handling of a chain that meets NaN: ``"revert"`` undoes the step;
        ``"reinit"`` also moves a chain that never moved in a chunk to the position of
        another one, which biases, and is counted; ``"raise"`` stops.
      progress: ``True`` for a bar (needs rich), or a function ``(done, total, text)``.
      fused: all steps of a chunk in two launches of a GPU (:mod:`ebmjax.fused.run`),
        for energies of few operations; positions, or ``collect_stats``, are collected.

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
      was damaged, or chains end where those of an earlier run with the key ended; and
      when one line of code has made sixteen functions, each compiled anew.

    >>> kernel = hmc(lambda x: 0.5 * jnp.sum(x**2), 0.5, 5)
    >>> samples = sample(jax.random.key(0), kernel, jnp.zeros((4, 2)), 1000)
    >>> samples.draws.shape
    (1000, 4, 2)
    """
    inside = (
        "run(chain_keys(key, C), parallel(kernel), parallel(kernel).init(positions), "
        "num_steps)"
    )
    checks.on_host((key, positions), "sample", inside)
    key = checks.key(key)
    _check_kernel(kernel, positions)
    steps = Steps.checked(num_steps, num_warmup, thin, start)
    # one that is not given is enlarged, so that Ctrl-C need not wait
    is_free = num_chunks is None and not checkpoint and on_fault == "revert"
    if num_chunks is None:
        num_chunks = 20 if progress or checkpoint else 1
    num_chunks = checks.count(num_chunks, "num_chunks")
    checks.one_of(on_fault, "on_fault", POLICIES)
    if not isinstance(collect, Reducer):
        collect = as_function(collect, "collect")
    mesh = dev.mesh_of(devices)
    call: dict[str, Any] = steps._asdict()
    call |= {"num_chunks": num_chunks, "on_fault": on_fault}
    if checkpoint is not None:
        folder.check_backend(backend)
        folder.check_writable(checks.path(checkpoint, "checkpoint"))
        call |= _identity(key, kernel, positions, collect)
    if fused:
        _check_fused(key, collect, devices)
        call |= {"fused": True}
    dev.check_key(key)
    warn_of_many("sample", kernel, collect)
    check_not_repeated(key, positions, (start, steps.end))
    given, kernel = kernel, any_length.of_any_length(kernel)
    state = begin(kernel, positions, mesh)
    longest = None
    if is_free and mesh is None and not fused:  # a fused run is a few launches
        keys = chain_keys(key, len(state.energy))
        longest = longest_chunk(kernel, keys, state, steps.total)
    program: Callable[..., Any] = programs.fused_chunk if fused else programs.chunk
    is_alone = not fused and mesh is None
    if is_alone and any_length.takes(kernel, collect, thin, state.position):
        program = any_length.Chunks()
    else:
        kernel = given
    run = ChunkedRun(
        key,
        kernel,
        state,
        collect,
        steps,
        list(chunks_of(steps, num_chunks, longest)),
        mesh=mesh,
        on_fault=on_fault,
        program=program,
        is_in_place=longest is not None,
    )
    try:
        samples = run.run(call, checkpoint, backend, progress)
    except Interrupted as stopped:
        if (found := stopped.result) is not None:
            stopped.result = _finished(key, kernel, positions, collect, start, found)
        raise
    return _finished(key, kernel, positions, collect, start, samples)


def _check_kernel(kernel, positions) -> None:
    """Raise where it is no kernel of one chain and no stack of as many as there are
    positions."""
    checks.instance(kernel, Kernel, "kernel", "this library or from_blackjax")
    if isinstance(positions, Samples):
        raise TypeError(
            "positions is Samples: give its state, with its num_steps as start to go "
            "on with the same key"
        )
    if not kernel.is_parallel:
        return
    if not isinstance(kernel, Stacked):
        raise TypeError(
            "kernel must be a kernel of one chain, which sample runs on all, or one of "
            "stack(); got one of parallel()"
        )
    where = positions.position if isinstance(positions, State) else positions
    if (num_chains := checks.num_chains(where)) != kernel.num_chains:
        raise ValueError(
            f"positions must be one a kernel of the stack, {kernel.num_chains}, got "
            f"{num_chains}"
        )


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


def _identity(key, kernel, positions, collect) -> dict[str, str]:
    """What a checkpoint compares: the same in another process, for the same call."""
    return {
        "key": fingerprint(key),
        "positions": fingerprint(positions),
        "kernel": _text(kernel),
        "numbers": fingerprint(kernel),
        "collect": _text(collect),
        "code": code_digest(kernel, collect),
    }


def _text(item: Any) -> str:
    """One line, without addresses in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", show(item))


def _finished(key, kernel, positions, collect, start, samples) -> Samples:
    """Samples with their support; where they end is remembered, in free coordinates and
    in constrained values."""
    if collect in (as_function(position_of), as_function(collect_stats)):
        samples = samples._replace(support=support_of(kernel))
    taken = start, samples.num_steps
    remember(key, positions, samples.state.position, taken)
    if samples.support is not None:
        last = jax.tree.map(lambda x: x[-1], draws_of(samples)[0])
        remember(key, positions, last, taken)
    return samples
