"""What runs on an H100: launches, bytes and temporary memory of a step, and what bounds
its time, beside BlackJAX and NumPyro in their best form.

With a GPU at hand seconds are measured, too.  Without one XLA compiles for an H100 that
is not there (:mod:`benchmarks.gpu_program`), and no time is known: the bound is that of
launches of two microseconds each and of bytes over the bandwidth of the card.

    random_walk, mala, hmc   1024 steps of 1024 chains, D = 2, 10, 100, a standard
                             normal; with a GPU also 64 and 16384 chains, D = 10
    hmc of ...               the same with a matrix product in the gradient, and two
    nuts                     launches a leaf of the tree, D = 10
    fused                    the same in two launches (:mod:`ebmjax.fused.run`),
                             D = 2, 10
    training                 an update of persistent training, beside a chain step of it
    8 devices                collectives of a run whose chains are divided
"""

import functools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ebmjax as eb
from benchmarks import gpu_counts, gpu_program, measure
from benchmarks.accelerator_programs import (
    UPDATES,
    blackjax_nuts,
    chain_steps,
    gaussian_energy,
    hmc_of,
    in_two_launches,
    logistic_energy,
    ours,
    training_updates,
)
from benchmarks.peers_jax import ENERGY, blackjax_best, numpyro_best
from benchmarks.training_candidates import PROBLEMS
from ebmjax.base import scalar

STEPS, CHAINS, DIMS = 1024, 1024, (2, 10, 100)
FEWER, MORE, LARGEST_FUSED = 64, 16384, 10  # chains; coordinates
PRODUCTS = (
    ("dense Gaussian", 100, gaussian_energy),
    ("logistic regression", 24, logistic_energy),
)
NUM_COMPILED = 8  # at the same time, with a GPU


def rows(*, is_quick: bool, num_repeats: int = 5) -> Iterator[tuple[int, int, dict]]:
    """``(number, total, row)``, a row a program."""
    found = list(cells(is_quick=is_quick))
    is_divided = not has_gpu()
    total = len(found) + is_divided
    programs = _compiled_together([make for _, _, make in found])
    for number, (cell, unit, _) in enumerate(found, 1):
        yield number, total, cell | report(next(programs), unit, num_repeats)
    if is_divided:
        yield total, total, divided()


def _compiled_together(makes: list[Callable]) -> Iterator:
    """Programs of a GPU that is there, all of them before the first is timed; others
    one after the other."""
    if not has_gpu():
        yield from map(compiled, makes)
        return
    with ThreadPoolExecutor(NUM_COMPILED) as pool:
        programs = list(pool.map(compiled, makes))
    yield from programs


def compiled(make: Callable) -> tuple[Any, tuple, float]:
    """A program of a GPU, what it is called with, and the seconds that it took."""
    f, arguments = make()
    begin = time.perf_counter()
    if has_gpu():
        program = jax.jit(f).lower(*arguments).compile()
    else:
        program = gpu_program.compiled(f, *arguments)
    return program, arguments, time.perf_counter() - begin


def report(
    compiled: tuple[Any, tuple, float], unit: float, num_repeats: int = 5
) -> dict[str, Any]:
    """Counts of a program, ``unit`` steps of it; its seconds where there is a GPU."""
    program, arguments, seconds = compiled
    found = gpu_counts.counts(program)
    row = {
        "launches/step": found.launches / unit,
        "launches/turn": max(found.unknown_loops.values(), default=None),
        "kB/step": found.bytes / unit / 1e3,
        "temporary MB": found.temporary / 1e6,
        "bound us/step": found.bound() / unit * 1e6,
        "measured us/step": None,
        "compilation": seconds,
    }
    if has_gpu():
        run = functools.partial(program, *arguments)
        timing = measure.alternate({"it": run}, num_repeats=num_repeats)["it"]
        row["measured us/step"] = timing.median / unit * 1e6
        row["us/step of each run"] = [t / unit * 1e6 for t in timing.runs]
    return row


def has_gpu() -> bool:
    return jax.default_backend() == "gpu"


