"""The command line: commands, help, and mistakes (one line and exit code 2)."""

import os
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers import call

from ebmjax.cli import train as cli_train
from ebmjax.experiments import data, experiment, options, registry, runs
from ebmjax.io import checkpoint

pytestmark = pytest.mark.usefixtures("without_optimisations")
SMALL = [
    "--num-updates",
    "30",
    "--features",
    "16,16",
]
CHAINS = ["--chain-steps", "3", "--num-chains", "64"]


def error_of(result):
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    return lines, result.exit_code


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "moons"
    result = call("train", "--data", "two_moons", "--out", folder, *SMALL, *CHAINS)
    assert result.exit_code == 0, result.output
    return folder, result


def test_train_leaves_a_run_with_pictures(moons):
    folder, result = moons
    names = {
        "config.json",
        "data.npz",
        "metrics.csv",
        "checkpoints",
        "training.png",
        "energies.png",
        "chains.png",
        "density.png",
    }
    assert {p.name for p in folder.iterdir()} == names
    assert (
        "acceptance in training" in result.output and "energy of data" in result.output
    )
    shown = " ".join(re.sub("[│┃]", " ", result.output).split())
    assert "of training data" in shown and re.search("of 10000 new .* points", shown)


def test_sample_writes_draws_and_pictures(moons):
    folder, _ = moons
    options = ["--kernel", "nuts", "--num-chains", 16, "--num-steps", 40]
    result = call("sample", folder, *options)
    assert result.exit_code == 0, result.output
    with np.load(folder / "samples-nuts-1" / "samples.npz") as file:
        assert file["x"].shape == (40, 16, 2) and file["energy"].shape == (40, 16)
        assert np.isfinite(file["x"]).all()
    assert "rhat" in result.output and "x[1]" in result.output
    assert "40 steps of nuts" in result.output and "all kept" in result.output
    table = (folder / "samples-nuts-1" / "summary.txt").read_text()
    assert "energy" in table and "ess_bulk" in table
    again = call("sample", folder, *options)
    assert again.exit_code == 2 and "exists and is not empty" in again.stderr


def test_resume_applies_some_options_and_refuses_the_rest_by_name(
    moons, tmp_path, monkeypatch
):
    monkeypatch.setattr(cli_train, "show", lambda *_, **__: None)
    folder = tmp_path / "run"
    shutil.copytree(moons[0], folder)
    for given, message in (
        (["--learning-rate", "0.5"], "--learning-rate 0.5 (it has 0.008)"),
        (["--objective", "nce", "--seed", "7"], "--seed 7 (it has 0), --objective nce"),
        (["--num-updates", "20"], "--num-updates 20 is the number in all, and the run"),
        (["--labels", "none"], "--labels none (it has auto)"),
    ):
        result = call("train", "--resume", folder, *given)
        assert result.exit_code == 2, result.output
        assert all(part in result.stderr for part in message.split(", "))
    same = ["--learning-rate", "0.008", "--objective", "maximum_likelihood"]
    result = call("train", "--resume", folder, "--num-updates", "40", *same)
    assert result.exit_code == 0, result.output
    assert "--num-updates: 30 becomes 40" in result.output
    assert checkpoint.notes(folder / "checkpoints" / "000000040.npz")["step"] == 40
    assert experiment.Config.load(folder / "config.json").num_updates == 40
    assert len(runs.metrics(folder)["loss"]) == 40


def test_a_users_array_trains_without_code(tmp_path):
    for shape in ((200, 5), (150, 8, 8), (120, 9, 9, 3)):
        path = tmp_path / f"{len(shape)}.npy"
        np.save(path, np.random.default_rng(0).uniform(size=shape))
        options = [*SMALL, *CHAINS, "--features", "4,4", "--buffer-size", 64]
        result = call(
            "train", "--data", path, "--out", tmp_path / f"run{len(shape)}", *options
        )
        assert result.exit_code == 0, result.output
        assert (tmp_path / f"run{len(shape)}" / "energies.png").exists()


ENERGY_ALONE = (
    "explicit",
    "sliced",
    "denoising",
    "nce",
    "ranking",
    "conditional",
    "energy_discrepancy",
    "improved",
)


