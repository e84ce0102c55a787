"""Chains of a run at conditions: of points given columns or labels, and of the classes
of a labelled run.

``at(run, state, ...)`` is the run at one condition, an ordinary run of points, whose
data and first chains are those of the nearest conditions.  ``chains_at`` runs one chain
a condition, all in one program; :mod:`ebmjax.experiments.conditional_report` compares
them with points held out, each chain at the condition of its point.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax.base import Key
from ebmjax.energies.transforms import denoise, temper
from ebmjax.experiments.chains import SAMPLERS, step_size_for
from ebmjax.experiments.classes import take
from ebmjax.experiments.data import Dataset
from ebmjax.experiments.data.conditions import classes_of, row
from ebmjax.experiments.errors import RunError
from ebmjax.experiments.experiment import Run
from ebmjax.experiments.registry import METHODS
from ebmjax.kernels.conditional import conditioned
from ebmjax.objectives.batches import points_of
from ebmjax.sampling.sample import sample
from ebmjax.sampling.samples import Samples
from ebmjax.training.step import TrainState

NEAREST = 256  # rows of the data that are shown beside the chains at a condition
SAME, LEAST_SAME = 1e-10, 6  # squared distance of equal conditions; rows that suffice
NUM_STEPS, NUM_KEPT = 400, 100  # steps of each chain, and those that are kept


def takes_condition(run: Run) -> bool:
    """Whether its chains can be run at a condition or a class."""
    return bool(run.config.condition_on) or METHODS[run.config.objective].is_labelled


def at(run: Run, state: TrainState, values: str, label: str) -> tuple[Run, TrainState]:
    """The run at one condition, and the state with the training chains nearest to it.

    Args:
      values: ``"1.5,2"``, of the columns that points are given, in units of the data.
      label: of the class, as it is in the data.

    Raises:
      RunError: a run of points alone.
      DataError: values or a label that are not those of the run.
    """
    where: Any
    if run.config.condition_on:
        columns = run.dataset.condition_columns or ()
        assert run.facts.given is not None
        condition = run.facts.given.forward(row(columns, values, label))
        near = partial(_nearest, condition)
        where = jnp.asarray(condition)
        of_kept = near(run.batches.condition)
        of_held = None if run.held is None else near(given_of(run, run.held))
        buffer = None if state.buffer is None else state.buffer[of_kept]
    elif METHODS[run.config.objective].is_labelled:
        columns = tuple(f"label={c}" for c in classes_of(run.dataset))
        where = int(row(columns, values, label).argmax())
        of_kept = np.flatnonzero(run.kept.labels == where)
        of_held = None if run.held is None else np.flatnonzero(run.held.labels == where)
        buffer = _of_class(run, state, where)
    else:
        raise RunError(
            "this run learned points alone: --condition and --label are of runs with "
            "--condition-on, or with the objective joint or class_conditional"
        )
    held = run.held
    if of_held is not None:
        held = take(run.held, of_held)  # type: ignore[arg-type]
    chosen = run._replace(
        at=where, z=run.z[of_kept], kept=take(run.kept, of_kept), held=held
    )
    return chosen, state._replace(buffer=buffer)


def given_of(run: Run, points: Dataset) -> Any:
    """The conditions ``[N, M]`` of points, in units of training."""
    assert run.facts.given is not None
    return run.facts.given.forward(points.conditions)


def _nearest(condition, rows) -> np.ndarray:
    """The rows ``[N, M]`` at a condition ``[M]``, all of them where there are a few;
    else the nearest."""
    apart = np.square(np.asarray(rows, np.float64) - condition).sum(axis=1)
    order = np.argsort(apart, kind="stable")
    num_same = int((apart < SAME).sum())
    return order[: num_same if num_same >= LEAST_SAME else NEAREST]


def _of_class(run, state, label):
    """Training chains of a class, or ``None`` where there are none."""
    if state.buffer is None:
        return None
    points = points_of(state.buffer)
    if points is not state.buffer:
        classes = np.asarray(state.buffer.label).argmax(axis=1)
    else:
        of_classes = jax.jit(jax.vmap(run.of_classes(state)))
        classes = np.asarray(of_classes(points)).argmin(axis=1)
    index = np.flatnonzero(classes == label)
    return points[index] if len(index) else None


# --- many conditions at once --------------------------------------------------------


def energy_of(run: Run, state: TrainState) -> Callable[[Any, Any], Any]:
    """``energy(x, c)``: c a row of conditions in units of training, or a class."""
    if not run.config.condition_on:
        of_classes = run.of_classes(state)
        return lambda x, c: of_classes(x)[c]
    energy = partial(run.network, run.lower(state.ema))
    if run.config.temperature == 1.0:
        return energy
    temperature = run.config.temperature
    return lambda x, c: temper(lambda y: energy(y, c), temperature)(x)


def chains_at(
    key: Key, run: Run, state: TrainState, conditions: Any, num_steps: int = NUM_STEPS
) -> Samples:
    """One chain a condition ``[C, ...]``, from a training chain of the nearest one."""
    key_start, key_tune, key_run = jax.random.split(key, 3)
    num = len(conditions)
    start = run.draw(key_start, num)
    if state.buffer is not None:
        start = _starts(key_start, run, state, conditions, start)
    first = run._replace(at=conditions[0])
    step_size = step_size_for(key_tune, first, state, run.config.kernel)
    make = SAMPLERS[run.config.kernel].training_kernel
    kernel = conditioned(
        lambda e: make(e, step_size), energy_of(run, state), conditions
    )
    thin = num_steps if run.facts.is_image else max(1, num_steps // NUM_KEPT)
    return sample(key_run, kernel, start, num_steps, thin=thin)


def _starts(key, run, state, conditions, fresh):
    if run.config.condition_on:
        rows = np.asarray(run.batches.condition)
        nearest = [int(_nearest(c, rows)[0]) for c in np.asarray(conditions)]
        return state.buffer[np.array(nearest)]
    found = np.array(fresh)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    for label in np.unique(np.asarray(conditions)):
        chains, mine = _of_class(run, state, label), np.asarray(conditions) == label
        if chains is not None:
            found[mine] = np.asarray(chains)[rng.integers(0, len(chains), mine.sum())]
    return jnp.asarray(found)


def cleaned(run: Run, state: TrainState, z: Any, conditions: Any) -> np.ndarray:
    """Positions ``[C, ...]`` in units of the data, denoised at their conditions."""
    if run.config.noise > 0:
        energy, noise = energy_of(run, state), run.config.noise
        jump = lambda x, c: denoise(lambda y: energy(y, c), noise)(x)
        z = jax.jit(jax.vmap(jump))(z, conditions)
    return np.asarray(run.standard.backward(np.asarray(z)))
