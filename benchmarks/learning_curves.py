"""Log-likelihood against the seconds of training, with PyTorch libraries on the same
points, network and batches.

The learning rate of a run falls to its end, so that a run that is stopped early is not
a short run: each point of a curve is a run of its own number of updates.  The seconds
of a run are those of training, compilation included, import not; ours are measured
again with the programs compiled, as they are for the second run of a process or with
the cache of the command line.  All runs take turns.
"""

import itertools
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks import measure, objectives
from benchmarks.objectives_peers import PEERS, peer
from ebmjax import plotting

UPDATES = (100, 250, 500, 1000, 2000, 4000)
LEVELS = (-1.10, -1.05, -1.03, -1.02)  # nats; the maximum on two moons is -1.0076
MAXIMUM = -1.0076
SET = "two_moons"
# a panel each: ours, and the methods of the other libraries that are like it
PANELS = {
    "chains": ("maximum_likelihood", "pcd"),
    "noise contrastive": ("nce", "conditional"),
    "sliced scores": ("sliced",),
    "denoising scores": ("denoising",),
}
COLOURS = {"ebmjax": plotting.MODEL, "torchebm": plotting.DATA, "ebmkit": plotting.GREY}
MARKERS = {"ebmjax": "o", "torchebm": "s", "ebmkit": "^"}
OURS = ("maximum_likelihood", "nce", "conditional", "sliced", "denoising")
Row = dict[str, Any]


def runs(
    path: Path,
    *,
    num_seeds: int = 5,
    updates: tuple[int, ...] = UPDATES,
    ours: tuple[str, ...] = OURS,
    torch_python: str | None = None,
    limit_s: float = 600,
) -> Iterator[tuple[int, int, Row]]:
    """``(number, total, run)``, each stored in ``path`` when it ends; stored runs of
    the same options are skipped."""
    jobs = [("ebmjax", name) for name in ours]
    if torch_python:
        jobs += [(lib, method) for lib, methods in PEERS.items() for method in methods]
    plan = list(itertools.product(range(num_seeds), updates, jobs))
    for number, (seed, num, (library, objective)) in enumerate(plan, 1):
        run = objectives.run_of(SET, objective, seed, num)
        about = {
            "library": library,
            "objective": objective,
            "updates": num,
            "seed": seed,
            "choices": objectives.digest_of(run.config),
        }
        if any(about.items() <= row.items() for row in load(path)):
            continue
        load_before = round(os.getloadavg()[0], 1)
        if library == "ebmjax":
            jax.clear_caches()  # every run compiles, as in a process of its own
            found, _ = objectives.ours(run)
            found["seconds compiled"] = objectives.ours(run)[0]["seconds"]
        else:
            found, _ = peer(torch_python or "", library, objective, run, limit_s)
        row = about | {
            "seconds": found["seconds"],
            "seconds compiled": found.get("seconds compiled"),
            "log-likelihood": found["log-likelihood"],
            "load": load_before,
            "date": time.strftime("%Y-%m-%d %H:%M"),
        }
        same = ("library", "objective", "updates", "seed")
        kept = [r for r in load(path) if any(r[k] != row[k] for k in same)] + [row]
        measure.write(path, {"rows": times(kept), "runs": kept})
        yield number, len(plan), row


def load(path: Path) -> list[Row]:
    """The stored runs."""
    return json.loads(path.read_text())["runs"] if path.exists() else []


def times(kept: list[Row]) -> list[Row]:
    """For each library and objective the seconds to each level of log-likelihood: the
    median over the seeds of the shortest run that reaches it, where more than half of
    the seeds do."""
    rows = []
    for (library, objective), group in _grouped(kept, "library", "objective").items():
        row: Row = {"library": library, "objective": objective}
        by_seed = _grouped(group, "seed")
        for level in LEVELS:
            seconds = [_first(runs, level) for runs in by_seed.values()]
            reached = [s for s in seconds if s is not None]
            name = f"{level:.2f}"
            row[f"{name} reached"] = f"{len(reached)} of {len(seconds)}"
            is_known = 2 * len(reached) > len(seconds)
            row[name] = _median(seconds) if is_known else None
            row[f"{name} compiled"] = None
            if is_known and all(run.get("seconds compiled") for run in group):
                seconds = [
                    _first(runs, level, "seconds compiled") for runs in by_seed.values()
                ]
                row[f"{name} compiled"] = _median(seconds)
        row["best mean"] = max(
            statistics.mean(values)
            for runs in _grouped(group, "updates").values()
            if len(values := _values(runs)) == len(runs)
        )
        rows.append(row)
    return rows


