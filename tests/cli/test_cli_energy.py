"""``sample MODULE:ENERGY``: an energy is tuned, sampled, summarised and written."""

import os
import signal
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import call

import ebmjax as eb
from ebmjax.cli import sample_energy as cli_energy
from ebmjax.cli.app import _message, console, load_attribute
from ebmjax.cli.stoppable import PIECES, sample_until_stopped
from ebmjax.io import arviz as export
from ebmjax.io import run_directory

MODEL = """
import jax, jax.numpy as jnp
def energy(x):
    return 0.5 * jnp.sum(((x - 1) / jnp.array([1.0, 10.0])) ** 2)
def tree(p):
    return 0.5 * jnp.sum(p["a"] ** 2) + 0.5 * p["b"] ** 2
def modes(x):
    return jnp.sum(0.5 * (jnp.abs(x) - 20) ** 2)
def log_density(x):
    return -energy(x)
not_a_function = 3
def lookup(p):
    return p["b"] ** 2
def wrong(x):
    return lookup({"a": x[0]})
def shapes(x):
    return jnp.sum(x @ jnp.ones(7))
def vector(x):
    return x
"""
CHAIN_INITS = {
    "with_start": 'start = {"a": jnp.zeros(3), "b": jnp.float32(0.5)}\n',
    "with_initial": "def initial(key, n):\n    return jax.random.normal(key, (n, 2))\n",
    "with_few": "def initial(key, n):\n    return jax.random.normal(key, (1, 2))\n",
    "plain": "",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in CHAIN_INITS.items():
        (tmp_path / f"{name}.py").write_text(MODEL + text)
    np.save(tmp_path / "rows.npy", np.array([[20.0], [-20.0], [20.0], [-20.0]]))
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    os.mkfifo(tmp_path / "pipe.npy")
    monkeypatch.chdir(tmp_path)
    for name in CHAIN_INITS:  # of another test's folder
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.fixture
def without_arviz(monkeypatch):
    monkeypatch.setattr(cli_energy.importlib.util, "find_spec", lambda name: None)


def test_sampling_an_energy_writes_draws_summary_and_pictures(folder):
    result = call(
        "sample", "plain:energy", "--dim", 2, "--num-steps", 500, "--out", "run"
    )
    assert result.exit_code == 0, result.output
    names = {p.name for p in (folder / "run").iterdir()}
    pictures = {"trace.png", "rank.png", "autocorr.png", "energy.png"}
    assert names == {"draws.npz", "draws.nc", "summary.txt"} | pictures
    with np.load(folder / "run" / "draws.npz") as file:
        draws = file["posterior/x"]
    assert draws.shape == (4, 500, 2)
    np.testing.assert_array_equal(
        export.load(folder / "run" / "draws.nc")["posterior"]["x"], draws
    )
    lines = (folder / "run" / "summary.txt").read_text().splitlines()
    rows = np.array([line.split()[1:] for line in lines[1:3]], float)
    assert (
        lines[0].split()[:3] == ["mean", "sd", "mcse_mean"]
        and lines[1] in result.output
    )
    assert (np.abs(rows[:, 0] - 1) < 5 * rows[:, 2]).all()
    assert (np.abs(rows[:, 1] - [1, 10]) < 5 * rows[:, 3]).all()
    assert "steps of nuts after" in result.output
    again = call("sample", "plain:energy", "--dim", 2, "--out", "run")
    assert again.exit_code == 2 and "exists and is not empty" in again.stderr


@pytest.mark.usefixtures("without_arviz")
def test_starts_of_a_module_and_a_given_step_size(folder):
    options = [
        "--kernel",
        "hmc",
        "--step-size",
        0.5,
        "--leapfrog-steps",
        4,
        "--num-steps",
        60,
    ]
    result = call("sample", "with_start:tree", *options, "--num-chains", 3)
    assert result.exit_code == 0, result.output
    out = folder / "samples" / "with_start-tree-hmc-1"
    assert {p.name for p in out.iterdir()} == {"draws.npz", "summary.txt"}
    assert (
        "pip install 'ebmjax[export]'" in result.output
        and "no warm-up" in result.output
    )
    with np.load(out / "draws.npz") as file:
        assert file["posterior/a"].shape == (3, 60, 3) and file[
            "posterior/b"
        ].shape == (3, 60)
        assert file["sample_stats/energy"].shape == (3, 60)
    result = call(
        "sample",
        "with_initial:energy",
        "--kernel",
        "random_walk",
        "--dense",
        "--num-steps",
        60,
    )
    assert result.exit_code == 0 and "steps of random_walk after" in result.output, (
        result.output
    )


@pytest.mark.usefixtures("without_arviz")
def test_chains_that_disagree_are_named(folder):
    options = ["--kernel", "mala", "--step-size", 1.0, "--num-steps", 200]
    result = call("sample", "plain:modes", *options, "--start", "rows.npy")
    assert result.exit_code == 0 and "R-hat above 1.01 in x[0]" in result.output
    assert (
        "R-hat above"
        in (folder / "samples" / "plain-modes-mala-1" / "summary.txt").read_text()
    )


@pytest.mark.usefixtures("without_arviz")
@pytest.mark.parametrize(
    ("name", "error", "where"),
    [
        ("wrong", "KeyError: 'b'", 'in lookup, PATH, line 13: return p["b"] ** 2'),
        (
            "shapes",
            "TypeError: dot_general",
            "in shapes, PATH, line 17: return jnp.sum",
        ),
    ],
)
def test_an_error_inside_an_energy_names_its_file_and_line(folder, name, error, where):
    result = call("sample", f"plain:{name}", "--dim", 2)
    shown = " ".join(result.stderr.split())
    assert result.exit_code == 2 and error in shown
    assert where.replace("PATH", str(folder / "plain.py")) in shown, shown


def test_an_error_while_a_module_is_imported_names_its_file_and_line(folder):
    (folder / "halves.py").write_text("import jax\nx = 1 / 0\n")
    (folder / "typo.py").write_text("import jax\ndef energy(x:\n    return x\n")
    for module, line in (
        ("halves", "line 2: x = 1 / 0"),
        ("typo", "line 2: def energy"),
    ):
        result = call("sample", f"{module}:energy", "--dim", 2)
        shown = " ".join(result.stderr.split())
        assert result.exit_code == 2 and line in shown, shown
        assert str(folder / f"{module}.py") in shown


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_the_chains_early_and_keeps_the_draws(name, key):
    kernel = eb.mala(lambda x: 0.5 * jnp.sum(x**2), 0.5)
    positions, num_steps = jnp.zeros((4, 2)), 3 * PIECES

    def progress(done, total, text):
        if done == 9:
            os.kill(os.getpid(), getattr(signal, name))

    options = {"collect": lambda state, info: state.position}
    part = sample_until_stopped(
        key, kernel, positions, num_steps, progress=progress, **options
    )
    whole = eb.sample(key, kernel, positions, num_steps)
    assert part.num_steps == 9 and part.draws.shape == (9, 4, 2)
    assert np.array_equal(part.draws, whole.draws[:9])
    uncut = sample_until_stopped(
        key, kernel, positions, num_steps, progress=False, **options
    )
    assert np.array_equal(uncut.draws, whole.draws)
    np.testing.assert_allclose(uncut.acceptance_rate, whole.acceptance_rate, rtol=1e-5)


@pytest.mark.parametrize("dim", [3, 10])
def test_the_number_of_coordinates_without_a_picture_is_reported(
    dim, key, tmp_path, monkeypatch
):
    monkeypatch.setattr(export, "save", lambda *_: None)
    monkeypatch.setattr(export, "pictures", lambda *_: [tmp_path / "trace.png"])
    draws = eb.sample(
        key, eb.mala(lambda x: 0.5 * jnp.sum(x**2), 0.5), jnp.zeros((4, dim)), 50
    )
    with console.capture() as capture:
        cli_energy._written(draws, tmp_path)
    said = "the pictures show 6 of 10 coordinates (x[0], x[1], x[2], x[3], x[4], x[5])"
    assert (said in capture.get()) == (dim == 10)


def test_a_hangup_is_postponed():
    with run_directory.postponed_stop() as is_signalled:
        handler = signal.getsignal(signal.SIGHUP)
        assert callable(handler)
        handler(signal.SIGHUP, None)
        assert is_signalled()


def test_an_error_names_the_frames_of_the_user(tmp_path, monkeypatch):
    """Frames of the user, and none of this library, of JAX, or of Python."""
    (tmp_path / "of_a_user.py").write_text(
        "import jax, json\ndef energy(x):\n    return json.loads(x)\n"
        "def traced(x):\n    return jax.vmap(lambda y: y[9, 9])(x)\n"
    )
    monkeypatch.chdir(tmp_path)
    energy, traced = (load_attribute(f"of_a_user:{n}") for n in ("energy", "traced"))
    for function, argument, line in ((energy, "{", 3), (traced, jnp.zeros((2, 2)), 5)):
        try:
            function(argument)
        except Exception as error:
            message = _message(error)
        own = [part for part in message.splitlines() if part.startswith("  in ")]
        own = [part for part in own if "test_cli_energy.py" not in part]
        assert own and all(f"of_a_user.py, line {line}" in part for part in own), (
            message
        )
    assert _message(ValueError("step_size")) == "step_size"
    assert _message(KeyError("a bug of this library")) is None


def test_an_ignored_hangup_stays_ignored(key):
    """As under nohup."""
    kernel = eb.mala(lambda x: 0.5 * jnp.sum(x**2), 0.5)
    hangup = lambda done, *_: os.kill(os.getpid(), signal.SIGHUP) if done == 9 else None
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        found = sample_until_stopped(
            key,
            kernel,
            jnp.zeros((4, 2)),
            3 * PIECES,
            collect=lambda state, info: state.position,
            progress=hangup,
        )
    finally:
        signal.signal(signal.SIGHUP, previous)
    assert found.num_steps == 3 * PIECES


def test_a_log_density_is_recognised(folder):
    options = ["--kernel", "random_walk", "--step-size", 1.0, "--num-steps", 20]
    result = call("sample", "plain:log_density", "--dim", 2, *options)
    assert "the energy falls without end" in " ".join(result.output.split())


BAD = {
    "missing attribute": (["plain:nothing", "--dim", "2"], "plain:nothing cannot be loaded"),
    "missing module": (["nowhere:energy", "--dim", "2"], "nowhere:energy cannot be loaded"),
    "no function": (["plain:not_a_function", "--dim", "2"], "plain:not_a_function must be a function"),
    "no start": (["plain:energy"], "initial positions are missing: --dim D, --start FILE.npy"),
    "two starts": (["plain:energy", "--dim", "2", "--start", "rows.npy"], "give either --dim or --start"),
    "missing rows": (["plain:energy", "--start", "none.npy"], "none.npy"),
    "rows of words": (["plain:energy", "--start", "words.npy"], "words.npy must hold numbers"),
    "other number of rows": (["plain:energy", "--start", "rows.npy", "--num-chains", "9"], "--num-chains is 9, and rows.npy has 4 rows"),
    "too few from initial": (["with_few:energy"], "initial(key, n) must return n points, got 1 for 4"),
    "vector": (["plain:vector", "--dim", "2"], "energy must return a scalar for one point, got shape (2,)"),
    "negative step": (["plain:energy", "--dim", "2", "--step-size", "-1"], "step_size must be finite and above 0"),
    "two step sizes": (["plain:energy", "--dim", "2", "--step-size", "1", "--num-warmup", "50"], "--step-size replaces the warm-up"),
    "hmc without a length": (["plain:energy", "--dim", "2", "--step-size", "1", "--kernel", "hmc"], "needs its --leapfrog-steps"),
    "leapfrog of nuts": (["plain:energy", "--dim", "2", "--leapfrog-steps", "3"], "--leapfrog-steps is an option of --kernel hmc"),
    "ula": (["plain:energy", "--dim", "2", "--kernel", "ula"], "--kernel of an energy must be one of nuts, hmc, mala, random_walk"),
    "option of a run": (["plain:energy", "--dim", "2", "--from-noise"], "--from-noise is an option of a trained run"),
    "thin of steps": (["plain:energy", "--dim", "2", "--num-steps", "10", "--thin", "3"], "--num-steps must be a multiple of --thin"),
    "data of an energy": (["plain:energy", "--dim", "2", "--data", "x.npy"], "--data is an option of a trained run"),
    "rows in a pipe": (["plain:energy", "--start", "pipe.npy"], "pipe.npy is not a regular file"),
    "dimensions beyond memory": (["plain:energy", "--dim", "2000000000"], "GiB of memory"),
    "option of an energy": (["somewhere", "--dim", "2"], "--dim is an option of an energy MODULE:NAME"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_clear_line_and_leaves_nothing(name, folder):
    arguments, message = BAD[name]
    before = sorted(folder.rglob("*"))
    result = call("sample", *arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join((result.output + result.stderr).split())
    assert "Traceback" not in result.output + result.stderr
    left = [
        p
        for p in sorted(folder.rglob("*"))
        if p not in before and "__pycache__" not in str(p)
    ]
    assert not [p for p in left if p.is_file()]


CONSTRAINED = """
import jax.numpy as jnp
import ebmjax as eb
from ebmjax import supports
def schools(x):
    return x["tau"] + 0.5 * x["mu"] ** 2
energy = eb.constrain(schools, {"mu": None, "tau": supports.positive()})
start = {"mu": jnp.float32(0), "tau": jnp.float32(3)}
shares = eb.constrain(lambda x: -jnp.sum(2 * jnp.log(x)), supports.simplex())
outside = eb.constrain(lambda x: jnp.sum(x), supports.interval(0, 10))
"""


@pytest.mark.usefixtures("without_arviz")
def test_starts_and_files_of_a_constrained_energy_are_constrained_values(
    folder, monkeypatch
):
    (folder / "bounded.py").write_text(CONSTRAINED)
    monkeypatch.delitem(sys.modules, "bounded", raising=False)
    options = ["--kernel", "random_walk", "--step-size", 1.0, "--num-steps", 60]
    result = call("sample", "bounded:energy", *options)
    assert result.exit_code == 0, result.output
    out = folder / "samples" / "bounded-energy-random_walk-1"
    with np.load(out / "draws.npz") as file:
        assert file["posterior/tau"].min() > 0 > file["posterior/mu"].min()
    result = call("sample", "bounded:shares", *options, "--dim", 3)
    assert result.exit_code == 0, result.output
    with np.load(
        folder / "samples" / "bounded-shares-random_walk-1" / "draws.npz"
    ) as file:
        assert file["posterior/x"].shape == (4, 60, 3)
        np.testing.assert_allclose(file["posterior/x"].sum(-1), 1, rtol=1e-5)
    result = call("sample", "bounded:outside", *options, "--start", "rows.npy")
    assert result.exit_code == 2 and "must be between 0.0 and 10.0" in result.stderr
    result = call("sample", "bounded:energy", *options, "--dim", 3, "--out", "other")
    assert result.exit_code == 2 and "an energy of one vector" in result.stderr
