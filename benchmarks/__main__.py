"""``python -m benchmarks COMMAND``: a table, a file of all repetitions, pictures."""

import json
import os
import statistics
import sys
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import measure

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
console = Console(width=None if sys.stdout.isatty() else 220)
jax.config.update("jax_enable_compilation_cache", False)  # compilation is measured, too
Quick = Annotated[
    bool, typer.Option("--quick", help="A small grid, about two minutes.")
]


@app.command()
def throughput(is_quick: Quick = False, num_repeats: int = 5) -> None:
    """Chain-steps per second against BlackJAX, NumPyro and TFP, as documented and at
    their best."""
    from benchmarks import pictures
    from benchmarks import throughput as bench

    name = "throughput-quick" if is_quick else "throughput"
    found = _collect(name, bench.rows(is_quick=is_quick, num_repeats=num_repeats))
    cell, names = ["kernel", "dim", "num_chains"], ["ebmjax", *bench.peers("hmc")]
    ratios = [f"x {name}" for name in names[1:]]
    _show(
        "throughput",
        [*cell, "ebmjax chain-steps/s", *ratios],
        found,
        lost={r: (0, 1) for r in ratios},
    )
    for what in ("compilation", "first sample", "peak MB"):
        _show(what, [*cell, *(f"{name} {what}" for name in names)], found)
    for line in bench.summary(found):
        console.print(line, highlight=False)
    _kept(name, found, pictures.throughput(found))


@app.command()
def checkout(
    before: Annotated[Path, typer.Argument(help="A checkout of an older commit.")],
    is_quick: Quick = False,
    num_repeats: int = 9,
    names: Annotated[
        str, typer.Option("--cells", help="Cells, mala 10 64; mala 10 8; or all.")
    ] = "",
) -> None:
    """This code against an older checkout of it, both in one run.

    A call with some cells replaces their rows and keeps the others.
    """
    from benchmarks import checkout as bench

    name = "checkout-quick" if is_quick else "checkout"
    chosen = tuple(n.strip() for n in names.split(";") if n.strip())
    options = {"is_quick": is_quick, "num_repeats": num_repeats, "cells": chosen}
    found = _collect(name, bench.rows(before, **options))
    of = lambda row: (row["kernel"], row["dim"], row["num_chains"])
    path = measure.path_of(name)
    if chosen and path.exists():
        new = {of(row): row for row in found}
        found = [new.get(of(r), r) for r in json.loads(path.read_text())["rows"]]
    cell = ["kernel", "dim", "num_chains", "x before"]
    both = [
        f"{who} {what}"
        for what in ("compilation", "peak MB")
        for who in ("before", "now")
    ]
    _show("against a checkout", [*cell, *both], found)
    for line in bench.summary(found):
        console.print(line, highlight=False)
    _kept(name, found)


@app.command()
def floor(is_quick: Quick = False, num_repeats: int = 5) -> None:
    """Neural energies against the cost of their gradients and random numbers alone."""
    from benchmarks import floor as bench

    name = "floor-quick" if is_quick else "floor"
    found = _collect(name, bench.rows(is_quick=is_quick, num_repeats=num_repeats))
    columns = [
        "energy",
        "kernel",
        "num_chains",
        "x gradients",
        "x both",
        "goal",
        "ebmjax us/step",
    ]
    _show("floor", [*columns, "gradients us/step", "numbers us/step"], found)
    over = [
        f"{r['energy']} {r['kernel']}"
        for r in found
        if r["goal"] and r["x gradients"] > r["goal"]
    ]
    console.print(f"over their goal: {', '.join(over) or 'none'}", highlight=False)
    _kept(name, found)


@app.command()
def memory(is_quick: Quick = False) -> None:
    """Bytes stored by default, streaming, and at ten times the steps, against
    BlackJAX."""
    from benchmarks import memory as bench

    name = "memory-quick" if is_quick else "memory"
    found = _collect(name, bench.rows(is_quick=is_quick))
    columns = [
        f"{what} {times}x"
        for what in ("kept MB", "kept / positions", "peak MB")
        for times in (1, 10)
    ]
    _show("memory", ["kernel", "form", *columns], found)
    _kept(name, found)


