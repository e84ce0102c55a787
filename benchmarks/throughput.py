"""Chain-steps per second on a Gaussian, positions stored, against other libraries as
documented and at their best.

Further measurements: compilation; the time to the first sample (a program of one step,
traced, compiled and run); and the peak memory of the compiled program.  Ours is
compiled first and includes shared initialisation.  A library that fails on this version
of JAX is skipped in the cell, and its error is stored.
"""

import functools
import itertools
import statistics
import time
from collections.abc import Iterator
from typing import Any

import jax

import ebmjax as eb
from benchmarks import measure
from benchmarks.peers_jax import ENERGY, L, Make, peers, step_sizes

KERNELS = ("random_walk", "mala", "hmc")
DIMS, CHAINS = (2, 10, 25, 100, 1000), (1, 8, 64, 1024, 16384)
QUICK_DIMS, QUICK_CHAINS = (2, 100), (1, 64, 1024)
QUICK_PEERS = ((2, 64), (100, 1024))  # cells of the quick grid with NumPyro and TFP
WORK = 4e6  # numbers stored in a run, for runs of a fraction of a second
LIMIT = 4.0  # seconds of running after which a candidate stops in a cell


def ours(name, dim, num_steps, key, positions):
    step = step_sizes(dim)[name]
    make = {
        "random_walk": eb.random_walk,
        "mala": eb.mala,
        "hmc": functools.partial(eb.hmc, num_steps=L),
    }
    kernel = make[name](ENERGY, step_size=step)

    def run(key, positions):
        chains = eb.parallel(kernel)
        keys = eb.chain_keys(key, len(positions))
        return eb.run(keys, chains, chains.init(positions), num_steps)[1]

    return functools.partial(jax.jit(run), key, positions)


def rows(
    *, is_quick: bool, num_repeats: int = 5
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """``(number, total, row)`` of each cell of the grid."""
    dims, chains = (QUICK_DIMS, QUICK_CHAINS) if is_quick else (DIMS, CHAINS)
    grid = list(itertools.product(KERNELS, dims, chains))
    for number, (name, dim, num_chains) in enumerate(grid, 1):
        makers = peers(name, is_all=not is_quick or (dim, num_chains) in QUICK_PEERS)
        num_steps = max(10, min(20_000, int(WORK / (dim * num_chains))))
        yield (
            number,
            len(grid),
            cell(name, dim, num_chains, num_steps, makers, num_repeats),
        )


def cell(
    name: str,
    dim: int,
    num_chains: int,
    num_steps: int,
    makers: dict[str, Make],
    num_repeats: int,
) -> dict[str, Any]:
    """One kernel, dimension and number of chains."""
    makers = {"ebmjax": ours, **makers}
    key = jax.random.key(0)
    positions = jax.random.normal(key, (num_chains, dim))
    jax.clear_caches()
    row: dict[str, Any] = {
        "kernel": name,
        "dim": dim,
        "num_chains": num_chains,
        "num_steps": num_steps,
    }
    for candidate, make in list(makers.items()):
        begin = time.perf_counter()
        try:
            jax.block_until_ready(make(name, dim, 1, key, positions)())
        except Exception as error:  # any error of a library
            if candidate == "ebmjax":
                raise
            row[f"{candidate} failed"] = f"{type(error).__name__}: {error}"[:300]
            del makers[candidate]
            continue
        row[f"{candidate} first sample"] = time.perf_counter() - begin
    programs = {
        c: measure.compiled(make(name, dim, num_steps, key, positions))
        for c, make in makers.items()
    }
    calls = {candidate: program.call for candidate, program in programs.items()}
    timings = measure.alternate(calls, num_repeats=num_repeats, limit=LIMIT)
    for candidate, timing in timings.items():
        seconds = programs[candidate].seconds
        row[f"{candidate} chain-steps/s"] = num_chains * num_steps / timing.median
        row[f"{candidate} compilation"] = (
            timing.compilation if seconds is None else seconds
        )
        row[f"{candidate} peak MB"] = programs[candidate].megabytes
        row[f"{candidate} runs"] = timing.runs
        if candidate != "ebmjax":
            row[f"x {candidate}"] = measure.ratio(timing.runs, timings["ebmjax"].runs)
    return row


def summary(found: list[dict[str, Any]]) -> list[str]:
    """One line per library: geometric mean of the ratios over the grid, and lost
    cells."""
    lines = []
    for peer in peers("hmc"):
        cells = {
            (r["kernel"], r["dim"], r["num_chains"]): r[f"x {peer}"]
            for r in found
            if f"x {peer}" in r
        }
        if not cells:
            lines.append(f"{peer} did not run")
            continue
        lost = {cell: round(ratio, 2) for cell, ratio in cells.items() if ratio < 1}
        mean = statistics.geometric_mean(cells.values())
        lines.append(
            f"{mean:.2f} x {peer}, geometric mean of {len(cells)} cells; minimum "
            f"{min(cells.values()):.2f}; lost {len(lost)}: {lost or 'none'}"
        )
    for what in ("compilation", "first sample"):
        ratios = [row[f"ebmjax {what}"] / row[f"blackjax best {what}"] for row in found]
        lines.append(
            f"{what}: {statistics.geometric_mean(ratios):.2f} of that of BlackJAX's "
            f"best form, {min(ratios):.2f} to {max(ratios):.2f}"
        )
    return lines