@pytest.mark.parametrize("objective", [*ENERGY_ALONE, "kernel_stein", "learned_stein"])
def test_every_objective_trains(objective, tmp_path):
    out = tmp_path / "run"
    result = call(
        *("train", "--data", "two_moons", "--objective", objective, "--out", out),
        *SMALL,
        *(CHAINS if objective == "improved" else []),
    )
    assert result.exit_code == 0, result.output
    assert (
        f"{objective}, 30" in result.output
        and "log-likelihood, Z by quadrature" in result.output
    )
    assert (out / "density.png").exists()


@pytest.mark.filterwarnings("ignore:nothing is left to do")
@pytest.mark.parametrize(
    "objective", ["multi_scale", "recovery", "flow_contrastive", "adversarial"]
)
def test_parameters_beside_the_energy_train_resume_and_are_loaded(objective, tmp_path):
    """Levels of noise, a flow, a critic are restored from the folder, too."""
    out = tmp_path / "run"
    result = call(
        *("train", "--data", "two_moons", "--objective", objective, "--out", out),
        *SMALL,
        *(CHAINS[:2] if objective == "recovery" else []),
    )
    assert result.exit_code == 0, result.output
    assert (
        objective in result.output
        and "log-likelihood, Z by quadrature" in result.output
    )
    run, state = runs.load(tmp_path / "run")
    again = runs.train(run, tmp_path / "run", is_resumed=True, progress=False)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True)
    )
    sampled = call("sample", tmp_path / "run", "--num-chains", 16, "--num-steps", 40)
    assert sampled.exit_code == 0, sampled.output


def test_help_names_options_and_commands():
    text = call("train", "--help").output
    for word in (
        "--data",
        "mnist",
        "--resume",
        "--chain-steps",
        "python -m ebmjax train",
    ):
        assert word in text
    assert {"train", "sample", "selftest", "verify"} <= set(
        call("--help").output.split()
    )