@app.command()
def training(
    is_quick: Quick = False,
    num_repeats: int = 7,
    torch_python: Annotated[
        str | None, typer.Option(help="Python interpreter with torchebm.")
    ] = None,
    num_threads: Annotated[
        int | None,
        typer.Option(help="Number of CPUs for all processes; all CPUs by default."),
    ] = None,
) -> None:
    """Persistent training against torchebm, a naive loop in JAX, and its floor of K + 1
    gradients."""
    from benchmarks import training as bench

    options = {"torch_python": torch_python, "num_threads": num_threads}
    name = "training-quick" if is_quick else "training"
    found = _collect(
        name, bench.rows(is_quick=is_quick, num_repeats=num_repeats, **options)
    )
    ratios = ["x torchebm", "x torchebm best", "x naive", "x floor"]
    columns = [
        "problem",
        "batch_size",
        "chain_steps",
        "num_threads",
        "ebmjax updates/s",
        *ratios,
    ]
    _show(
        "training",
        columns,
        found,
        lost={"x torchebm": (0, 3), "x torchebm best": (0, 3), "x naive": (0, 1)},
    )
    _kept(name, found)


@app.command()
def scaling(is_quick: Quick = False, num_repeats: int = 5) -> None:
    """Cost of a chain-step against the number of chains, to a million, and of
    devices."""
    from benchmarks import pictures
    from benchmarks import scaling as bench

    name = "scaling-quick" if is_quick else "scaling"
    found = _collect(name, bench.rows(is_quick=is_quick, num_repeats=num_repeats))
    columns = [
        "what",
        "chains",
        "devices",
        "num_steps",
        "ns a chain-step",
        "x base",
        "MB",
    ]
    _show("scaling", [*columns, "collectives", "collectives of a mean"], found)
    _kept(name, found, pictures.scaling(found))


@app.command()
def roofline(is_quick: Quick = False, num_repeats: int = 5) -> None:
    """Operations per second and per byte, against the measured ceilings of the
    machine."""
    from benchmarks import pictures
    from benchmarks import roofline as bench

    name = "roofline-quick" if is_quick else "roofline"
    found = _collect(name, bench.rows(is_quick=is_quick, num_repeats=num_repeats))
    columns = [
        "cell",
        "num_chains",
        "operations/byte",
        "operations/s",
        "bytes/s",
        "bytes/s in cache",
    ]
    _show("roofline", [*columns, "of the ceiling"], found)
    _kept(name, found, pictures.roofline(found))


@app.command()
def objectives(
    is_quick: Quick = False,
    num_seeds: Annotated[
        int | None, typer.Option(help="Number of seeds: 5 by default, 1 with --quick.")
    ] = None,
    sets: Annotated[
        str, typer.Option(help="Data sets, separated by commas; all four by default.")
    ] = "",
    names: Annotated[
        str, typer.Option("--objectives", help="By commas; all by default.")
    ] = "",
    torch_python: Annotated[
        str | None,
        typer.Option(
            help="Python interpreter with torchebm and ebmkit, for comparison."
        ),
    ] = None,
    num_updates: Annotated[
        int | None,
        typer.Option(
            help="Number of updates of each run; the objective's default by default."
        ),
    ] = None,
) -> None:
    """Every objective on toy data: exact log-likelihood, time, share of runs that
    diverged.

    Each run is stored when it ends; a call continues with the missing runs.  With
    --quick all are run again.
    """
    from benchmarks import objectives as bench

    path = measure.path_of("objectives-quick" if is_quick else "objectives")
    if is_quick:
        path.unlink(missing_ok=True)
    _collect(
        None,
        bench.runs(
            num_seeds=num_seeds or (1 if is_quick else 5),
            sets=tuple(sets.split(","))
            if sets
            else ("two_moons",)
            if is_quick
            else bench.SETS,
            objectives=tuple(names.split(",")) if names else bench.CONTINUOUS,
            torch_python=torch_python,
            num_updates=num_updates,
            path=path,
            is_drawn=not is_quick,
        ),
    )
    columns = [
        "data",
        "library",
        "objective",
        "log-likelihood",
        "spread",
        "seconds",
        "load",
        "gradients",
    ]
    _show(
        "objectives",
        [*columns, "num_seeds", "share_diverged", "num_rollbacks"],
        bench.rows(bench.load(path)),
    )
    console.print(f"kept in {path}")


