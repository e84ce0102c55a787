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
import itertools
import json
import os
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import densities, measure, work
from benchmarks.objectives_peers import PEERS, peer
from ebmjax.experiments import data, experiment, presets, report
from ebmjax.experiments.experiment import Run
from ebmjax.experiments.registry import METHODS
from ebmjax.training.divergence import TrainingDiverged

SETS = ("eight_gaussians", "two_moons", "checkerboard", "spirals")
SMALL_NOISE = {"denoising": {"noise": 0.05}}
CONTINUOUS = tuple(n for n, m in METHODS.items() if not (m.is_binary or m.is_labelled))
# factor on our learning rate, at which unadjusted chains diverge; 1/4 is worse
PCD_RATE = 0.5
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
    peers = [(lib, method) for lib, methods in PEERS.items() for method in methods]
    jobs = [("ebmjax", name) for name in objectives] + (peers if torch_python else [])
    total, number = len(sets) * len(jobs) * num_seeds, 0
    for name in sets:
        for (library, objective), seed in itertools.product(jobs, range(num_seeds)):
            number += 1
            run = run_of(name, objective, seed, num_updates)
            about = _about(name, library, objective, run)
            if any(about.items() <= kept.items() for kept in load(path)):
                continue
            about["date"] = time.strftime("%Y-%m-%d %H:%M")
            about["load"] = round(os.getloadavg()[0], 1)
            if library == "ebmjax":
                found, density = ours(run)
            else:
                found, density = peer(torch_python, library, objective, run, limit_s)
            if is_drawn and seed == 0 and density is not None:
                densities.keep(name, library, objective, density)
            save(path, about | found)
            yield number, total, about | found
        known = {
            (r["library"], r["objective"]) for r in load(path) if r["data"] == name
        }
        order = [("ebmjax", n) for n in CONTINUOUS]
        order += [(lib, method) for lib, methods in PEERS.items() for method in methods]
        if is_drawn:
            densities.picture(name, [job for job in order if job in known])


def _about(name: str, library: str, objective: str, run: Run) -> Row:
    """What distinguishes a run from others."""
    return {
        "data": name,
        "library": library,
        "objective": objective,
        "seed": run.config.seed,
        "updates": run.config.num_updates,
        "choices": digest_of(run.config),
    }


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


def run_of(name: str, objective: str, seed: int, num_updates: int | None) -> Run:
    """Our run with the same options as a method of another library."""
    dataset = data.load(name, seed=seed)
    choices = {"seed": seed, **SMALL_NOISE.get(objective, {})}
    if objective == "pcd":
        objective = "maximum_likelihood"
        # with our first layer their densities are worse
        choices |= {
            name: getattr(experiment.Config, name) for name in presets.WIDE_GLOBAL
        }
        rate = METHODS[objective].defaults["learning_rate"]
        choices["learning_rate"] = PCD_RATE * rate
    if num_updates is not None:
        choices["num_updates"] = num_updates
    return experiment.build(
        experiment.preset(dataset, objective=objective, **choices), dataset
    )


def digest_of(config: experiment.Config) -> str:
    """A digest of the options that are not those of ``Config``, so that new ones change
    nothing; without the seed and its consequences."""
    choices = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in ("seed", "data_digest")
        and getattr(config, field.name) != field.default
    }
    return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()[:12]


def ours(run: Run) -> tuple[Row, np.ndarray | None]:
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
        jnp.asarray(densities.grid(), jnp.float32)
    )
    return found, np.asarray(energies)
