"""All objectives on the same data and network, at their defaults: exact log-likelihood by quadrature.

Over seeds: the mean and the spread of the log-likelihood of new points, the time of training, compilation
included, energy gradients, the share of runs that diverged and how often the others were rolled back; and a
picture of the densities side by side.  Peers in PyTorch (:mod:`benchmarks.peers_torch`) run in an interpreter
of their own on the same points, network, batches and number of updates; their energies come back on the
points of the same quadrature.
"""

import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from ebmjax import data, experiment, plotting, report
from ebmjax.experiments.experiment import Run
from ebmjax.experiments.methods import METHODS
from ebmjax.training import TrainingDiverged

SETS = ("eight_gaussians", "two_moons", "checkerboard", "spirals")
SMALL_NOISE = {"denoising": {"noise": 0.05}}
CONTINUOUS = tuple(name for name, method in METHODS.items() if not method.is_binary)
PEERS = {
    "torchebm": ("pcd", "sliced", "denoising"),
    "ebmkit": ("pcd", "sliced", "denoising", "nce"),
}
RESOLUTION, REACH = 600, 6.0  # of the quadrature, in standardised units
SHOWN = 160  # points a side of a picture
Row = dict[str, Any]


def rows(
    *,
    is_quick: bool,
    num_seeds: int = 5,
    sets: tuple[str, ...] = SETS,
    objectives: tuple[str, ...] = CONTINUOUS,
    torch_python: str | None = None,
    num_updates: int | None = None,
    limit_s: float = 600,
) -> Iterator[tuple[int, int, Row]]:
    """``(number, total, row)``, a row an objective and data set, ours and then the peers'."""
    sets = ("two_moons",) if is_quick else sets
    peers = [(library, method) for library, methods in PEERS.items() for method in methods]
    jobs = [("ebmjax", name) for name in objectives] + (peers if torch_python else [])
    total, number = len(sets) * len(jobs), 0
    for name in sets:
        panels: dict[str, np.ndarray] = {}
        for library, objective in jobs:
            number += 1
            outcomes = []
            for seed in range(num_seeds):
                if library == "ebmjax":
                    outcomes.append(_ours(name, objective, seed, num_updates))
                else:
                    outcomes.append(_peer(torch_python, library, name, objective, seed, num_updates, limit_s))
            first = next((o for o in outcomes if o["density"] is not None), None)
            if first is not None:
                panels[objective if library == "ebmjax" else f"{library} {objective}"] = first["density"]
            yield number, total, _row(library, name, objective, outcomes)
        _picture(name, panels)


def _row(library, name, objective, outcomes) -> Row:
    kept = [o["log-likelihood"] for o in outcomes if o["log-likelihood"] is not None]
    times = [o["seconds"] for o in outcomes if o["log-likelihood"] is not None]
    return {
        "data": name,
        "library": library,
        "objective": objective,
        "log-likelihood": statistics.mean(kept) if kept else None,
        "spread": statistics.stdev(kept) if len(kept) > 1 else None,
        "seconds": statistics.median(times) if times else None,
        "gradients": outcomes[0]["gradients"],
        "num_seeds": len(outcomes),
        "share_diverged": sum(o["log-likelihood"] is None for o in outcomes) / len(outcomes),
        "num_rollbacks": sum(o["rollbacks"] for o in outcomes),
        "num_updates": outcomes[0]["updates"],
        "each": kept,
        "each_seconds": times,
    }


def _run_of(name: str, objective: str, seed: int, num_updates: int | None) -> Run:
    dataset = data.load(name, seed=seed)
    choices = {"seed": seed, **SMALL_NOISE.get(objective, {})}
    if num_updates is not None:
        choices["num_updates"] = num_updates
    return experiment.build(experiment.preset(dataset, objective=objective, **choices), dataset)


def _ours(name, objective, seed, num_updates) -> Row:
    run = _run_of(name, objective, seed, num_updates)
    found: Row = {"log-likelihood": None, "seconds": None, "density": None, "rollbacks": 0}
    found |= {"gradients": gradients(run.config), "updates": run.config.num_updates}
    begin = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # roll-backs, which are counted
            state, _ = run.fit(run.init())
    except TrainingDiverged:
        return found
    jax.block_until_ready(state)
    found["seconds"] = time.perf_counter() - begin
    found["rollbacks"] = int(state.num_rollbacks)
    found["log-likelihood"] = report.log_likelihood(run, state)
    energies = jax.jit(jax.vmap(run.trained(state)))(jnp.asarray(_grid(SHOWN, 3.0), jnp.float32))
    return found | {"density": np.asarray(energies)}


