"""Chain-steps a second on a Gaussian, positions stored, against BlackJAX as documented and at its best.

documented: the loop of BlackJAX's guide to several chains: scan over steps, in each a split of the step's key
    over the chains and a vmapped step, states returned.
best: the same within one ``jit``, positions returned and nothing else.
"""

import functools
import itertools
import statistics
from collections.abc import Iterator
from typing import Any

import blackjax
import jax
import jax.numpy as jnp

import ebmjax as eb
from benchmarks.measure import alternate

L = 10
DIMS, CHAINS = (2, 10, 100, 1000), (1, 8, 64, 1024, 16384)
QUICK_DIMS, QUICK_CHAINS = (2, 100), (1, 64, 1024)
WORK = 2e6  # numbers stored in a run, so that each takes a fraction of a second

ENERGY = lambda x: 0.5 * jnp.sum(x**2)
LOG_DENSITY = lambda x: -ENERGY(x)


def kernels(dim: int) -> dict[str, tuple[Any, Any]]:
    """Ours and BlackJAX's, with the same step sizes."""
    walk, step, unit = 2.38 / dim**0.5, 1.2 / dim**0.25, jnp.ones(dim)
    return {
        "random_walk": (
            eb.random_walk(ENERGY, walk),
            blackjax.additive_step_random_walk(
                LOG_DENSITY, blackjax.mcmc.random_walk.normal(walk * jnp.ones(dim))
            ),
        ),
        "mala": (eb.mala(ENERGY, step), blackjax.mala(LOG_DENSITY, step_size=step**2 / 2)),
        "hmc": (
            eb.hmc(ENERGY, 0.3 * step, L),
            blackjax.hmc(
                LOG_DENSITY, step_size=0.3 * step, inverse_mass_matrix=unit, num_integration_steps=L
            ),
        ),
    }


def ours(kernel, num_steps, key, positions):
    def run(key, positions):
        chains = eb.parallel(kernel)
        keys = eb.chain_keys(key, len(positions))
        return eb.run(keys, chains, chains.init(positions), num_steps)[1]

    return functools.partial(jax.jit(run), key, positions)


def documented(kernel, num_steps, key, positions):
    @jax.jit
    def one_step(states, key):
        keys = jax.random.split(key, len(positions))
        states, _ = jax.vmap(kernel.step)(keys, states)
        return states, states

    def run():
        states = jax.vmap(kernel.init)(positions)
        return jax.lax.scan(one_step, states, jax.random.split(key, num_steps))[1]

    return run


def best(kernel, num_steps, key, positions):
    def run(key, positions):
        def one_step(states, key):
            keys = jax.random.split(key, len(positions))
            states, _ = jax.vmap(kernel.step)(keys, states)
            return states, states.position

        return jax.lax.scan(one_step, jax.vmap(kernel.init)(positions), jax.random.split(key, num_steps))[1]

    return functools.partial(jax.jit(run), key, positions)


def rows(*, is_quick: bool, num_repeats: int = 5) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """``(number, total, row)`` of each cell of the grid."""
    dims, chains = (QUICK_DIMS, QUICK_CHAINS) if is_quick else (DIMS, CHAINS)
    grid = list(itertools.product(("random_walk", "mala", "hmc"), dims, chains))
    for number, (name, dim, num_chains) in enumerate(grid, 1):
        num_steps = max(20, min(20_000, int(WORK / (dim * num_chains))))
        mine, peer = kernels(dim)[name]
        key = jax.random.key(0)
        positions = jax.random.normal(key, (num_chains, dim))
        timings = alternate(
            {
                "ebmjax": ours(mine, num_steps, key, positions),
                "documented": documented(peer, num_steps, key, positions),
                "best": best(peer, num_steps, key, positions),
            },
            num_repeats=num_repeats,
        )
        row: dict[str, Any] = {"kernel": name, "dim": dim, "num_chains": num_chains, "num_steps": num_steps}
        for candidate, timing in timings.items():
            row[f"{candidate} chain-steps/s"] = num_chains * num_steps / timing.median
            row[f"{candidate} compilation"] = timing.compilation
            row[f"{candidate} runs"] = timing.runs
        for peer_form in ("documented", "best"):
            ratios = [b / a for a, b in zip(timings["ebmjax"].runs, timings[peer_form].runs, strict=True)]
            row[f"x {peer_form}"] = statistics.median(ratios)
        yield number, len(grid), row


def geometric_mean(values) -> float:
    return statistics.geometric_mean(values)
