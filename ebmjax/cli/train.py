"""``train``: a new run, or an old one that goes on."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.table import Table
from rich.text import Text

from ebmjax.cli.app import STOPPED, app, console, fail, one_line, require, say, warn
from ebmjax.experiments import build as pieces
from ebmjax.experiments import data, experiment, runs
from ebmjax.experiments.data.layout import NAMES as LAYOUTS
from ebmjax.experiments.facts import MAY_CHANGE
from ebmjax.experiments.options import flag, refuse_unused
from ebmjax.experiments.registry import KERNELS, METHODS
from ebmjax.io import run_directory
from ebmjax.sampling import devices

Objective = StrEnum("Objective", list(METHODS))
Network = StrEnum("Network", list(pieces.NETWORKS))
KernelName = StrEnum("KernelName", list(KERNELS))
ChainInit = StrEnum("ChainInit", list(pieces.CHAIN_INITS))
Confinement = StrEnum("Confinement", list(pieces.CONFINEMENTS))
Backend = StrEnum("Backend", list(run_directory.BACKENDS))
Preset = StrEnum("Preset", list(experiment.PRESETS))
Header = StrEnum("Header", ["auto", "yes", "no"])
READING = ("labels", "header", "layout", "condition_on", "levels")
OF_THE_CALL = (
    *("data_name", "out", "resume", "preset"),
    *("num_devices", "is_distributed", "backend"),
)
LARGE = 10_000_000  # parameters of a network that are named


@app.command()
def train(
    ctx: typer.Context,
    data_name: Annotated[
        str,
        typer.Option(
            "--data",
            help="mnist, digits, a toy set (two_moons, eight_gaussians, ...), or a "
            "file .npy, .npz, .csv, .tsv, .txt of points.  With --resume: where it "
            "is now.",
        ),
    ] = "",
    out: Annotated[Path | None, typer.Option(help="A new folder for the run.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder.")
    ] = None,
    preset: Annotated[
        Preset | None,
        typer.Option(
            help="A set of options; those given besides replace its own.  long: "
            "images at the maximum of their likelihood, in an hour on two cores."
        ),
    ] = None,
    labels: Annotated[
        str,
        typer.Option(
            help="Of a table, the column of labels, by heading or number; or none."
        ),
    ] = "auto",
    header: Annotated[
        Header, typer.Option(help="Whether the first line of a table has names.")
    ] = Header.auto,
    layout: Annotated[
        str,
        typer.Option(help=f"Of an array: {', '.join(LAYOUTS)}, or a size, 28x28."),
    ] = "auto",
    condition_on: Annotated[
        str,
        typer.Option(
            help="What points are given: columns of a table, by heading or number, "
            "and label: temperature,label."
        ),
    ] = "",
    held_out: Annotated[
        float,
        typer.Option(
            help="Share of a file that is not trained on; its log-likelihood is shown.",
            min=0,
            max=0.9,
        ),
    ] = experiment.SHARE_HELD,
    is_binary: Annotated[
        bool,
        typer.Option(
            "--binary", help="The data as bits, 1 above the middle of their range."
        ),
    ] = False,
    levels: Annotated[
        int | None,
        typer.Option(help="The data in K levels, categorical.", min=2, max=256),
    ] = None,
    objective: Annotated[
        Objective | None, typer.Option(help="maximum_likelihood by default.")
    ] = None,
    num_updates: Annotated[
        int | None, typer.Option(help="Optimiser steps in all.", min=1, max=pieces.MOST)
    ] = None,
    network: Annotated[Network | None, typer.Option(help="Energy network.")] = None,
    features: Annotated[
        str | None,
        typer.Option(help="Widths of its layers, 512,512; of conv the last is dense."),
    ] = None,
    confinement: Annotated[
        Confinement | None,
        typer.Option(help="Of the energy: a quadratic term; trained, its factor is."),
    ] = None,
    kernel: Annotated[
        KernelName | None, typer.Option(help="Kernel of the training chains.")
    ] = None,
    chain_init: Annotated[
        ChainInit | None,
        typer.Option(
            help="Where chains start: a replay buffer, the data (CD), or noise."
        ),
    ] = None,
    chain_steps: Annotated[
        int | None,
        typer.Option(help="Steps of each chain in an update.", min=1, max=pieces.MOST),
    ] = None,
    num_chains: Annotated[
        int | None,
        typer.Option(help="Chains that run in an update.", min=1, max=pieces.MOST),
    ] = None,
    buffer_size: Annotated[
        int | None, typer.Option(help="Chains that are kept.", min=1, max=pieces.MOST)
    ] = None,
    restart_probability: Annotated[
        float | None, typer.Option(help="Of a kept chain.", min=0, max=1)
    ] = None,
    step_size: Annotated[
        float | None, typer.Option(help="Of the kernel at the start; adapts if it can.")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            help="Gaussian noise on the data, in units of their range (images) or "
            "standard deviation.",
            min=0,
        ),
    ] = None,
    shift: Annotated[
        int | None,
        typer.Option(
            help="Pixels by which images, and some chains, are shifted at random.",
            min=0,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Data points in an update.", min=1, max=pieces.MOST),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of Adam, before decay.")
    ] = None,
    regularisation: Annotated[
        float | None, typer.Option(help="Of the squared energies.", min=0)
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Of the training chains; the density learned is exp(-E / T)."
        ),
    ] = None,
    max_rollbacks: Annotated[
        int | None,
        typer.Option(
            help="To the last healthy state, with smaller steps, before a run stops.",
            min=0,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of everything random.", min=0, max=2**32 - 1)
    ] = 0,
    num_devices: Annotated[
        int | None,
        typer.Option(
            "--devices", help="Devices to divide batch and chains over.", min=1
        ),
    ] = None,
    is_distributed: Annotated[
        bool,
        typer.Option(
            "--distributed",
            help="One of several processes: JAX_COORDINATOR_ADDRESS (loopback by "
            "default), JAX_NUM_PROCESSES, JAX_PROCESS_ID, or what the cluster says.",
        ),
    ] = False,
    backend: Annotated[
        Backend | None,
        typer.Option(
            "--checkpoints",
            help="By process 0 (npz), or each process its part (orbax).",
        ),
    ] = None,
) -> None:
    """Train an energy network, by maximum likelihood or another objective.

    Defaults depend on the data: one set for images, one for points.  --preset long is
    a set for images: a perceptron of 256-256, --confinement trained, --shift 1, 1,024
    chains that all run in every update, batches of 256, 10,000 updates.  What was
    understood of a file is printed.  The folder of a run holds its configuration, what
    it needs of the data, metrics.csv, checkpoints and pictures.  With --resume, a run
    takes --num-updates and --max-rollbacks; other options must be those it has.

        python -m ebmjax train --data two_moons --out runs/moons
    """
    with one_line():
        if (resume is None) == (out is None):
            raise experiment.RunError(
                "give either --out for a new run or --resume for an old one"
            )
        require("matplotlib", "demo")
        mesh = devices.connect() if is_distributed else devices.mesh_of(num_devices)
        console.quiet = not devices.is_main()
        choices = _choices(ctx)
        if resume is not None:
            if preset is not None:
                raise experiment.RunError(
                    "--preset is of a new run, with --out; a run that goes on has its "
                    "options"
                )
            folder, run = resume, _resumed(resume, data_name, choices)
        else:
            assert out is not None
            folder, run = out, _new(out, data_name, choices, named=preset or "")
        _introduce(run, mesh)
        try:
            state = devices.to_host(
                runs.train(
                    run,
                    folder,
                    is_resumed=resume is not None,
                    backend=backend and backend.value,
                    devices=mesh,
                    progress=devices.is_main(),
                )
            )
        except KeyboardInterrupt:
            fail(
                f"stopped; go on with: python -m ebmjax train --resume {folder}",
                STOPPED,
            )
        if devices.is_main() and run.config.condition_on:
            _show_conditional(run, state, folder)
        elif devices.is_main():
            _show(run, state, folder, seed=run.config.seed)


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
            raise experiment.RunError("give either --binary or --levels")
        given["levels"] = 2
    return given


def _new(
    out: Path, data_name: str, choices: dict[str, Any], *, named: str = ""
) -> experiment.Run:
    """A new run, after everything that can be refused was refused."""
    if not data_name:
        raise experiment.RunError(
            "--data is missing: mnist, digits, a toy set or a file"
        )
    objective = choices.get("objective", experiment.Config.objective)
    refuse_unused(objective, choices)
    if devices.is_main():
        runs.check_free(out)
    reading = {name: choices[name] for name in READING if name in choices}
    seed = choices.get("seed", experiment.Config.seed)
    dataset = data.load(data_name, seed=seed, **reading)
    for note in dataset.notes:
        say(f"read {data_name}: {note}")
    config = experiment.preset(dataset, named=named, **choices)
    run = experiment.build(config, dataset)
    if devices.is_main():
        runs.check_new(out)
    return run


def _resumed(folder: Path, data_name: str, choices: dict[str, Any]) -> experiment.Run:
    """The run of a folder, with the options that a run can take on its way."""
    has = experiment.Config.load(folder / "config.json")
    other = {n: v for n, v in choices.items() if getattr(has, n) != v}
    fixed = [
        f"{flag(n)} {v} (it has {getattr(has, n)})"
        for n, v in other.items()
        if n not in MAY_CHANGE
    ]
    if fixed:
        raise experiment.RunError(
            f"a run that goes on cannot take {', '.join(fixed)}; leave the option out, "
            "or begin a new run with --out"
        )
    done = (run_directory.steps(folder / runs.CHECKPOINTS) or [0])[0]
    if other.get("num_updates", done) < done:
        raise experiment.RunError(
            f"--num-updates {other['num_updates']} is the number in all, and the run "
            f"has done {done}"
        )
    for name, value in other.items():
        say(f"{flag(name)}: {getattr(has, name)} becomes {value}")
    return runs.reopen(folder, data_name or None, is_training=True, **other)


def _introduce(run: experiment.Run, mesh: Any) -> None:
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


def _show(run: experiment.Run, state: Any, folder: Path, *, seed: int) -> None:
    """Final chains, pictures and the table of a trained run."""
    from ebmjax import plotting  # these need matplotlib
    from ebmjax.experiments import conditional, report

    key_chains, key_judge, key_tune = jax.random.split(
        jax.random.key((seed + 1) % 2**32), 3
    )
    step_size = report.step_size_for(key_tune, run, state, run.config.kernel)
    kernel = report.kernel_of(run, run.trained(state), step_size)
    chains = report.run_chains(
        key_chains,
        run,
        state,
        kernel,
        num_chains=256,
        num_steps=400,
        thin=20,
        progress=True,
    )
    paths = report.pictures(run, state, chains, folder)
    summary = Table("", "value", title=Text(f"run {folder}"), title_justify="left")
    rows = report.table(run, state, chains, folder)
    if conditional.takes_condition(run):
        found = conditional.compare(jax.random.fold_in(key_judge, 1), run, state)
        rows += found.rows
        for name, figure in found.figures.items():
            plotting.save(figure, folder / name)
            paths.append(folder / name)
    for name, value in rows:
        summary.add_row(Text(name), Text(value))
    console.print(summary)
    if verdicts := report.verdicts(key_judge, run, state, chains):
        console.print(_judged(verdicts))
    say("pictures: " + ", ".join(str(p) for p in paths))


def _show_conditional(run: experiment.Run, state: Any, folder: Path) -> None:
    """What chains at the conditions of held-out points say, and pictures."""
    from ebmjax import plotting  # these need matplotlib
    from ebmjax.experiments import conditional, figures

    key = jax.random.key((run.config.seed + 1) % 2**32)
    found = conditional.compare(key, run, state)
    history = figures.history_of(folder)
    shown = {"training.png": plotting.training_curves(history)} if history else {}
    shown |= found.figures
    for name, figure in shown.items():
        plotting.save(figure, folder / name)
    summary = Table("", "value", title=Text(f"run {folder}"), title_justify="left")
    summary.add_row("objective, updates", f"{run.config.objective}, {int(state.step)}")
    for name, value in found.rows:
        summary.add_row(Text(name), Text(value))
    console.print(summary)
    say("pictures: " + ", ".join(str(folder / name) for name in shown))


def _judged(verdicts: dict[str, Any]) -> Table:
    """What a classifier says of real images and of chains."""
    head = ("a classifier says of", "confidence", "> 0.9", "classes", "shares")
    table = Table(*head, "nearest", title_justify="left")
    for name, v in verdicts.items():
        table.add_row(
            Text(name),
            f"{v.mean_confidence:.3f}",
            f"{v.share_confident:.0%}",
            f"{v.num_classes} of {len(v.class_shares)}",
            f"{min(v.class_shares):.0%} to {max(v.class_shares):.0%}",
            f"{v.nearest:.3f}",
        )
    return table


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(w) for w in text.split(","))
    except ValueError:
        widths = ()
    if not widths or min(widths) < 1:
        raise experiment.RunError(
            f"features must be positive widths such as 512,512; got {text!r}"
        )
    return widths
