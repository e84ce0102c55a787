"""``sample``: chains of a trained run, or of an energy function of the user's own."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import typer

from ebmjax.cli import energy
from ebmjax.cli.app import app, console, one_line
from ebmjax.experiments import registry as methods
from ebmjax.experiments import report, runs

KernelName = StrEnum("KernelName", list({**energy.KERNELS, **methods.KERNELS}))
OF_A_RUN = "of a trained run"
OF_AN_ENERGY = "of an energy MODULE:NAME"


@app.command()
def sample(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN or MODULE:ENERGY",
            help="The folder of a trained run, or an energy.",
        ),
    ],
    kernel: Annotated[
        KernelName | None,
        typer.Option(help="nuts by default; of a run, the one of training."),
    ] = None,
    num_chains: Annotated[
        int | None, typer.Option(help="4; of a run, 100.", min=1)
    ] = None,
    num_warmup: Annotated[
        int | None,
        typer.Option(
            help="Steps that tune step size and mass; fewer for more chains.", min=20
        ),
    ] = None,
    num_steps: Annotated[
        int, typer.Option(help="Of each chain, after the warm-up.", min=6)
    ] = 1000,
    step_size: Annotated[
        float | None, typer.Option(help="Fixed, in place of the warm-up.")
    ] = None,
    leapfrog_steps: Annotated[
        int | None, typer.Option(help="Of hmc in each step; tuned by default.", min=1)
    ] = None,
    dense: Annotated[
        bool, typer.Option("--dense", help="A dense mass beyond 64 coordinates, too.")
    ] = False,
    dim: Annotated[
        int | None,
        typer.Option(help="Start at random points of so many coordinates.", min=1),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Start at the rows of this .npy file, [C, ...].")
    ] = None,
    from_noise: Annotated[
        bool,
        typer.Option(
            "--from-noise", help="Of a run: start fresh, not from the buffer."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    out: Annotated[Path | None, typer.Option(help="A new folder.")] = None,
) -> None:
    """Run chains of a trained energy, or of an energy function of yours.

        python -m ebmjax sample runs/moons --kernel hmc
        python -m ebmjax sample mymodel:energy --dim 10

    The energy is a function of one point.  Chains start at random points (--dim), at the rows of a file
    (--start), or where its module says: a function initial(key, n), or a point start.  Step size and mass are
    tuned, the table of R-hat and effective sample sizes says what is wrong, and draws are written for NumPy
    (draws.npz) and for ArviZ (draws.nc), with its pictures.  Of a run: samples.npz, and a picture of where
    its chains are in the end.
    """
    with one_line():
        name = kernel and kernel.value
        if ":" in what and not Path(what).exists():
            _refuse(OF_A_RUN, {"--from-noise": from_noise})
            energy.sample_energy(
                what,
                name or "nuts",
                num_chains=num_chains,
                num_warmup=num_warmup,
                num_steps=num_steps,
                step_size=step_size,
                leapfrog_steps=leapfrog_steps,
                is_dense=dense,
                dim=dim,
                start=start,
                seed=seed,
                out=out,
            )
            return
        given = {
            "--num-warmup": num_warmup,
            "--leapfrog-steps": leapfrog_steps,
            "--dense": dense,
        }
        _refuse(OF_AN_ENERGY, given | {"--dim": dim, "--start": start})
        _of_run(
            Path(what),
            name,
            num_chains or 100,
            num_steps,
            step_size,
            from_noise,
            seed,
            out,
        )


def _refuse(whose: str, given: dict) -> None:
    for option, value in given.items():
        if value:
            raise ValueError(f"{option} is an option {whose}")


def _of_run(
    folder, name, num_chains, num_steps, step_size, is_fresh, seed, out
) -> None:
    """Draws in samples.npz, in units of the data, with pictures."""
    run, state = runs.load(folder)
    name = name or run.config.kernel
    if name not in methods.KERNELS:
        raise ValueError(
            f"--kernel of a run must be one of {', '.join(methods.KERNELS)}, got {name}"
        )
    target = out or folder / f"samples-{name}-{seed}"
    runs.check_new(target)
    of_run = run.trained(state)
    key_tune, key_run = jax.random.split(jax.random.key(seed))
    step = (
        report.step_size_for(key_tune, run, state, name)
        if step_size is None
        else step_size
    )
    chains = report.run_chains(
        key_run,
        run,
        state,
        report.kernel_of(run, of_run, step, name),
        num_chains=num_chains,
        num_steps=num_steps,
        is_fresh=is_fresh,
        progress=True,
    )
    np.savez(
        target / "samples.npz",
        x=run.standard.backward(chains.positions),
        energy=chains.energies,
        denoised=report.clean(run, of_run)(chains.positions[-1]),
    )
    (target / "metrics.csv").write_bytes((folder / "metrics.csv").read_bytes())
    paths = report.pictures(run, state, chains, target)
    (target / "metrics.csv").unlink()
    rate = chains.samples.acceptance_rate
    console.print(
        f"{num_chains} chains, {num_steps} steps of {name}: acceptance {rate.mean():.2f}, "
        f"energy {chains.energies[-1].mean():+.2f} nat"
    )
    console.print(
        "wrote " + ", ".join(str(p) for p in [target / "samples.npz", *paths]),
        highlight=False,
    )
