"""Chains of a run at conditions, beside points held out: a table and pictures."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import plotting
from ebmjax.base import Key
from ebmjax.evaluation.classifier import train_classifier
from ebmjax.experiments.classes import take
from ebmjax.experiments.conditional import (
    NUM_STEPS,
    chains_at,
    cleaned,
    energy_of,
    given_of,
)
from ebmjax.experiments.data.conditions import classes_of
from ebmjax.experiments.experiment import Run
from ebmjax.experiments.figures import value_range, viewable
from ebmjax.training.step import TrainState

NUM_CHAINS = 200  # of the table of points
A_CLASS = 20  # chains of each class that a classifier judges


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
    c = jnp.asarray(given_of(run, points), jnp.float32)
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
    low, high = value_range(run)
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
    panel = viewable(images, run.facts.shape)
    panel = panel.reshape(len(classes), num, *panel.shape[1:])[:, : len(classes)]
    panel = panel.reshape(-1, *panel.shape[2:])
    figure = plotting.image_grids(
        {"chains, a class a row": panel}, num_rows=len(classes), value_range=(low, high)
    )
    return Found(shown, {"classes.png": figure})
