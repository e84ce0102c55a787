"""Training: Optax on the gradient of an objective, and a loop that watches it.

An update draws a batch i ~ U(1..n) (notes, eq. 10), takes chains from where they start, runs the objective
and steps the optimiser.  ``chunk`` updates are one compiled program; the host sees the means between them.

Nothing diverges silently.  An update whose gradient is not finite is skipped and counted; a chain that ends
where the energy is not finite is restarted and counted; a run that has left the ground goes back to where it
was well, with smaller steps, a few times (:mod:`ebmjax.training.divergence`), and then stops with
:class:`TrainingDiverged`, which says what it saw and carries the last state that was well.

Update ``t`` uses ``fold_in(key, t)``: a run that is stopped and resumed equals one that was not, bit for bit.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ebmjax import _validation as checks
from ebmjax.base import Key, Position
from ebmjax.objectives import Loss
from ebmjax.objectives.joint import noisy
from ebmjax.sampling import devices as dev
from ebmjax.sampling.progress import Progress, reporter
from ebmjax.training.chain_init import FROM_DATA, ChainInit
from ebmjax.training.divergence import (
    DEFAULT_ROLLBACK,
    SETTLED,
    RollbackPolicy,
    diagnose,
    known_mean,
    roll_back,
)
from ebmjax.training.step import TrainState, train_step


def fit(
    key: Key,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Position,
    chain_init: ChainInit = FROM_DATA,
    *,
    num_updates: int,
    batch_size: int,
    num_chains: int | None = None,
    data_noise: float = 0.0,
    ema_decay: float = 0.999,
    max_gap: float | None = None,
    rollback: RollbackPolicy = DEFAULT_ROLLBACK,
    chunk: int = 25,
    devices: dev.Devices = None,
    on_chunk: Callable[[TrainState, dict[str, np.ndarray]], None] | None = None,
    progress: bool | Progress = False,
) -> tuple[TrainState, dict[str, np.ndarray]]:
    """Train until ``state.step == num_updates``.

    Args:
      key: one key; update t uses ``fold_in(key, t)``.
      loss: an objective.
      optimizer: of Optax.
      state: from :func:`init_state`, or of an earlier run, which then goes on bit for bit.
      data: ``[N, ...]``, finite; stays on the device.
      chain_init: where chains start, at the data by default; ignored by objectives without chains.
      num_updates: in all, those already in ``state`` counted.
      batch_size: B, at most N.
      num_chains: C, ``batch_size`` by default.
      data_noise: standard deviation of Gaussian noise added to the points of each batch, in their units.
      ema_decay: of the parameters kept for evaluation; less, (1 + t) / (10 + t), in the first updates.
      max_gap: the largest |E_data - E_model| that still counts as training, in nat; 100 + 10 D by default.
      remedy: how often a run that diverges goes back to the last state that was well, with a smaller learning
        rate and step size, before it stops; ``NO_ROLLBACK`` stops at once.
      chunk: updates in one compiled call; progress and ``on_chunk`` live between them.
      devices: to divide batch and chains over: a number, a list, or a mesh with an axis ``"chains"``.
      on_chunk: called with the state and the metrics ``[chunk]`` of each call, once the ``SETTLED`` updates
        after it are well, too; may raise to stop.
      progress: ``True`` for a bar, or a function ``(done, total, text)``.

    Returns:
      The last state, and the metrics of the updates done here, ``[T]`` each.

    Raises:
      TrainingDiverged: the gradients are not finite, the energies ran apart, the chains froze or left, and
        the roll-backs are used up.
    """
    key = checks.key(key)
    data = checks.position(data, "data")
    num_points = checks.num_chains(data, "data")
    if checks.count(batch_size, "batch_size") > num_points:
        raise ValueError(
            f"batch_size must be at most the number of points, {num_points}, got {batch_size}"
        )
    checks.count(num_updates, "num_updates")
    checks.positive(data_noise, "data_noise", zero=True)
    num_chains = checks.count(
        batch_size if num_chains is None else num_chains, "num_chains"
    )
    checks.count(chunk, "chunk")
    if max_gap is not None:
        checks.positive(max_gap, "max_gap")
    checks.instance(state, TrainState, "state", "init_state")
    checks.instance(
        rollback, RollbackPolicy, "rollback", "ebmjax.training.divergence"
    ).check()
    if int(state.step) >= num_updates:
        warnings.warn(
            f"nothing is left to do: num_updates is the number in all, {num_updates}, and the state has seen "
            f"{int(state.step)}",
            stacklevel=2,
        )
    data_extent = max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(data))
    dim = sum(x[0].size for x in jax.tree.leaves(data))
    mesh = dev.mesh_of(devices)
    dev.check_divides(batch_size, mesh, "batch_size")
    dev.check_divides(num_chains, mesh, "num_chains")
    step = train_step(
        loss,
        optimizer,
        chain_init,
        num_chains=num_chains,
        ema_decay=ema_decay,
        mesh=mesh,
    )
    options = {
        "chunk": chunk,
        "batch_size": batch_size,
        "data_noise": data_noise,
        "mesh": mesh,
    }
    run_chunk = jax.jit(functools.partial(_updates, step, **options))
    key, data = dev.replicate((key, data), mesh)
    state = dev.put_as(state, placed(state, mesh))

    report = reporter(progress, "training")
    history: list[dict[str, np.ndarray]] = []
    pending: list[
        tuple[TrainState, dict[str, np.ndarray]]
    ] = []  # well so far, but what follows is to come

    def keep(new, metrics):
        nonlocal state
        state = new
        history.append(metrics)
        if on_chunk is not None:
            on_chunk(state, metrics)

    while (done := int((pending[-1][0] if pending else state).step)) < num_updates:
        length = min(chunk - done % chunk, num_updates - done)
        new, metrics = run_chunk(
            key, pending[-1][0] if pending else state, data, length
        )
        metrics = {
            name: np.asarray(values)[:length]
            for name, values in dev.to_host(metrics).items()
        }
        skips = [m["is_skipped"] for m in (*(m for _, m in pending), metrics)]
        if done + length < num_updates:
            skips.insert(
                0, np.zeros(SETTLED, bool)
            )  # one of the first few is no share yet
        recent = {
            **metrics,
            "is_skipped": np.concatenate(skips)[-max(SETTLED, length) :],
        }
        if trouble := diagnose(recent, data_extent, dim, max_gap):
            state = roll_back(
                rollback,
                state,
                f"between updates {done} and {int(new.step)}: {trouble}",
            )
            pending = []
            continue
        report(int(new.step), num_updates, _summary(metrics))
        pending.append((new, metrics))
        while len(pending) > 1 and int(new.step) - int(pending[0][0].step) >= SETTLED:
            keep(*pending.pop(0))
    for new, metrics in pending:
        keep(new, metrics)
    return state, {
        k: np.concatenate([h[k] for h in history]) for k in history[0]
    } if history else {}


def placed(state: Any, mesh: jax.sharding.Mesh | None) -> Any:
    """The shapes of a training state with their places: the chains that are kept divided, if they divide."""
    everywhere = dev.divided(state._replace(buffer=None), mesh, length=-1)
    return everywhere._replace(buffer=dev.divided(state.buffer, mesh))


def _updates(step, key, state, data, num, *, chunk, batch_size, data_noise, mesh):
    """``num`` updates, at most ``chunk``, and their metrics ``[chunk]``: one program for every number."""
    num_points = len(jax.tree.leaves(data)[0])

    def update(state):
        key_batch, key_noise, key_step = jax.random.split(
            jax.random.fold_in(key, state.step), 3
        )
        index = jax.random.randint(key_batch, (batch_size,), 0, num_points)
        batch = jax.tree.map(lambda x: x[index], data)
        if data_noise > 0:
            batch = noisy(key_noise, batch, data_noise)
        return step(key_step, state, dev.constrain(batch, mesh))

    def body(i, carry):
        state, rows = carry
        state, metrics = update(state)
        return state, jax.tree.map(lambda row, x: row.at[i].set(x), rows, metrics)

    _, shapes = jax.eval_shape(update, state)
    empty = jax.tree.map(lambda x: jnp.zeros((chunk, *x.shape), x.dtype), shapes)
    return jax.lax.fori_loop(0, num, body, (state, empty))


def _summary(metrics):
    means = {k: known_mean(v) for k, v in metrics.items()}
    text = f"loss {means['loss']:+.3g}  |grad| {means['grad_norm']:.2g}"
    if "energy_model" in means:
        text += (
            f"  E data {means['energy_data']:+.3g}  E model {means['energy_model']:+.3g}"
            f"  acceptance {means['acceptance_rate']:.2f}"
        )
    return text
