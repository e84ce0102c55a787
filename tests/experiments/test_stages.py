"""A run in two stages: denoising score matching, then the objective."""

import dataclasses

import jax
import numpy as np
import pytest

from ebmjax.experiments import data, experiment, report, runs
from ebmjax.experiments.errors import RunError
from ebmjax.objectives.base import as_objective

IMAGES = np.random.default_rng(0).uniform(size=(120, 8, 8)).astype(np.float32)
DATASET = data.Dataset("mine", IMAGES, None, (0.0, 1.0))
SMALL = {
    "features": (16,),
    "num_chains": 8,
    "buffer_size": 16,
    "batch_size": 8,
    "chain_steps": 2,
}
SIZES = {"num_updates": 60, "denoising_updates": 40}


def make(**choices):
    config = experiment.preset(DATASET, **{**SMALL, **SIZES, **choices})
    return experiment.build(config, DATASET)


def equal(a, b):
    same = jax.tree.map(lambda x, y: np.array_equal(x, y, equal_nan=True), a, b)
    return all(jax.tree.leaves(same))


def trained(run, state, until):
    """Train and keep the states after chunks of ten updates."""
    states = {}

    def keep(state, metrics):
        states[int(state.step)] = jax.tree.map(np.asarray, state)

    end = run.fit(state, chunk=10, on_chunk=keep)
    assert int(end.state.step) == until
    return states, end.history


def test_chains_move_after_the_stage_of_denoising_and_metrics_say_which_it_was():
    run = make()
    start = run.init()
    states, history = trained(run, start, 60)
    assert equal(states[40].buffer, start.buffer)
    assert not equal(states[60].buffer, start.buffer)
    for name in ("energy_data", "energy_model", "acceptance_rate"):
        assert np.isnan(history[name][:40]).all(), name
        assert np.isfinite(history[name][40:]).all(), name
    assert np.isfinite(history["loss"]).all() and len(history["loss"]) == 60


def test_the_first_stage_is_denoising_score_matching():
    """Of points that are nearly one, the noise is nearly known and the loss falls from
    |xi|^2 / (2 sigma^2), 512 in the mean, to zero; if the points had noise already,
    half of it would stay."""
    dataset = DATASET._replace(x=0.5 + 0.01 * IMAGES)
    choices = {**SMALL, "denoising_updates": 600, "num_updates": 601}
    config = experiment.preset(dataset, **choices, denoising_rate=1e-2)
    run = experiment.build(config, dataset)
    loss = run.fit(run.init()).history["loss"][:600]
    assert loss[0] > 400 and loss[-50:].mean() < 50


def test_the_second_stage_begins_at_the_average_with_a_new_optimiser():
    run = make(num_updates=41, ema_decay=0.9)
    states, _ = trained(run, run.init(), 41)
    before, after = states[40], states[41]
    assert not equal(before.params, before.ema)
    # a first update of Adam without momentum is the learning rate, in each direction
    step = jax.tree.map(lambda x, y: np.abs(x - y).max(), after.params, before.ema)
    last = jax.tree.map(lambda x, y: np.abs(x - y).max(), before.params, before.ema)
    rate = run.config.learning_rate
    assert max(jax.tree.leaves(step)) < 1.01 * rate < max(jax.tree.leaves(last))
    counts = [int(s.count) for s in after.opt_state if hasattr(s, "count")]
    assert counts and set(counts) == {1}


@pytest.mark.parametrize("stopped", [20, 40, 50])
def test_a_run_goes_on_bit_for_bit_from_either_stage(stopped):
    run = make()
    whole, history = trained(run, run.init(), 60)
    rest, later = trained(run, whole[stopped], 60)
    assert equal(rest[60], whole[60])
    for name, values in later.items():
        np.testing.assert_array_equal(values, history[name][stopped:])


def test_a_folder_holds_one_table_of_both_stages(tmp_path):
    run = make()
    state = runs.train(run, tmp_path / "run", progress=False)
    metrics = runs.metrics(tmp_path / "run")
    assert list(metrics["step"]) == list(range(60))
    assert np.isnan(metrics["energy_model"][39])
    assert np.isfinite(metrics["energy_model"][40])
    again, loaded = runs.load(tmp_path / "run")
    assert equal(jax.tree.map(np.asarray, loaded), jax.tree.map(np.asarray, state))
    assert again.config.denoising_updates == 40


def test_one_bar_counts_the_updates_of_both():
    shown = []
    make().fit(make().init(), progress=lambda *x: shown.append(x[:2]), chunk=20)
    assert shown == [(20, 60), (40, 60), (60, 60)]


def test_points_given_a_condition_can_be_denoised_first():
    labels = np.arange(120) % 3
    dataset = DATASET._replace(
        labels=labels, conditions=labels[:, None].astype(np.float32)
    )
    config = experiment.preset(
        dataset, condition_on="label", **SMALL, **SIZES, denoising_rate=1e-3
    )
    run = experiment.build(config, dataset)
    history = run.fit(run.init()).history
    assert np.isnan(history["energy_model"][:40]).all()
    assert np.isfinite(history["energy_model"][40:]).all()


