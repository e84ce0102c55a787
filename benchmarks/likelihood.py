"""Maximum likelihood on images, until convergence: energies, likelihoods, samples,
seeds.

Each run is that of the command line, ``python -m ebmjax train --data NAME --seed SEED``
with the options of its row, without its files and pictures, and is measured as
``python -m ebmjax evaluate`` does.  Of a run:

    gap             mean over the last 100 updates of E(data) - E(chains)
    batch error     standard error of that difference in one update, from the spreads
    log-likelihood  of training and held-out points, with the noise of training added,
                    between the bounds of annealed importance sampling
    history         of the gap, and of E(held out) - E(training data) under the averaged
                    parameters, which is the difference of their log-likelihoods

A run has reached the maximum if the gap is less than the error of a batch.

Cases other than ``digits`` and ``mnist``, which are defaults, vary what may close the
gap or overfit on MNIST: more chains, all of which run in every update, a trained
confinement, smaller networks, shifts, more noise, a higher rate, convolutions.  Several
processes can each do some cases or seeds, with a file each (``--part``).
"""

import json
import resource
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import measure
from ebmjax._value import as_function
from ebmjax.cli import measurement
from ebmjax.experiments import data, experiment, report
from ebmjax.io import run_directory
from ebmjax.training.divergence import TrainingDiverged

LAST = 100  # updates, over which the gap is taken
CHUNK = 50  # updates in one compiled call
NUM_TIMED = 100  # updates that are timed to choose the number of updates
NUM_POINTS = 40  # of a history
NUM_COMPARED = 1000  # training points, and held-out points, of a history
LEVELS = {"digits": 1024, "mnist": 2048}
Row = dict[str, Any]


class Case(NamedTuple):
    """A row of the table: a data set, options of ``train``, a number of seeds."""

    data: str
    options: dict[str, Any]
    num_seeds: int = 1

    @property
    def command(self) -> str:
        given = [f"--{n.replace('_', '-')} {_text(v)}" for n, v in self.options.items()]
        return " ".join(["train", f"--data {self.data}", *given])


# all chains run in every update
MANY = {
    "num_chains": 1024,
    "buffer_size": 1024,
    "batch_size": 256,
    "num_updates": 5000,
}
TRAINED = {**MANY, "confinement": "trained"}
SMALL = {**TRAINED, "features": (256, 256)}
CASES = {
    "digits": Case("digits", {}, 20),
    "mnist": Case("mnist", {}, 5),
    "mnist-chains": Case("mnist", MANY),
    "mnist-trained": Case("mnist", TRAINED),
    "mnist-256": Case("mnist", SMALL, 5),
    "mnist-128": Case("mnist", {**TRAINED, "features": (128, 128)}),
    "mnist-shift": Case("mnist", {**TRAINED, "shift": 1}),
    "mnist-256-shift": Case("mnist", {**SMALL, "shift": 1}),
    "mnist-256-noise": Case("mnist", {**SMALL, "noise": 0.4}),
    "mnist-256-rate": Case("mnist", {**SMALL, "learning_rate": 3e-3}),
    "mnist-conv": Case("mnist", {**TRAINED, "network": "conv", "num_updates": 2000}),
}


def rows(
    names: Sequence[str],
    path: Path,
    *,
    seeds: Sequence[int] | None = None,
    num_updates: int | None = None,
    seconds: float | None = None,
) -> Iterator[tuple[int, int, Row]]:
    """``(number, total, row)`` of each run that no file has, stored when it ends.

    Args:
      names: of ``CASES``.
      path: the file of these rows; those of the files beside it are done, too.
      seeds: in place of those of each case.
      num_updates: in place of that of each case.
      seconds: of training; the number of updates is chosen from the time of the first.
    """
    todo = [
        (name, seed) for name in names for seed in seeds or range(CASES[name].num_seeds)
    ]
    done = {(r["case"], r["seed"]) for r in load(path.parent) if "stopped" not in r}
    for number, (name, seed) in enumerate(todo, 1):
        if (name, seed) in done:
            continue
        row = one(name, seed, num_updates=num_updates, seconds=seconds)
        kept = [r for r in _read(path) if (r["case"], r["seed"]) != (row["case"], seed)]
        measure.write(path, {"rows": [*kept, row]})
        yield number, len(todo), row
        if "stopped" in row:
            return


def load(folder: Path) -> list[Row]:
    """The stored runs of all files of this platform."""
    found = sorted(folder.glob(f"likelihood*-{jax.devices()[0].platform}.json"))
    return [row for path in found for row in _read(path)]


def _read(path: Path) -> list[Row]:
    return json.loads(path.read_text())["rows"] if path.exists() else []


