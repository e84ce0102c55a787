"""Pictures of a run: its training, its energies, its density or its images.

Chains are shown with the noise of training and, if there is noise, also denoised: the
posterior mean of the clean point under the trained energy
(:func:`ebmjax.energies.transforms.denoise`), without a second network.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax import plotting
from ebmjax.base import Energy
from ebmjax.energies.transforms import denoise
from ebmjax.experiments.errors import RunError
from ebmjax.experiments.experiment import Run
from ebmjax.experiments.labelled import judged
from ebmjax.experiments.metrics import metrics
from ebmjax.experiments.registry import METHODS
from ebmjax.training.step import TrainState

LARGEST_OFFSET = 1e3  # of data from zero in a picture, in standard deviations


def clean(run: Run, energy: Energy) -> Callable[[Any], np.ndarray]:
    """From standardised positions ``[N, ...]`` to units of the data, denoised."""
    jump = denoise(energy, run.config.noise) if run.config.noise > 0 else lambda x: x
    jump = jax.jit(jax.vmap(jump))
    return lambda z: np.asarray(run.standard.backward(np.asarray(jump(jnp.asarray(z)))))


def pictures(
    run: Run,
    state: TrainState,
    chains: Any,
    folder: Path,
    metrics_in: Path | None = None,
) -> list[Path]:
    """Draw all pictures into a folder; returns their paths.

    The training curves are those of ``metrics.csv`` in ``metrics_in``, by default the
    same folder.  If it is damaged, a warning is printed and there are no curves.
    """
    history = history_of(metrics_in or folder)
    figures = {"training.png": plotting.training_curves(history)} if history else {}
    figures |= _figures(run, state, chains)
    for name, figure in figures.items():
        plotting.save(figure, folder / name)
    return [folder / name for name in figures]


def history_of(folder: Path) -> dict[str, np.ndarray]:
    """The metrics of a run; empty, with a warning, if they are damaged."""
    try:
        found = metrics(folder)
    except RunError as error:
        checks.warn(f"{error}; its curves are omitted")
        return {}
    return found if len(found.get("step", ())) else {}


def _figures(run, state, chains) -> dict[str, Any]:
    energy = run.trained(state)
    energy_of = jax.jit(jax.vmap(energy))
    z = run.z[:2000]
    noisy = z + run.config.noise * jax.random.normal(jax.random.key(1), z.shape)
    name = "data (with the noise of training)" if run.config.noise else "data"
    groups = {name: np.asarray(energy_of(noisy)), "chains": chains.energies[-1]}
    figures = {
        "energies.png": plotting.energy_histogram(groups),
        "chains.png": plotting.chain_traces(chains.energies),
    }
    if run.facts.is_image:
        figures |= _images(run, chains, clean(run, energy))
    elif run.facts.shape == (2,):
        figures["density.png"] = _density(run, energy, chains)
    if METHODS[run.config.objective].is_labelled and run.at is None:
        figures |= judged(run, state).pictures()
    return figures


def _images(run, chains, shown) -> dict[str, Any]:
    """Data and chains side by side, and ten chains over time."""
    limits, last = value_range(run), chains.positions[-1]
    panels = {"data": run.kept.x[:100]}
    if run.config.noise:
        panels["chains, as they are"] = run.standard.backward(last)
    panels["chains, posterior mean" if run.config.noise else "chains"] = shown(last)
    step = max(1, len(chains.positions) // 16)
    film = np.stack([shown(frame[:10]) for frame in chains.positions[::step]])
    shape = run.facts.shape
    panels = {name: viewable(x, shape) for name, x in panels.items()}
    if viewable(film, shape).ndim < film.ndim:
        checks.warn(f"pictures show the mean of {shape[2]} channels")
    return {
        "samples.png": plotting.image_grids(panels, value_range=limits),
        "film.png": plotting.film_strips(viewable(film, shape), value_range=limits),
    }


def viewable(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Images of shape ``[H, W(, c)]`` for a picture: unchanged for 1 or 3 channels,
    else the mean of the channels."""
    return x.mean(axis=-1) if len(shape) == 3 and shape[2] not in (1, 3) else x


def _density(run, energy, chains) -> Any:
    """The density in units of the data, or standardised if the data are far from zero,
    because its grid is float32."""
    center, spread = run.standard.center, run.standard.spread
    z = chains.positions[-max(1, len(chains.positions) // 2) :].reshape(-1, 2)
    z = z[np.random.default_rng(0).permutation(len(z))[:3000]]
    is_far = (np.abs(center) > LARGEST_OFFSET * spread).any()
    if is_far or run.standard.varying is not None:
        return plotting.density(energy, np.asarray(run.z), z)
    in_data_units = lambda x: energy((x - center) / spread)
    return plotting.density(in_data_units, run.kept.x, run.standard.backward(z))


def value_range(run: Run) -> tuple[float, float]:
    """The range of the values, or that of the data if unknown."""
    return run.dataset.range or (float(run.dataset.x.min()), float(run.dataset.x.max()))
