"""This code against an older checkout of it, both in one run.

    git worktree add /tmp/before COMMIT
    python -m benchmarks checkout /tmp/before

Each checkout runs in a separate process; the runs of a cell alternate.  The cells are
those of ``throughput``: chain-steps per second on a Gaussian, positions stored, and the
memory of the program; compilation is that of a program compiled for the first time.
"""

import functools
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import measure

KERNELS = ("random_walk", "mala", "hmc")
DIMS, CHAINS = (2, 10, 25, 100, 1000), (1, 8, 64, 1024, 16384)
QUICK_DIMS, QUICK_CHAINS = (2, 100), (1, 64, 1024)
WORK, LARGEST = 2e6, 20_000  # numbers stored in a run, and its steps
SHORTEST = 0.1  # seconds of a measurement: a short run is repeated until then
LOW, AGAIN = 0.97, 2  # a cell below is measured longer: so many more rounds, all kept
HERE = Path(__file__).parent.parent


class Worker:
    """A process that imports ``ebmjax`` from one checkout and runs cells on demand."""

    def __init__(self, checkout: Path):
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(Path(__file__)), str(checkout)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **what: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the worker of a checkout ended; see its error above")
        return json.loads(line)

    def close(self) -> None:
        self.process.terminate()


def rows(
    before: Path,
    *,
    is_quick: bool,
    num_repeats: int = 9,
    cells: tuple[str, ...] = (),
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """``(number, total, row)`` of each cell of the grid, or of some, ``mala 10 64``."""
    dims, chains = (QUICK_DIMS, QUICK_CHAINS) if is_quick else (DIMS, CHAINS)
    grid = list(itertools.product(KERNELS, dims, chains))
    names = [" ".join(map(str, cell)) for cell in grid]
    if unknown := set(cells) - set(names):
        raise SystemExit(f"no such cell: {', '.join(unknown)}; one is {names[0]}")
    grid = [
        c for c, name in zip(grid, names, strict=True) if not cells or name in cells
    ]
    workers = {"before": Worker(before), "now": Worker(HERE)}
    try:
        for number, (name, dim, num_chains) in enumerate(grid, 1):
            num_steps = max(10, min(LARGEST, int(WORK / (dim * num_chains))))
            cell = {"kernel": name, "dim": dim, "num_chains": num_chains}
            cell["num_steps"] = num_steps
            yield number, len(grid), _row(workers, cell, num_repeats)
    finally:
        for worker in workers.values():
            worker.close()


def _row(workers, cell, num_repeats):
    built = {name: worker.ask(build=cell) for name, worker in workers.items()}
    runs: dict[str, list[float]] = {name: [] for name in workers}
    for rounds in (num_repeats, AGAIN * num_repeats):
        for _ in range(rounds):
            for name, worker in workers.items():
                runs[name].append(worker.ask(run=True)["seconds"])
        if measure.ratio(runs["before"], runs["now"]) >= LOW:
            break
    row = {**cell, "x before": measure.ratio(runs["before"], runs["now"])}
    for name in workers:
        row[f"{name} compilation"] = built[name]["compilation"]
        row[f"{name} peak MB"] = built[name]["megabytes"]
        row[f"{name} runs"] = runs[name]
    return row


def summary(found: list[dict[str, Any]]) -> list[str]:
    """Geometric means over the grid, and the minimum."""
    speed = [row["x before"] for row in found]
    compilation = [row["now compilation"] / row["before compilation"] for row in found]
    memory = [row["now peak MB"] / row["before peak MB"] for row in found]
    mean = statistics.geometric_mean
    return [
        f"speed {mean(speed):.3f} of before, {min(speed):.2f} to {max(speed):.2f}",
        f"compilation {mean(compilation):.3f} of before",
        f"memory {mean(memory):.3f} of before, at most {max(memory):.2f}",
    ]


# --- the worker ---------------------------------------------------------------------


def serve(checkout: str) -> None:
    """Answer each line of input with one line."""
    sys.path.insert(0, checkout)
    sys.path = [p for p in sys.path if Path(p or ".").resolve() != HERE / "benchmarks"]
    import jax

    import ebmjax as eb

    assert str(Path(eb.__file__).resolve()).startswith(str(Path(checkout).resolve()))
    program, num_calls = None, 1
    for line in sys.stdin:
        request = json.loads(line)
        if "build" in request:
            jax.clear_caches()
            begin = time.perf_counter()
            program = _build(eb, **request["build"])
            seconds = time.perf_counter() - begin
            size = program.func.memory_analysis()
            total = size.temp_size_in_bytes + size.output_size_in_bytes
            answer = {"compilation": seconds, "megabytes": max(total, 1) / 1e6}
            jax.block_until_ready(program())
            num_calls = max(1, round(SHORTEST / _seconds(program, 3)))
        else:
            answer = {"seconds": _seconds(program, num_calls)}
        print(json.dumps(answer), flush=True)


def _seconds(program, num_calls):
    """Of one call, the mean over several."""
    import jax

    begin = time.perf_counter()
    for _ in range(num_calls):
        jax.block_until_ready(program())
    return (time.perf_counter() - begin) / num_calls


def _build(eb, kernel, dim, num_chains, num_steps):
    import jax
    import jax.numpy as jnp

    step = 1.2 / dim**0.25
    sizes = {"random_walk": 2.38 / dim**0.5, "mala": step, "hmc": 0.3 * step}
    options = {"num_steps": 10} if kernel == "hmc" else {}
    made = getattr(eb, kernel)(lambda x: 0.5 * jnp.sum(x**2), sizes[kernel], **options)

    def run(key, positions):
        chains = eb.parallel(made)
        keys = eb.chain_keys(key, len(positions))
        return eb.run(keys, chains, chains.init(positions), num_steps)[1]

    key = jax.random.key(0)
    positions = jax.random.normal(key, (num_chains, dim))
    return functools.partial(
        jax.jit(run).lower(key, positions).compile(), key, positions
    )


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    serve(sys.argv[1])
