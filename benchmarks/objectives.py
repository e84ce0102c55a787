"""All objectives on the same data and network, at their defaults: exact log-likelihood
by quadrature.

Over seeds: the mean and the standard deviation of the log-likelihood of new points, the
time of training, compilation included, energy gradients, the share of runs that
diverged and the number of roll-backs of the others; and a figure of the densities.
PyTorch libraries (:mod:`benchmarks.peers_torch`) run in a separate interpreter on the
same points, network, batches and number of updates, and return their energies on the
points of the same quadrature.
"""

import dataclasses
import hashlib
import json
import os
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

from benchmarks import measure, work
from ebmjax import plotting
from ebmjax.experiments import data, experiment, report
from ebmjax.experiments.experiment import Run
from ebmjax.experiments.registry import METHODS
from ebmjax.training.divergence import TrainingDiverged

SETS = ("eight_gaussians", "two_moons", "checkerboard", "spirals")
SMALL_NOISE = {"denoising": {"noise": 0.05}}
CONTINUOUS = tuple(n for n, m in METHODS.items() if not (m.is_binary or m.is_labelled))
PEERS = {
    "torchebm": ("pcd", "sliced", "denoising"),
    "ebmkit": ("pcd", "sliced", "denoising", "nce"),
}
# factor on our learning rate, at which unadjusted chains diverge; 1/4 is worse
PCD_RATE = 0.5
RESOLUTION, REACH = 600, 6.0  # of the quadrature, in standardised units
SHOWN = 160  # points per side of a picture
DENSITIES = measure.RESULTS / "densities"
Row = dict[str, Any]


def runs(
    *,
    num_seeds: int = 5,
    sets: tuple[str, ...] = SETS,
    objectives: tuple[str, ...] = CONTINUOUS,
    torch_python: str | None = None,
    num_updates: int | None = None,
    limit_s: float = 3600,
    path: Path,
    is_drawn: bool = True,
) -> Iterator[tuple[int, int, Row]]:
    """``(number, total, run)`` for each training run, stored in ``path`` when it ends.

    Stored runs with the same options are skipped.
    """
    peers = [
        (library, method) for library, methods in PEERS.items() for method in methods
    ]
    jobs = [("ebmjax", name) for name in objectives] + (peers if torch_python else [])
    total, number = len(sets) * len(jobs) * num_seeds, 0
    for name in sets:
        for library, objective in jobs:
            for seed in range(num_seeds):
                number += 1
                run = _run_of(name, objective, seed, num_updates)
                about = {
                    "data": name,
                    "library": library,
                    "objective": objective,
                    "seed": seed,
                }
                about |= {
                    "updates": run.config.num_updates,
                    "choices": digest_of(run.config),
                }
                if any(about.items() <= kept.items() for kept in load(path)):
                    continue
                about |= {
                    "date": time.strftime("%Y-%m-%d %H:%M"),
                    "load": round(os.getloadavg()[0], 1),
                }
                if library == "ebmjax":
                    found, density = _ours(run)
                else:
                    found, density = _peer(
                        torch_python, library, objective, run, limit_s
                    )
                if is_drawn and seed == 0 and density is not None:
                    DENSITIES.mkdir(parents=True, exist_ok=True)
                    np.save(
                        DENSITIES / f"{name}-{library}-{objective}.npy",
                        density.astype(np.float32),
                    )
                save(path, about | found)
                yield number, total, about | found
        if is_drawn:
            _picture(name)


def load(path: Path) -> list[Row]:
    """The stored runs."""
    return json.loads(path.read_text())["runs"] if path.exists() else []


def save(path: Path, run: Row) -> None:
    """Add a run, or replace one of the same data, objective and seed; atomic."""
    same = ("data", "library", "objective", "seed")
    kept = [r for r in load(path) if any(r[k] != run[k] for k in same)] + [run]
    measure.write(path, {"rows": rows(kept), "runs": kept})


def rows(kept: list[Row]) -> list[Row]:
    """One row per data set, library and objective, over their seeds."""
    groups: dict[tuple, list[Row]] = {}
    for run in kept:
        groups.setdefault((run["data"], run["library"], run["objective"]), []).append(
            run
        )
    return [_row(*names, outcomes) for names, outcomes in groups.items()]


def _row(name, library, objective, outcomes) -> Row:
    finished = [o for o in outcomes if o["log-likelihood"] is not None]
    values = [o["log-likelihood"] for o in finished]
    return {
        "data": name,
        "library": library,
        "objective": objective,
        "log-likelihood": statistics.mean(values) if finished else None,
        "spread": statistics.stdev(values) if len(finished) > 1 else None,
        "seconds": statistics.median(o["seconds"] for o in finished)
        if finished
        else None,
        # processes that compete for a core
        "load": statistics.median(o["load"] for o in outcomes),
        "gradients": outcomes[0]["gradients"],
        "num_seeds": len(outcomes),
        "share_diverged": 1 - len(finished) / len(outcomes),
        "num_rollbacks": sum(o["rollbacks"] for o in outcomes),
        "updates": outcomes[0]["updates"],
    }


