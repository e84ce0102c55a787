"""Bytes stored by a run, and its peak, by default, streaming, and at ten times the
steps.

ebmjax default     ``sample``: positions, and a few numbers per chain
ebmjax moments, batch means, nothing
                   ``sample`` with a running statistic, or with nothing, as ``collect``
blackjax default   ``run_inference_algorithm`` vmapped over chains: states and infos of
                   all steps
blackjax best      a scan that stores positions

Each is measured in a separate process.  kept: the bytes of the result.  peak: the
largest memory of a second run above that of the process before; resident memory on
CPUs, ``peak_bytes_in_use`` on accelerators.
"""

import functools
import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import blackjax
import jax

import ebmjax as eb
from benchmarks import peers_jax
from benchmarks.peers_jax import ENERGY, L, step_sizes
from ebmjax.diagnostics import streaming

DIM, NUM_CHAINS, NUM_STEPS = 100, 64, 1000
MAKERS = {
    "random_walk": eb.random_walk,
    "mala": eb.mala,
    "hmc": functools.partial(eb.hmc, num_steps=L),
}
KERNELS = tuple(MAKERS)
# Large blocks go back to the system when they are freed; accelerators hold no memory in
# reserve.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


def ours(collect, name, num_steps, key, positions):
    kernel = MAKERS[name](ENERGY, step_size=step_sizes(DIM)[name])
    options = {} if collect is None else {"collect": collect}
    return lambda: eb.sample(key, kernel, positions, num_steps, **options)


def blackjax_default(name, num_steps, key, positions):
    kernel = peers_jax.of_blackjax(name, DIM)

    def of_chain(key, position):
        return blackjax.util.run_inference_algorithm(
            key, kernel, num_steps, initial_position=position
        )

    return lambda: jax.vmap(of_chain)(jax.random.split(key, NUM_CHAINS), positions)


def blackjax_best(name, num_steps, key, positions):
    return peers_jax.blackjax_best(name, DIM, num_steps, key, positions)


FORMS: dict[str, Callable[..., Callable[[], Any]]] = {
    "ebmjax default": functools.partial(ours, None),
    "ebmjax moments": functools.partial(ours, streaming.moments()),
    "ebmjax batch means": functools.partial(ours, streaming.batch_means()),
    "ebmjax nothing": functools.partial(ours, eb.discard),
    "blackjax default": blackjax_default,
    "blackjax best": blackjax_best,
}


def rows(*, is_quick: bool) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """``(number, total, row)``, one row per kernel and form."""
    cells = [
        (name, form) for name in (("mala",) if is_quick else KERNELS) for form in FORMS
    ]
    for number, (name, form) in enumerate(cells, 1):
        row: dict[str, Any] = {
            "kernel": name,
            "form": form,
            "num_chains": NUM_CHAINS,
            "dim": DIM,
        }
        for times in (1, 10):
            found = _in_process(name, form, times * NUM_STEPS)
            positions = 4 * DIM * NUM_CHAINS * NUM_STEPS * times / 1e6
            row[f"kept MB {times}x"] = found["kept"] / 1e6
            row[f"peak MB {times}x"] = found["peak"] / 1e6
            row[f"kept / positions {times}x"] = found["kept"] / 1e6 / positions
        yield number, len(cells), row


def _in_process(name, form, num_steps) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", name, form, str(num_steps)]
    done = subprocess.run(
        command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, form: str, num_steps: int) -> dict[str, float]:
    """In this process: bytes stored, and the peak of a run after the first."""
    key = jax.random.key(0)
    run = FORMS[form](name, num_steps, key, jax.random.normal(key, (NUM_CHAINS, DIM)))
    kept = sum(
        x.nbytes
        for x in jax.tree.leaves(jax.block_until_ready(run()))
        if hasattr(x, "nbytes")
    )
    gc.collect()
    stats = jax.devices()[0].memory_stats()
    if stats:  # the peak of both runs, which are equal
        return {"kept": kept, "peak": stats["peak_bytes_in_use"]}
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    before = _status("VmRSS")
    jax.block_until_ready(run())
    return {"kept": kept, "peak": 1024 * (_status("VmHWM") - before)}


def _status(field: str) -> int:
    """Memory of this process, in kilobytes."""
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