@app.command()
def efficiency(
    is_quick: Quick = False,
    num_repeats: int = 3,
    posteriors: Annotated[
        str, typer.Option(help="Posteriors, separated by commas; all eight by default.")
    ] = "",
) -> None:
    """Effective samples per second, warm-up included, against BlackJAX (NUTS, ChEES)
    and NumPyro (NUTS)."""
    from benchmarks import efficiency as bench

    names = tuple(posteriors.split(",")) if posteriors else ()
    name = "-".join(["efficiency", *names]) + ("-quick" if is_quick else "")
    found = _collect(
        name, bench.rows(is_quick=is_quick, num_repeats=num_repeats, names=names)
    )
    columns = [
        "posterior",
        "sampler",
        "ESS/s",
        "ESS/s cold",
        "ESS/gradient",
        "ESS",
        "R-hat",
        "error of mean",
        "error of sd",
        "seconds",
    ]
    _show("efficiency", columns, found)
    for ours, peers in bench.RIVALS.items():
        console.print(f"{ours} over the best of {', '.join(peers)}", highlight=False)
        for of in ("ESS/s", "ESS/s cold"):
            ratios = bench.ratios(found, ours, peers, of)
            shown = "  ".join(f"{name} {ratio:.2g}" for name, ratio in ratios.items())
            console.print(
                f"  {of}: {shown}  median {statistics.median(ratios.values()):.2f}",
                highlight=False,
            )
    _kept(name, found)


@app.command()
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

    name = "cold-quick" if is_quick else "cold"
    found = _collect(
        name,
        bench.rows(
            is_quick=is_quick,
            num_repeats=1 if is_quick else num_repeats,
            names=tuple(filter(None, posteriors.split(","))),
            libraries=tuple(filter(None, libraries.split(","))),
        ),
    )
    chosen = [key for key in found[0] if key.endswith((" cpu", " wall"))]
    columns = ["kernel", "posterior", *chosen, "x best peer"]
    _show("CPU seconds of a fresh process", columns, found)
    for line in bench.summary(found):
        console.print(line, highlight=False)
    _kept(name, found)


@app.command()
def accelerator(is_quick: Quick = False, num_repeats: int = 5) -> None:
    """Launches, bytes and memory of a step on an H100; seconds where there is a GPU."""
    from benchmarks import accelerator as bench
    from benchmarks import gpu_program, pictures

    if not bench.has_gpu():
        gpu_program.topology()  # or leaves with what to install
        console.print(gpu_program.CAUTION, highlight=False)
    name = "accelerator-quick" if is_quick else "accelerator"
    found = _collect(name, bench.rows(is_quick=is_quick, num_repeats=num_repeats))
    columns = ["program", "dim", "chains", "library", "launches/step"]
    columns += ["launches/turn", "kB/step", "temporary MB", "bound us/step"]
    columns += ["measured us/step"]
    _show("accelerator", [*columns, "collectives"], found)
    figure = pictures.accelerator(found) if bench.has_gpu() else None
    _kept(name, found, figure)


@app.command()
def precision() -> None:
    """Errors of an energy in the precision of the device and in that of the library."""
    from benchmarks import accelerator as bench

    _show("nats", ["products", "energy", "error"], list(bench.precision()))


