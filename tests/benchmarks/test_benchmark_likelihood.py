"""The benchmark of likelihoods on images: its cases, which runs it does and stores, the
history of a run."""

import inspect
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("benchmarks", reason="benchmarks are not installed")
from benchmarks import likelihood as bench
from benchmarks import likelihood_table
from benchmarks import likelihood_training as training
from benchmarks.__main__ import app
from benchmarks.likelihood_cases import CASES, OPTIONS
from ebmjax.cli.train import train
from ebmjax.experiments import config_checks, data, experiment

IMAGES = np.random.default_rng(0).uniform(size=(300, 8, 8)).astype(np.float32)
DATASET = data.Dataset("mine", IMAGES, None, (0.0, 1.0))
SMALL = {
    "features": (8,),
    "num_chains": 8,
    "buffer_size": 8,
    "batch_size": 8,
    "chain_steps": 1,
}


@pytest.mark.parametrize("name", CASES)
def test_the_options_of_a_case_are_those_of_the_command(name):
    options = CASES[name].options
    names = {OPTIONS.get(name, name) for name in options}
    assert names <= set(inspect.signature(train).parameters)
    config_checks.check(experiment.preset(DATASET, **options))


def test_runs_that_a_file_has_are_not_repeated(monkeypatch, tmp_path):
    done = []

    def one(name, seed, *, keep, is_measured, **_):
        keep({"case": name, "seed": seed, "stopped": 1})
        done.append(seed)
        row = {"case": name, "seed": seed} | ({"log Z": []} if is_measured else {})
        return row | ({"stopped": 1} if seed == 2 and len(done) < 4 else {})

    monkeypatch.setattr(bench, "one", one)
    platform = jax.devices()[0].platform
    first, second = (tmp_path / f"likelihood-{p}-{platform}.json" for p in "ab")
    list(bench.rows(["digits"], first, seeds=[0, 1]))
    list(bench.rows(["digits"], second, seeds=[0, 1, 2, 3]))
    assert done == [0, 1, 2]  # a run that a signal stopped is the last
    list(bench.rows(["digits"], second, seeds=[0, 1, 2, 3]))
    assert done == [0, 1, 2, 2, 3]  # and is done again
    rows = bench.load(tmp_path)
    assert sorted(r["seed"] for r in rows) == [0, 1, 2, 3]
    assert not any("stopped" in r for r in rows)
    list(bench.rows(["digits"], second, seeds=[4], is_measured=False))
    list(bench.rows(["digits"], second, seeds=[4], is_measured=False))
    assert done[5:] == [4]
    list(bench.rows(["digits"], second, seeds=[4]))  # its energies alone were known
    assert done[5:] == [4, 4]


def test_a_history_has_the_metrics_of_the_run():
    config = experiment.preset(DATASET, num_updates=120, denoising_updates=0, **SMALL)
    run = experiment.build(config, DATASET)
    history = training.History(run)
    state = training.train(run, history)
    assert history.num_updates == int(state.step) == 120
    assert [p["update"] for p in history.points] == [50, 100, 120]
    gap = history.metrics[0]["energy_data"] - history.metrics[0]["energy_model"]
    point = history.points[0]
    assert np.isclose(point["energy_data"] - point["energy_model"], gap.mean())
    plain = run.fit(run.init())[1]
    assert np.array_equal(history.last(120)["loss"], plain["loss"])


def test_a_history_has_no_energies_of_updates_without_chains():
    config = experiment.preset(DATASET, num_updates=120, denoising_updates=60, **SMALL)
    run = experiment.build(config, DATASET)
    history = training.History(run)
    training.train(run, history)
    assert [p["update"] for p in history.points] == [50, 60, 100, 120]
    assert ["energy_data" in p for p in history.points] == [False, False, True, True]
    assert all(np.isfinite(list(p.values())).all() for p in history.points)
    assert np.isfinite(history.gap()["gap"])


def test_a_run_stopped_before_its_chains_has_a_table():
    config = experiment.preset(DATASET, num_updates=120, denoising_updates=60, **SMALL)
    run = experiment.build(config, DATASET)
    history = training.History(run)
    first = lambda state, metrics: int(state.step) <= 50 and history.add(state, metrics)
    run.fit(run.init(), on_chunk=first, chunk=50)
    assert history.num_updates == 50
    assert history.gap() == {}
    row = {"case": "digits", "seed": 0, "history": history.points}
    assert likelihood_table.history(row) == []


def test_the_number_of_updates_follows_the_time_of_the_first(monkeypatch):
    clock = iter([10.0, 10.5, 11.0])  # 50 updates in half a second
    monkeypatch.setattr(training.time, "time", lambda: next(clock))

    def fit(state, *, chunk, progress):
        for i in range(3):
            progress(chunk * (i + 1), 150, "")

    run = SimpleNamespace(init=lambda: None, fit=fit)
    assert training.updates_in(30.0, lambda num: run) == 3000


def test_seeds_and_numbers_of_updates_share_a_program():
    first = experiment.build(experiment.preset(DATASET, **SMALL), DATASET)
    config = experiment.preset(DATASET, seed=1, num_updates=70, **SMALL)
    second = experiment.build(config, DATASET)
    config = experiment.preset(DATASET, **{**SMALL, "chain_steps": 2})
    other = experiment.build(config, DATASET)
    structure = lambda run: jax.tree.structure(run.step)
    assert structure(first) == structure(second) != structure(other)


def test_a_run_without_its_evaluation_counts_in_the_gap_and_not_in_the_likelihood():
    measured = {"training data": [-3.0, -2.0], "held out": [-4.0, -3.0]}
    measured |= {f"{k} bits": [0.1, 0.2] for k in list(measured)}
    measured["MMD, chains and held out"] = 0.04
    row = {"case": "digits", "command": "", "network": "", "num_updates": 10}
    row |= {"minutes": 1.0, "batch error": 1.0}
    rows = [
        {**row, **measured, "seed": 0, "gap": 0.5, "stopped": 10},  # no classifier
        {**row, "seed": 1, "gap": -0.9, "stopped": 10},
        {**row, "seed": 2, "gap": 2.0, "stopped": 4},
        {**row, "seed": 3, "diverged": "", "stopped": 4},
    ]
    (found,) = likelihood_table.table(rows)
    assert (found["seeds"], found["trained"], found["measured"]) == (4, 2, 1)
    assert (found["diverged"], found["reached"], found["largest |gap|"]) == (1, 2, 2.0)
    assert found["held out, nat"] == "[-4.00, -3.00]"
    assert found["p < .05, MMD, chains and held out"] == 1


def test_stored_runs_are_read_by_platform_without_a_device_of_it(tmp_path):
    content = {"machine": {"date": "1", "device": "mine"}, "rows": [{"case": "a"}]}
    (tmp_path / "likelihood-b-gpu.json").write_text(json.dumps(content))
    assert bench.load(tmp_path, "gpu") == content["rows"]
    assert bench.load(tmp_path, "cpu") == []
    assert bench.machine(tmp_path, "gpu")["device"] == "mine"


def test_the_table_of_the_stored_runs_trains_nothing(monkeypatch):
    monkeypatch.setattr(bench, "one", None)
    shown = CliRunner().invoke(app, ["likelihood", "--table"])
    assert shown.exit_code == 0, shown.output
    assert "held out, bits/dim" in shown.output and "H100" in shown.output
