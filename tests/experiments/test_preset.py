"""Named sets of options: ``train --preset NAME``."""

import numpy as np
import pytest
from typer.testing import CliRunner

from ebmjax.cli import app
from ebmjax.cli import train as command
from ebmjax.experiments import config_checks, data, experiment

IMAGES = np.random.default_rng(0).uniform(size=(400, 8, 8)).astype(np.float32)
DATASET = data.Dataset("mine", IMAGES, None, (0.0, 1.0))
POINTS = data.Dataset("points", IMAGES[:, 0, :2], None, None)
LONG = experiment.LONG
TINY = {
    "features": (8,),
    "num_chains": 8,
    "buffer_size": 8,
    "batch_size": 8,
    "chain_steps": 1,
    "num_updates": 2,
}


def test_a_preset_replaces_defaults_and_a_given_option_replaces_it():
    plain, long = experiment.preset(DATASET), experiment.preset(DATASET, named="long")
    config_checks.check(long)
    for name, value in LONG.items():
        assert getattr(long, name) == value != getattr(plain, name)
    assert (long.noise, long.chain_steps) == (plain.noise, plain.chain_steps)
    given = experiment.preset(DATASET, named="long", shift=0, features=(8,))
    assert (given.shift, given.features) == (0, (8,))
    assert given.confinement == "trained" and given.num_chains == 1024


def test_a_convolutional_network_has_its_own_widths():
    plain = experiment.preset(DATASET, network="conv")
    assert experiment.preset(DATASET, network="conv", named="long").features == (
        plain.features
    )


def test_the_first_layer_is_wide_for_points_of_few_coordinates():
    scale = lambda dataset, **choices: (
        experiment.preset(dataset, **choices).first_layer_scale
    )
    of = lambda dim: data.Dataset("mine", np.zeros((50, dim), np.float32), None, None)
    assert scale(POINTS) == scale(of(3)) == 6.0
    assert scale(of(3), first_layer_scale=5.0) == 5.0
    wide = experiment.preset(POINTS, chain_steps=9)
    assert (wide.chain_steps, wide.num_updates, wide.ema_decay) == (9, 6000, 0.999)
    assert (wide.global_steps, wide.learning_rate) == (3, 8e-3)
    local = experiment.preset(POINTS, global_steps=0)
    assert (local.global_steps, local.chain_steps, local.num_updates) == (0, 7, 3900)
    assert local.learning_rate == 2e-3 and local.first_layer_scale == 6.0
    for where in ("data", "noise"):  # chains that begin anew in each update
        fresh = experiment.preset(POINTS, chain_init=where)
        sizes = fresh.global_steps, fresh.chain_steps, fresh.num_updates
        assert sizes == (0, 10, 3000)
        assert fresh.learning_rate == 2e-3 and fresh.first_layer_scale == 1.0
    for dataset, choices in (
        (of(4), {}),
        (DATASET, {}),
        (POINTS, {"objective": "nce"}),
        (POINTS, {"condition_on": "0"}),
        (of(3), {"kernel": "gibbs"}),
        (of(3), {"levels": 4}),
    ):
        assert scale(dataset, **choices) == 1.0, choices


def test_a_network_without_a_first_dense_layer_has_no_scale_of_it():
    for dataset, choices in (
        (DATASET, {"network": "conv"}),
        (POINTS, {"objective": "multi_scale"}),
        (POINTS, {"levels": 4}),
    ):
        config = experiment.preset(dataset, first_layer_scale=2.0, **choices)
        with pytest.raises(experiment.RunError, match="first_layer_scale is of"):
            experiment.build(config, dataset)


def test_a_preset_is_not_for_all_data_and_objectives():
    for dataset, choices, message in (
        (DATASET, {"named": "short"}, "preset must be one of long"),
        (POINTS, {"named": "long"}, "preset long is of images"),
        (DATASET, {"named": "long", "levels": 2}, "in levels"),
        (DATASET, {"named": "long", "objective": "nce"}, "objectives with chains"),
    ):
        with pytest.raises(experiment.RunError, match=message):
            experiment.preset(dataset, **choices)


def test_the_command_trains_with_a_preset_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "show", lambda *_, **__: None)
    folder = tmp_path / "run"
    given = [f"--{n.replace('_', '-')}={v}" for n, v in TINY.items() if n != "features"]
    run = lambda *options: CliRunner().invoke(app, ["train", *options])
    first = ["--data=digits", "--preset=long", "--features=8", f"--out={folder}"]
    shown = run(*first, *given)
    assert shown.exit_code == 0, shown.output
    config = experiment.Config.load(folder / "config.json")
    assert (config.denoising_updates, config.confinement) == (1, "trained")
    assert (config.num_chains, config.num_updates) == (8, 2)
    shown = run(f"--resume={folder}", "--preset=long")
    assert shown.exit_code == 2 and "--preset is of a new run" in shown.output
    shown = run(f"--resume={folder}", "--num-updates=3")
    assert shown.exit_code == 0, shown.output