@app.command("log_z")
def log_z(
    is_quick: Quick = False,
    names: Annotated[
        str,
        typer.Option(
            "--targets",
            help="Targets, separated by semicolons; all by default.",
        ),
    ] = "",
    num_seeds: Annotated[
        int, typer.Option(help="Number of seeds of each bracket.")
    ] = 20,
) -> None:
    """Brackets of log Z against exact values, and SMC compared with BlackJAX's.

    A call with some targets replaces their rows and keeps the others.
    """
    from benchmarks import log_z as bench

    quick = ("ten double wells",)
    chosen = tuple(names.split(";")) if names else quick if is_quick else ()
    of = lambda table: tuple(n for n in table if not chosen or n in chosen)
    name = "log_z-quick" if is_quick else "log_z"
    path = measure.path_of(name)
    old = json.loads(path.read_text())["rows"] if path.exists() else []
    brackets = _collect(name, bench.brackets(of(bench.PROBLEMS), num_seeds))
    num_repeats = 4 if is_quick else bench.NUM_REPEATS
    beside = _collect(name, bench.side_by_side(of(bench.RIVALS), num_repeats))
    new = {(r["target"], r.get("method")) for r in brackets + beside}
    kept = [r for r in old if (r["target"], r.get("method")) not in new]
    rows = kept + brackets + beside
    columns = ["target", "exact", "held", "num_seeds", "width", "error", "levels"]
    columns += ["chains", "seconds a seed, compilation included"]
    _show("brackets of log Z", columns, [r for r in rows if "held" in r])
    columns = ["target", "method", "error", "bias", "gradients", "efficiency"]
    _show("beside BlackJAX", columns, [r for r in rows if "method" in r])
    _kept(name, rows)