def one(
    name: str,
    seed: int,
    *,
    num_updates: int | None = None,
    seconds: float | None = None,
) -> Row:
    """Train and measure one run; one that a signal stops is not measured."""
    case, begin = CASES[name], time.time()
    dataset = data.load(case.data, seed=seed)
    if num_updates is not None:
        case = _with_updates(case, num_updates)
    if seconds is not None:
        case = _with_updates(case, _fitting(dataset, case, seed, seconds))
    run = _run(dataset, case, seed)
    config = run.config
    row: Row = {"case": name, "seed": seed, "command": case.command}
    row |= {"network": f"{config.network} {list(config.features)}"}
    row |= {"num_updates": config.num_updates, "noise": config.noise}
    row |= {"minutes before": (time.time() - begin) / 60}
    history, begin, used = History(run), time.time(), _cpu()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # roll-backs are a column
            state = _trained(run, history)
    except TrainingDiverged as error:
        return row | {"diverged": str(error), "history": history.points}
    except KeyboardInterrupt:
        state = None
    row |= {"minutes": (time.time() - begin) / 60, "cpu_minutes": (_cpu() - used) / 60}
    row |= history.gap()
    if state is None:
        return row | {"stopped": history.num_updates, "history": history.points}
    row |= {
        "num_skipped": int(state.num_skipped),
        "num_restarted": int(state.num_restarted),
        "num_rollbacks": int(state.num_rollbacks),
    }
    begin = time.time()
    row |= _measured(jax.random.key(seed), run, state, case)
    row |= {"minutes of evaluation": (time.time() - begin) / 60}
    return row | {"history": history.points}


def _run(dataset: data.Dataset, case: Case, seed: int) -> experiment.Run:
    config = experiment.preset(dataset, seed=seed, **case.options)
    return experiment.build(config, dataset)


def _with_updates(case: Case, num_updates: int) -> Case:
    return case._replace(options={**case.options, "num_updates": num_updates})


def _fitting(dataset, case, seed, seconds) -> int:
    """How many updates take so long, by the time of the first, a multiple of 100."""
    run = _run(dataset, _with_updates(case, NUM_TIMED + CHUNK), seed)
    ends: list[float] = []
    run.fit(run.init(), chunk=CHUNK, progress=lambda *_: ends.append(time.time()))
    each = (ends[-1] - ends[0]) / NUM_TIMED  # the first chunk compiles
    return max(LAST, int(seconds / each) // 100 * 100)


def _trained(run: experiment.Run, history: "History") -> Any:
    """The last state; a signal to stop raises KeyboardInterrupt after a chunk."""
    with run_directory.postponed_stop() as is_signalled:

        def on_chunk(state, metrics):
            history.add(state, metrics)
            if is_signalled():
                raise KeyboardInterrupt

        return run.fit(run.init(), on_chunk=on_chunk, chunk=CHUNK)[0]


@jax.jit
def _energies(energy: Any, x: Any) -> jax.Array:
    return jax.vmap(energy)(x)


class History:
    """Metrics of a run, and at ``NUM_POINTS`` times their means."""

    def __init__(self, run: experiment.Run):
        self.run, self.points, self.metrics = run, [], []
        self.num_updates, self.num_shown = 0, 0
        key_kept, key_held = jax.random.split(jax.random.key(run.config.seed))
        held = measurement.held_out(run, "")
        some = lambda key, z: measurement.noisy(key, run, z[:NUM_COMPARED])
        self.groups = some(key_kept, run.z), some(key_held, held)

    def add(self, state: Any, metrics: dict[str, np.ndarray]) -> None:
        """The metrics ``[n]`` of the updates before a state."""
        self.metrics.append(metrics)
        self.num_updates = int(state.step)
        every = -(-self.run.config.num_updates // NUM_POINTS)
        if self.num_updates - self.num_shown < every:
            return
        recent = self.last(self.num_updates - self.num_shown)
        names = ("energy_data", "energy_model", "energy_spread", "acceptance_rate")
        point = {name: float(recent[name].mean()) for name in names}
        point |= {"step_size": float(recent["step_size"][-1])}
        averaged = as_function(self.run.trained(state))
        kept, held = (_energies(averaged, x).mean() for x in self.groups)
        point |= {"held out - training data": float(held - kept)}
        self.points.append({"update": self.num_updates, **point})
        self.num_shown = self.num_updates

    def last(self, num: int) -> dict[str, np.ndarray]:
        """The metrics of the last updates."""
        names = self.metrics[0]
        return {n: np.concatenate([m[n] for m in self.metrics])[-num:] for n in names}

    def gap(self) -> Row:
        """The gap at the end, with the standard error of one update."""
        if not self.metrics:
            return {}
        tail, config = self.last(LAST), self.run.config
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
        shorter=(),
        progress=False,
    )
    row: Row = {"log Z": list(found.best.log_z[:4])}
    for label, value in found.likelihoods.items():
        row[label] = [value.lower, value.upper, value.standard_error]
        row[f"{label} bits"] = list(value.bits_per_dim)
    row |= {label: float(test.p_value) for label, test in found.tests.items()}
    energy = as_function(run.trained(state))
    model = np.asarray(_energies(energy, chains.positions[-1]), np.float64)
    points = measurement.noisy(key_judge, run, run.z)
    of_data = np.asarray(_energies(energy, points), np.float64)
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
    """One row per case: medians over its seeds that were measured."""
    shown = []
    for name in dict.fromkeys(r["case"] for r in found):
        ours = [r for r in found if r["case"] == name]
        good = [r for r in ours if not {"diverged", "stopped"} & set(r)]
        row = {"case": name, "command": ours[0]["command"], "seeds": len(ours)}
        row |= {"network": ours[0]["network"]}
        row |= {w: sum(w in r for r in ours) for w in ("diverged", "stopped")}
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
