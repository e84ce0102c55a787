"""Maximum likelihood on images, until convergence: energies, likelihoods, samples,
seeds.

Each run is that of the command line, ``python -m ebmjax train --data NAME --seed SEED``
with the options of its row, and is measured as ``python -m ebmjax evaluate`` does.
Of a run:

    gap             mean over the last 100 updates of E(data) - E(chains)
    batch error     standard error of that difference in one update, from the spreads
    log-likelihood  of training and held-out points, with the noise of training added,
                    between the bounds of annealed importance sampling

A run has reached the maximum if the gap is less than the error of a batch.
"""

import json
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import measure
from ebmjax.cli import measurement
from ebmjax.experiments import data, experiment, report, runs
from ebmjax.training.divergence import TrainingDiverged

LAST = 100  # updates, over which the gap is taken
LEVELS = {"digits": 1024, "mnist": 2048}
Row = dict[str, Any]


class Case(NamedTuple):
    """A row of the table: a data set, options of ``train``, seeds."""

    data: str
    options: dict[str, Any]
    num_seeds: int

    @property
    def command(self) -> str:
        given = [f"--{n.replace('_', '-')} {_text(v)}" for n, v in self.options.items()]
        return " ".join(["train", f"--data {self.data}", *given])


CASES = {
    "digits": Case("digits", {}, 20),
    "mnist": Case("mnist", {}, 5),
}


def rows(names: tuple[str, ...], num_seeds: int | None, path: Path) -> Iterator:
    """Each run that is not in ``path``, when it ends: ``(number, total, row)``."""
    todo = [
        (name, seed)
        for name in names
        for seed in range(num_seeds or CASES[name].num_seeds)
    ]
    found = load(path)
    done = {(r["case"], r["seed"]) for r in found}
    for number, (name, seed) in enumerate(todo, 1):
        if (name, seed) in done:
            continue
        row = one(name, seed)
        found.append(row)
        content = {"about": measure.machine(), "rows": found}
        path.write_text(json.dumps(content, indent=1))
        yield number, len(todo), row


def load(path: Path) -> list[Row]:
    """The stored runs."""
    return json.loads(path.read_text())["rows"] if path.exists() else []


def one(name: str, seed: int) -> Row:
    """Train and measure one run."""
    case = CASES[name]
    dataset = data.load(case.data, seed=seed)
    config = experiment.preset(dataset, seed=seed, **case.options)
    run = experiment.build(config, dataset)
    row: Row = {"case": name, "seed": seed, "command": case.command}
    row |= {"network": f"{config.network} {list(config.features)}"}
    row |= {"num_updates": config.num_updates, "noise": config.noise}
    with tempfile.TemporaryDirectory() as folder:
        path, begin = Path(folder) / "run", (time.time(), _cpu())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # roll-backs are a column
                state = runs.train(run, path, progress=False)
        except TrainingDiverged as error:
            return row | {"diverged": str(error)}
        row |= {"minutes": (time.time() - begin[0]) / 60}
        row |= {"cpu_minutes": (_cpu() - begin[1]) / 60}
        history = runs.metrics(path)
        row |= _gap(config, history) | {
            "num_skipped": int(state.num_skipped),
            "num_restarted": int(state.num_restarted),
            "num_rollbacks": int(state.num_rollbacks),
        }
        return row | _measured(jax.random.key(seed), run, state, case)


def _gap(config, history) -> Row:
    tail = {name: values[-LAST:] for name, values in history.items()}
    spread = tail["energy_spread"].mean()
    error = spread * np.sqrt(1 / config.batch_size + 1 / config.num_chains)
    gap = float((tail["energy_data"] - tail["energy_model"]).mean())
    return {"gap": gap, "batch error": float(error), "spread": float(spread)}


def _measured(key, run, state, case) -> Row:
    key_measure, key_judge = jax.random.split(key)
    found, chains = measurement.measure(
        key_measure,
        run,
        state,
        run.config.kernel,
        measurement.held_out(run, ""),
        num_chains=256,
        num_levels=LEVELS[case.data],
        num_steps=1,
        num_relax=1000,
        num_replicas=0,
        progress=False,
    )
    row: Row = {"log Z": list(found.best.log_z[:4])}
    for label, value in found.likelihoods.items():
        row[label] = [value.lower, value.upper, value.standard_error]
        row[f"{label} bits"] = list(value.bits_per_dim)
    row |= {label: float(test.p_value) for label, test in found.tests.items()}
    energy = jax.jit(jax.vmap(run.trained(state)))
    model = np.asarray(energy(chains.positions[-1]), np.float64)
    points = measurement.noisy(key_judge, run, run.z)
    of_data = np.asarray(energy(points), np.float64)
    row["gap of final chains"] = float(of_data.mean() - model.mean())
    row["its error"] = float(
        np.sqrt(of_data.var() / len(of_data) + model.var() / len(model))
    )
    judged = report.verdicts(key_judge, run, state, chains)
    for group, value in judged.items():
        row[group] = {
            k: float(v) for k, v in value._asdict().items() if np.ndim(v) == 0
        }
    return row


def table(found: list[Row]) -> list[Row]:
    """One row per case: medians over its seeds."""
    shown = []
    for name in dict.fromkeys(r["case"] for r in found):
        ours = [r for r in found if r["case"] == name]
        good = [r for r in ours if "diverged" not in r]
        row = {"case": name, "command": ours[0]["command"], "seeds": len(ours)}
        row |= {"network": ours[0]["network"], "diverged": len(ours) - len(good)}
        if good:
            row |= _medians(good)
        shown.append(row)
    return shown


def _medians(rows: list[Row]) -> Row:
    median = lambda of: statistics.median(of(r) for r in rows)
    reached = sum(abs(r["gap"]) < r["batch error"] for r in rows)
    row: Row = {
        "minutes": median(lambda r: r["minutes"]),
        "reached": reached,
        "gap": median(lambda r: r["gap"]),
        "batch error": median(lambda r: r["batch error"]),
        "largest |gap|": max(abs(r["gap"]) for r in rows),
    }
    for label in ("training data", "held out"):
        low, high = _interval(rows, label)
        row[f"{label} [nat]"] = f"[{low:.2f}, {high:.2f}]"
        low, high = _interval(rows, f"{label} bits")
        row[f"{label} [bits/dim]"] = f"[{low:.4f}, {high:.4f}]"
    tests = [k for k in rows[0] if k.startswith(("MMD", "classifier"))]
    row |= {f"p, {k}": median(lambda r, k=k: r[k]) for k in tests}
    counts = ("num_skipped", "num_restarted", "num_rollbacks")
    row |= {k: sum(r[k] for r in rows) for k in counts}
    return row


def _interval(rows: list[Row], name: str) -> list[float]:
    return [statistics.median(r[name][i] for r in rows) for i in (0, 1)]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
