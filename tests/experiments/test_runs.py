"""A run on disk: killed and resumed it is the same, byte for byte, also without its
data."""

import dataclasses
import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from ebmjax import plotting
from ebmjax.cli import train as cli_train
from ebmjax.experiments import data, experiment, report, runs
from ebmjax.experiments.build import CHAIN_INITS
from ebmjax.experiments.registry import KERNELS
from ebmjax.io import checkpoint
from ebmjax.io import run_directory as folder
from ebmjax.spaces import REAL

SMALL = {
    "features": (16, 16),
    "num_chains": 64,
    "buffer_size": 128,
    "batch_size": 64,
    "chain_steps": 4,
}


def make(num_updates=60, name="two_moons", **choices):
    dataset = data.load(name)
    return experiment.build(
        experiment.preset(dataset, num_updates=num_updates, **{**SMALL, **choices}),
        dataset,
    )


def content(folder):
    """All bytes of the last checkpoint and the metrics."""
    return newest(folder).read_bytes(), (folder / "metrics.csv").read_bytes()


def newest(folder):
    return max((folder / "checkpoints").iterdir())


def train(run, folder, **options):
    return runs.train(run, folder, progress=False, **options)


def test_the_folder_of_a_run_has_its_files_and_is_loaded(tmp_path):
    run = make()
    train(run, tmp_path / "run")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "checkpoints",
        "config.json",
        "data.npz",
        "metrics.csv",
    ]
    history = runs.metrics(tmp_path / "run")
    assert (
        np.array_equal(history["step"], np.arange(60))
        and np.isfinite(history["loss"]).all()
    )
    again, state = runs.load(tmp_path / "run")
    assert again.config == run.config and int(state.step) == 60