def cells(*, is_quick: bool) -> Iterator[tuple[dict, float, Callable]]:
    """What it is, steps in it, and a maker of a function and its arguments."""
    sizes = [(dim, CHAINS) for dim in (DIMS[1:2] if is_quick else DIMS)]
    if has_gpu() and not is_quick:
        sizes += [(DIMS[1], FEWER), (DIMS[1], MORE)]
    for dim, num_chains in sizes:
        for name in ("random_walk", "mala", "hmc"):
            peers = {"ebmjax": ours, "ebmjax fused": in_two_launches}
            peers |= {"blackjax": blackjax_best}
            if dim > LARGEST_FUSED:
                del peers["ebmjax fused"]
            if name == "hmc":
                peers["numpyro"] = numpyro_best
            yield from _each(peers, name, dim, num_chains)
    peers = {"ebmjax": ours, "ebmjax fused": in_two_launches, "blackjax": blackjax_nuts}
    for _, num_chains in [s for s in sizes if s[0] == DIMS[1]]:
        yield from _each(peers, "nuts", DIMS[1], num_chains)
    for what, dim, energy in PRODUCTS:
        cell = {"program": f"hmc of a {what}", "dim": dim, "chains": CHAINS}
        make = functools.partial(_with_products, energy, dim)
        yield cell | {"library": "ebmjax"}, STEPS, make
    for name in ("images",) if is_quick else ("points", "images"):
        problem = PROBLEMS[name]
        chain_step = {"program": f"{problem.chain_steps} chain steps of {name}"}
        update = {"program": f"an update of {name}"}
        for cell, unit, make in (
            (chain_step, 1, chain_steps),
            (update, UPDATES, training_updates),
        ):
            cell |= {"dim": problem.widths[0], "library": "ebmjax"}
            yield cell, unit, functools.partial(make, problem)


def _with_products(energy, dim):
    return hmc_of(energy(dim), dim, STEPS, CHAINS)


def _each(peers, name, dim, num_chains):
    for library, make in peers.items():
        cell = {"program": name, "dim": dim, "chains": num_chains, "library": library}
        yield cell, STEPS, functools.partial(_of, make, name, dim, num_chains)


def _of(make, name, dim, num_chains):
    positions = jnp.zeros((num_chains, dim))
    call = make(name, dim, STEPS, jax.random.key(0), positions)
    return call.func.__wrapped__, call.args


def divided(name: str = "mala", dim: int = 10, num_devices: int = 8) -> dict:
    """Collectives of a run of divided chains, for cards that are not there."""
    positions = jnp.zeros((CHAINS, dim))
    kernel = eb.parallel(getattr(eb, name)(ENERGY, 0.5))
    keys = eb.chain_keys(jax.random.key(0), CHAINS)

    def run(keys, positions):
        return eb.run(keys, kernel, kernel.init(positions), STEPS).draws

    program = gpu_program.compiled(
        run, keys, positions, num_devices=num_devices, rows=(True, True)
    )
    found = gpu_counts.counts(program)
    return {
        "program": f"{name} over {num_devices} devices",
        "dim": dim,
        "library": "ebmjax",
        "launches/step": found.launches / STEPS,
        "collectives": sum(found.collectives.values()),
    }


def precision() -> Iterator[dict]:
    """Largest error of the energies of 256 points, a logistic regression of 1,000
    observations and 24 coordinates, against float64: with the products of the device's
    default, and as the library evaluates them."""
    key = jax.random.key(0)
    features = jax.random.normal(key, (1000, 24))
    labels = jax.random.bernoulli(key, 0.5, (1000,)).astype(jnp.float32)
    points = 0.3 * jax.random.normal(key, (256, 24))

    def energy(x):
        logits = features @ x
        loss = jnp.sum(jnp.logaddexp(0.0, logits) - labels * logits)
        return loss + 0.5 * jnp.sum(x**2)

    wide = [np.asarray(x, np.float64) for x in (features, labels, points)]
    logits = wide[0] @ wide[2].T
    exact = np.logaddexp(0, logits) - wide[1][:, None] * logits
    exact = exact.sum(0) + 0.5 * (wide[2] ** 2).sum(1)
    for name, f in (("default", energy), ("ebmjax", scalar(energy))):
        found = np.asarray(jax.jit(jax.vmap(f))(points), np.float64)
        error = float(np.abs(found - exact).max())
        yield {"products": name, "energy": float(exact.mean()), "error": error}
