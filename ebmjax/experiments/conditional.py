"""Chains of a run at conditions: of points given columns or labels, and of the classes
of a labelled run.

``at(run, state, ...)`` is the run at one condition, an ordinary run of points, whose
data and first chains are those of the nearest conditions.  ``chains_at`` runs one chain
a condition, all in one program; ``rows`` compares them with points held out, each chain
at the condition of its point.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import plotting
from ebmjax.base import Key
from ebmjax.energies.transforms import denoise, temper
from ebmjax.evaluation.classifier import train_classifier
from ebmjax.experiments import report
from ebmjax.experiments.build import RunError
from ebmjax.experiments.classes import take
from ebmjax.experiments.data.conditions import classes_of, row
from ebmjax.experiments.experiment import Run
from ebmjax.experiments.registry import METHODS
from ebmjax.kernels.conditional import conditioned
from ebmjax.sampling.sample import sample
from ebmjax.sampling.samples import Samples
from ebmjax.training.step import TrainState

NEAREST = 256  # rows of the data that are shown beside the chains at a condition
SAME, LEAST_SAME = 1e-10, 6  # squared distance of equal conditions; rows that suffice
NUM_STEPS, NUM_KEPT, NUM_CHAINS = 400, 100, 200  # of the chains of a table
A_CLASS = 20  # chains of each class that a classifier judges


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
        of_held = None if run.held is None else near(_given(run, run.held))
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
    held = run.held if of_held is None else take(run.held, of_held)  # type: ignore[arg-type]
    chosen = run._replace(
        at=where, z=run.z[of_kept], kept=take(run.kept, of_kept), held=held
    )
    return chosen, state._replace(buffer=buffer)


def _given(run, points) -> Any:
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
    points = report.points_of(state.buffer)
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
    return lambda x, c: temper(partial(energy, c), run.config.temperature)(x)


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
    step_size = report.step_size_for(key_tune, first, state, run.config.kernel)
    make = report.SAMPLERS[run.config.kernel].training_kernel
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


class Found(NamedTuple):
    """What chains at conditions say of a run."""

    rows: list[tuple[str, str]]
    figures: dict[str, Any]


def compare(key: Key, run: Run, state: TrainState) -> Found:
    """Chains at the conditions of points held out, beside these points; of labelled
    images, what a classifier takes chains of each class for."""
    found = Found([], {})
    key_points, key_classes = jax.random.split(key)
    if run.config.condition_on:
        found = _of_points(key_points, run, state)
    is_label = run.config.condition_on in ("", "label")
    if run.facts.is_image and is_label and run.kept.labels is not None:
        more = _of_classes(key_classes, run, state)
        found = Found([*found.rows, *more.rows], {**found.figures, **more.figures})
    return found


def _of_points(key, run, state) -> Found:
    points = run.kept if run.held is None else run.held
    points = take(points, np.arange(min(NUM_CHAINS, len(points.x))))
    c = jnp.asarray(_given(run, points), jnp.float32)
    key_chains, key_noise = jax.random.split(key)
    samples = chains_at(key_chains, run, state, c)
    energy = jax.jit(jax.vmap(energy_of(run, state)))
    z = jnp.asarray(run.standard.forward(points.x), jnp.float32)
    z = z + run.config.noise * jax.random.normal(key_noise, z.shape)
    gap = np.asarray(energy(z, c), np.float64) - np.asarray(
        energy(samples.state.position, c), np.float64
    )
    name = "held-out points" if run.held is not None else "training points"
    error = gap.std() / len(gap) ** 0.5
    rows = [
        (
            f"energy of {name} above chains at their conditions",
            f"{gap.mean():+.2f} +- {error:.2f} nat",
        ),
        ("acceptance of these chains", f"{samples.acceptance_rate.mean():.2f}"),
    ]
    draws = run.standard.backward(np.asarray(samples.draws))  # [T, C, ...]
    if run.facts.is_image:
        return Found(rows, {})
    x = points.x.reshape(len(points.x), -1)
    mean = draws.mean(axis=0).reshape(x.shape)
    share = 1 - ((x - mean) ** 2).mean(axis=0) / x.var(axis=0)
    shown = ", ".join(f"{s:.2f}" for s in share[:8])
    rows.append(("variance of the points that E[x | c] explains", shown))
    last = draws[-1].reshape(x.shape)
    return Found(rows, {"conditional.png": _scatter(run, points, x, last)})


@plotting.styled
def _scatter(run, points, x, chains):
    """The first coordinate against the first condition, of points and of chains."""
    fig, ax = plotting.figure(size=(5.2, 3.4))
    given = points.conditions[:, 0]
    ax.plot(given, x[:, 0], ".", color=plotting.DATA, label="held-out points")
    ax.plot(given, chains[:, 0], ".", color=plotting.MODEL, label="chains", alpha=0.7)
    columns, names = run.dataset.columns, run.dataset.condition_columns
    ax.set(xlabel=names[0], ylabel=columns[0] if columns else "x[0]")
    ax.legend()
    return fig


def _of_classes(key, run, state) -> Found:
    """The share of the chains of each class that a classifier takes for it."""
    classes = classes_of(run.dataset)
    num = max(A_CLASS, len(classes))
    label = np.repeat(np.arange(len(classes)), num)
    rows = np.eye(len(classes), dtype=np.float32)[label]
    c = jnp.asarray(rows if run.config.condition_on else label)
    key_chains, key_noise, key_classifier = jax.random.split(key, 3)
    last = lambda key, state: chains_at(key, run, state, c).state.position
    images = cleaned(run, state, last(key_chains, state), c)
    predict = train_classifier(key_classifier, run.kept.x, run.kept.labels)
    low, high = report.value_range(run)
    of = lambda x: np.asarray(predict(jnp.clip(jnp.asarray(x), low, high)))
    share = lambda x: f"{(of(x).argmax(axis=1) == label).mean():.1%}"
    shown = [("chains that a classifier takes for their class", share(images))]
    if state.buffer is not None:
        fresh = last(key_noise, state._replace(buffer=None))
        fresh = cleaned(run, state, fresh, c)
        shown.append((f"the same of {NUM_STEPS} steps from noise", share(fresh)))
    if run.held is not None:
        right = (of(run.held.x).argmax(axis=1) == run.held.labels).mean()
        shown.append(("held-out images that it takes for theirs", f"{right:.1%}"))
    panel = report.viewable(images, run.facts.shape)
    panel = panel.reshape(len(classes), num, *panel.shape[1:])[:, : len(classes)]
    panel = panel.reshape(-1, *panel.shape[2:])
    figure = plotting.image_grids(
        {"chains, a class a row": panel}, num_rows=len(classes), value_range=(low, high)
    )
    return Found(shown, {"classes.png": figure})
