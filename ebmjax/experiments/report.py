"""The report of a run: its final chains and tables of results.

Pictures are in :mod:`ebmjax.experiments.figures`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.adaptation.tuning import tune_step_size
from ebmjax.base import Energy, Kernel, Key
from ebmjax.diagnostics.summary import Summary, summary
from ebmjax.energies import enumeration
from ebmjax.evaluation.classifier import (
    ClassifierMetrics,
    classifier_metrics,
    train_classifier,
)
from ebmjax.evaluation.quadrature import log_z
from ebmjax.experiments import data
from ebmjax.experiments.data import Dataset
from ebmjax.experiments.data.arrays import check_fits
from ebmjax.experiments.experiment import Run
from ebmjax.experiments.figures import (
    clean,
    history_of,
    pictures,
    value_range,
    viewable,
)
from ebmjax.experiments.labelled import judged
from ebmjax.experiments.registry import METHODS, space_of_config
from ebmjax.kernels.registry import KERNELS
from ebmjax.objectives.batches import Labelled
from ebmjax.sampling.sample import sample
from ebmjax.sampling.samples import Samples
from ebmjax.spaces import BITS, REAL
from ebmjax.training.step import TrainState

__all__ = [
    "Chains",
    "clean",
    "pictures",
    "run_chains",
    "table",
    "value_range",
    "verdicts",
    "viewable",
]

Rows = list[tuple[str, str]]
# kernels for a trained energy: those of training, and the exact ones
SAMPLERS = {n: e for n, e in KERNELS.items() if e.is_exact or e.training is not None}
MOST_BYTES = 2**28  # largest size of the stored draws
MOST_TABLED, NUM_TABLED = 50, 20  # coordinates in a table of effective sample sizes


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
    thin: int | None = None,
    is_fresh: bool = False,
    progress: Any = False,
    sampler: Callable[..., Samples] = sample,
) -> Chains:
    """Chains of a run's energy, from its buffer or from fresh noise.

    Args:
      thin: steps per stored draw; by default :func:`thinning`, which stores all draws
        if they take at most 256 MiB.
      is_fresh: start from noise.  Starts are drawn from the buffer with replacement if
        it holds fewer chains.
      sampler: called as :func:`ebmjax.sample`.
    """
    checks.count(num_chains, "num_chains")
    check_fits(16 * num_chains * int(np.prod(run.facts.shape)), "num_chains")
    key_start, key_run = jax.random.split(key)
    start = starts(key_start, run, state, num_chains, is_fresh)
    thin = thinning(run, num_chains, num_steps) if thin is None else thin
    samples = sampler(
        key_run,
        kernel,
        start,
        num_steps // thin * thin,
        thin=thin,
        progress=progress,
        collect=_position_and_energy,
    )
    positions, energies = (np.asarray(x) for x in samples.draws)
    return Chains(positions, energies, samples)


def _position_and_energy(state, info):
    return state.position, state.energy


def thinning(run: Run, num_chains: int, num_steps: int) -> int:
    """The smallest number of steps per stored draw so that all draws fit in 256 MiB."""
    size = 4 * num_chains * int(np.prod(run.facts.shape))
    return max(1, min(num_steps, -(-num_steps * size // MOST_BYTES)))


def starts(
    key: Key, run: Run, state: TrainState, num_chains: int, is_fresh: bool = False
) -> Any:
    """Where chains start, ``[C, ...]`` in standardised units."""
    key_start, method = key, METHODS[run.config.objective]
    method = METHODS[run.config.objective]
    if method.descend is not None:  # energies are accurate near the data of their level
        key_start, key_descend = jax.random.split(key_start)
        noise = jax.random.normal(key_start, (num_chains, *run.z.shape[1:]))
        of_noise = lambda x, noise: run.network(run.lower(state.ema), x, noise)
        z = run.z[: run.facts.num_reference]
        return jax.jit(lambda k, s: method.descend(k, run.config, of_noise, z, s))(
            key_descend, noise
        )
    if is_fresh or state.buffer is None:
        return run.draw(key_start, num_chains)
    kept = points_of(state.buffer)
    rows = jax.random.choice(
        key_start, len(kept), (num_chains,), replace=num_chains > len(kept)
    )
    return kept[rows]


def summary_of(run: Run, chains: Chains) -> tuple[Summary, str]:
    """Table of R-hat and effective sample sizes, and a note on its coordinates.

    Rows are the energy and the coordinates in units of the data; of more than 50
    coordinates, 20 at equal distances.
    """
    num_steps, num_chains = chains.energies.shape
    z = chains.positions.reshape(num_steps, num_chains, -1)
    center, spread = (
        np.broadcast_to(part, run.facts.shape).ravel()
        for part in (run.standard.center, run.standard.spread)
    )
    dim, index, what = z.shape[2], np.arange(z.shape[2]), ""
    if dim > MOST_TABLED:
        index = np.unique(np.linspace(0, dim - 1, NUM_TABLED).astype(int))
        what = f"the energy and {len(index)} of {dim} coordinates, spread evenly"
    found = summary({"energy": chains.energies, "x": z[..., index]})
    scale = np.concatenate([[1.0], spread[index]])
    shift = np.concatenate([[0.0], center[index]])
    columns = {
        name: x if name.startswith(("ess", "rhat")) else x * scale
        for name, x in found.columns.items()
    }
    for name in ("mean", "5%", "95%"):
        columns[name] = columns[name] + shift
    names = {f"x[{i}]": name for i, name in enumerate(_names(run, index))}
    renamed = lambda text: re.sub(r"x\[\d+\]", lambda m: names[m[0]], text)
    return (
        Summary(  # type: ignore[call-arg]
            [renamed(n) for n in found.names],
            columns,
            [renamed(w) for w in found.warnings],
        ),
        what,
    )


def _names(run, index) -> list[str]:
    columns, varying = run.dataset.columns, run.standard.varying
    if columns is not None and len(run.facts.shape) == 1:
        all_names = np.array(columns)[slice(None) if varying is None else varying]
        return [str(all_names[i]) for i in index]
    if varying is not None:
        return [f"x[{np.flatnonzero(varying)[i]}]" for i in index]
    where = (np.unravel_index(i, run.facts.shape) for i in index)
    return [f"x[{', '.join(map(str, w))}]" for w in where]


def points_of(buffer: Any) -> Any:
    """The chains of a buffer, without labels."""
    return buffer.point if isinstance(buffer, Labelled) else buffer


def kernel_of(
    run: Run, energy: Energy, step_size: float, name: str | None = None
) -> Kernel:
    """The kernel that trained a run, or another by name, on its energy."""
    return SAMPLERS[name or run.config.kernel].training_kernel(energy, step_size)


def step_size_for(key: Key, run: Run, state: TrainState, name: str) -> float:
    """The last step size of training; else one tuned from noise."""
    is_tuned = run.objective.uses_chains and name == run.config.kernel
    target = SAMPLERS[name].properties().acceptance_target
    if is_tuned or target is None:
        return float(state.step_size)
    start = run.draw(key, 256)
    tuned = tune_step_size(
        key,
        SAMPLERS[name].training_kernel,
        run.trained(state),
        start,
        target=target,
        step_size=float(state.step_size),
    )
    return float(tuned.step_size)


def log_likelihood(
    run: Run, state: TrainState, points: Dataset | None = None
) -> float | None:
    """Mean log-likelihood in nats and units of the data, with Z by quadrature or a sum.

    Args:
      points: by default held-out points (new ones of a toy set), or, if there are none,
        the training points.

    Returns:
      None for more than two coordinates that vary (twenty for bits).
    """
    points = points or run.held or run.kept
    x, dim = points.x, run.facts.shape
    if space_of_config(run.config) not in (REAL, BITS):
        return None
    if space_of_config(run.config) == BITS:
        is_small = x.ndim == 2 and x.shape[1] < 21
        return enumeration.log_likelihood(run.trained(state), x) if is_small else None
    if len(dim) != 1 or dim[0] > 2:
        return None
    energy, z = run.trained(state), run.standard.forward(x)
    energies = np.asarray(
        jax.jit(jax.vmap(energy))(jnp.asarray(z, jnp.float32)), np.float64
    )
    log_spread = float(np.log(run.standard.spread).sum())
    return float(-energies.mean() - _log_z(energy, dim[0]) - log_spread)


def log_likelihoods(run: Run, state: TrainState) -> dict[str, float]:
    """Log-likelihoods of training and held-out points by name, if Z is known."""
    is_toy = run.config.data in data.TOYS
    groups = {"training data": run.kept}
    if run.held is not None:
        name = f"{len(run.held.x)} {'new points' if is_toy else 'held-out points'}"
        groups[name] = run.held
    found = {
        name: log_likelihood(run, state, points) for name, points in groups.items()
    }
    return {name: value for name, value in found.items() if value is not None}


def _log_z(energy: Energy, dim: int) -> float:
    """log Z over six standard deviations of the data to each side, or more.

    The square is doubled until its mass stops growing.
    """
    within = lambda reach: log_z(energy, [-reach] * dim, [reach] * dim, resolution=600)
    reach = 6.0
    inside = within(reach)
    while (wider := within(2 * reach)) > inside + 0.01:
        reach, inside = 2 * reach, wider
        if reach > 200:
            checks.warn(
                "the energy is so flat that log Z cannot be computed; use confinement"
            )
            break
    return inside


def table(run: Run, state: TrainState, chains: Chains, folder: Path) -> Rows:
    """Energies, acceptance and health of the chains, rows of a name and a value."""
    history = history_of(folder)
    tail = {name: values[-100:] for name, values in history.items()}
    is_stuck = chains.samples.acceptance_rate < 0.01
    rows = [("objective, updates", f"{run.config.objective}, {int(state.step)}")]
    if "energy_data" in tail:
        rows += [
            (
                "energy of data, of chains (last 100 updates)",
                f"{tail['energy_data'].mean():+.2f}, "
                f"{tail['energy_model'].mean():+.2f} nats",
            ),
            (
                "spread of the energy over data",
                f"{tail['energy_spread'].mean():.2f} nats",
            ),
            (
                "acceptance in training, step size",
                f"{tail['acceptance_rate'].mean():.2f}, {float(state.step_size):.4f}",
            ),
        ]
    elif "loss" in tail:
        rows.append(("loss (last 100 updates)", f"{tail['loss'].mean():.4f}"))
    if run.config.temperature != 1.0:
        rows.append(
            ("temperature; results are for exp(-E / T)", f"{run.config.temperature:g}")
        )
    how = "a sum" if space_of_config(run.config) == BITS else "quadrature"
    for points, value in log_likelihoods(run, state).items():
        name = f"log-likelihood, Z by {how}, of {points}"
        rows.append((name, f"{value:.4f} nats"))
    if run.held is not None:
        rows.append(_energy_row(run, state))
    if METHODS[run.config.objective].is_labelled:
        rows += judged(run, state).rows()
    rolled = []
    if int(state.num_rollbacks):
        scale = f"{int(state.num_rollbacks)}, {float(state.lr_scale):.2g}"
        rolled = [("roll-backs, factor of the learning rate", scale)]
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


def _energy_row(run, state) -> tuple[str, str]:
    """Mean energies of training and held-out points, with the noise of training."""
    energy, values = jax.jit(jax.vmap(run.trained(state))), []
    for points in (run.kept, run.held):
        z = jnp.asarray(run.standard.forward(points.x[:5000]), jnp.float32)
        noise = run.config.noise * jax.random.normal(jax.random.key(2), z.shape)
        values.append(float(np.asarray(energy(z + noise), np.float64).mean()))
    name = "energy of training data, of held-out data"
    return name, f"{values[0]:+.2f}, {values[1]:+.2f} nats"


def verdicts(
    key: Key, run: Run, state: TrainState, chains: Chains
) -> dict[str, ClassifierMetrics]:
    """Metrics by a classifier, for labelled images.

    It is trained on the training points and applied to held-out images, the chains of
    training, and the final chains.
    """
    x, labels = run.kept.x, run.kept.labels
    if labels is None or run.held is None or not run.facts.is_image:
        return {}
    shown, limits = clean(run, run.trained(state)), value_range(run)
    predict = train_classifier(key, x, labels)
    groups = {"real, held out": run.held.x}
    if state.buffer is not None:
        groups["chains of training"] = shown(points_of(state.buffer))
    groups["final chains"] = shown(chains.positions[-1])
    return {
        name: classifier_metrics(predict, images, x, limits)
        for name, images in groups.items()
    }
