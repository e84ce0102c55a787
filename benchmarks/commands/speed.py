"""Speed: of steps and of whole processes; memory, devices."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.commands.output import (
    Quick,
    collect,
    keep,
    name_of,
    names_in,
    say,
    show,
    stored,
)


def throughput(is_quick: Quick = False, num_repeats: int = 5) -> None:
    """Chain-steps per second against BlackJAX, NumPyro and TFP, as documented and at
    their best."""
    from benchmarks import pictures
    from benchmarks import throughput as bench

    name = name_of("throughput", is_quick)
    found = collect(name, bench.rows(is_quick=is_quick, num_repeats=num_repeats))
    cell, names = ["kernel", "dim", "num_chains"], ["ebmjax", *bench.peers("hmc")]
    ratios = [f"x {name}" for name in names[1:]]
    show(
        "throughput",
        [*cell, "ebmjax chain-steps/s", *ratios],
        found,
        lost={r: (0, 1) for r in ratios},
    )
    for what in ("compilation", "first sample", "peak MB"):
        show(what, [*cell, *(f"{name} {what}" for name in names)], found)
    say(*bench.summary(found))
    keep(name, found, pictures.throughput(found))


def checkout(
    before: Annotated[Path, typer.Argument(help="A checkout of an older commit.")],
    is_quick: Quick = False,
    num_repeats: int = 9,
    names: Annotated[
        str, typer.Option("--cells", help="Cells as mala 10 64, separated by ;.")
    ] = "",
) -> None:
    """This code against an older checkout of it, both in one run.

    A call with some cells replaces their rows and keeps the others.
    """
    from benchmarks import checkout as bench

    name = name_of("checkout", is_quick)
    chosen = names_in(names, ";")
    options = {"is_quick": is_quick, "num_repeats": num_repeats, "cells": chosen}
    found = collect(name, bench.rows(before, **options))
    if chosen:
        of = lambda row: tuple(row[k] for k in ("kernel", "dim", "num_chains"))
        found = stored(name, found, of) + found
    cell = ["kernel", "dim", "num_chains", "x before"]
    both = [
        f"{who} {what}"
        for what in ("compilation", "peak MB")
        for who in ("before", "now")
    ]
    show("against a checkout", [*cell, *both], found)
    say(*bench.summary(found))
    keep(name, found)


def floor(is_quick: Quick = False, num_repeats: int = 5) -> None:
    """Neural energies against the cost of their gradients and random numbers alone."""
    from benchmarks import floor as bench

    name = name_of("floor", is_quick)
    found = collect(name, bench.rows(is_quick=is_quick, num_repeats=num_repeats))
    columns = [
        "energy",
        "kernel",
        "num_chains",
        "x gradients",
        "x both",
        "goal",
        "ebmjax us/step",
    ]
    show("floor", [*columns, "gradients us/step", "numbers us/step"], found)
    over = [
        f"{r['energy']} {r['kernel']}"
        for r in found
        if r["goal"] and r["x gradients"] > r["goal"]
    ]
    say(f"over their goal: {', '.join(over) or 'none'}")
    keep(name, found)


def memory(is_quick: Quick = False) -> None:
    """Bytes stored by default, streaming, and at ten times the steps, against
    BlackJAX."""
    from benchmarks import memory as bench

    name = name_of("memory", is_quick)
    found = collect(name, bench.rows(is_quick=is_quick))
    columns = [
        f"{what} {times}x"
        for what in ("kept MB", "kept / positions", "peak MB")
        for times in (1, 10)
    ]
    show("memory", ["kernel", "form", *columns], found)
    keep(name, found)


def scaling(is_quick: Quick = False, num_repeats: int = 5) -> None:
    """Cost of a chain-step against the number of chains, to a million, and of
    devices."""
    from benchmarks import pictures
    from benchmarks import scaling as bench

    name = name_of("scaling", is_quick)
    found = collect(name, bench.rows(is_quick=is_quick, num_repeats=num_repeats))
    columns = [
        "what",
        "chains",
        "devices",
        "num_steps",
        "ns a chain-step",
        "x base",
        "MB",
    ]
    show("scaling", [*columns, "collectives", "collectives of a mean"], found)
    keep(name, found, pictures.scaling(found))


def roofline(is_quick: Quick = False, num_repeats: int = 5) -> None:
    """Operations per second and per byte, against the measured ceilings of the
    machine."""
    from benchmarks import pictures
    from benchmarks import roofline as bench

    name = name_of("roofline", is_quick)
    found = collect(name, bench.rows(is_quick=is_quick, num_repeats=num_repeats))
    columns = [
        "cell",
        "num_chains",
        "operations/byte",
        "operations/s",
        "bytes/s",
        "bytes/s in cache",
    ]
    show("roofline", [*columns, "of the ceiling"], found)
    keep(name, found, pictures.roofline(found))


def cold(
    is_quick: Quick = False,
    num_repeats: int = 3,
    posteriors: Annotated[
        str, typer.Option(help="By commas; all five by default.")
    ] = "",
    libraries: Annotated[str, typer.Option(help="By commas; all by default.")] = "",
) -> None:
    """CPU seconds of whole fresh processes, from the import to the table."""
    from benchmarks import cold as bench

    name = name_of("cold", is_quick)
    found = collect(
        name,
        bench.rows(
            is_quick=is_quick,
            num_repeats=1 if is_quick else num_repeats,
            names=names_in(posteriors),
            libraries=names_in(libraries),
        ),
    )
    chosen = [key for key in found[0] if key.endswith((" cpu", " wall"))]
    columns = ["kernel", "posterior", *chosen, "x best peer"]
    show("CPU seconds of a fresh process", columns, found)
    say(*bench.summary(found))
    keep(name, found)


def accelerator(is_quick: Quick = False, num_repeats: int = 5) -> None:
    """Launches, bytes and memory of a step on an H100; seconds where there is a GPU."""
    from benchmarks import accelerator as bench
    from benchmarks import gpu_program, pictures

    if not bench.has_gpu():
        gpu_program.topology()  # or leaves with what to install
        say(gpu_program.CAUTION)
    name = name_of("accelerator", is_quick)
    found = collect(name, bench.rows(is_quick=is_quick, num_repeats=num_repeats))
    columns = ["program", "dim", "chains", "library", "launches/step"]
    columns += ["launches/turn", "kB/step", "temporary MB", "bound us/step"]
    columns += ["measured us/step"]
    show("accelerator", [*columns, "collectives"], found)
    figure = pictures.accelerator(found) if bench.has_gpu() else None
    keep(name, found, figure)


def precision() -> None:
    """Errors of an energy in the precision of the device and in that of the library."""
    from benchmarks import accelerator as bench

    show("nats", ["products", "energy", "error"], list(bench.precision()))
