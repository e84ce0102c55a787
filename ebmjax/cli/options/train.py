"""Options of ``train``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ebmjax.experiments.build import CHAIN_INITS, CONFINEMENTS, NETWORKS
from ebmjax.experiments.config_checks import MAX_COUNT
from ebmjax.experiments.data.layout import NAMES as LAYOUTS
from ebmjax.experiments.presets import PRESETS
from ebmjax.experiments.registry import KERNELS, METHODS
from ebmjax.io.run_directory import BACKENDS

ObjectiveName = StrEnum("ObjectiveName", list(METHODS))
NetworkName = StrEnum("NetworkName", list(NETWORKS))
KernelName = StrEnum("KernelName", list(KERNELS))
ChainInitName = StrEnum("ChainInitName", list(CHAIN_INITS))
ConfinementName = StrEnum("ConfinementName", list(CONFINEMENTS))
BackendName = StrEnum("BackendName", list(BACKENDS))
PresetName = StrEnum("PresetName", list(PRESETS))
HeaderName = StrEnum("HeaderName", ["auto", "yes", "no"])

Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="mnist, digits, a toy set (two_moons, eight_gaussians, ...), or a "
        "file .npy, .npz, .csv, .tsv, .txt of points.  With --resume: where it "
        "is now.",
    ),
]
Out = Annotated[Path | None, typer.Option(help="A new folder for the run.")]
Resume = Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")]
Preset = Annotated[
    PresetName | None,
    typer.Option(
        help="A set of options; those given besides replace its own.  long: "
        "images at the maximum of their likelihood, in an hour on two cores."
    ),
]
Labels = Annotated[
    str,
    typer.Option(
        help="Of a table, the column of labels, by heading or number; or none."
    ),
]
Header = Annotated[
    HeaderName, typer.Option(help="Whether the first line of a table has names.")
]
Layout = Annotated[
    str,
    typer.Option(help=f"Of an array: {', '.join(LAYOUTS)}, or a size, 28x28."),
]
ConditionOn = Annotated[
    str,
    typer.Option(
        help="What points are given: columns of a table, by heading or number, "
        "and label: temperature,label."
    ),
]
HeldOut = Annotated[
    float,
    typer.Option(
        help="Share of the data that is not trained on; its log-likelihood is shown.",
        min=0,
        max=0.9,
    ),
]
Binary = Annotated[
    bool,
    typer.Option(
        "--binary", help="The data as bits, 1 above the middle of their range."
    ),
]
Levels = Annotated[
    int | None,
    typer.Option(help="The data in K levels, categorical.", min=2, max=256),
]
Objective = Annotated[
    ObjectiveName | None, typer.Option(help="maximum_likelihood by default.")
]
NumUpdates = Annotated[
    int | None, typer.Option(help="Optimiser steps in all.", min=1, max=MAX_COUNT)
]
Network = Annotated[NetworkName | None, typer.Option(help="Energy network.")]
Features = Annotated[
    str | None,
    typer.Option(help="Widths of its layers, 512,512; of conv the last is dense."),
]
FirstLayerScale = Annotated[
    float | None,
    typer.Option(
        help="The largest of the initial weights of an mlp's units in the first layer; "
        "above 1 for densities that vary over short distances.",
        min=1,
    ),
]
Confinement = Annotated[
    ConfinementName | None,
    typer.Option(
        help="Of the energy: a quadratic term. trained: its factor and the scale of "
        "the energy are parameters."
    ),
]
Kernel = Annotated[
    KernelName | None, typer.Option(help="Kernel of the training chains.")
]
ChainInit = Annotated[
    ChainInitName | None,
    typer.Option(help="Where chains start: a replay buffer, the data (CD), or noise."),
]
ChainSteps = Annotated[
    int | None,
    typer.Option(help="Steps of each chain in an update.", min=1, max=MAX_COUNT),
]
GlobalSteps = Annotated[
    int | None,
    typer.Option(
        help="Moves of each chain between modes in an update: candidates from a normal "
        "fitted to the data, accepted or rejected; of use in few coordinates.",
        min=0,
        max=MAX_COUNT,
    ),
]
NumChains = Annotated[
    int | None,
    typer.Option(help="Chains that run in an update.", min=1, max=MAX_COUNT),
]
BufferSize = Annotated[
    int | None, typer.Option(help="Chains that are kept.", min=1, max=MAX_COUNT)
]
RestartProbability = Annotated[
    float | None, typer.Option(help="Of a kept chain.", min=0, max=1)
]
StepSize = Annotated[
    float | None, typer.Option(help="Of the kernel at the start; adapts if it can.")
]
Noise = Annotated[
    float | None,
    typer.Option(
        help="Gaussian noise on the data, in units of their range (images) or "
        "standard deviation.",
        min=0,
    ),
]
Shift = Annotated[
    int | None,
    typer.Option(
        help="Pixels by which images are shifted at random: during "
        "--denoising-updates, or, without any, in all updates, and some chains, too.",
        min=0,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Data points in an update.", min=1, max=MAX_COUNT),
]
DenoisingUpdates = Annotated[
    int | None,
    typer.Option(
        help="The first of the updates: denoising score matching, without chains, "
        "before the objective.",
        min=0,
    ),
]
DenoisingRate = Annotated[
    float | None, typer.Option(help="Learning rate of --denoising-updates.")
]
LearningRate = Annotated[float | None, typer.Option(help="Of Adam, before decay.")]
Regularisation = Annotated[
    float | None, typer.Option(help="Of the squared energies.", min=0)
]
Temperature = Annotated[
    float | None,
    typer.Option(help="Of the training chains; the density learned is exp(-E / T)."),
]
MaxRollbacks = Annotated[
    int | None,
    typer.Option(
        help="To the last healthy state, with smaller steps, before a run stops.",
        min=0,
    ),
]
Seed = Annotated[int, typer.Option(help="Of everything random.", min=0, max=2**32 - 1)]
Devices = Annotated[
    int | None,
    typer.Option("--devices", help="Devices to divide batch and chains over.", min=1),
]
Distributed = Annotated[
    bool,
    typer.Option(
        "--distributed",
        help="One of several processes: JAX_COORDINATOR_ADDRESS (loopback by "
        "default), JAX_NUM_PROCESSES, JAX_PROCESS_ID, or what the cluster says.",
    ),
]
Checkpoints = Annotated[
    BackendName | None,
    typer.Option(
        "--checkpoints",
        help="By process 0 (npz), or each process its part (orbax).",
    ),
]
