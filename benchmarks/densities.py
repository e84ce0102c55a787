"""Densities of seed 0 of the objectives, and pictures of them, beside the data and the
density from which these are drawn."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from ebmjax import plotting
from ebmjax.experiments import data, experiment
from ebmjax.experiments.data.toys import spirals, two_moons
from ebmjax.targets import TARGETS

SHOWN, EDGE = 160, 3.0  # points per side of a picture; its half side, standardised
FOLDER = measure.RESULTS / "densities"


def grid(resolution: int = SHOWN, reach: float = EDGE) -> np.ndarray:
    """Midpoints of a square, ``[resolution^2, 2]``."""
    axis = reach * (2 * (np.arange(resolution) + 0.5) / resolution - 1)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


NOISE, NUM_PLACES = 0.1, 20_000  # of moons and spirals; places without noise
NUM_SHOWN = 2000  # points of the data in a picture


def true_density(name: str, x: np.ndarray) -> np.ndarray:
    """The density of a set at points ``[N, 2]`` in its own units.

    Moons and spirals are a curve with normal noise: the mean of the normal densities
    about N = ``NUM_PLACES`` random places of the curve.  On a curve of length L its
    standard error is sqrt(L / (2 sqrt(pi) sigma N)) of the density, 3 % for the moons.
    """
    if name == "checkerboard":
        column, row = np.floor(x + 2).astype(int).T
        is_inside = (abs(x) < 2).all(axis=1)
        return np.where(is_inside & ((column + row) % 2 == 0), 1 / 8, 0.0)
    if name not in CURVES:
        return np.exp(-np.asarray(jax.vmap(TARGETS[name]().energy)(jnp.asarray(x))))
    places = CURVES[name](jax.random.key(0), NUM_PLACES, noise=0.0)

    @jax.jit
    def density(x):
        squares = jnp.sum(jnp.square((x - places) / NOISE), axis=1)
        return jnp.mean(jnp.exp(-squares / 2)) / (2 * jnp.pi * NOISE**2)

    return np.asarray(jax.lax.map(density, jnp.asarray(x), batch_size=512))


CURVES = {"two_moons": two_moons, "spirals": spirals}


@functools.cache
def _run(name: str) -> experiment.Run:
    dataset = data.load(name, seed=0)
    return experiment.build(experiment.preset(dataset, seed=0), dataset)


def path_of(name: str, library: str, objective: str) -> Path:
    return FOLDER / f"{name}-{library}-{objective}.npy"


def keep(name: str, library: str, objective: str, energies: np.ndarray) -> None:
    """Store the energies at the points of :func:`grid`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.save(path_of(name, library, objective), energies.astype(np.float32))


@plotting.styled
def picture(name: str, jobs: list[tuple[str, str]]) -> None:
    """Draw the density of each library and objective, in this order; nothing where one
    of them is not stored, so that a picture of all is not replaced by one of a few."""
    files = {job: path_of(name, *job) for job in jobs}
    missing = [" ".join(job) for job, file in files.items() if not file.exists()]
    if missing or not files:
        print(f"no new picture of {name}: no stored density of {', '.join(missing)}")
        return
    panels = {job: np.load(file) for job, file in files.items()}
    run = _run(name)
    num_columns = min(len(panels) + 2, 6)
    num_rows = -(-(len(panels) + 2) // num_columns)
    fig, axes = plotting.figure(
        num_rows, num_columns, size=(1.4 * num_columns, 1.62 * num_rows)
    )
    for ax in np.atleast_1d(axes).ravel():
        ax.set_axis_off()
    points, truth, *rest = np.atleast_1d(axes).ravel()
    points.plot(*np.asarray(run.z[:NUM_SHOWN]).T, ",", color=plotting.DATA)
    points.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), aspect="equal")
    points.set_title("data", fontsize=7)
    _show(truth, true_density(name, run.standard.backward(grid())))
    truth.set_title("their density", fontsize=7)
    for ax, ((library, objective), energies) in zip(rest, panels.items(), strict=False):
        _show(ax, np.exp(energies.min() - energies))
        title = objective.replace("_", " ")
        ax.set_title(
            title if library == "ebmjax" else f"{library}: {title}", fontsize=7
        )
    plotting.save(fig, measure.RESULTS / f"objectives-{name}.png")


def _show(ax, values: np.ndarray) -> None:
    values = values.reshape(SHOWN, SHOWN)
    ax.imshow(values, origin="lower", cmap="cividis", vmax=np.quantile(values, 0.998))
