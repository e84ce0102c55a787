"""log Z: brackets against exact values, and SMC compared with BlackJAX's.

``brackets``: on each target 20 seeds of annealed importance sampling, forward and in
reverse from exact draws, in one program.  Results: the number of seeds in which the
exact log Z lies between the bounds, their width, the error of Bennett's estimate,
seconds.

``side_by_side``: estimates of log Z by our SMC, by ours annealed (pilot and both
directions), and by BlackJAX's adaptive tempered SMC with the same kernel, Hamiltonian
Monte Carlo of 5 leapfrog steps.  BlackJAX's step size is fixed by its user: it gets the
last one of our run.  Work is the number of gradients of the energy in a run; the
efficiency is 1 / (mean squared error x gradients).
"""

import functools
import itertools
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.log_z_methods import METHODS
from benchmarks.log_z_problems import PROBLEMS, RIVALS, Problem
from ebmjax.tempering.annealing import anneal
from ebmjax.tempering.bennett import bennett
from ebmjax.tempering.paths import geometric
from ebmjax.tempering.schedule import pilot

CONFIDENCE = 0.999
NUM_REPEATS = 64


def brackets(names: tuple[str, ...], num_seeds: int) -> Iterator[tuple]:
    """One row per target, when it is done."""
    for number, name in enumerate(names, 1):
        row = {"target": name} | bracket(PROBLEMS[name](), num_seeds)
        yield number, len(names), row


def bracket(problem: Problem, num_seeds: int) -> dict[str, Any]:
    """Bounds of all seeds against the exact value."""
    path = geometric(problem.base, problem.energy)
    make_kernel, num = problem.make_kernel, problem.num_chains
    begin = time.perf_counter()
    schedule = pilot(
        jax.random.key(0), path, make_kernel, num_levels=problem.num_levels
    )
    tuning = time.perf_counter() - begin
    betas, sizes = (jnp.asarray(x, jnp.float32) for x in schedule)

    @functools.partial(jax.jit, static_argnames="is_reversed")
    def run(keys, x, is_reversed):
        one = lambda key, x: anneal(
            key,
            path,
            make_kernel,
            betas,
            sizes,
            x,
            is_reversed=is_reversed,
            num_relax=20 if is_reversed else 0,
        )
        return jax.vmap(one)(keys, x)

    seeds = [jax.random.key(1000 + i) for i in range(num_seeds)]
    x = {
        False: jnp.stack([path.base.sample(k, num) for k in seeds]),
        True: jnp.stack([problem.sample(k, num) for k in seeds]),
    }
    begin, ends = time.perf_counter(), {}
    for is_reversed, starts in x.items():
        keys = jax.random.split(jax.random.key(int(is_reversed)), num_seeds)
        ends[is_reversed] = jax.block_until_ready(run(keys, starts, is_reversed))
    seconds = (time.perf_counter() - begin) / num_seeds
    found = []
    for i in range(num_seeds):
        ahead, back = (
            jax.tree.map(lambda leaf, i=i: leaf[i], ends[is_reversed])
            for is_reversed in (False, True)
        )
        found.append(bennett(ahead, back, confidence=CONFIDENCE))
    estimates = np.array([z.log_z for z in found])
    exact = np.full(num_seeds, problem.log_z)
    if not np.isfinite(problem.log_z):  # the mean of the other seeds in its place
        exact = (estimates.sum() - estimates) / max(1, num_seeds - 1)
    errors = estimates - exact
    held = [z.lower < x < z.upper for z, x in zip(found, exact, strict=True)]
    return {
        "exact": problem.log_z,
        "held": int(sum(held)),
        "num_seeds": num_seeds,
        "width": float(np.mean([z.width for z in found])),
        "error": float(np.sqrt((errors**2).mean())),
        "standard_error": float(np.mean([z.standard_error for z in found])),
        "levels": problem.num_levels,
        "chains": num,
        "seconds a seed, compilation included": seconds,
        "seconds of the pilot": tuning,
    }


def side_by_side(names: tuple[str, ...], num_repeats: int) -> Iterator[tuple]:
    """A row for each target and method."""
    rows = list(itertools.product(names, METHODS))
    step_size = None
    for number, (name, method) in enumerate(rows, 1):
        problem = RIVALS[name]()
        estimate = METHODS[method]
        log_z, num_grads, step_size = estimate(problem, num_repeats, step_size)
        errors = np.asarray(log_z, np.float64) - problem.log_z
        error = float(np.sqrt((errors**2).mean()))
        row = {
            "target": name,
            "method": method,
            "error": error,
            "bias": float(errors.mean()),
            "gradients": float(num_grads),
            "efficiency": 1e6 / (error**2 * num_grads),
        }
        yield number, len(rows), row
