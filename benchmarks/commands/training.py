"""Training: updates, objectives, likelihoods."""

import os
from pathlib import Path
from typing import Annotated

import jax
import typer

from benchmarks import measure
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

TorchPython = Annotated[
    str | None,
    typer.Option(help="Python interpreter with torchebm and ebmkit, for comparison."),
]


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
    name = name_of("training", is_quick)
    found = collect(
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
    show(
        "training",
        columns,
        found,
        lost={"x torchebm": (0, 3), "x torchebm best": (0, 3), "x naive": (0, 1)},
    )
    keep(name, found)


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
    torch_python: TorchPython = None,
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

    path = measure.path_of(name_of("objectives", is_quick))
    if is_quick:
        path.unlink(missing_ok=True)
    collect(
        None,
        bench.runs(
            num_seeds=num_seeds or (1 if is_quick else 5),
            sets=names_in(sets) or (("two_moons",) if is_quick else bench.SETS),
            objectives=names_in(names) or bench.CONTINUOUS,
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
    show(
        "objectives",
        [*columns, "num_seeds", "share_diverged", "num_rollbacks"],
        bench.rows(bench.load(path)),
    )
    say(f"kept in {path}")


def learning_curves(
    is_quick: Quick = False,
    num_seeds: int = 5,
    torch_python: TorchPython = None,
) -> None:
    """Seconds to a given log-likelihood on two moons, with other libraries.

    Each run is stored when it ends; a call continues with the missing runs.
    """
    from benchmarks import learning_curves as bench
    from benchmarks import pictures

    name = name_of("learning_curves", is_quick)
    path = measure.path_of(name)
    updates = bench.UPDATES[:2] if is_quick else bench.UPDATES
    seeds = 1 if is_quick else num_seeds
    options = {"num_seeds": seeds, "updates": updates, "torch_python": torch_python}
    collect(None, bench.runs(path, **options))
    kept = bench.load(path)
    levels = [f"{level:.2f}" for level in bench.LEVELS]
    kinds = ("", " compiled", " reached")
    columns = [f"{level}{kind}" for level in levels for kind in kinds]
    show(
        "seconds to a log-likelihood",
        ["library", "objective", *columns, "best mean"],
        bench.times(kept),
    )
    say(f"kept in {path}")
    if not is_quick:
        say(f"drawn in {pictures.keep(name, bench.picture(kept))}")


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
    is_measured: Annotated[
        bool,
        typer.Option(
            "--measured/--energies-only", help="With log Z, likelihoods and tests."
        ),
    ] = True,
    is_table: Annotated[
        bool, typer.Option("--table", help="Only of the stored runs, of each platform.")
    ] = False,
) -> None:
    """Images at the maximum of their likelihood: energy gap, bounds, samples, seeds.

    Each run is stored when it ends; a call continues with the missing runs.  Several
    processes may run at once, each with its --part; the table is of all parts.
    """
    from benchmarks import likelihood as bench
    from benchmarks import likelihood_table

    _use_given_cache()
    path = measure.path_of("-".join(filter(None, ["likelihood", part])))
    chosen = list(range(*map(int, seeds.split(":")))) if ":" in seeds else None
    if seeds and chosen is None:
        chosen = [int(seed) for seed in seeds.split(",")]
    options = {"num_updates": num_updates, "seconds": seconds}
    options["is_measured"] = is_measured
    if not is_table:
        collect(None, bench.rows(cases.split(","), path, seeds=chosen, **options))
    for platform in ("cpu", "gpu") if is_table else ("",):
        found = bench.load(path.parent, platform)
        about = bench.machine(path.parent, platform)
        for row in likelihood_table.table(found):  # more columns than fit on a line
            lines = [{"": k, "value": v} for k, v in row.items()]
            show(row["case"], ["", "value"], lines, about=about)
            first = next(r for r in found if r["case"] == row["case"])
            if lines := likelihood_table.history(first):
                show(f"seed {first['seed']}", list(lines[0]), lines, about=about)
    if not is_table:
        say(f"kept in {path}")


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
    name = name_of("binary_digits", is_quick)
    chosen = _known(networks, bench.NETWORKS), _known(ways, bench.WAYS)
    updates = num_updates or (100 if is_quick else 600)
    found = collect(name, bench.rows(*chosen, updates))
    which = lambda row: (row["network"], row["way"], row.get("num_updates"))
    found += stored(name, found, which)
    columns = ["network", "way", "kernel", "num_updates", "seconds", "training"]
    columns += ["held out", "held out lower", "held out upper", "held out error"]
    show("log-likelihood of binary digits, nats", columns, found)
    keep(name, found)


def class_visits(
    folder: Annotated[Path, typer.Argument(help="Of a run of images with labels.")],
    num_steps: Annotated[int, typer.Option(help="And iterations of tempering.")] = 1000,
    num_chains: Annotated[int, typer.Option(help="And ladders.")] = 32,
    num_replicas: int = 24,
) -> None:
    """Classes that a chain visits, with tempering and without."""
    from benchmarks import class_visits as bench

    _use_given_cache()
    sizes = {"num_steps": num_steps, "num_chains": num_chains}
    found = collect(
        "class_visits", bench.rows(folder, **sizes, num_replicas=num_replicas)
    )
    columns = ["sampler", "chains", "steps", "gradients", "classes", "changes"]
    columns += ["share of chains that change", "share of clear images", "barrier"]
    show("classes that a chain visits", [*columns, "round trips"], found)
    keep("class_visits", found)


def _known(given: str, table) -> list[str]:
    """Names of a table, separated by commas; all where none is given."""
    names = list(names_in(given) or table)
    if unknown := [n for n in names if n not in table]:
        raise typer.BadParameter(
            f"{', '.join(unknown)} not in {', '.join(table)}: no such name"
        )
    return names


def _use_given_cache() -> None:
    """Programs are kept between processes, if the user names a folder for them."""
    is_given = "JAX_COMPILATION_CACHE_DIR" in os.environ
    jax.config.update("jax_enable_compilation_cache", is_given)