def test_chains_after_denoising_begin_at_training_points_with_noise():
    """Of points in [10, 11], trained in [0, 1]: each chain is as far from the nearest
    as noise is; chains of maximum likelihood alone begin about the mean."""
    dataset = DATASET._replace(x=np.round(IMAGES) + 10.0)

    def farthest(**choices):
        config = experiment.preset(dataset, **{**SMALL, **SIZES, **choices}, noise=0.05)
        run = experiment.build(config, dataset)
        chains = np.asarray(run.init().buffer)[:, None]
        squares = np.square(chains - np.asarray(run.z)[None]).mean(axis=(2, 3))
        return np.sqrt(squares.min(axis=1)).max()

    assert farthest() < 0.07
    assert farthest(denoising_updates=0, num_updates=20) > 0.3
    assert farthest(chain_steps=3, restart_probability=0.1) < 0.07


def test_chains_of_a_label_begin_at_their_own_training_points():
    """With labels as conditions there is one chain a point."""
    dataset = data.load("digits", condition_on="label")
    choices = {**SMALL, **SIZES, "condition_on": "label", "noise": 0.05}
    run = experiment.build(experiment.preset(dataset, **choices), dataset)
    own = np.asarray(run.init().buffer) - np.asarray(run.z)
    assert run.config.denoising_updates and np.sqrt(np.square(own).mean()) < 0.06


def test_a_single_update_of_denoising_is_a_stage():
    run = make(denoising_updates=1, num_updates=2)
    assert int(run.fit(run.init()).state.step) == 2


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"denoising_updates": 60}, "must be fewer than 60, got 60"),
        ({"denoising_updates": -1}, "denoising_updates"),
        ({"denoising_rate": 0.0}, "denoising_rate"),
        ({"noise": 0.0}, "on points with noise"),
        ({"objective": "sliced"}, "maximum_likelihood, improved"),
        ({"temperature": 2.0}, "temperature 1"),
    ],
)
def test_what_cannot_be_denoised_is_refused(choices, message):
    with pytest.raises((RunError, ValueError), match=message):
        make(**choices)


def test_the_numbers_of_updates_that_are_not_chosen():
    default = experiment.preset(DATASET)
    num, first = default.num_updates, default.denoising_updates
    assert 0 < first < num and default.confinement == "trained"
    numbers = lambda **choices: (
        (config := experiment.preset(DATASET, **choices)).num_updates,
        config.denoising_updates,
    )
    assert numbers(num_updates=num // 2) == (num // 2, first // 2)
    assert numbers(denoising_updates=100) == (num - first + 100, 100)
    assert numbers(num_updates=7, denoising_updates=2) == (7, 2)
    assert numbers(denoising_updates=0) == numbers(objective="improved") == (1800, 0)
    for other in ({"noise": 0.0}, {"temperature": 2.0}, {"objective": "denoising"}):
        assert numbers(**other)[1] == 0


def test_large_images_are_shifted_by_default_and_small_ones_are_not():
    large = DATASET._replace(x=np.zeros((120, 16, 20), np.float32))
    assert experiment.preset(large).shift == 1
    assert experiment.preset(DATASET).shift == 0


def test_images_are_shifted_during_denoising_alone_if_there_is_any():
    """Images of one white pixel in the middle of 9x9; an energy that is the place of
    the brightest: what each stage is given by ``fit``."""
    white = np.zeros((40, 9, 9), np.float32)
    white[:, 4, 4] = 1.0
    dataset = data.Dataset("white", white, None, (0.0, 1.0))

    def places(stage):
        run = experiment.build(
            experiment.preset(dataset, **SMALL, **SIZES, shift=2), dataset
        )
        trainer = run.fit.__self__
        seen = []
        energy = run.network

        def loss(params, key, batch, chains):
            jax.debug.callback(lambda x: seen.append(np.asarray(x)), batch)
            return 0.0 * energy(params, batch[0]), (chains, {"acceptance_rate": 0.5})

        stage = dataclasses.replace(
            trainer.stages[stage], objective=as_objective(loss), end=25
        )
        config = dataclasses.replace(trainer.config, noise=1e-3)
        dataclasses.replace(trainer, config=config)._stage(stage, run.init())
        jax.effects_barrier()
        return {int(i) for x in seen for i in x.reshape(len(x), -1).argmax(axis=1)}

    middle = 4 * 9 + 4
    assert places(1) == {middle}
    around = {9 * i + j for i in range(2, 7) for j in range(2, 7)}
    assert middle in places(0) <= around and len(places(0)) > 15


def test_the_report_is_of_updates_with_chains(tmp_path):
    run = make(num_updates=50)
    state = runs.train(run, tmp_path / "run", progress=False)
    rows = dict(report._training_rows(state, runs.metrics(tmp_path / "run")))
    assert not any("nan" in text for text in rows.values())
    energies = runs.metrics(tmp_path / "run")["energy_data"][40:]
    shown = rows["energy of data, of chains (last 100 updates)"]
    assert shown.startswith(f"{energies.mean():+.2f}")
