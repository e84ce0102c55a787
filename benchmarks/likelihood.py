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

The cases are in :mod:`benchmarks.likelihood_cases`.  Several processes can each do some
cases or seeds, with a file each (``--part``).
"""

import json
import resource
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import measure
from benchmarks.likelihood_cases import CASES, Case
from benchmarks.likelihood_training import History, energies, train, updates_in
from ebmjax._value import as_function
from ebmjax.cli import measurement
from ebmjax.experiments import data, experiment, report
from ebmjax.experiments.spurious import num_spurious
from ebmjax.training.divergence import TrainingDiverged

LEVELS = {"digits": 1024, "mnist": 2048}
Row = dict[str, Any]


def rows(
    names: Sequence[str],
    path: Path,
    *,
    seeds: Sequence[int] | None = None,
    num_updates: int | None = None,
    seconds: float | None = None,
    is_measured: bool = True,
) -> Iterator[tuple[int, int, Row]]:
    """``(number, total, row)`` of each run that no file has, stored when it ends.

    Args:
      names: of ``CASES``.
      path: the file of these rows; those of the files beside it are done, too.
      seeds: in place of those of each case.
      num_updates: in place of that of each case.
      seconds: of training; the number of updates is chosen from the time of the first.
      is_measured: with log Z, likelihoods and tests, not only the energies of training.
    """
    todo = [
        (name, seed) for name in names for seed in seeds or range(CASES[name].num_seeds)
    ]

    def keep(row):
        this = row["case"], row["seed"]
        others = [r for r in _read(path) if (r["case"], r["seed"]) != this]
        measure.write(path, {"rows": [*others, row]})

    is_done = lambda r: "stopped" not in r and ("log Z" in r or not is_measured)
    done = {(r["case"], r["seed"]) for r in load(path.parent) if is_done(r)}
    for number, (name, seed) in enumerate(todo, 1):
        if (name, seed) in done:
            continue
        options = {"num_updates": num_updates, "seconds": seconds}
        row = one(name, seed, is_measured=is_measured, keep=keep, **options)
        keep(row)
        yield number, len(todo), row
        if "stopped" in row:
            return


def load(folder: Path, platform: str = "") -> list[Row]:
    """The stored runs of all files of a platform, by default this one."""
    return [row for path in _files(folder, platform) for row in _read(path)]


def machine(folder: Path, platform: str = "") -> Row:
    """Device, versions and date of the last of these files."""
    found = [json.loads(p.read_text())["machine"] for p in _files(folder, platform)]
    return max(found, key=lambda m: m["date"]) if found else measure.machine()


def _files(folder: Path, platform: str) -> list[Path]:
    platform = platform or jax.devices()[0].platform
    return sorted(folder.glob(f"likelihood*-{platform}.json"))


def _read(path: Path) -> list[Row]:
    return json.loads(path.read_text())["rows"] if path.exists() else []


def one(
    name: str,
    seed: int,
    *,
    num_updates: int | None = None,
    seconds: float | None = None,
    is_measured: bool = True,
    keep: Callable[[Row], Any] = lambda row: None,
) -> Row:
    """Train and measure one run; one that a signal stops is not measured.

    ``keep`` is called with the row of training before the evaluation, and with
    likelihoods and tests before the classifier, which takes half of its time.
    """
    case, begin = CASES[name], time.time()
    dataset = data.load(case.data, seed=seed)
    if num_updates is not None:
        case = _with_updates(case, num_updates)
    if seconds is not None:
        build = lambda num: _run(dataset, _with_updates(case, num), seed)
        case = _with_updates(case, updates_in(seconds, build))
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
            state = train(run, history)
    except TrainingDiverged as error:
        return row | {"diverged": str(error), "history": history.points}
    except KeyboardInterrupt:
        state = None
    row |= {"minutes": (time.time() - begin) / 60, "cpu_minutes": (_cpu() - used) / 60}
    row |= history.gap()
    row |= {"history": history.points}
    if state is None:
        return row | {"stopped": history.num_updates}
    row |= {
        "num_skipped": int(state.num_skipped),
        "num_restarted": int(state.num_restarted),
        "num_rollbacks": int(state.num_rollbacks),
    }
    if not is_measured:
        return row
    unfinished = lambda more: keep(row | more | {"stopped": history.num_updates})
    unfinished({})
    begin = time.time()
    row |= _measured(jax.random.key(seed), run, state, case, unfinished)
    return row | {"minutes of evaluation": (time.time() - begin) / 60}


def _run(dataset: data.Dataset, case: Case, seed: int) -> experiment.Run:
    config = experiment.preset(dataset, seed=seed, **case.options)
    return experiment.build(config, dataset)


def _with_updates(case: Case, num_updates: int) -> Case:
    return case._replace(options={**case.options, "num_updates": num_updates})


def _measured(key, run, state, case, keep) -> Row:
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
    model = np.asarray(energies(energy, chains.positions[-1]), np.float64)
    points = measurement.noisy(key_judge, run, run.z)
    of_data = np.asarray(energies(energy, points), np.float64)
    row["chains in spurious modes"] = num_spurious(model, of_data)
    row["gap of final chains"] = float(of_data.mean() - model.mean())
    row["its error"] = float(
        np.sqrt(of_data.var() / len(of_data) + model.var() / len(model))
    )
    squares = [np.sum(np.square(x)) / len(x) for x in (points, chains.positions[-1])]
    scale = 2 * run.config.noise**2
    row["gap of the squares"] = float(squares[0] - squares[1]) / scale
    keep(row)
    judged = report.verdicts(key_judge, run, state, chains)
    for group, metrics in judged.items():
        numbers = metrics._asdict().items()
        row[group] = {k: float(v) for k, v in numbers if np.ndim(v) == 0}
    return row


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
