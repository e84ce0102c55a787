"""``evaluate``: bounds that contain the quadrature, files, and errors."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import call

from ebmjax.cli import measurement
from ebmjax.experiments import report, runs

pytestmark = pytest.mark.usefixtures("without_optimisations")
SMALL = "--num-updates 100 --features 16,16 --chain-steps 3 --num-chains 64".split()
QUICK = "--num-levels 64 --num-chains 128 --num-relax 200 --replicas 4".split()


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate") / "moons"
    made = call("train", "--data", "two_moons", "--out", folder, *SMALL)
    assert made.exit_code == 0, made.output
    return folder


def test_bounds_hold_the_quadrature_of_held_out_points(moons):
    result = call("evaluate", moons, *QUICK)
    assert result.exit_code == 0, result.output
    assert "bits per dimension, held out" in result.output
    found = json.loads((moons / "evaluation" / "evaluation.json").read_text())
    held_out = found["log_likelihood"]["held out"]
    truth = report.log_likelihood(*runs.load(moons))
    assert held_out["lower"] < truth < held_out["upper"]
    assert held_out["upper"] - held_out["lower"] < 0.5
    assert not held_out["lower"] < truth + 0.5 < held_out["upper"]
    assert set(found["log_z"]) == {"64", "16", "4"}
    assert np.max(found["tempering"]["rejection_rate"]) < 0.9
    for name in ("work", "bounds", "swaps"):
        assert (moons / "evaluation" / f"{name}.png").stat().st_size > 5000
    again = call("evaluate", moons)
    assert again.exit_code == 2
    assert "exists and is not empty" in again.stderr


def test_points_of_another_shape_are_refused(moons, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((20, 3), np.float32))
    data = ["--data", tmp_path / "x.npy", "--out", tmp_path / "new"]
    result = call("evaluate", moons, *data)
    assert result.exit_code == 2
    assert "--data must hold points of shape (2,)" in result.stderr
    missing = call("evaluate", tmp_path / "none")
    assert missing.exit_code == 2


def test_samples_of_few_points_are_not_tested_and_it_is_said():
    rng = np.random.default_rng(0)
    few, many = (jnp.asarray(rng.normal(size=(n, 2)), jnp.float32) for n in (7, 20))
    energy = lambda x: 0.5 * jnp.sum(x**2)
    groups = {"few": few, "many": many}
    with pytest.warns(UserWarning, match="no test of chains and few: .* 8 .* got 7"):
        found = measurement._tests(jax.random.key(0), energy, many, groups, False)
    assert len(found) == 3 and all(name.endswith("many") for name in found)
