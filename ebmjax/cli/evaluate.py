"""``evaluate``: log Z, likelihoods and tests of a trained run."""

from pathlib import Path
from typing import Annotated

import typer

from ebmjax.cli.app import app, one_line
from ebmjax.cli.options import Condition


@app.command()
def evaluate(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a trained run.")
    ],
    data_file: Annotated[
        str, typer.Option("--data", help="Held-out points: a data set or a file.")
    ] = "",
    condition: Condition = "",
    label: Annotated[str, typer.Option(help="Of a run with labels: the class.")] = "",
    other: Annotated[
        str,
        typer.Option(
            help="Other images to tell from the data: names or files, a,b; by default "
            "digits for mnist, mnist for digits, lfw where scikit-image is installed."
        ),
    ] = "",
    num_chains: Annotated[
        int,
        typer.Option(help="Number of chains of annealed importance sampling.", min=32),
    ] = 256,
    num_levels: Annotated[
        int,
        typer.Option(help="Number of levels between the base and the model.", min=32),
    ] = 1024,
    num_steps: Annotated[int, typer.Option(help="Transitions of a level.", min=1)] = 1,
    num_relax: Annotated[
        int, typer.Option(help="Steps of the chains before the measurement.", min=20)
    ] = 1000,
    num_replicas: Annotated[
        int,
        typer.Option(
            "--replicas", help="Number of replicas of parallel tempering; 0 to skip it."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder for the results; RUN/evaluation by default."),
    ] = None,
) -> None:
    """Log-likelihoods of a trained run between bounds, and tests of its chains.

        python -m ebmjax evaluate runs/moons

    log Z is bounded from below by annealed importance sampling from a Gaussian (or from
    independent bits) to the model, and from above by the same way back from chains of
    training.  The upper bound holds if these chains are draws of the model.

    Points held out are told from other inputs by their energies (AUROC); of the
    objective joint accuracy and calibration are shown, too.
    """
    from ebmjax.cli.measurement import evaluate_run  # needs matplotlib

    with one_line():
        evaluate_run(
            folder,
            data_file,
            out,
            seed,
            condition,
            label,
            tuple(name for name in other.split(",") if name),
            num_chains=num_chains,
            num_levels=num_levels,
            num_steps=num_steps,
            num_relax=num_relax,
            num_replicas=num_replicas,
        )
