"""Runs of points given a condition: files, the command line, chains at one condition;
imputation of unknown values, and scores of out-of-distribution inputs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import call

import ebmjax as eb
from ebmjax.experiments import conditional, data, experiment, inpainting, ood, runs
from ebmjax.experiments.data import DataError, Dataset
from ebmjax.experiments.data.conditions import row, split

pytestmark = pytest.mark.usefixtures("without_optimisations")
SMALL = "--features 16 --chain-steps 3 --batch-size 64".split()
DIGITS = {
    "features": (8,),
    "chain_steps": 2,
    "batch_size": 32,
    "num_updates": 2,
    "condition_on": "label",
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """600 rows: x and y given t, and a class that shifts x by ten."""
    rng = np.random.default_rng(0)
    t, kind = rng.uniform(100, 300, 600), rng.integers(0, 2, 600)
    x = 0.05 * t + 10 * kind + rng.normal(size=600)
    y = rng.normal(size=600)
    path = tmp_path_factory.mktemp("table") / "mine.csv"
    lines = [
        f"{a:.6f},{b:.6f},{c:.6f},{'ab'[k]}"
        for a, b, c, k in zip(x, y, t, kind, strict=True)
    ]
    path.write_text("\n".join(["x,z,temperature,class", *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("given") / "run"
    options = ["--condition-on", "temperature,label", "--num-updates", 300]
    options += ["--learning-rate", 0.01]
    result = call("train", "--data", table, "--out", out, *options, *SMALL)
    assert result.exit_code == 0, result.output
    return out, result.output


# --- files --------------------------------------------------------------------------


def test_columns_and_labels_become_conditions():
    x = np.arange(12.0).reshape(4, 3)
    mine = Dataset("mine", x, np.array([0, 1, 1, 0]), columns=("a", "b", "c"))
    mine = mine._replace(classes=("no", "yes"))
    found = split(mine, "c, label,1")
    assert found.columns == ("b",) and np.array_equal(found.x, x[:, [1]])
    want = np.column_stack([x[:, 2], x[:, 0], [1, 0, 0, 1], [0, 1, 1, 0]])
    assert np.array_equal(found.conditions, want)
    names = ("c", "a", "label=no", "label=yes")
    assert found.condition_columns == names and found.notes
    assert row(names, "7,8", "yes").tolist() == [7, 8, 0, 1]
    assert split(mine, "") is mine
    for columns, text in (
        ("d", "has the columns a, b, c"),
        ("4", "has the columns"),
        ("a,b,c", "leaves no column"),
        ("a,1", "twice"),
    ):
        with pytest.raises(DataError, match=text):
            split(mine, columns)
    with pytest.raises(DataError, match="no labels"):
        split(mine._replace(labels=None), "label")
    with pytest.raises(DataError, match="no table"):
        split(mine._replace(x=np.zeros((4, 8, 8))), "a")
    for values, label, text in (
        ("7", "yes", "c, a as numbers"),
        ("7,x", "yes", "c, a as numbers"),
        ("7,nan", "yes", "c, a as numbers"),
        ("7,8", "", "one of no, yes"),
        ("7,8", "maybe", "one of no, yes"),
    ):
        with pytest.raises(DataError, match=text):
            row(names, values, label)
    with pytest.raises(DataError, match="there are none"):
        row(("c",), "7", "yes")


# --- the command line ---------------------------------------------------------------


def test_a_table_trains_given_its_columns_and_samples_at_values(trained, tmp_path):
    """x given t and the class is 0.05 t + 10 class, within a tenth of its range; the
    control is the other class."""
    folder, shown = trained
    text = " ".join(shown.split())
    assert "given temperature, label=a, label=b" in text
    assert "variance of the points that E[x | c] explains" in text
    assert (folder / "conditional.png").stat().st_size > 3000
    mean = {}
    for label in "ab":
        where = ["--condition", "150", "--label", label, "--out", tmp_path / label]
        result = call("sample", folder, *where, "--num-steps", 200)
        assert result.exit_code == 0, result.output
        with np.load(tmp_path / label / "samples.npz") as file:
            mean[label] = file["x"][100:, :, 0].mean()
    assert abs(mean["a"] - 7.5) < 2 and abs(mean["b"] - 17.5) < 2
    assert mean["b"] - mean["a"] > 7


def test_a_conditional_run_resumes_and_refuses_missing_conditions(trained):
    folder, _ = trained
    result = call("train", "--resume", folder, "--num-updates", 310)
    assert result.exit_code == 0, result.output
    run, state = runs.load(folder)
    assert int(state.step) == 310 and len(state.buffer) == len(run.z)
    for arguments, text in (
        (["sample", folder], "temperature as numbers"),
        (["sample", folder, "--condition", "1"], "one of a, b"),
        (["evaluate", folder, "--condition", "150,3", "--label", "a"], "as numbers"),
    ):
        result = call(*arguments)
        assert result.exit_code == 2 and text in result.stderr, result.output


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--objective", "joint"], "it learns labels itself"),
        (["--objective", "recovery"], "condition_on goes with"),
        (["--num-chains", "65"], "at most batch_size, 64"),
        (["--buffer-size", "65"], "one chain a point"),
        (["--shift", "1"], "shift is of images"),
    ],
)
def test_options_that_exclude_conditions_are_refused_by_name(
    table, tmp_path, options, text
):
    given = ["--condition-on", "temperature", "--out", tmp_path / "run"]
    result = call("train", "--data", table, *given, *SMALL, *options)
    assert result.exit_code == 2 and text in result.stderr, result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("objective", ["sliced", "denoising", "ranking", "nce"])
def test_objectives_without_chains_learn_points_given_conditions(table, objective):
    dataset = data.load(str(table), condition_on="temperature")
    config = experiment.preset(
        dataset,
        objective=objective,
        condition_on="temperature",
        features=(8,),
        num_updates=3,
    )
    run = experiment.build(config, dataset)
    state, history = run.fit(run.init())
    assert np.isfinite(history["loss"]).all() and len(history["loss"]) == 3
    here, narrowed = conditional.at(run, state, "150", "")
    values = jax.vmap(here.trained(narrowed))(run.z[:4])
    assert np.isfinite(values).all()
    with pytest.raises(experiment.RunError, match="which one"):
        run.trained(state)


def test_the_energy_at_a_temperature_is_that_of_the_network_over_it():
    """Points and conditions have different sizes, so that they cannot be exchanged."""
    dataset = data.load("digits", condition_on="label")
    choices = {**DIGITS, "temperature": 2.0}
    run = experiment.build(experiment.preset(dataset, **choices), dataset)
    state, x, c = run.init(), run.z[0], jnp.eye(10)[3]
    given = conditional.energy_of(run, state)
    plain = run.network(run.lower(state.ema), x, c)
    assert float(given(x, c)) == pytest.approx(float(plain) / 2, rel=1e-6)
    assert float(given(x, jnp.eye(10)[4])) != float(given(x, c))


def test_the_run_at_a_label_has_the_data_and_chains_of_that_label():
    dataset = data.load("digits", condition_on="label")
    run = experiment.build(experiment.preset(dataset, **DIGITS), dataset)
    state = run.init()
    here, narrowed = conditional.at(run, state, "", "7")
    rows = np.flatnonzero(run.kept.labels == 7)
    assert len(here.z) == len(narrowed.buffer) == len(rows)
    assert (here.kept.labels == 7).all() and (here.held.labels == 7).all()
    assert np.array_equal(np.sort(narrowed.buffer), np.sort(state.buffer[rows]))
    x, other = run.z[0], conditional.at(run, state, "", "1")[0]
    given = conditional.energy_of(run, state)
    assert float(here.trained(state)(x)) == float(given(x, jnp.eye(10)[7]))
    assert float(here.trained(state)(x)) != float(other.trained(state)(x))
    samples = conditional.chains_at(
        jax.random.key(0), run, state, jnp.eye(10), num_steps=2
    )
    assert samples.state.position.shape == (10, 8, 8)
    with pytest.raises(experiment.RunError, match="points alone"):
        plain = data.load("two_moons")
        alone = experiment.build(experiment.preset(plain), plain)
        conditional.at(alone, alone.init(), "", "1")


def test_the_run_of_one_class_is_that_of_its_energy():
    """Of joint and class_conditional runs; the chains of a class are its own."""
    dataset = data.load("digits")
    small = {**DIGITS, "condition_on": "", "buffer_size": 64, "num_chains": 32}
    config = experiment.preset(dataset, objective="class_conditional", **small)
    run = experiment.build(config, dataset)
    state = run.init()
    here, narrowed = conditional.at(run, state, "", "4")
    x = run.z[0]
    assert float(here.trained(state)(x)) == float(run.of_classes(state)(x)[4])
    labels = np.asarray(state.buffer.label).argmax(axis=1)
    assert np.array_equal(narrowed.buffer, state.buffer.point[labels == 4])


# --- filling in ---------------------------------------------------------------------


def test_imputed_values_have_the_conditional_distribution(key):
    """A correlated normal in three coordinates, two known: mean and variance of the
    third by regression, within standard errors; the control is its law without them."""
    covariance = np.array([[1.0, 0.8, 0.3], [0.8, 2.0, -0.5], [0.3, -0.5, 1.5]])
    precision = jnp.asarray(np.linalg.inv(covariance), jnp.float32)
    energy = lambda x: 0.5 * x @ precision @ x
    is_known = np.array([True, False, True])
    points = jnp.tile(jnp.array([[1.0, 0.0, -1.0]]), (200, 1))
    samples = inpainting.chains_given(
        key,
        energy,
        partial(eb.mala, step_size=1.0),
        points,
        is_known,
        jnp.zeros((200, 3)),
        400,
        thin=4,
    )
    draws = np.asarray(samples.draws[20:, :, 0], np.float64)
    inner = np.linalg.inv(covariance[np.ix_([0, 2], [0, 2])])
    weights = covariance[1, [0, 2]] @ inner
    mean = weights @ np.array([1.0, -1.0])
    variance = covariance[1, 1] - weights @ covariance[[0, 2], 1]
    means = draws.mean(axis=0)
    error = means.std() / len(means) ** 0.5
    assert abs(means.mean() - mean) < 4 * error and abs(mean) > 20 * error
    squares = ((draws - mean) ** 2).mean(axis=0)
    error = squares.std() / len(squares) ** 0.5
    assert abs(squares.mean() - variance) < 4 * error
    assert covariance[1, 1] - variance > 20 * error
    back = inpainting.whole(points, is_known, samples.draws[-1])
    assert np.array_equal(back[:, [0, 2]], points[:, [0, 2]])
    assert np.array_equal(back[:, 1], samples.draws[-1, :, 0])


def test_imputation_keeps_known_values_and_refuses_bad_masks(tmp_path):
    dataset = data.load("digits", condition_on="label")
    run = experiment.build(experiment.preset(dataset, **DIGITS), dataset)
    here, state = conditional.at(run, run.init(), "", "3")
    mask = np.ones((8, 8))
    mask[4:] = 0
    np.save(tmp_path / "mask.npy", mask)
    is_known = inpainting.read_mask(tmp_path / "mask.npy", (8, 8))
    points = run.held.x[:5]
    found = inpainting.inpaint(
        jax.random.key(0),
        here,
        state,
        is_known,
        points,
        0.05,
        name="mala",
        num_steps=20,
    )
    np.testing.assert_allclose(found.filled[:, :4], points[:, :4], atol=1e-6)
    assert np.abs(found.filled[:, 4:] - points[:, 4:]).max() > 0.1
    assert len(inpainting.rows(here, is_known, found)) == 5
    for bad, text in (
        (np.ones((8, 8)), "everything, or nothing"),
        (np.zeros((8, 8)), "everything, or nothing"),
        (np.zeros(64), "of shape"),
    ):
        np.save(tmp_path / "bad.npy", bad)
        with pytest.raises(DataError, match=text):
            inpainting.read_mask(tmp_path / "bad.npy", (8, 8))


# --- other inputs -------------------------------------------------------------------


def test_images_of_another_data_set_take_the_shape_and_units_of_the_run():
    grey = np.linspace(0, 255, 4 * 16 * 12, dtype=np.float32).reshape(4, 16, 12)
    other = Dataset("mine", grey, range=(0.0, 255.0))
    found = ood.resized(other, (8, 8))
    assert found.shape == (4, 8, 8) and 0 <= found.min() and found.max() <= 1
    assert abs(found.mean() - grey.mean() / 255) < 0.01
    assert ood.resized(other, (8, 8, 3)).shape == (4, 8, 8, 3)
    colours = other._replace(x=np.stack([grey, grey, grey], axis=-1))
    np.testing.assert_allclose(ood.resized(colours, (8, 8)), found, atol=1e-6)
    with pytest.raises(DataError, match="no images"):
        ood.resized(Dataset("mine", np.zeros((4, 3))), (8, 8))


def test_out_of_distribution_inputs_are_detected_by_their_energy():
    """With the energy |x|^2 / 2 in place of the network: images of noise far outside
    against the data, and the data against themselves as a control."""
    dataset = data.load("digits")
    small = {**DIGITS, "condition_on": ""}
    run = experiment.build(experiment.preset(dataset, **small), dataset)
    energy = lambda params, x: 0.5 * jnp.sum((x - run.z.mean(axis=0)) ** 2) / 0.1
    run = run._replace(energy=energy)
    found = dict(ood.rows(run, run.init(), ("digits",)))
    value = {name.split(" ")[3]: float(text) for name, text in found.items()}
    assert value["uniform"] > 0.7 and abs(value["digits"] - 0.5) < 0.06
    assert {"shuffled", "midpoints"} < value.keys()
    with pytest.raises(DataError, match="data must be one of"):
        ood.rows(run, run.init(), ("nothing",))
