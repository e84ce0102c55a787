"""``train``: a new run, or an old one that goes on."""

from pathlib import Path
from typing import Any

import jax
import typer

from ebmjax.cli.app import STOPPED, app, console, fail, one_line, require, say, warn
from ebmjax.cli.options import train as option
from ebmjax.cli.train_results import show
from ebmjax.experiments import data, experiment, runs
from ebmjax.experiments.classes import SHARE_HELD
from ebmjax.experiments.configuration import Config
from ebmjax.experiments.errors import RunError
from ebmjax.experiments.experiment import Run
from ebmjax.experiments.facts import MAY_CHANGE
from ebmjax.experiments.options import flag, refuse_unused
from ebmjax.experiments.presets import preset as defaults
from ebmjax.io import run_directory
from ebmjax.sampling import devices

READING = ("labels", "header", "layout", "condition_on", "levels")
OF_THE_CALL = (
    *("data_name", "out", "resume", "preset"),
    *("num_devices", "is_distributed", "backend"),
)
LARGE = 10_000_000  # parameters of a network that are named


@app.command()
def train(
    ctx: typer.Context,
    data_name: option.Data = "",
    out: option.Out = None,
    resume: option.Resume = None,
    preset: option.Preset = None,
    labels: option.Labels = "auto",
    header: option.Header = option.HeaderName.auto,
    layout: option.Layout = "auto",
    condition_on: option.ConditionOn = "",
    held_out: option.HeldOut = SHARE_HELD,
    is_binary: option.Binary = False,
    levels: option.Levels = None,
    objective: option.Objective = None,
    num_updates: option.NumUpdates = None,
    network: option.Network = None,
    features: option.Features = None,
    first_layer_scale: option.FirstLayerScale = None,
    confinement: option.Confinement = None,
    kernel: option.Kernel = None,
    chain_init: option.ChainInit = None,
    chain_steps: option.ChainSteps = None,
    global_steps: option.GlobalSteps = None,
    num_chains: option.NumChains = None,
    buffer_size: option.BufferSize = None,
    restart_probability: option.RestartProbability = None,
    step_size: option.StepSize = None,
    noise: option.Noise = None,
    shift: option.Shift = None,
    batch_size: option.BatchSize = None,
    learning_rate: option.LearningRate = None,
    denoising_updates: option.DenoisingUpdates = None,
    denoising_rate: option.DenoisingRate = None,
    regularisation: option.Regularisation = None,
    temperature: option.Temperature = None,
    max_rollbacks: option.MaxRollbacks = None,
    seed: option.Seed = 0,
    num_devices: option.Devices = None,
    is_distributed: option.Distributed = False,
    backend: option.Checkpoints = None,
) -> None:
    """Train an energy network, by maximum likelihood or another objective.

    Defaults depend on the data: one set for images, one for points.  Most updates on
    images are denoising score matching (--denoising-updates), which needs no chains and
    brings the likelihood; those of the objective follow.  --preset long has four times
    as many of the first, and 1,024 chains that all run in every update.  What was
    understood of a file is printed.  The folder of a run holds its configuration, what
    it needs of the data, metrics.csv, checkpoints and pictures.  With --resume, a run
    takes --num-updates and --max-rollbacks; other options must be those it has.

        python -m ebmjax train --data two_moons --out runs/moons
    """
    with one_line():
        if (resume is None) == (out is None):
            raise RunError("give either --out for a new run or --resume for an old one")
        require("matplotlib", "demo")
        mesh = devices.connect() if is_distributed else devices.mesh_of(num_devices)
        console.quiet = not devices.is_main()
        folder, run = _run_of(out, resume, data_name, _choices(ctx), preset)
        _introduce(run, mesh)
        state = _trained(run, folder, resume is not None, backend, mesh)
        if devices.is_main():
            show(run, state, folder)


def _run_of(out, resume, data_name, choices, named) -> tuple[Path, Run]:
    """A folder and its run, a new one or one that goes on."""
    if out is not None:
        return out, _new(out, data_name, choices, named=named or "")
    if named is not None:
        raise RunError(
            "--preset is of a new run, with --out; a run that goes on has its options"
        )
    return resume, _resumed(resume, data_name, choices)