BAD = {
    "an option without effect": (["train", "--data", "two_moons", "--out", "OUT", "--objective", "nce", "--kernel", "hmc"], "options without effect: --kernel: nce trains without chains"),
    "a buffer without use": (["train", "--data", "two_moons", "--out", "OUT", "--chain-init", "data", "--buffer-size", "9"], "--buffer-size: --chain-init data keeps no chains"),
    "no regularisation": (["train", "--data", "two_moons", "--out", "OUT", "--objective", "explicit", "--regularisation", "1"], "--regularisation: explicit has no regularisation"),
    "huge number of updates": (["train", "--data", "two_moons", "--out", "OUT", "--num-updates", str(10**18)], "--num-updates"),
    "chains beyond memory": (["train", "--data", "two_moons", "--out", "OUT", "--num-chains", "2000000000", "--buffer-size", "2000000000", "--features", "1000000000"], "GiB of memory"),
    "a network beyond memory": (["train", "--data", "two_moons", "--out", "OUT", "--features", "2000000,2000000"], "parameters needs"),
    "convolution of points": (["train", "--data", "two_moons", "--out", "OUT", "--network", "conv"], "the network conv needs images"),
    "layout of a toy": (["train", "--data", "two_moons", "--out", "OUT", "--layout", "grey"], "--layout is an option of files"),
    "markup in brackets": (["train", "--data", "TMP/[v2][/b].csv", "--out", "OUT"], "[v2][/b].csv does not exist"),
    "file in a file": (["train", "--data", "TMP/empty.csv/x.npy", "--out", "OUT"], "x.npy cannot be read: Not a directory"),
    "a pipe": (["train", "--data", "TMP/pipe.npy", "--out", "OUT"], "pipe.npy is not a regular file"),
    "a file to resume": (["train", "--resume", "TMP/empty.csv"], "empty.csv is not a run: it is a file"),
    "a file to sample": (["sample", "TMP/empty.csv"], "empty.csv is not a run: it is a file"),
    "a folder as config": (["train", "--resume", "TMP/folder"], "config.json is a folder"),
    "a pipe as config": (["sample", "TMP/piped"], "config.json is not a regular file"),
    "nested config": (["sample", "TMP/nested"], "it is nested too deeply"),
    "config of another type": (["sample", "TMP/typed"], "num_updates is '1e+18', a float"),
    "huge number of steps": (["sample", "TMP", "--num-steps", str(10**18)], "--num-steps"),
    "huge seed": (["train", "--data", "two_moons", "--out", "OUT", "--seed", str(2**40)], "--seed"),
    "no data": (["train", "--out", "OUT"], "--data is missing"),
    "neither out nor resume": (["train", "--data", "two_moons"], "give either --out for a new run or --resume"),
    "missing file": (["train", "--data", "none.npy", "--out", "OUT"], "none.npy does not exist"),
    "unknown data": (["train", "--data", "imagenet", "--out", "OUT"], "data must be one of mnist"),
    "empty": (["train", "--data", "TMP/empty.csv", "--out", "OUT"], "empty.csv is empty"),
    "ragged": (["train", "--data", "TMP/ragged.csv", "--out", "OUT"], "is ragged: line 2"),
    "words": (["train", "--data", "TMP/words.csv", "--out", "OUT"], "must be numeric: line 2"),
    "nan": (["train", "--data", "TMP/nan.csv", "--out", "OUT"], "must be finite"),
    "unknown objective": (["train", "--data", "two_moons", "--out", "OUT", "--objective", "magic"], "magic"),
    "unknown kernel": (["train", "--data", "two_moons", "--out", "OUT", "--kernel", "magic"], "magic"),
    "bad widths": (["train", "--data", "two_moons", "--out", "OUT", "--features", "a"], "features must be positive widths"),
    "negative step": (["train", "--data", "two_moons", "--out", "OUT", "--step-size", "-1"], "step_size must be finite and above 0"),
    "negative rate": (["train", "--data", "two_moons", "--out", "OUT", "--learning-rate", "-1"], "learning_rate must be finite and above 0"),
    "zero updates": (["train", "--data", "two_moons", "--out", "OUT", "--num-updates", "0"], "--num-updates"),
    "more chains than buffer": (["train", "--data", "two_moons", "--out", "OUT", "--num-chains", "99", "--buffer-size", "9"], "num_chains must be at most the buffer's size"),
    "convolution of noise levels": (["train", "--data", "two_moons", "--out", "OUT", "--objective", "multi_scale", "--network", "conv"], "multi_scale needs the network mlp"),
    "no smallest noise": (["train", "--data", "two_moons", "--out", "OUT", "--objective", "recovery", "--noise", "0"], "smallest must be finite and above 0"),
    "existing": (["train", "--data", "two_moons", "--out", "TMP"], "exists and is not empty"),
    "unwritable": (["train", "--data", "two_moons", "--out", "/proc/none"], "cannot be written"),
    "no run": (["sample", "TMP"], "is not a run"),
    "no run to resume": (["train", "--resume", "TMP/none"], "is not a run"),
    "unknown target": (["verify", "math:sqrt", "--target", "mars"], "target must be one of"),
    "no kernel": (["verify", "math:sqrt"], "math:sqrt must make a kernel of an energy"),
    "no factory": (["verify", "math"], "give the factory as module:function"),
    "missing factory": (["verify", "math:magic"], "math:magic cannot be loaded"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_clear_line_and_exit_code_2(name, tmp_path):
    for file, text in (
        ("empty", ""),
        ("ragged", "1,2\n3\n"),
        ("words", "1,2\na,b\n"),
        ("nan", "1,2\nnan,3\n"),
    ):
        (tmp_path / f"{file}.csv").write_text(text)
    os.mkfifo(tmp_path / "pipe.npy")
    for run, text in (("nested", "[" * 200_000), ("typed", '{"num_updates": 1e18}')):
        (tmp_path / run).mkdir()
        (tmp_path / run / "config.json").write_text(text)
    (tmp_path / "folder" / "config.json").mkdir(parents=True)
    (tmp_path / "piped").mkdir()
    os.mkfifo(tmp_path / "piped" / "config.json")
    before = sorted(tmp_path.iterdir())
    arguments, message = BAD[name]
    result = call(
        *(
            a.replace("OUT", str(tmp_path / "out")).replace("TMP", str(tmp_path))
            for a in arguments
        )
    )
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split()), result.stderr
    assert "Traceback" not in result.output + result.stderr
    left = [p for p in sorted(tmp_path.iterdir()) if p not in before]
    assert not [p for p in left if not p.is_dir() or any(p.iterdir())]


def test_verify_passes_a_right_kernel_and_rejects_a_wrong_one(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import jax, jax.numpy as jnp, ebmjax as eb\n"
        "def right(energy):\n    return eb.mala(energy, 0.3)\n"
        "def forgotten(energy):\n"
        "    q = lambda key, x: 0.8 * x + jax.random.normal(key, x.shape)\n"
        "    return eb.metropolis(energy, q, symmetric=True)\n"
    )
    monkeypatch.chdir(tmp_path)
    good = call(
        "verify", "mine:right", "--target", "two_modes", "--picture", tmp_path / "p.png"
    )
    assert (
        good.exit_code == 0
        and "PASSED" in good.output
        and (tmp_path / "p.png").exists()
    )
    bad = call("verify", "mine:forgotten", "--target", "two_modes")
    assert (
        bad.exit_code == 1 and "FAILED" in bad.output and "Hastings ratio" in bad.output
    )


def test_bits_train_from_the_command_line(tmp_path):
    out = tmp_path / "run"
    arguments = [
        "--objective",
        "pseudo_likelihood",
        "--num-updates",
        10,
        "--features",
        "8",
    ]
    x = np.random.default_rng(0).integers(0, 2, (300, 6)).astype(np.float32)
    np.save(tmp_path / "bits.npy", x)
    result = call("train", "--data", tmp_path / "bits.npy", *arguments, "--out", out)
    assert result.exit_code == 0, result.output
    shown = float(re.search(r"Z by a sum\D*(-[0-9.]+) nat", result.output).group(1))
    assert (
        -6 * np.log(2) - 0.5 < shown < -6 * np.log(2) + 0.1
    )  # six fair coins, hardly trained on
    result = call("sample", out, "--num-chains", 16, "--num-steps", 20)
    assert result.exit_code == 0, result.output
    with np.load(out / "samples-gibbs-1" / "samples.npz") as file:
        assert np.isin(file["x"], (0, 1)).all()
    grey = call("train", "--data", "digits", *arguments, "--out", tmp_path / "grey")
    assert grey.exit_code == 2 and "needs data of 0 and 1" in grey.stderr


def test_bits_of_digits_are_trained_on_as_they_are():
    dataset = data.load("binary_digits")
    config = experiment.preset(
        dataset, objective="ratio_matching", num_updates=3, features=(8,)
    )
    run = experiment.build(config, dataset)
    state, metrics = run.fit(run.init())
    assert (
        np.isin(run.z, (0, 1)).all()
        and run.z.shape[1:] == (8, 8)
        and len(metrics["loss"]) == 3
    )
    assert np.isin(run.draw(jax.random.key(0), 5), (0, 1)).all()


def test_brackets_in_messages_are_printed_as_they_are(capsys):
    """Brackets and colons in a path are not markup."""
    text = "runs/[v2]/a[/b] [red]x[/] :smile: [/"
    from ebmjax.cli.app import fail, say, warn

    say(text)
    warn(text)
    with pytest.raises(Exception):  # noqa: B017 - the exit of typer
        fail(text, 2)
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [text, f"warning: {text}"]
    assert shown.err.strip() == f"error: {text}"


def test_a_path_with_brackets_is_printed_as_it_is():
    from ebmjax.cli.app import console, say

    with console.capture() as capture:
        say("runs/[red]/[v2]")
    assert capture.get() == "runs/[red]/[v2]\n"


def test_the_table_of_unused_options_is_that_of_the_objectives(key):
    """Each objective is made with a configuration that notes what is read of it."""

    class Noting:
        def __init__(self, config):
            self._config, self._read = config, set()

        def __getattr__(self, name):
            self._read.add(name)
            return getattr(self._config, name)

    moons = data.load("two_moons", num_points=300)
    bits = moons._replace(name="bits", x=(moons.x > 0).astype(np.float32))
    watched = ("kernel", "chain_steps", "regularisation", "temperature")
    for name, method in registry.METHODS.items():
        dataset = bits if method.is_binary else moons
        config = experiment.preset(dataset, objective=name)
        run = experiment.build(config, dataset)
        noting = Noting(config)
        method.make(noting, run.network, run.z)
        unused = options.unused(name, dict.fromkeys(watched))
        assert set(unused) == set(watched) - noting._read, name


def test_help_needs_no_matplotlib():
    program = (
        "import sys\nsys.modules['matplotlib'] = None\n"
        "from ebmjax.cli import app\napp(['selftest', '--help'])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert result.returncode == 0 and b"--num-chains" in result.stdout, result.stderr


def test_no_device_is_initialized_before_the_options_are_read():
    program = "import ebmjax.cli, jax._src.xla_bridge as b; raise SystemExit(b.backends_are_initialized())"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