def _run_of(name: str, objective: str, seed: int, num_updates: int | None) -> Run:
    """Our run with the same options as a method of another library."""
    dataset = data.load(name, seed=seed)
    choices = {"seed": seed, **SMALL_NOISE.get(objective, {})}
    if objective == "pcd":
        objective = "maximum_likelihood"
        choices["learning_rate"] = (
            PCD_RATE * METHODS[objective].defaults["learning_rate"]
        )
    if num_updates is not None:
        choices["num_updates"] = num_updates
    return experiment.build(
        experiment.preset(dataset, objective=objective, **choices), dataset
    )


def digest_of(config: experiment.Config) -> str:
    """A digest of all options except the seed and its consequences."""
    choices = {
        k: v
        for k, v in dataclasses.asdict(config).items()
        if k not in ("seed", "data_digest")
    }
    return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()[:12]


def _ours(run: Run) -> tuple[Row, np.ndarray | None]:
    found: Row = {
        "log-likelihood": None,
        "seconds": None,
        "rollbacks": run.config.max_rollbacks,
    }
    found["gradients"] = round(run.config.num_updates * work.of_update(run))
    begin = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # roll-backs, which are counted
            state, _ = run.fit(run.init())
    except TrainingDiverged:
        return found, None
    jax.block_until_ready(state)
    found["seconds"] = round(time.perf_counter() - begin, 2)
    found["rollbacks"] = int(state.num_rollbacks)
    found["log-likelihood"] = report.log_likelihood(run, state)
    energies = jax.jit(jax.vmap(run.trained(state)))(
        jnp.asarray(_grid(SHOWN, 3.0), jnp.float32)
    )
    return found, np.asarray(energies)


def _peer(python, library, objective, like, limit_s) -> tuple[Row, np.ndarray | None]:
    """A run of another library; one that is not finite or exceeds its time limit counts
    as diverged."""
    config, standard = like.config, like.standard
    found: Row = {
        "log-likelihood": None,
        "seconds": None,
        "rollbacks": 0,
        "gradients": None,
    }
    held = standard.forward(data.load(config.data, seed=config.seed + 1).x)
    with tempfile.TemporaryDirectory() as folder:
        problem, answer = Path(folder) / "problem.npz", Path(folder) / "answer.npz"
        np.savez(
            problem,
            x=np.asarray(like.z),
            held=held.astype(np.float32),
            grid=_grid(RESOLUTION, REACH).astype(np.float32),
            shown=_grid(SHOWN, 3.0).astype(np.float32),
        )
        command = [
            python,
            str(Path(__file__).with_name("peers_torch.py")),
            str(problem),
            str(answer),
        ]
        command += [
            library,
            objective,
            f"--seed={config.seed}",
            f"--num-updates={config.num_updates}",
        ]
        command += [
            f"--batch-size={config.batch_size}",
            f"--chain-steps={config.chain_steps}",
        ]
        command += [
            f"--learning-rate={config.learning_rate}",
            f"--noise={config.noise}",
        ]
        command += [f"--noise-ratio={config.noise_ratio}"]
        try:
            subprocess.run(
                command, check=True, timeout=limit_s, capture_output=True, text=True
            )
        except subprocess.CalledProcessError as error:
            raise RuntimeError(
                f"{library} {objective} failed:\n{error.stderr[-2000:]}"
            ) from None
        except subprocess.TimeoutExpired:
            return found, None
        with np.load(answer) as file:
            grid, held, shown = (
                file[k].astype(np.float64) for k in ("grid", "held", "shown")
            )
            found["seconds"] = float(file["seconds"])
    if not (np.isfinite(grid).all() and np.isfinite(held).all()):
        return found, None
    cell = 2 * np.log(2 * REACH / RESOLUTION)
    log_z = -grid.min() + np.log(np.exp(grid.min() - grid).sum()) + cell
    found["log-likelihood"] = float(
        -held.mean() - log_z - np.log(standard.spread).sum()
    )
    return found, shown


def _grid(resolution: int, reach: float) -> np.ndarray:
    """Midpoints of a square, ``[resolution^2, 2]``."""
    axis = reach * (2 * (np.arange(resolution) + 0.5) / resolution - 1)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


@plotting.styled
def _picture(name: str) -> None:
    """Draw the densities of seed 0: ours by name, then those of the other libraries."""
    jobs = [("ebmjax", n) for n in CONTINUOUS] + [
        (lib, n) for lib, names in PEERS.items() for n in names
    ]
    files = {job: DENSITIES / f"{name}-{job[0]}-{job[1]}.npy" for job in jobs}
    panels = {job: np.load(file) for job, file in files.items() if file.exists()}
    if not panels:
        return
    num_columns = min(len(panels), 6)
    num_rows = -(-len(panels) // num_columns)
    fig, axes = plotting.figure(
        num_rows, num_columns, size=(1.4 * num_columns, 1.62 * num_rows)
    )
    for ax in np.atleast_1d(axes).ravel():
        ax.set_axis_off()
    for ax, ((library, objective), energies) in zip(
        np.atleast_1d(axes).ravel(), panels.items(), strict=False
    ):
        values = np.exp(energies.min() - energies).reshape(SHOWN, SHOWN)
        ax.imshow(
            values, origin="lower", cmap="cividis", vmax=np.quantile(values, 0.998)
        )
        title = objective.replace("_", " ")
        ax.set_title(
            title if library == "ebmjax" else f"{library}: {title}", fontsize=7
        )
    plotting.save(fig, measure.RESULTS / f"objectives-{name}.png")