def _trained(run, folder, is_resumed, backend, mesh) -> Any:
    """Train, and return the last state, on the host."""
    try:
        state = runs.train(
            run,
            folder,
            is_resumed=is_resumed,
            backend=backend and backend.value,
            devices=mesh,
            progress=devices.is_main(),
        )
        return devices.to_host(state)
    except KeyboardInterrupt:
        fail(f"stopped; go on with: python -m ebmjax train --resume {folder}", STOPPED)


def _choices(ctx: typer.Context) -> dict[str, Any]:
    """The fields of a configuration that the command line gives."""
    is_given = lambda n: (
        getattr(ctx.get_parameter_source(n), "name", "") == "COMMANDLINE"
    )
    given = {
        name: getattr(value, "value", value)
        for name, value in ctx.params.items()
        if name not in OF_THE_CALL and is_given(name)
    }
    if "features" in given:
        given["features"] = _widths(given["features"])
    if given.pop("is_binary", False):
        if given.get("levels", 2) != 2:
            raise RunError("give either --binary or --levels")
        given["levels"] = 2
    return given


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(w) for w in text.split(","))
    except ValueError:
        widths = ()
    if not widths or min(widths) < 1:
        raise RunError(
            f"features must be positive widths such as 512,512; got {text!r}"
        )
    return widths


def _new(out: Path, data_name: str, choices: dict[str, Any], *, named: str = "") -> Run:
    """A new run, after everything that can be refused was refused."""
    if not data_name:
        raise RunError("--data is missing: mnist, digits, a toy set or a file")
    objective = choices.get("objective", Config.objective)
    refuse_unused(objective, choices)
    if devices.is_main():
        runs.check_free(out)
    reading = {name: choices[name] for name in READING if name in choices}
    seed = choices.get("seed", Config.seed)
    dataset = data.load(data_name, seed=seed, **reading)
    for note in dataset.notes:
        say(f"read {data_name}: {note}")
    config = defaults(dataset, named=named, **choices)
    run = experiment.build(config, dataset)
    if devices.is_main():
        runs.check_new(out)
    return run


def _resumed(folder: Path, data_name: str, choices: dict[str, Any]) -> Run:
    """The run of a folder, with the options that a run can take on its way."""
    has = Config.load(folder / "config.json")
    other = {n: v for n, v in choices.items() if getattr(has, n) != v}
    fixed = [
        f"{flag(n)} {v} (it has {getattr(has, n)})"
        for n, v in other.items()
        if n not in MAY_CHANGE
    ]
    if fixed:
        raise RunError(
            f"a run that goes on cannot take {', '.join(fixed)}; leave the option out, "
            "or begin a new run with --out"
        )
    done = (run_directory.steps(folder / runs.CHECKPOINTS) or [0])[0]
    if other.get("num_updates", done) < done:
        raise RunError(
            f"--num-updates {other['num_updates']} is the number in all, and the run "
            f"has done {done}"
        )
    for name, value in other.items():
        say(f"{flag(name)}: {getattr(has, name)} becomes {value}")
    return runs.reopen(folder, data_name or None, is_training=True, **other)


def _introduce(run: Run, mesh: Any) -> None:
    """One line on what is trained, on what."""
    config, shape = run.config, " x ".join(str(n) for n in run.dataset.x.shape)
    held = ""
    if config.data not in data.TOYS:
        num = 0 if run.held is None else len(run.held.x)
        held = f" ({run.facts.num_points} to train on, {num} held out)"
    say(
        f"data {config.data} {shape}{held}, energy {config.network} "
        f"{list(config.features)} of {run.num_params:,} parameters, "
        f"{config.objective}, {config.num_updates} updates "
        f"on {1 if mesh is None else mesh.size} x {jax.devices()[0].device_kind}"
    )
    if run.num_params > LARGE:
        hint = "; more convolutions make it smaller" if config.network == "conv" else ""
        warn(f"the network has {run.num_params / 1e6:.0f} million parameters{hint}")
