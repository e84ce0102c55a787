"""Runs on labelled points: what is held out, constants of classes, the command line."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

from ebmjax.cli import app
from ebmjax.experiments import data, experiment, runs
from ebmjax.experiments.classes import class_constants, parts
from ebmjax.experiments.data import DataError, Dataset
from ebmjax.experiments.labelled import ood_inputs

SMALL = {
    "features": (16,),
    "num_chains": 32,
    "buffer_size": 64,
    "batch_size": 64,
    "chain_steps": 3,
}


def test_constants_of_classes_are_their_shares_over_their_z():
    """Normals of known width and share: E_y without its constants, and a control with
    shares alone."""
    shares, means, widths = (
        np.array([0.2, 0.5, 0.3]),
        np.array([0.0, 2.0, -1.0]),
        np.array([0.5, 1.0, 2.0]),
    )
    rng, num = np.random.default_rng(0), 60_000
    labels = rng.choice(3, num, p=shares)
    x = means[labels] + widths[labels] * rng.normal(size=num)
    energies = jnp.asarray(0.5 * ((x[:, None] - means) / widths) ** 2)
    found = np.asarray(class_constants(energies, jax.nn.one_hot(labels, 3)))
    want = np.log(shares / widths)
    want -= want.mean()
    assert np.abs(found - want).max() < 5 * 3 / np.sqrt(num)
    alone = np.log(shares) - np.log(shares).mean()
    assert np.abs(alone - want).max() > 0.3


def test_what_is_held_out_is_never_trained_on():
    """Sorted files, too: each class gives a fifth, and none is lost."""
    x, labels = np.arange(50.0)[:, None], np.repeat([0, 1, 2], [20, 28, 2])
    kept, held = parts(Dataset("mine.csv", x, labels), 0)
    assert np.array_equal(np.sort(np.concatenate([kept.x, held.x]), axis=0), x)
    assert np.bincount(held.labels).tolist() == [4, 5] and len(kept.x) == 41
    assert np.bincount(kept.labels).tolist() == [16, 23, 2]
    again = parts(Dataset("mine.csv", x, labels), 7)
    assert np.array_equal(again[0].x, kept.x)  # of any seed
    plain = parts(Dataset("mine.csv", x), 0)
    assert len(plain[0].x) == 40 and len(plain[1].x) == 10
    assert 10 < np.median(plain[1].x) < 40  # a file may be sorted
    assert parts(Dataset("mine.csv", x), 0, 0.0)[1] is None
    assert parts(Dataset("mine.csv", x[:3]), 0)[1] is None
    moons = data.load("two_moons", seed=3)
    kept, held = parts(moons, 3)
    both = np.concatenate([kept.x, held.x])
    assert np.array_equal(kept.x, moons.x) and len(np.unique(both, axis=0)) == len(both)
    own = experiment.build(
        experiment.preset(data.load("digits"), objective="joint", **SMALL),
        data.load("digits"),
    )
    assert len(own.z) == len(own.batches.label) == 1797 - len(own.held.x)
    assert 0.19 < len(own.held.x) / 1797 < 0.2


@pytest.mark.parametrize(
    "labels", [None, np.zeros(20, int), np.arange(20) % 2 + 1, np.arange(20)]
)
def test_labels_that_cannot_be_learned_are_refused(labels):
    dataset = Dataset("mine.csv", np.random.default_rng(0).normal(size=(20, 2)), labels)
    with pytest.raises(DataError, match="labels"):
        experiment.build(experiment.preset(dataset, objective="joint"), dataset)


def test_labels_of_toys_are_the_components_of_their_points():
    moons = data.load("two_moons")
    center = np.where(moons.labels[:, None], [1.0, 0.5], [0.0, 0.0])
    radius = np.linalg.norm(moons.x - center, axis=1)
    assert abs(radius.mean() - 1) < 0.02 and radius.std() < 0.11  # the noise is 0.1


def test_ood_inputs_keep_their_margins_or_their_box(key):
    x = jax.random.normal(key, (500, 3)) @ jnp.array(
        [[1.0, 1, 1], [0, 1, 1], [0, 0, 1]]
    )
    labels = np.arange(500) % 2
    found = ood_inputs(jax.random.split(key, 3), x, labels)
    assert np.allclose(np.sort(found["shuffled"], axis=0), np.sort(x, axis=0))
    assert abs(np.corrcoef(np.asarray(found["shuffled"]).T)[0, 1]) < 5 / np.sqrt(500)
    assert np.corrcoef(np.asarray(x).T)[0, 1] > 0.5
    assert (found["uniform"] >= x.min(axis=0)).all() and (
        found["uniform"] <= x.max(axis=0)
    ).all()
    assert np.asarray(found["midpoints"]).std() < 0.85 * np.asarray(x).std()


@pytest.mark.parametrize("objective", ["joint", "class_conditional"])
def test_labelled_points_train_and_resume_from_the_command_line(objective, tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    rows = np.column_stack([rng.normal(size=(400, 2)) + 4 * labels[:, None], labels])
    np.savetxt(tmp_path / "mine.csv", rows, delimiter=",", header="a,b,y", comments="")
    out, call = tmp_path / "run", CliRunner().invoke
    arguments = [
        "--features",
        "16",
        "--num-chains",
        "32",
        "--buffer-size",
        "64",
        "--batch-size",
        "64",
    ]
    arguments += [
        "--objective",
        objective,
        "--num-updates",
        "60",
        "--chain-steps",
        "3",
        "--seed",
        "1",
    ]
    result = call(
        app,
        ["train", "--data", str(tmp_path / "mine.csv"), "--out", str(out), *arguments],
    )
    assert result.exit_code == 0, result.output
    shown = " ".join(result.output.split())
    assert (
        re.search("accuracy on (79|80) held out", shown)
        and "calibration error" in shown
        and "AUROC" in shown
    )
    assert all(
        (out / name).stat().st_size > 3000
        for name in ("reliability.png", "ood_inputs.png", "density.png")
    )
    run, state = runs.load(out)
    classes = np.asarray(jax.vmap(run.of_classes(state))(run.z)).argmin(axis=1)
    assert (classes == np.asarray(run.batches.label).argmax(axis=1)).mean() > 0.9
    again = call(app, ["train", "--resume", str(out)])
    assert again.exit_code == 0, again.output