def test_resumed_equals_not_stopped(tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    run = make()
    train(run, whole)

    def stop(done, total, text):
        if done >= 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.train(run, part, progress=stop)
    assert content(part) != content(whole)
    loaded, state = runs.load(part)
    assert 0 < int(state.step) < 60
    train(loaded, part, is_resumed=True)
    assert content(part) == content(whole)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_killed_and_resumed_equals_not_stopped(tmp_path, how):
    """In a separate process; it cannot save after SIGKILL."""
    options = [
        "--num-updates",
        "2000",
        "--features",
        "16,16",
        "--chain-steps",
        "4",
        "--num-chains",
        "64",
        "--batch-size",
        "64",
    ]
    command = [sys.executable, "-m", "ebmjax", "train", "--data", "two_moons", *options]
    whole, part = tmp_path / "whole", tmp_path / "part"
    process = subprocess.Popen(
        [*command, "--out", str(part)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (part / "metrics.csv").exists() and (part / "metrics.csv").read_text().count(
            "\n"
        ) > 120:
            break
        time.sleep(0.05)
    os.kill(process.pid, how)
    process.communicate()
    assert process.returncode != 0
    run, state = runs.load(part)
    assert 0 < int(state.step) < 2000
    train(run, part, is_resumed=True)
    train(experiment.build(run.config, run.dataset), whole)
    assert content(part) == content(whole)


@pytest.mark.filterwarnings("ignore:nothing is left to do")
def test_a_finished_run_resumes_to_itself(tmp_path):
    run = make()
    train(run, tmp_path / "run")
    before = content(tmp_path / "run")
    train(run, tmp_path / "run", is_resumed=True)
    assert content(tmp_path / "run") == before


def test_an_existing_folder_is_not_overwritten(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years")
    with pytest.raises(runs.RunError, match="exists and is not empty"):
        train(make(), tmp_path / "run")
    assert (tmp_path / "run" / "thesis.tex").read_text() == "years"
    (tmp_path / "file").write_text("")
    with pytest.raises(runs.RunError, match="exists and is not empty"):
        train(make(), tmp_path / "file")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(runs.RunError, match="is not a run: it has no config.json"):
        runs.load(tmp_path)
    (tmp_path / "config.json").write_text('{"data": 1, "colour": 2}')
    with pytest.raises(runs.RunError, match="is not a configuration of this version"):
        runs.load(tmp_path)


def test_changed_data_are_detected(tmp_path):
    path = tmp_path / "mine.npy"
    np.save(path, np.random.default_rng(0).normal(size=(300, 3)))
    train(make(5, str(path)), tmp_path / "run")
    np.save(path, np.random.default_rng(1).normal(size=(300, 3)))
    with pytest.raises(runs.RunError, match="have changed since this run began"):
        runs.reopen(tmp_path / "run", is_training=True)
    with pytest.warns(UserWarning, match="have changed .* and are not used"):
        run, _ = runs.load(tmp_path / "run")
    assert np.array_equal(run.dataset.x, np.random.default_rng(0).normal(size=(300, 3)))
    np.save(tmp_path / "moved.npy", run.dataset.x)
    again = runs.reopen(tmp_path / "run", str(tmp_path / "moved.npy"), is_training=True)
    assert np.array_equal(again.z, run.z)
    with pytest.raises(runs.RunError, match="holds other data than this run"):
        runs.reopen(tmp_path / "run", str(path))


def test_changed_labels_are_detected():
    dataset = data.load("two_moons")
    config = experiment.preset(dataset, objective="joint")
    experiment.build(config, dataset)
    with pytest.raises(runs.RunError, match="have changed since this run began"):
        experiment.build(config, dataset._replace(labels=1 - dataset.labels))


def test_a_toy_set_with_other_last_bits_is_the_same_and_another_seed_is_not():
    """As on another device."""
    dataset = data.load("two_moons")
    config = experiment.preset(dataset)
    experiment.build(
        config, dataset._replace(x=np.nextafter(dataset.x, np.float32(10)))
    )
    with pytest.raises(runs.RunError, match="have changed since this run began"):
        experiment.build(config, data.load("two_moons", seed=1))


def test_the_last_three_checkpoints_are_kept_and_a_damaged_one_is_passed_over(tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    run = make(200)
    for path in (whole, part):
        train(run, path, save_every=50)
        assert sorted(p.stem for p in (path / "checkpoints").iterdir()) == [
            "000000100",
            "000000150",
            "000000200",
        ]
    path = newest(part)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(
        RuntimeWarning, match="000000200.npz is damaged: .*; continuing from step 150"
    ):
        train(run, part, is_resumed=True)
    assert content(part) == content(whole)
    for path in (part / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(
        checkpoint.CheckpointError,
        match="200.npz is damaged.*150.npz is damaged.*100.npz is damaged",
    ):
        runs.load(part)


@pytest.mark.filterwarnings("ignore:nothing is left to do")
def test_two_runs_in_one_folder(tmp_path):
    run = make(5)
    train(run, tmp_path / "run")
    before = content(tmp_path / "run")
    with (
        folder.lock(tmp_path / "run"),
        pytest.raises(folder.FolderError, match="another run is writing in"),
    ):
        train(run, tmp_path / "run", is_resumed=True)
    assert content(tmp_path / "run") == before
    train(run, tmp_path / "run", is_resumed=True)


def test_a_full_disk_is_named_before_a_run_goes_on(tmp_path, monkeypatch):
    run = _finished(tmp_path / "run")

    def raise_full(**options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder.tempfile, "TemporaryFile", raise_full)
    with pytest.raises(folder.FolderError, match="cannot be written: No space left"):
        train(run, tmp_path / "run", is_resumed=True)


def test_a_run_killed_in_its_first_second_may_begin_again(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.json.tmp").write_text("{")
    train(make(5), tmp_path / "run")
    assert runs.load(tmp_path / "run")[1].step == 5


@pytest.mark.parametrize(
    ("field", "value"),
    [("network", "gpt"), ("kernel", "nuts9"), ("chain_init", "here")],
)
def test_unknown_names(field, value):
    with pytest.raises(
        experiment.RunError, match=f"{field} must be one of .*, got {value!r}"
    ):
        make(**{field: value})


def test_bits_and_their_kernel_belong_together():
    with pytest.raises(
        experiment.RunError,
        match="the kernel gibbs is of bits, and the data are not each 0 or 1",
    ):
        make(kernel="gibbs")
    with pytest.raises(
        experiment.RunError,
        match="ratio_matching needs a kernel of discrete states such as gibbs",
    ):
        make(name="binary_digits", objective="ratio_matching", kernel="mala")


def test_standardised_units_are_restored():
    for name in ("two_moons", "digits"):
        run = make(name=name)
        assert np.allclose(
            run.standard.backward(np.asarray(run.z)), run.kept.x, atol=1e-5
        )
    moons = np.asarray(make().z)
    assert np.allclose(moons.mean(axis=0), 0, atol=1e-3) and np.allclose(
        moons.std(axis=0), 1, atol=1e-3
    )


def test_the_configuration_is_json_of_every_choice(tmp_path):
    config = make().config
    config.save(tmp_path / "config.json")
    assert set(json.loads((tmp_path / "config.json").read_text())) == {
        f.name for f in dataclasses.fields(config)
    }
    assert experiment.Config.load(tmp_path / "config.json") == config


@pytest.mark.parametrize("chain_init", CHAIN_INITS)
@pytest.mark.parametrize(
    "kernel",
    [n for n, entry in KERNELS.items() if entry.properties().state_space == REAL],
)
def test_every_kernel_and_start_trains(chain_init, kernel, tmp_path):
    state = train(make(30, chain_init=chain_init, kernel=kernel), tmp_path / "run")
    assert int(state.num_skipped) == 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))


def test_a_run_is_loaded_where_its_data_are_not(tmp_path, monkeypatch):
    """From the folder alone: all of small data, a part of large data; the same
    energy."""
    path = tmp_path / "mine.csv"
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 5, size=(400, 2)), rng.integers(0, 2, 400)
    x[y == 1] += 20
    np.savetxt(path, np.column_stack([x, 2 * y + 3]), delimiter=",", header="a,b,label")
    options = {"objective": "class_conditional", "noise": 0.1}
    for num, name in ((2**20, "whole"), (1600, "part")):
        monkeypatch.setattr(runs.kept_facts, "MOST_BYTES", num)
        train(make(20, str(path), **options), tmp_path / name)
    path.rename(tmp_path / "moved.csv")
    for name in ("whole", "part"):
        moved = runs.load(tmp_path / name, str(tmp_path / "moved.csv"))
        alone = runs.load(tmp_path / name)
        at = moved[0].z[:50]
        energies = [np.asarray(jax.vmap(r.trained(s))(at)) for r, s in (moved, alone)]
        assert np.array_equal(*energies)
        fresh = [np.asarray(r.draw(jax.random.key(0), 3)) for r, _ in (moved, alone)]
        assert np.array_equal(*fresh)
        assert alone[0].dataset.classes == (3, 5)
        assert alone[0].dataset.columns == ("a", "b")
        assert np.array_equal(alone[0].standard.center, moved[0].standard.center)
    assert len(alone[0].z) == 50 < len(moved[0].z) == alone[0].facts.num_points
    with pytest.raises(runs.RunError, match="only 50 of the 321 points .* --data FILE"):
        train(alone[0], tmp_path / "part", is_resumed=True)
    with pytest.raises(
        runs.RunError, match="keeps 50 of 321 points, and training needs"
    ):
        runs.reopen(tmp_path / "part", is_training=True)
    runs.reopen(tmp_path / "whole", is_training=True)


def test_a_configuration_changed_by_hand_is_named(tmp_path):
    train(make(5), tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    values = json.loads(path.read_text())
    for name, value in (("seed", 1), ("learning_rate", 0.5), ("kernel", "hmc")):
        path.write_text(json.dumps({**values, name: value}))
        with pytest.raises(runs.RunError, match=f"{name} of config.json is {value}"):
            runs.load(tmp_path / "run")
    path.write_text(json.dumps({**values, "num_updates": 7}))
    run, _ = runs.load(tmp_path / "run")
    assert train(run, tmp_path / "run", is_resumed=True).step == 7
    other = make(7, learning_rate=0.5)
    with pytest.raises(runs.RunError, match="learning_rate of config.json"):
        train(other, tmp_path / "run", is_resumed=True)


def test_options_of_a_continued_run_are_applied_or_refused(tmp_path):
    run, path = _finished(tmp_path / "run"), tmp_path / "run"
    resumed = lambda **choices: cli_train._resumed(path, "", choices)
    assert resumed().config == run.config
    assert resumed(learning_rate=0.008).config == run.config
    assert resumed(num_updates=61, max_rollbacks=1).config == dataclasses.replace(
        run.config, num_updates=61, max_rollbacks=1
    )
    for name in ("learning_rate", "step_size", "seed", "batch_size", "held_out"):
        with pytest.raises(runs.RunError, match=f"cannot take --{name.split('_')[0]}"):
            resumed(**{name: 7})
    with pytest.raises(runs.RunError, match="and the run has done 60"):
        resumed(num_updates=59)


DAMAGES = {
    "cut in a row": (lambda text: text[:-10], 59),
    "a word": (lambda text: text.replace("\n4,", "\n4,word,"), 4),
    "empty": (lambda text: "", 0),
    "bytes": (lambda text: "\udcff\udcfe" + text, 0),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_metrics_are_named_and_do_not_stop_a_run(tmp_path, name):
    damage, num_left = DAMAGES[name]
    whole, part = tmp_path / "whole", tmp_path / "part"
    _finished(whole)
    shutil.copytree(whole, part)
    path = part / "metrics.csv"
    path.write_text(damage(path.read_text()), errors="surrogateescape")
    if name != "empty":
        with pytest.raises(runs.RunError, match="metrics.csv is damaged"):
            runs.metrics(part)
    longer = make(62, features=(8,), chain_steps=1)
    with pytest.warns(
        RuntimeWarning, match=f"continues with {num_left} of its 60 rows"
    ):
        state = train(longer, part, is_resumed=True)
    assert runs.metrics(part)["step"].tolist() == [*range(num_left), 60, 61]
    assert int(state.step) == 62


@functools.cache
def _trained():
    folder = tempfile.TemporaryDirectory()
    run = make(60, features=(8,), chain_steps=1)
    train(run, Path(folder.name) / "run")
    return run, folder


def _finished(path):
    run, folder = _trained()
    shutil.copytree(Path(folder.name) / "run", path)
    return run


def test_defaults_of_few_rows_are_refused_before_a_folder_is_made_or_work(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.normal(size=(200, 2)), y=np.arange(200) % 2)
    dataset = data.load(str(tmp_path / "x.npz"))
    config = experiment.preset(dataset, objective="joint")
    run = experiment.build(config, dataset)
    assert config.batch_size == len(run.z) == 160
    with pytest.raises(experiment.RunError, match="batch_size must be at most .* 160"):
        experiment.build(dataclasses.replace(config, batch_size=200), dataset)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")  # of 8 pixels
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_of_any_number_of_channels_are_pictured(tmp_path, channels):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(40, 8, 8, channels)).astype(np.float32)
    shown = report.viewable(x, x.shape[1:])
    assert report.viewable(x[..., 0], (8, 8)).shape == (40, 8, 8)
    assert report.viewable(x[:, :4, :4, 0], (4, 4)).shape == (40, 4, 4)
    assert shown.shape[3:] == ((3,) if channels == 3 else (1,) if channels == 1 else ())
    plotting.save(plotting.image_grids({"a": shown}), tmp_path / "a.png")
    plotting.save(plotting.film_strips(shown[None]), tmp_path / "b.png")


def test_pictures_and_tables_survive_damaged_metrics(tmp_path):
    run = _finished(tmp_path / "run")
    (tmp_path / "run" / "metrics.csv").write_text("step,loss\n0,1\n1,\n")
    with pytest.warns(UserWarning, match="metrics.csv is damaged: line 3"):
        assert report.history_of(tmp_path / "run") == {}
    assert run.num_params == 2 * 8 + 8 + 8 + 1
