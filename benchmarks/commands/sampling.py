"""Sampling: effective samples, log Z, lattices."""

import statistics
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

    names = names_in(posteriors)
    name = name_of("-".join(["efficiency", *names]), is_quick)
    found = collect(
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
    show("efficiency", columns, found)
    for ours, peers in bench.RIVALS.items():
        say(f"{ours} over the best of {', '.join(peers)}")
        for of in ("ESS/s", "ESS/s cold"):
            ratios = bench.ratios(found, ours, peers, of)
            shown = "  ".join(f"{name} {ratio:.2g}" for name, ratio in ratios.items())
            say(f"  {of}: {shown}  median {statistics.median(ratios.values()):.2f}")
    keep(name, found)


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
    chosen = names_in(names, ";") or (quick if is_quick else ())
    of = lambda table: tuple(n for n in table if not chosen or n in chosen)
    name = name_of("log_z", is_quick)
    brackets = collect(name, bench.brackets(of(bench.PROBLEMS), num_seeds))
    num_repeats = 4 if is_quick else bench.NUM_REPEATS
    beside = collect(name, bench.side_by_side(of(bench.RIVALS), num_repeats))
    new = brackets + beside
    rows = stored(name, new, lambda r: (r["target"], r.get("method"))) + new
    columns = ["target", "exact", "held", "num_seeds", "width", "error", "levels"]
    columns += ["chains", "seconds a seed, compilation included"]
    show("brackets of log Z", columns, [r for r in rows if "held" in r])
    columns = ["target", "method", "error", "bias", "gradients", "efficiency"]
    show("beside BlackJAX", columns, [r for r in rows if "method" in r])
    keep(name, rows)


def modes(
    is_quick: Quick = False,
    names: Annotated[
        str, typer.Option("--targets", help="Targets, separated by semicolons.")
    ] = "",
    num_iterations: Annotated[
        int, typer.Option(help="Iterations of a swap and a step of each replica.")
    ] = 1000,
) -> None:
    """Weights of distant modes by parallel tempering, and by TFP's replica exchange.

    A call with some targets replaces their rows and keeps the others.
    """
    from benchmarks import modes as bench

    quick = tuple(bench.PROBLEMS)[:1]
    chosen = names_in(names, ";") or (quick if is_quick else tuple(bench.PROBLEMS))
    name = name_of("modes", is_quick)
    found = collect(name, bench.rows(chosen, 200 if is_quick else num_iterations))
    rows = stored(name, found, lambda r: (r["target"], r["method"])) + found
    columns = ["target", "method", "error", "largest z", "gradients", "efficiency"]
    show("weights of modes", [*columns, "log_z", "log_z_error", "round_trips"], rows)
    keep(name, rows)


def lattice(is_quick: Quick = False, num_repeats: int = 7) -> None:
    """Ising 64 x 64: sites a second against thrml; effective samples of cluster
    moves."""
    from benchmarks import lattice as bench

    name = name_of("lattice", is_quick)
    found = collect(name, bench.rows(is_quick=is_quick, num_repeats=num_repeats))
    speeds = ["gibbs", "thrml", "flip", "swendsen_wang", "wolff"]
    first = [r for r in found if r["what"] == "sites/s"]
    columns = ["num_chains", *speeds, "gibbs x thrml", "gibbs x flip"]
    show("sites a second", columns, first)
    columns = ["sampler", "steps", "seconds", "|m|", "error", "R-hat"]
    columns += ["steps an effective sample", "ESS/s"]
    show("effective samples of |m|", columns, [r for r in found if "sampler" in r])
    say(*bench.summary(found))
    keep(name, found)
