"""Roofline: operations per byte against operations per second, with measured ceilings.

The ceilings are those of a product of two large matrices, of a large copy (read and
written), and of a repeated copy of 256 kB, which stays in cache.  Operations and bytes
of a step are XLA's counts in the compiled program of one step of all chains, including
the integer operations of the random numbers.  Most states fit into a cache, so the
reference is the cache bandwidth or the peak, whichever is lower.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

import ebmjax as eb
from benchmarks import floor
from benchmarks.measure import alternate
from benchmarks.peers_jax import ENERGY, L, step_sizes

SMALL, COPIES = 2**16, 5000


def ceilings(num_repeats: int = 5) -> dict[str, float]:
    """Operations and bytes per second."""
    is_cpu = jax.default_backend() == "cpu"
    size, length = (2048, 2**26) if is_cpu else (8192, 2**29)
    matrix = jax.random.normal(jax.random.key(0), (size, size))
    vector = jnp.ones(length)
    product = jax.jit(lambda a: jnp.dot(a, a, precision="highest"))
    copy = jax.jit(lambda x: x + 1.0)
    again = jax.jit(lambda x: jax.lax.fori_loop(0, COPIES, lambda i, x: x + 1.0, x))
    calls = {"product": lambda: product(matrix), "copy": lambda: copy(vector)}
    calls["again"] = lambda: again(jnp.ones(SMALL))
    best = {
        name: min(t.runs)
        for name, t in alternate(calls, num_repeats=num_repeats).items()
    }
    return {
        "operations/s": 2 * size**3 / best["product"],
        "bytes/s": 8 * length / best["copy"],
        "bytes/s in cache": 8 * SMALL * COPIES / best["again"],
    }


def cells() -> dict[str, tuple[Any, tuple[int, ...], int]]:
    """Name to kernel, shape of a point, chains."""
    found: dict[str, tuple[Any, tuple[int, ...], int]] = {}
    for dim in (2, 100):
        sizes = step_sizes(dim)
        kernels = {
            "random walk": eb.random_walk(ENERGY, sizes["random_walk"]),
            "MALA": eb.mala(ENERGY, sizes["mala"]),
            f"HMC, {L} steps": eb.hmc(ENERGY, sizes["hmc"], L),
        }
        found |= {
            f"{name}, Gaussian {dim}-d": (k, (dim,), 1024)
            for name, k in kernels.items()
        }
    for name, (energy, shape, num_chains) in floor.energies().items():
        if name != "quadratic":
            found[f"MALA, {name}"] = floor.kernels(energy)["mala"][0], shape, num_chains
    return found


def rows(
    *, is_quick: bool, num_repeats: int = 5
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """``(number, total, row)``: the ceilings, then one row per kernel and target."""
    found = cells()
    total = len(found) + 1
    ceiling = ceilings(num_repeats)
    yield 1, total, {"cell": "ceilings", "operations/byte": None, **ceiling}
    for number, (name, (kernel, shape, num_chains)) in enumerate(found.items(), 2):
        key = jax.random.key(0)
        positions = jax.random.normal(key, (num_chains, *shape))
        both = eb.parallel(kernel)
        keys, state = eb.chain_keys(key, num_chains), jax.jit(both.init)(positions)
        cost = jax.jit(both.step).lower(keys, state).compile().cost_analysis()
        cost = cost[0] if isinstance(cost, list) else cost
        num_steps = max(
            10, min(2000, int((2e9 if is_quick else 1e10) / max(cost["flops"], 1.0)))
        )
        call = floor.ours(kernel, num_steps, key, positions)
        timing = alternate({"run": call}, num_repeats=num_repeats)["run"]
        rate = num_steps / timing.median
        slope = max(ceiling["bytes/s"], ceiling["bytes/s in cache"])
        bound = min(
            ceiling["operations/s"], slope * cost["flops"] / cost["bytes accessed"]
        )
        row = {"cell": name, "num_chains": num_chains, "num_steps": num_steps}
        row |= {"operations/byte": cost["flops"] / cost["bytes accessed"]}
        row |= {
            "operations/s": rate * cost["flops"],
            "bytes/s": rate * cost["bytes accessed"],
        }
        row |= {"of the ceiling": rate * cost["flops"] / bound, "runs": timing.runs}
        yield number, total, row
