"""What a run shows in the end: pictures, and a table of figures, from its folder and its state.

Chains are shown at the noise of the data and, where there is one, also denoised: the posterior mean of the
clean point under the trained energy itself (:func:`ebmjax.energies.transforms.denoise`), no second network.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax import plotting
from ebmjax.adaptation.tuning import tune_step_size
from ebmjax.base import Energy, Kernel, Key
from ebmjax.energies import enumeration
from ebmjax.energies.transforms import denoise
from ebmjax.evaluation.classifier import (
    ClassifierMetrics,
    classifier_metrics,
    train_classifier,
)
from ebmjax.evaluation.quadrature import log_z
from ebmjax.experiments import data
from ebmjax.experiments.experiment import Run, is_image
from ebmjax.experiments.labelled import judged
from ebmjax.experiments.registry import METHODS, acceptance_target, make_kernel
from ebmjax.experiments.runs import metrics
from ebmjax.objectives.joint import Labelled
from ebmjax.sampling.sample import Samples, sample
from ebmjax.training.step import TrainState

Rows = list[tuple[str, str]]


class Chains(NamedTuple):
    """Chains of a trained energy."""

    positions: np.ndarray  # [T, C, ...] standardised
    energies: np.ndarray  # [T, C]
    samples: Samples


def run_chains(
    key: Key,
    run: Run,
    state: TrainState,
    kernel: Kernel,
    *,
    num_chains: int,
    num_steps: int,
    num_kept: int = 20,
    is_fresh: bool = False,
    progress: Any = False,
) -> Chains:
    """Chains of a run's energy, from its store (with replacement where it is small) or from fresh noise."""
    checks.count(num_chains, "num_chains")
    key_start, key_run = jax.random.split(key)
    method = METHODS[run.config.objective]
    if (
        method.descend is not None
    ):  # energies that are known only near the data of their level
        key_start, key_descend = jax.random.split(key_start)
        noise = jax.random.normal(key_start, (num_chains, *run.z.shape[1:]))
        of_noise = lambda x, noise: run.network(run.lower(state.ema), x, noise)
        start = jax.jit(lambda k, s: method.descend(k, run.config, of_noise, run.z, s))(
            key_descend, noise
        )
    elif is_fresh or state.buffer is None:
        start = run.draw(key_start, num_chains)
    else:
        kept = points_of(state.buffer)
        rows = jax.random.choice(
            key_start, len(kept), (num_chains,), replace=num_chains > len(kept)
        )
        start = kept[rows]
    thin = max(1, num_steps // num_kept)
    samples = sample(
        key_run,
        kernel,
        start,
        num_steps // thin * thin,
        thin=thin,
        progress=progress,
        collect=lambda state, info: (state.position, state.energy),
    )
    positions, energies = (np.asarray(x) for x in samples.draws)
    return Chains(positions, energies, samples)


def points_of(buffer: Any) -> Any:
    """The chains of a store, without their labels where they have some."""
    return buffer.point if isinstance(buffer, Labelled) else buffer


def kernel_of(
    run: Run, energy: Energy, step_size: float, name: str | None = None
) -> Kernel:
    """The kernel that trained a run, or another by name, on its energy."""
    return make_kernel(name or run.config.kernel)(energy, step_size)


def step_size_for(key: Key, run: Run, state: TrainState, name: str) -> float:
    """The step size at which training ended, where chains ran in it; else one tuned from fresh noise."""
    is_tuned = run.objective.uses_chains and name == run.config.kernel
    target = acceptance_target(name)
    if is_tuned or target is None:
        return float(state.step_size)
    start = run.draw(key, 256)
    tuned = tune_step_size(
        key,
        make_kernel(name),
        run.trained(state),
        start,
        target=target,
        step_size=float(state.step_size),
    )
    return float(tuned.step_size)


def log_likelihood(run: Run, state: TrainState) -> float | None:
    """Mean log-likelihood of points in the plane, in nat and units of the data, with Z by quadrature: of new
    points where the data are a toy set, else of the data."""
    x, config = run.dataset.x, run.config
    if METHODS[config.objective].is_binary:
        return (
            enumeration.log_likelihood(run.trained(state), x)
            if x.ndim == 2 and x.shape[1] < 21
            else None
        )
    if x.ndim != 2 or x.shape[1] > 2:
        return None
    if config.data in data.TOYS:
        x = data.load(config.data, seed=(config.seed + 1) % 2**32).x
    energy, z = run.trained(state), run.standard.forward(x)
    energies = np.asarray(
        jax.jit(jax.vmap(energy))(jnp.asarray(z, jnp.float32)), np.float64
    )
    log_spread = float(np.log(run.standard.spread).sum())
    return float(-energies.mean() - _log_z(energy, x.shape[1]) - log_spread)


def _log_z(energy: Energy, dim: int) -> float:
    """log Z over a square of six deviations of the data to each side, or more if there is mass outside."""
    within = lambda reach: log_z(energy, [-reach] * dim, [reach] * dim, resolution=600)
    reach = 6.0
    inside = within(reach)
    while (wider := within(2 * reach)) > inside + 0.01:
        reach, inside = 2 * reach, wider
        if reach > 200:
            warnings.warn(
                "the energy is so flat that its log Z is not known: no confinement?",
                stacklevel=3,
            )
            break
    return inside


def clean(run: Run, energy: Energy) -> Callable[[Any], np.ndarray]:
    """From standardised positions ``[N, ...]`` to data units, without the noise of training."""
    jump = denoise(energy, run.config.noise) if run.config.noise > 0 else lambda x: x
    jump = jax.jit(jax.vmap(jump))
    return lambda z: np.asarray(run.standard.backward(np.asarray(jump(jnp.asarray(z)))))


def pictures(run: Run, state: TrainState, chains: Chains, folder: Path) -> list[Path]:
    """Draw everything into the folder; the paths."""
    energy = run.trained(state)
    shown = clean(run, energy)
    figures = {"training.png": plotting.training_curves(metrics(folder))}
    energy_of = jax.jit(jax.vmap(energy))
    held = run.z[:2000]
    noisy = held + run.config.noise * jax.random.normal(jax.random.key(1), held.shape)
    groups = {
        "data (with the noise of training)" if run.config.noise else "data": np.asarray(
            energy_of(noisy)
        ),
        "chains": chains.energies[-1],
    }
    figures["energies.png"] = plotting.energy_histogram(groups)
    figures["chains.png"] = plotting.chain_traces(chains.energies)
    last = chains.positions[-1]
    if is_image(run.dataset.x):
        limits = _range(run)
        panels = {"data": run.dataset.x[:100]}
        if run.config.noise:
            panels["chains, as they are"] = run.standard.backward(last)
        panels["chains, posterior mean" if run.config.noise else "chains"] = shown(last)
        figures["samples.png"] = plotting.image_grids(panels, value_range=limits)
        film = [
            shown(frame[:10])
            for frame in chains.positions[:: max(1, len(chains.positions) // 16)]
        ]
        figures["film.png"] = plotting.film_strips(np.stack(film), value_range=limits)
    elif run.dataset.x.ndim == 2 and run.dataset.x.shape[1] == 2:
        in_data_units = lambda x: energy(
            (x - run.standard.center) / run.standard.spread
        )
        pooled = run.standard.backward(chains.positions[-10:].reshape(-1, 2))
        figures["density.png"] = plotting.density(in_data_units, run.dataset.x, pooled)
    if METHODS[run.config.objective].is_labelled:
        figures |= judged(run, state).pictures()
    for name, figure in figures.items():
        plotting.save(figure, folder / name)
    return [folder / name for name in figures]


def table(run: Run, state: TrainState, chains: Chains, folder: Path) -> Rows:
    """Energies, acceptance and health of the chains, as rows of a name and a value."""
    history = metrics(folder)
    tail = {name: values[-100:] for name, values in history.items()}
    is_stuck = chains.samples.acceptance_rate < 0.01
    rows = [("objective, updates", f"{run.config.objective}, {int(state.step)}")]
    if "energy_data" in tail:
        rows += [
            (
                "energy of data, of chains (last 100 updates)",
                f"{tail['energy_data'].mean():+.2f}, {tail['energy_model'].mean():+.2f} nat",
            ),
            (
                "spread of the energy over data",
                f"{tail['energy_spread'].mean():.2f} nat",
            ),
            (
                "acceptance in training, step size",
                f"{tail['acceptance_rate'].mean():.2f}, {float(state.step_size):.4f}",
            ),
        ]
    else:
        rows.append(("loss (last 100 updates)", f"{tail['loss'].mean():.4f}"))
    if run.config.temperature != 1.0:
        rows.append(
            ("temperature; figures are of exp(-E / T)", f"{run.config.temperature:g}")
        )
    if (likelihood := log_likelihood(run, state)) is not None:
        how = "a sum" if METHODS[run.config.objective].is_binary else "quadrature"
        rows.append((f"log-likelihood, Z by {how}", f"{likelihood:.4f} nat"))
    if METHODS[run.config.objective].is_labelled:
        rows += judged(run, state).rows()
    rolled = []
    if int(state.num_rollbacks):
        scale = f"{int(state.num_rollbacks)}, {float(state.lr_scale):.2g}"
        rolled = [("roll-backs, learning rate against the first", scale)]
    return [
        *rows,
        (
            "acceptance of the final chains",
            f"{chains.samples.acceptance_rate.mean():.2f}",
        ),
        ("final chains that are stuck", f"{is_stuck.sum()} of {len(is_stuck)}"),
        (
            "updates skipped, chains restarted",
            f"{int(state.num_skipped)}, {int(state.num_restarted)}",
        ),
        *rolled,
    ]


def verdicts(
    key: Key, run: Run, state: TrainState, chains: Chains
) -> dict[str, ClassifierMetrics]:
    """What a classifier says, where data are labelled images: real ones held out, the store, the chains."""
    x, labels = run.dataset.x, run.dataset.labels
    if labels is None or not is_image(x):
        return {}
    shown, limits = clean(run, run.trained(state)), _range(run)
    num_train = int(0.8 * len(x))
    predict = train_classifier(key, x[:num_train], labels[:num_train])
    groups = {"real, held out": x[num_train:]}
    if state.buffer is not None:
        groups["chains of training"] = shown(points_of(state.buffer))
    groups["final chains"] = shown(chains.positions[-1])
    return {
        name: classifier_metrics(predict, images, x[:num_train], limits)
        for name, images in groups.items()
    }


def _range(run):
    return run.dataset.range or (float(run.dataset.x.min()), float(run.dataset.x.max()))
