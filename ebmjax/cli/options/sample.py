"""Options of ``sample``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ebmjax.kernels.registry import KERNELS

KernelName = StrEnum("KernelName", list(KERNELS))

What = Annotated[
    str,
    typer.Argument(
        metavar="RUN or MODULE:ENERGY",
        help="The folder of a trained run, or an energy.",
    ),
]
Kernel = Annotated[
    KernelName | None,
    typer.Option(help="Default: nuts; for a trained run, its kernel."),
]
NumChains = Annotated[
    int | None,
    typer.Option(help="Default: 4; for a trained run, 100.", min=1, max=2**31 - 1),
]
NumWarmup = Annotated[
    int | None,
    typer.Option(
        help="Steps that tune step size and covariance; fewer for more chains.",
        min=20,
        max=2**31 - 1,
    ),
]
NumSteps = Annotated[
    int,
    typer.Option(help="Steps of each chain after the warm-up.", min=6, max=2**31 - 1),
]
Thin = Annotated[
    int | None,
    typer.Option(
        help="Keep every n-th step. Default: 1; for a trained run, so that draws fit "
        "256 MiB.",
        min=1,
    ),
]
StepSize = Annotated[
    float | None, typer.Option(help="A fixed step size, without a warm-up.")
]
LeapfrogSteps = Annotated[
    int | None,
    typer.Option(help="Leapfrog steps of hmc. Default: tuned.", min=1, max=2**31 - 1),
]
Dense = Annotated[
    bool, typer.Option("--dense", help="A dense covariance beyond 64 coordinates, too.")
]
Dim = Annotated[
    int | None,
    typer.Option(help="Start at random points of so many coordinates.", min=1),
]
Start = Annotated[
    Path | None, typer.Option(help="Start at the rows of this .npy file, [C, ...].")
]
FromNoise = Annotated[
    bool,
    typer.Option("--from-noise", help="Of a run: start fresh, not from the buffer."),
]
Label = Annotated[str, typer.Option(help="Of a run with labels: the class to sample.")]
Mask = Annotated[
    Path | None,
    typer.Option(
        help="Of a run: fill in held-out points, or those of --start, where this "
        ".npy of a point's shape is 0."
    ),
]
Data = Annotated[
    str | None, typer.Option("--data", help="Of a run: where its data are now.")
]
Out = Annotated[Path | None, typer.Option(help="A new folder.")]