@app.command()
def likelihood(
    cases: Annotated[
        str, typer.Option(help="By commas, of benchmarks/likelihood_cases.py.")
    ] = "digits,mnist",
    seeds: Annotated[
        str, typer.Option(help="0,3 or 0:20; those of each case by default.")
    ] = "",
    num_updates: Annotated[
        int | None, typer.Option(help="In place of that of each case.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="Of training a run, in place of a number of updates."),
    ] = None,
    part: Annotated[
        str, typer.Option(help="A name, for one of several processes.")
    ] = "",
    is_table: Annotated[
        bool, typer.Option("--table", help="Only of the stored runs, of each platform.")
    ] = False,
) -> None:
    """Images at the maximum of their likelihood: energy gap, bounds, samples, seeds.

    Each run is stored when it ends; a call continues with the missing runs.  Several
    processes may run at once, each with its --part; the table is of all parts.
    """
    from benchmarks import likelihood as bench

    _use_given_cache()
    path = measure.path_of("-".join(filter(None, ["likelihood", part])))
    chosen = list(range(*map(int, seeds.split(":")))) if ":" in seeds else None
    if seeds and chosen is None:
        chosen = [int(seed) for seed in seeds.split(",")]
    options = {"num_updates": num_updates, "seconds": seconds}
    if not is_table:
        _collect(None, bench.rows(cases.split(","), path, seeds=chosen, **options))
    for platform in ("cpu", "gpu") if is_table else ("",):
        found = bench.load(path.parent, platform)
        about = bench.machine(path.parent, platform)
        for row in bench.table(found):  # more columns than fit on a line
            lines = [{"": k, "value": v} for k, v in row.items()]
            _show(row["case"], ["", "value"], lines, about=about)
            first = next(r for r in found if r["case"] == row["case"])
            if lines := bench.history(first):
                _show(f"seed {first['seed']}", list(lines[0]), lines, about=about)
    if not is_table:
        console.print(f"kept in {path}", highlight=False)


@app.command()
def lattice(is_quick: Quick = False, num_repeats: int = 7) -> None:
    """Ising 64 x 64: sites a second against thrml, effective samples of cluster moves."""
    from benchmarks import lattice as bench

    name = "lattice-quick" if is_quick else "lattice"
    found = _collect(name, bench.rows(is_quick=is_quick, num_repeats=num_repeats))
    speeds = ["gibbs", "thrml", "flip", "swendsen_wang", "wolff"]
    first = [r for r in found if r["what"] == "sites/s"]
    columns = ["num_chains", *speeds, "gibbs x thrml", "gibbs x flip"]
    _show("sites a second", columns, first)
    columns = ["sampler", "steps", "seconds", "|m|", "error", "R-hat"]
    columns += ["steps an effective sample", "ESS/s"]
    _show("effective samples of |m|", columns, [r for r in found if "sampler" in r])
    for line in bench.summary(found):
        console.print(line, highlight=False)
    _kept(name, found)


@app.command("binary_digits")
def binary_digits(
    is_quick: Quick = False,
    networks: Annotated[str, typer.Option(help="Separated by commas.")] = "rbm,mlp",
    ways: Annotated[
        str, typer.Option(help="To train, separated by commas; all by default.")
    ] = "",
    num_updates: Annotated[int, typer.Option(help="600, or 100 with --quick.")] = 0,
) -> None:
    """Digits as bits: log-likelihood by the kernel of training, and pseudo-likelihood.

    A call replaces the rows that it computes and keeps the others.
    """
    from benchmarks import binary_digits as bench

    _use_given_cache()
    name = "binary_digits-quick" if is_quick else "binary_digits"
    chosen = _chosen(networks, bench.NETWORKS), _chosen(ways, bench.WAYS)
    found = _collect(
        name, bench.rows(*chosen, num_updates or (100 if is_quick else 600))
    )
    path = measure.path_of(name)
    old = json.loads(path.read_text())["rows"] if path.exists() else []
    which = lambda row: (row["network"], row["way"], row.get("num_updates"))
    new = set(map(which, found))
    found += [row for row in old if which(row) not in new]
    columns = ["network", "way", "kernel", "num_updates", "seconds", "training"]
    columns += ["held out", "held out lower", "held out upper", "held out error"]
    _show("log-likelihood of binary digits, nats", columns, found)
    _kept(name, found)


def _chosen(given: str, table) -> list[str]:
    """Names of a table, separated by commas; all where none is given."""
    names = given.split(",") if given else list(table)
    if unknown := [n for n in names if n not in table]:
        raise typer.BadParameter(
            f"{', '.join(unknown)} not in {', '.join(table)}: no such name"
        )
    return names


def _use_given_cache() -> None:
    """Programs are kept between processes, if the user names a folder for them."""
    is_given = "JAX_COMPILATION_CACHE_DIR" in os.environ
    jax.config.update("jax_enable_compilation_cache", is_given)


def _collect(name, rows) -> list[dict[str, Any]]:
    """Collect rows; those of an interrupted run stay in ``results/NAME.part``."""
    found: list[dict[str, Any]] = []
    for number, total, row in rows:
        found.append(row)
        shown = {
            k: _text(v) for k, v in row.items() if isinstance(v, str | int | float)
        }
        if name:
            measure.keep(f"{name}.part", found)
        console.print(
            f"{number}/{total}  " + "  ".join(f"{k} {v}" for k, v in shown.items()),
            highlight=False,
        )
    return found


def _show(title, columns, rows, *, lost=None, about=None) -> None:
    """Show a table; ``lost`` is the interval of each column in which a cell is marked
    as lost, ``about`` the machine of the rows, by default this one."""
    about = about or measure.machine()
    table = Table(
        title=f"{title}: {about['device']}, {about['date']}", title_justify="left"
    )
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(c, row.get(c), lost or {}) for c in columns))
    console.print(table)
    console.print(str(about["versions"]), highlight=False)


def _cell(column, value, lost) -> str:
    low, high = lost.get(column, (0, 0))
    is_lost = isinstance(value, float) and low < value < high
    return f"[bold red]{_text(value)} lost[/]" if is_lost else _text(value)


def _kept(name, found, figure=None) -> None:
    console.print(f"kept in {measure.keep(name, found)}", highlight=False)
    measure.path_of(f"{name}.part").unlink(missing_ok=True)
    if figure is not None:
        from benchmarks import pictures

        console.print(f"drawn in {pictures.keep(name, figure)}", highlight=False)


def _text(value) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.2e}"
    return str(value)


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
