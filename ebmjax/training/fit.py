"""Training: Optax on the gradient of an objective, in a loop with a divergence monitor.

An update draws a batch i ~ U(1..n) (notes, eq. 10), draws the initial chains, evaluates
the objective and steps the optimiser.  ``chunk`` updates are one compiled program,
whose arguments are the objective, the optimiser and the chain initialisation: a new
learning rate, weight or noise, or other data of the same shape, compile nothing.  The
host reads the metrics between chunks.

An update with a non-finite gradient is skipped and counted.  A chain that ends at a
non-finite energy is restarted and counted.  A run that diverges returns to its last
healthy state, with smaller steps, a few times (:mod:`ebmjax.training.divergence`), and
then raises :class:`TrainingDiverged`, which names the cause and carries that state.

Update ``t`` uses ``fold_in(key, t)``: a run that is stopped and resumed equals an
uninterrupted run, bit for bit.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import as_function, canonical
from ebmjax.base import Key, Position
from ebmjax.io.chunk_store import Interrupted
from ebmjax.objectives.base import Loss, Objective, optional
from ebmjax.sampling import devices as dev
from ebmjax.sampling.progress import Progress, reporter
from ebmjax.sampling.recompiled import warn_of_many
from ebmjax.training._log import logged, progress_text
from ebmjax.training._updates import updates
from ebmjax.training.chain_init import FROM_DATA, ChainInit
from ebmjax.training.divergence import (
    DEFAULT_ROLLBACK,
    DivergenceMonitor,
    RollbackPolicy,
)
from ebmjax.training.step import TrainState, train_step

LAST_UPDATE = 2**31 - 1


class Fit(NamedTuple):
    """What :func:`fit` returns."""

    state: TrainState  # the last state
    history: dict[str, np.ndarray]  # metrics of the updates done here, [T] each

    def __repr__(self) -> str:
        return f"Fit({self.state!r}, history of {', '.join(self.history)})"


def fit(
    key: Key,
    objective: Objective | Loss,
    optimizer: Any,
    state: TrainState,
    data: Position,
    chain_init: ChainInit = FROM_DATA,
    *,
    num_updates: int,
    batch_size: int,
    num_chains: int | None = None,
    data_noise: float = 0.0,
    augment: Callable[[Key, Position], Position] | None = None,
    ema_decay: float = 0.999,
    max_gap: float | None = None,
    rollback: RollbackPolicy = DEFAULT_ROLLBACK,
    chunk: int = 25,
    devices: dev.Devices = None,
    on_chunk: Callable[[TrainState, dict[str, np.ndarray]], None] | None = None,
    log: Callable[[dict[str, float]], None] | None = None,
    progress: bool | Progress = False,
) -> Fit:
    """Train until ``state.step == num_updates``.

    Args:
      key: one key; update t uses ``fold_in(key, t)``.
      objective: of :mod:`ebmjax.objectives`, or a function
        ``loss(params, key, batch, chains) -> (loss, (chains, metrics))``.
      optimizer: an ``optax.GradientTransformation``.
      state: from :func:`init_state`, or of an earlier run, which then continues bit
        for bit.
      data: ``[N, ...]``, finite; stays on the device.
      chain_init: where chains start, at the data by default; ignored by objectives
        without chains.
      num_updates: in total, including those already in ``state``.
      batch_size: B, at most N.
      num_chains: C, ``batch_size`` by default.
      data_noise: standard deviation of Gaussian noise added to the points of each
        batch, in their units.
      augment: ``augment(key, points)`` of a batch, before the noise;
        :func:`ebmjax.training.augmentation.shifts`.
      ema_decay: of the parameters kept for evaluation; less, (1 + t) / (10 + t), in the
        first updates.
      max_gap: the largest allowed |E_data - E_model|, in nats; 100 + 10 D by default.
      rollback: how often a diverging run returns to its last healthy state, with a
        smaller learning rate and step size, before it raises; ``NO_ROLLBACK`` raises at
        once.
      chunk: updates in one compiled call; progress and ``on_chunk`` run between calls.
      devices: over which batch and chains are sharded: a number, a list, or a mesh with
        an axis ``"chains"``.
      on_chunk: called with the state and the metrics ``[chunk]`` of each call, once the
        ``SETTLED`` updates after it are healthy, too; may raise to stop.
      log: called with a plain dictionary for each update, ``step`` and the metrics as
        numbers of Python, when ``on_chunk`` is: for a tracker,
        ``lambda row: wandb.log(row, step=row["step"])``.
      progress: ``True`` for a bar, or a function ``(done, total, text)``.

    Returns:
      :class:`Fit`, the last state and the metrics of the updates done here.

    Raises:
      TypeError, ValueError: naming the argument, what it got and what it wants.
      TrainingDiverged: the gradients are not finite, the energies diverge, or the
        chains freeze or escape, and no roll-back is left.
      Interrupted: by Ctrl-C, with what :class:`Fit` would hold as ``result``.

    >>> found = fit(key, objective, optax.adam(1e-3), state, data, chain_init,
    ...             num_updates=1000, batch_size=256)  # doctest: +SKIP
    """
    key = checks.key(key)
    monitor = DivergenceMonitor(data, max_gap=max_gap, rollback=rollback)
    data = checks.position(data, "data")
    num_chains = batch_size if num_chains is None else num_chains
    _check(data, state, num_updates, batch_size, data_noise, num_chains, chunk)
    mesh = dev.mesh_of(devices)
    dev.check_divides(batch_size, mesh, "batch_size")
    dev.check_divides(num_chains, mesh, "num_chains")
    step = train_step(
        objective,
        optimizer,
        chain_init,
        num_chains=int(num_chains),
        ema_decay=ema_decay,
        mesh=mesh,
        params=state.params,
    )
    key, data = dev.replicate((key, data), mesh)
    state = dev.put_as(state, placed(state, mesh))
    noise = canonical(optional(data_noise))
    if augment is not None:
        augment = as_function(augment, "augment")
    warn_of_many("fit", objective, chain_init)
    if log is not None:
        on_chunk = logged(checks.function(log, "log"), on_chunk)
    chunk_of_updates = functools.partial(
        updates, step, noise, augment, chunk=chunk, batch_size=batch_size
    )
    return _loop(
        key,
        chunk_of_updates,
        state,
        data,
        num_updates,
        chunk,
        monitor,
        on_chunk,
        progress,
    )


def _check(data, state, num_updates, batch_size, data_noise, num_chains, chunk):
    """Raise unless the counts are possible and the state is one; warn of no updates."""
    num_points = checks.num_chains(data, "data")
    if checks.count(batch_size, "batch_size") > num_points:
        raise ValueError(
            f"batch_size must be at most the number of points, {num_points}, got "
            f"{batch_size}"
        )
    if checks.count(num_updates, "num_updates") > LAST_UPDATE:
        raise ValueError(
            f"num_updates must be at most {LAST_UPDATE}, the last that a key can be "
            f"folded with, got {num_updates}"
        )
    checks.positive(data_noise, "data_noise", zero=True)
    checks.count(num_chains, "num_chains")
    checks.count(chunk, "chunk")
    checks.instance(state, TrainState, "state", "init_state")
    if int(state.step) >= num_updates:
        checks.warn(
            f"nothing is left to do: num_updates is the number in all, {num_updates}, "
            f"and the state has seen {int(state.step)}"
        )


def _loop(key, updates, state, data, num_updates, chunk, monitor, on_chunk, progress):
    """The loop over chunks of updates: monitor, record and report each."""
    report = reporter(progress, "training")
    history: list[dict[str, np.ndarray]] = []
    monitor.start(state)
    kept = state

    def keep():
        nonlocal kept
        while monitor.settled:
            kept, metrics = monitor.settled.pop(0)
            history.append(metrics)
            if on_chunk is not None:
                on_chunk(kept, metrics)

    def found(state):
        names = history[0] if history else {}
        return Fit(state, {k: np.concatenate([h[k] for h in history]) for k in names})

    try:
        while (done := int(state.step)) < num_updates:
            length = min(chunk - done % chunk, num_updates - done)
            new, metrics = updates(key, state, data, length)
            metrics = dev.to_host(metrics)
            metrics = {k: np.asarray(v)[:length] for k, v in metrics.items()}
            is_last = done + length >= num_updates
            state = monitor.chunk(new, metrics, is_last)
            if state is new:
                report(int(new.step), num_updates, progress_text(metrics))
            keep()
    except KeyboardInterrupt as stopped:
        if not history:
            raise
        raise Interrupted(
            f"stopped after update {int(kept.step)} of {num_updates}, the last that is "
            "known to be healthy: its state and the history are the result of this "
            "exception, sys.last_value.result at a prompt; go on with fit from the "
            "state",
            found(kept),
        ) from stopped
    monitor.finish()
    keep()
    return found(state)


def placed(state: Any, mesh: jax.sharding.Mesh | None) -> Any:
    """The shapes of a training state with their shardings: the buffer of chains is
    sharded if its size is divisible."""
    everywhere = dev.divided(state._replace(buffer=None), mesh, length=-1)
    return everywhere._replace(buffer=dev.divided(state.buffer, mesh))