def gradients(config: experiment.Config) -> int:
    """Energies whose gradient was taken in a run: by chains, with respect to x, and by the loss."""
    per_point = {
        "nce": 1 + config.noise_ratio,
        "ranking": 1 + config.noise_ratio,
        "conditional": 2,
        "explicit": 3,  # the score, and a second derivative along each of two coordinates
        "sliced": 2,
    }
    chains = config.num_chains * (config.chain_steps + 2) if METHODS[config.objective].uses_chains else 0
    return config.num_updates * (config.batch_size * per_point.get(config.objective, 1) + chains)


def _peer(python, library, name, objective, seed, num_updates, limit_s) -> Row:
    """A run of a peer; one that fails, is not finite or outlasts its limit counts as diverged."""
    like = _run_of(name, "maximum_likelihood" if objective == "pcd" else objective, seed, num_updates)
    config, standard = like.config, like.standard
    found: Row = {"log-likelihood": None, "seconds": None, "density": None, "rollbacks": 0}
    found |= {"gradients": gradients(config), "updates": config.num_updates}
    held = standard.forward(data.load(name, seed=seed + 1).x)
    with tempfile.TemporaryDirectory() as folder:
        problem, answer = Path(folder) / "problem.npz", Path(folder) / "answer.npz"
        np.savez(
            problem,
            x=np.asarray(like.z),
            held=held.astype(np.float32),
            grid=_grid(RESOLUTION, REACH).astype(np.float32),
            shown=_grid(SHOWN, 3.0).astype(np.float32),
        )
        command = [python, str(Path(__file__).with_name("peers_torch.py")), str(problem), str(answer)]
        command += [library, objective, f"--seed={seed}", f"--num-updates={config.num_updates}"]
        command += [f"--batch-size={config.batch_size}", f"--chain-steps={config.chain_steps}"]
        command += [f"--learning-rate={config.learning_rate}", f"--noise={config.noise}"]
        command += [f"--noise-ratio={config.noise_ratio}"]
        try:
            subprocess.run(command, check=True, timeout=limit_s, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"{library} {objective} failed:\n{error.stderr[-2000:]}") from None
        except subprocess.TimeoutExpired:
            return found
        with np.load(answer) as file:
            grid, held, shown = (file[k].astype(np.float64) for k in ("grid", "held", "shown"))
            found["seconds"] = float(file["seconds"])
    if not (np.isfinite(grid).all() and np.isfinite(held).all()):
        return found
    cell = 2 * np.log(2 * REACH / RESOLUTION)
    log_z = -grid.min() + np.log(np.exp(grid.min() - grid).sum()) + cell
    found["log-likelihood"] = float(-held.mean() - log_z - np.log(standard.spread).sum())
    return found | {"density": shown}


def _grid(resolution: int, reach: float) -> np.ndarray:
    """Midpoints of a square, ``[resolution^2, 2]``."""
    axis = reach * (2 * (np.arange(resolution) + 0.5) / resolution - 1)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


@plotting.house_style
def _picture(name: str, panels: dict[str, np.ndarray]) -> None:
    """Densities of the first seed, side by side, into the results."""
    num_columns = min(len(panels), 6)
    num_rows = -(-len(panels) // max(num_columns, 1))
    if not panels:
        return
    size = (1.9 * num_columns, 2.15 * num_rows)
    fig, axes = plotting.figure(num_rows, num_columns, size=size)
    for ax in np.atleast_1d(axes).ravel():
        ax.set_axis_off()
    for ax, (title, energies) in zip(np.atleast_1d(axes).ravel(), panels.items(), strict=False):
        values = np.exp(energies.min() - energies).reshape(SHOWN, SHOWN)
        ax.imshow(values, origin="lower", cmap="cividis")
        ax.set_title(title, fontsize=7)
    measure.RESULTS.mkdir(exist_ok=True)
    plotting.save(fig, measure.RESULTS / f"objectives-{name}.png")
