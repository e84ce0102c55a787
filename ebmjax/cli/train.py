"""``train``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.table import Table

from ebmjax.base import Kernel
from ebmjax.cli.app import app, console, fail, one_line
from ebmjax.experiments import build as pieces
from ebmjax.experiments import data, experiment, report, runs
from ebmjax.experiments.registry import KERNELS, METHODS
from ebmjax.io.run_directory import BACKENDS
from ebmjax.sampling import devices

Objective = StrEnum("Objective", list(METHODS))
Network = StrEnum("Network", list(pieces.NETWORKS))
KernelName = StrEnum("KernelName", list(KERNELS))
ChainInit = StrEnum("ChainInit", list(pieces.CHAIN_INITS))
Backend = StrEnum("Backend", list(BACKENDS))


@app.command()
def train(
    data_name: Annotated[
        str,
        typer.Option(
            "--data",
            help="mnist, digits, a toy set (two_moons, eight_gaussians, ...), or a file "
            ".npy, .npz, .csv with an array [N, ...].",
        ),
    ] = "",
    out: Annotated[Path | None, typer.Option(help="A new folder for the run.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder.")
    ] = None,
    objective: Annotated[
        Objective | None, typer.Option(help="maximum_likelihood by default.")
    ] = None,
    num_updates: Annotated[
        int | None, typer.Option(help="Optimiser steps in all.", min=1)
    ] = None,
    network: Annotated[Network | None, typer.Option(help="Energy network.")] = None,
    features: Annotated[
        str | None, typer.Option(help="Widths of its layers, 512,512.")
    ] = None,
    kernel: Annotated[
        KernelName | None, typer.Option(help="Kernel of the training chains.")
    ] = None,
    chain_init: Annotated[
        ChainInit | None,
        typer.Option(
            help="Where chains start: a replay buffer, the data (CD), or noise (short runs)."
        ),
    ] = None,
    chain_steps: Annotated[
        int | None, typer.Option(help="Steps of each chain in an update.", min=1)
    ] = None,
    num_chains: Annotated[
        int | None, typer.Option(help="Chains that run in an update.", min=1)
    ] = None,
    buffer_size: Annotated[
        int | None, typer.Option(help="Chains that are kept.", min=1)
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
            help="Gaussian noise on the data, in units of their range (images) or deviation.",
            min=0,
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Data points in an update.", min=1)
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
    seed: Annotated[int, typer.Option(help="Of everything random.", min=0)] = 0,
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
            help="One of several processes: JAX_COORDINATOR_ADDRESS (loopback by default), "
            "JAX_NUM_PROCESSES, JAX_PROCESS_ID, or what the cluster says.",
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
    """Train an energy network: by maximum likelihood on MCMC chains, or by another objective.

    Defaults depend on the data: one set for images, one for points.  The folder of a run holds its
    configuration, metrics.csv, a checkpoint and pictures.

        python -m ebmjax train --data two_moons --out runs/moons
    """
    with one_line():
        if (resume is None) == (out is None):
            raise experiment.RunError(
                "give either --out for a new run or --resume for an old one"
            )
        mesh = devices.connect() if is_distributed else devices.mesh_of(num_devices)
        console.quiet = not devices.is_main()
        if resume is not None:
            run = runs.reopen(resume)
            folder = resume
        else:
            if not data_name:
                raise experiment.RunError(
                    "--data is missing: mnist, digits, a toy set or a file"
                )
            assert out is not None
            folder = out
            if devices.is_main():
                runs.check_new(folder)
            dataset = data.load(data_name, seed=seed)
            choices = dict(
                objective=objective and objective.value,
                num_updates=num_updates,
                network=network and network.value,
                kernel=kernel and kernel.value,
                features=features and _widths(features),
                chain_init=chain_init and chain_init.value,
                chain_steps=chain_steps,
                num_chains=num_chains,
                buffer_size=buffer_size,
                restart_probability=restart_probability,
                step_size=step_size,
                noise=noise,
                batch_size=batch_size,
                learning_rate=learning_rate,
                regularisation=regularisation,
                temperature=temperature,
                max_rollbacks=max_rollbacks,
                seed=seed,
            )
            config = experiment.preset(
                dataset, **{k: v for k, v in choices.items() if v is not None}
            )
            run = experiment.build(config, dataset)
        shape = " x ".join(str(n) for n in run.dataset.x.shape)
        console.print(
            f"data [bold]{run.config.data}[/] {shape}, energy {run.config.network} "
            f"{list(run.config.features)}, {run.config.objective}, {run.config.num_updates} updates "
            f"on {1 if mesh is None else mesh.size} x {jax.devices()[0].device_kind}"
        )
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
            fail(f"stopped; go on with: python -m ebmjax train --resume {folder}", 130)
        if devices.is_main():
            _show(run, state, folder, seed=run.config.seed)


def _show(run: experiment.Run, state: Any, folder: Path, *, seed: int) -> None:
    """Final chains, pictures and the table of a trained run."""
    key_chains, key_judge, key_tune = jax.random.split(
        jax.random.key((seed + 1) % 2**32), 3
    )
    step_size = report.step_size_for(key_tune, run, state, run.config.kernel)
    kernel: Kernel = report.kernel_of(run, run.trained(state), step_size)
    chains = report.run_chains(
        key_chains, run, state, kernel, num_chains=256, num_steps=400, progress=True
    )
    paths = report.pictures(run, state, chains, folder)
    summary = Table("", "value", title=f"run {folder}", title_justify="left")
    for name, value in report.table(run, state, chains, folder):
        summary.add_row(name, value)
    console.print(summary)
    verdicts = report.verdicts(key_judge, run, state, chains)
    if verdicts:
        judged = Table(
            "a classifier says of",
            "confidence",
            "> 0.9",
            "classes",
            "shares",
            "nearest",
            title_justify="left",
        )
        for name, v in verdicts.items():
            shares = f"{min(v.class_shares):.0%} to {max(v.class_shares):.0%}"
            judged.add_row(
                name,
                f"{v.mean_confidence:.3f}",
                f"{v.share_confident:.0%}",
                f"{v.num_classes} of {len(v.class_shares)}",
                shares,
                f"{v.nearest:.3f}",
            )
        console.print(judged)
    console.print("pictures: " + ", ".join(str(p) for p in paths), highlight=False)


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
