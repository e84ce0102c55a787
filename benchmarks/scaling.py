"""Cost of a chain-step against the number of chains, to a million, and of devices.

chains    HMC with 5 steps on a 2-d energy, nothing stored, in one process; against
          1024 chains
devices   ``sample`` on 1, 2, 4 devices with as many chains on each: the available
          accelerators, or virtual CPU devices in a separate process, which share the
          cores of this machine, so that ideal scaling costs as many times as much; and
          the collectives in its compiled program, with those of a mean over chains,
          which needs one
"""

import functools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

import ebmjax as eb
from benchmarks.measure import alternate, compiled, ratio
from ebmjax.sampling import _chunk_programs, devices
from ebmjax.sampling._chunked_run import DISCARD

KEY = jax.random.key(11)
ENERGY = lambda x: 0.5 * jnp.sum(x**2) + jnp.sum(jnp.cos(x))
VIRTUAL = "--xla_force_host_platform_device_count=4"
COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
)
CHAINS, QUICK_CHAINS = tuple(4**k for k in range(11)), (1, 64, 1024, 16384, 2**18)
BASE = 1024
WORK = 2**21  # chain-steps of a run
COUNTS = (1, 2, 4)


def rows(
    *, is_quick: bool, num_repeats: int = 5
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """``(number, total, row)``: numbers of chains, then numbers of devices."""
    chains = QUICK_CHAINS if is_quick else CHAINS
    total = len(chains) + len(COUNTS)
    for number, row in enumerate(over_chains(chains, num_repeats), 1):
        yield number, total, row
    for number, row in enumerate(over_devices(num_repeats), len(chains) + 1):
        yield number, total, row


def over_chains(chains: tuple[int, ...], num_repeats: int) -> list[dict[str, Any]]:
    """One row per number of chains; all of them alternate."""
    kernel = eb.hmc(ENERGY, 0.3, 5)

    def steps(num_chains):
        return max(2, min(4096, WORK // num_chains))

    def program(num_chains):
        def run(key, positions):
            both = eb.parallel(kernel)
            keys, state = eb.chain_keys(key, num_chains), both.init(positions)
            return eb.run(keys, both, state, steps(num_chains), collect=eb.discard)[0]

        return compiled(functools.partial(jax.jit(run), KEY, jnp.ones((num_chains, 2))))

    programs = {c: program(c) for c in chains}
    timed = alternate(
        {str(c): p.call for c, p in programs.items()}, num_repeats=num_repeats
    )
    cost = {c: [t / c / steps(c) for t in timed[str(c)].runs] for c in chains}
    return [
        {
            "what": "chains",
            "chains": c,
            "devices": 1,
            "ns a chain-step": 1e9 * statistics.median(cost[c]),
            "x base": ratio(cost[c], cost[BASE]),
            "MB": programs[c].megabytes,
            "num_steps": steps(c),
            "runs": timed[str(c)].runs,
        }
        for c in chains
    ]


def over_devices(num_repeats: int) -> list[dict[str, Any]]:
    """One row per number of devices."""
    if jax.default_backend() != "cpu":
        return of_devices(num_repeats)
    flags = f"{os.environ.get('XLA_FLAGS', '')} {VIRTUAL}"
    command = [sys.executable, "-m", "benchmarks.scaling", str(num_repeats)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def of_devices(
    num_repeats: int, num_chains: int = 1024, num_steps: int = 1000
) -> list[dict[str, Any]]:
    """On the devices of this process."""
    kernel, counts = (
        eb.hmc(ENERGY, 0.3, 5),
        [n for n in COUNTS if n <= jax.device_count()],
    )
    run = lambda n: eb.sample(
        KEY,
        kernel,
        jnp.ones((n * num_chains, 2)),
        num_steps,
        collect=eb.discard,
        devices=n,
    )
    calls = {str(n): lambda n=n: run(n).state for n in counts}
    runs = {
        n: timed.runs for n, timed in alternate(calls, num_repeats=num_repeats).items()
    }
    is_shared = jax.default_backend() == "cpu"  # virtual devices, on the same cores
    found = []
    for n in counts:
        share = n if is_shared else 1
        ratios = [a / b / share for a, b in zip(runs[str(n)], runs["1"], strict=True)]
        of_sample, of_mean = collectives(kernel, n, num_chains)
        found.append(
            {
                "what": "devices",
                "chains": n * num_chains,
                "devices": n,
                "ns a chain-step": 1e9
                * statistics.median(runs[str(n)])
                / n
                / num_chains
                / num_steps,
                "x base": statistics.median(ratios),
                "MB": None,
                "num_steps": num_steps,
                "collectives": of_sample,
                "collectives of a mean": of_mean,
                "runs": runs[str(n)],
            }
        )
    return found


def collectives(kernel, num_devices, num_chains) -> tuple[int, int]:
    """The number in the compiled program of ``sample``, and in that of a mean over
    chains, which needs one."""
    mesh = devices.mesh_of(num_devices)
    keys = devices.spread(eb.chain_keys(KEY, num_devices * num_chains), mesh)
    state = eb.parallel(kernel).init(devices.spread(jnp.ones((len(keys), 2)), mesh))
    sizes = {"num_steps": 10, "thin": 1}
    lowered = _chunk_programs.chunk.lower(
        kernel, DISCARD, keys, state, 0, None, **sizes
    )
    control = jax.jit(jnp.mean).lower(state.energy)
    texts = [program.compile().as_text() for program in (lowered, control)]
    sample, mean = (
        sum(text.count(f" {name}(") for name in COLLECTIVES) for text in texts
    )
    return sample, mean


if __name__ == "__main__":
    print(json.dumps(of_devices(int(sys.argv[1]))))
