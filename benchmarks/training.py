"""Persistent training, updates per second, against torchebm and against its floor.

The same for all: a perceptron with SiLU and a confinement, batch and chains of B, a
buffer with 5 % restarts, K unadjusted Langevin steps of 1e-2 per update, squared
energies at 1e-3, Adam with (0, 0.999).

ebmjax         ``fit`` with all its features: average of the parameters, restarts,
               metrics, diagnosis
torchebm       its documented loop, in a separate interpreter
               (:mod:`benchmarks.train_torch`)
torchebm best  the same with its network under ``torch.compile``, if a compiler is found
naive          a simple implementation in JAX: a jitted update, called from a Python
               loop
floor          K gradients with respect to x and one with respect to the parameters, in
               a scan; no random numbers, no optimiser

All processes use the same CPUs, and PyTorch as many threads.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.measure import alternate, ratio
from benchmarks.training_candidates import PROBLEMS, floor, naive, ours, torchebm


def limit_cpus(num_threads: int | None) -> int:
    """Limit this process and its children to a number of CPUs; call it before JAX
    starts threads."""
    allowed = sorted(os.sched_getaffinity(0))
    chosen = allowed[: num_threads or len(allowed)]
    os.sched_setaffinity(0, chosen)
    return len(chosen)


def rows(
    *,
    is_quick: bool,
    num_repeats: int = 7,
    torch_python: str | None = None,
    num_threads: int | None = None,
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """``(number, total, row)``, one row per problem."""
    num_threads = limit_cpus(num_threads)
    names = ("points",) if is_quick else tuple(PROBLEMS)
    for number, name in enumerate(names, 1):
        problem = PROBLEMS[name]
        calls: dict[str, Callable[[], Any]] = {"ebmjax": ours(problem)}
        peers = {"torchebm": False, "torchebm best": True} if torch_python else {}
        for peer, is_compiled in peers.items():
            calls[peer] = torchebm(
                problem, str(torch_python), num_threads, is_compiled=is_compiled
            )
        calls |= {"naive": naive(problem), "floor": floor(problem)}
        row: dict[str, Any] = {
            "problem": name,
            "num_threads": num_threads,
            **problem._asdict(),
        }
        try:
            calls["torchebm best"]()
        except KeyError:
            pass
        except RuntimeError as error:  # no compiler
            row["torchebm best failed"] = str(error)
            del calls["torchebm best"]
        timings = alternate(calls, num_repeats=num_repeats)
        for peer in ("ebmjax", *peers):
            if peer in calls:
                calls[peer](is_going=False)
        for candidate, timing in timings.items():
            row[f"{candidate} updates/s"] = problem.num_updates / timing.median
            row[f"{candidate} first"] = timing.first
            row[f"{candidate} runs"] = timing.runs
            if candidate != "ebmjax":
                row[f"x {candidate}"] = ratio(timing.runs, timings["ebmjax"].runs)
        yield number, len(names), row
