"""Timing: alternating candidates, medians, compilation measured separately."""

import functools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import jax

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "jax",
    "jaxlib",
    "ebmjax",
    "flax",
    "optax",
    "blackjax",
    "numpyro",
    "thrml",
    "tfp-nightly",
    "numpy",
)


class Timing(NamedTuple):
    """Times of one candidate, in seconds."""

    first: float  # the first call, compilation and run
    runs: list[float]  # the later ones

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    @property
    def compilation(self) -> float:
        return max(self.first - self.median, 0.0)


def alternate(
    candidates: dict[str, Callable[[], Any]],
    *,
    num_repeats: int = 5,
    limit: float = float("inf"),
) -> dict[str, Timing]:
    """Time candidates in turn, so that other load affects all of them.

    A candidate stops after ``limit`` seconds; each one runs at least once.
    """
    first: dict[str, float] = {}
    runs: dict[str, list[float]] = {name: [] for name in candidates}
    for name, candidate in candidates.items():
        first[name] = _time(candidate)
    for _ in range(num_repeats):
        for name, candidate in candidates.items():
            if sum(runs[name]) < limit:
                runs[name].append(_time(candidate))
    return {name: Timing(first[name], runs[name]) for name in candidates}


def ratio(above: list[float], below: list[float]) -> float:
    """The median of the ratios of neighbouring runs."""
    return statistics.median(a / b for a, b in zip(above, below, strict=False))


class Compiled(NamedTuple):
    """A compiled program before its first run."""

    call: Callable[[], Any]
    seconds: float | None  # of tracing and compiling; None if it is not one program
    megabytes: float | None  # peak of a run: arguments, results and temporaries


def compiled(candidate: Callable[[], Any]) -> Compiled:
    """A ``partial`` of a jitted function, compiled; any other call unchanged."""
    if not hasattr(getattr(candidate, "func", None), "lower"):
        return Compiled(candidate, None, None)
    assert isinstance(candidate, functools.partial)
    begin = time.perf_counter()
    program = candidate.func.lower(*candidate.args).compile()
    seconds = time.perf_counter() - begin
    call = functools.partial(program, *candidate.args)
    found = program.memory_analysis()
    if found is None:
        return Compiled(call, seconds, None)
    size = (
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        + found.temp_size_in_bytes
    )
    return Compiled(call, seconds, (size - found.alias_size_in_bytes) / 1e6)


def machine() -> dict[str, Any]:
    """Device, versions and date of a measurement."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    device = jax.devices()[0]
    return {
        "device": f"{device.device_kind} ({device.platform})",
        "num_devices": jax.device_count(),
        "python": platform.python_version(),
        "versions": versions,
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }


def keep(name: str, rows: list[dict[str, Any]]) -> Path:
    """Write rows and the machine to ``results/NAME-PLATFORM.json``."""
    path = path_of(name)
    write(path, {"rows": rows})
    return path


def path_of(name: str) -> Path:
    """``results/NAME-PLATFORM.json``."""
    RESULTS.mkdir(exist_ok=True)
    return RESULTS / f"{name}-{jax.devices()[0].platform}.json"


def write(path: Path, content: dict[str, Any]) -> None:
    """Write content and machine atomically."""
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(json.dumps({"machine": machine(), **content}, indent=1) + "\n")
    os.replace(aside, path)


def _time(candidate) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(candidate())
    return time.perf_counter() - begin