def _first(runs: list[Row], level: float, which: str = "seconds") -> float | None:
    """The seconds of the run of the fewest updates that reaches a level."""
    for run in sorted(runs, key=lambda r: r["updates"]):
        value = run["log-likelihood"]
        if value is not None and value >= level:
            return run[which]
    return None


def _median(seconds: list[float | None]) -> float:
    """A seed that does not reach the level counts as infinite."""
    return statistics.median_high(np.inf if s is None else s for s in seconds)


def _values(runs: list[Row]) -> list[float]:
    return [r["log-likelihood"] for r in runs if r["log-likelihood"] is not None]


def _grouped(rows: list[Row], *names: str) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = {}
    for row in rows:
        key = tuple(row[name] for name in names)
        found.setdefault(key if len(names) > 1 else key[0], []).append(row)
    return found


@plotting.styled
def picture(kept: list[Row]) -> Figure:
    """The distance of the mean log-likelihood to its maximum against seconds, a panel a
    family; bars from the worst to the best seed."""
    fig, axes = plotting.figure(1, len(PANELS), size=(2.1 * len(PANELS) + 0.6, 2.7))
    groups = _grouped(kept, "library", "objective")
    for ax, (title, names) in zip(np.ravel(axes), PANELS.items(), strict=True):
        for (library, objective), group in groups.items():
            if objective in names:
                _curve(ax, library, objective, group)
        ax.set(xscale="log", yscale="log", xlabel="seconds", title=title)
        ticks = (0.2, 0.5, 1, 2, 5, 10, 20)
        ax.set_xticks(ticks, [f"{t:g}".lstrip("0") for t in ticks], minor=False)
        ax.set_xticks([], minor=True)
        ax.set_yticks([0.01, 0.03, 0.1, 0.3], [".01", ".03", ".1", ".3"])
        ax.set_ylim(0.004, 1.0)
    np.ravel(axes)[0].set_ylabel("nats below the maximum")
    shown = {}
    for ax in fig.axes:
        shown |= {
            label: line
            for line, label in zip(*ax.get_legend_handles_labels(), strict=True)
        }
    names = sorted(shown)
    fig.legend(
        [shown[name] for name in names],
        names,
        loc="outside lower center",
        ncols=len(names),
        fontsize=7,
        frameon=False,
    )
    return fig


def _curve(ax, library: str, objective: str, group: list[Row]) -> None:
    seconds, compiled, middle, low, high = [], [], [], [], []
    for runs in _grouped(group, "updates").values():
        gaps = [MAXIMUM - value for value in _values(runs)]
        if len(gaps) < len(runs):
            continue
        seconds.append(statistics.median(r["seconds"] for r in runs))
        compiled.append([r["seconds compiled"] for r in runs if r["seconds compiled"]])
        middle.append(statistics.mean(gaps))
        low.append(max(min(gaps), 1e-3))
        high.append(max(gaps))
    is_second = objective == "conditional"
    style = {
        "color": plotting.THIRD if is_second else COLOURS[library],
        "marker": MARKERS[library],
        "ms": 3,
        "lw": 1.1,
    }
    label = f"{library}, {objective}" if is_second else library
    ax.plot(seconds, middle, label=label, **style)
    ax.vlines(seconds, low, high, color=style["color"], lw=0.7, alpha=0.6)
    if all(compiled) and compiled:
        x = [statistics.median(c) for c in compiled]
        ax.plot(x, middle, label=f"{label}, compiled", ls=":", mfc="white", **style)
