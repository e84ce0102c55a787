"""Timing side by side: candidates in alternation, medians, compilation apart from running."""

import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import jax

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("jax", "jaxlib", "ebmjax", "flax", "optax", "blackjax", "numpyro", "numpy")


class Timing(NamedTuple):
    """Of one candidate, in seconds."""

    first: float  # the first call, compilation and run
    runs: list[float]  # the later ones

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    @property
    def compilation(self) -> float:
        return max(self.first - self.median, 0.0)


def alternate(candidates: dict[str, Callable[[], Any]], *, num_repeats: int = 5) -> dict[str, Timing]:
    """Time candidates in turn, so that what slows the machine slows all of them."""
    first, runs = {}, {name: [] for name in candidates}
    for name, candidate in candidates.items():
        first[name] = _time(candidate)
    for _ in range(num_repeats):
        for name, candidate in candidates.items():
            runs[name].append(_time(candidate))
    return {name: Timing(first[name], runs[name]) for name in candidates}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
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
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{jax.devices()[0].platform}.json"
    path.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    return path


def _time(candidate) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(candidate())
    return time.perf_counter() - begin
