"""What a user waits for: whole fresh processes, from the import to the table.

    nuts    4 chains, 500 + 1000 steps
    hmc     256 chains, 100 + 300 steps, the length of trajectories tuned as well

ebmjax       ``warm_up``, ``sample``, ``summary``
blackjax     ``window_adaptation``, vmapped over chains in one ``jit``, the loop of its
             guide, its own effective sample sizes and R-hat; with hmc
             ``chees_adaptation`` and ``dynamic_hmc``
blackjax az  the same, with ArviZ's summary in the place of its own diagnostics
numpyro      ``MCMC`` with vectorised chains and its ``print_summary``; with hmc a
             trajectory of 2 pi, as by default

Every process imports, builds the posterior, starts at N(0, 1) numbers made by NumPy,
warms up, runs, and prints a table.  CPU seconds are those of the process and of all its
threads; wall seconds depend on what else the machine does.  Tracing, lowering and
compilation are JAX's own events; what is left of a stage is running and Python.  JAX's
persistent cache is off.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.cold_process import EVENTS, LIBRARIES, SIZES

HERE = Path(__file__).parent.parent
POSTERIORS = ("normal", "banana", "eight_schools", "breast_cancer", "german_credit")
STAGES = ("import", "warm-up", "sample", "summary")


def rows(
    *,
    is_quick: bool,
    num_repeats: int = 3,
    names: tuple[str, ...] = (),
    libraries: tuple[str, ...] = (),
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """``(number, total, row)``, a row a kernel and posterior."""
    names = names or (POSTERIORS[:1] if is_quick else POSTERIORS)
    libraries = libraries or tuple(LIBRARIES)
    cells = [(kernel, name) for kernel in SIZES for name in names]
    for number, (kernel, name) in enumerate(cells, 1):
        found: dict[str, list] = {library: [] for library in libraries}
        for _ in range(num_repeats):  # in alternation
            for library in libraries:
                found[library].append(process(library, kernel, name))
        yield number, len(cells), _row(kernel, name, found)


def process(library: str, kernel: str, name: str) -> dict[str, Any]:
    """One fresh process: its CPU and wall seconds, and its stages."""
    before, begin = _children(), time.perf_counter()
    options = {"JAX_ENABLE_COMPILATION_CACHE": "0", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cold_process", library, kernel, name],
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE,
        env={**os.environ, **options},
        check=True,
    )
    seconds = {"wall": time.perf_counter() - begin, "cpu": _children() - before}
    return {**seconds, **json.loads(done.stdout.splitlines()[-1])}


def summary(found: list[dict[str, Any]]) -> list[str]:
    """Ours over the best peer's CPU seconds: median and largest, a kernel each."""
    lines = []
    for kernel in SIZES:
        mine = [row for row in found if row["kernel"] == kernel]
        ratios = [row["x best peer"] for row in mine if "x best peer" in row]
        if ratios:
            lines.append(
                f"{kernel}: {statistics.median(ratios):.2f} of the best peer's CPU "
                f"seconds in the median, at most {max(ratios):.2f}"
            )
    return lines


def _row(kernel, name, found):
    row: dict[str, Any] = {"kernel": kernel, "posterior": name}
    for what in ("cpu", "wall"):
        for library, runs in found.items():
            row[f"{library} {what}"] = statistics.median(run[what] for run in runs)
    peers = [row[f"{library} cpu"] for library in found if library != "ebmjax"]
    if peers and "ebmjax" in found:
        row["x best peer"] = row["ebmjax cpu"] / min(peers)
    for library, runs in found.items():
        stages = [run["stages"] for run in runs]
        row[f"{library} stages"] = {
            stage: {
                what: statistics.median(s[stage].get(what, 0) for s in stages)
                for what in ("cpu", *EVENTS.values(), "compilations")
            }
            for stage in STAGES
        }
    row["each"] = {who: [run["cpu"] for run in runs] for who, runs in found.items()}
    return row


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
