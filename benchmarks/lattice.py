"""The Ising model on a torus of 64 x 64 at its critical coupling, against thrml.

updates        sites a second: a sweep of block Gibbs on the two colours, here and by
               thrml 0.1.4 (``sample_states``); one site a step by ``flip``, whose step
               costs an energy of the lattice; cluster moves, all sites in a step
effective      effective samples a second of the absolute magnetisation, from runs of 8
               chains: ESS (bulk) over the seconds of the part of the run that counts,
               programs compiled ahead

thrml keeps spins as bools and couplings of every edge, which it gathers; the lattice of
:func:`ebmjax.energies.lattice.ising` has one coupling and slices of an array.  Both
draw a number a site.  The stationary law is the same, so that the difference of local
samplers in effective samples is that of their speed; a cluster move has another
autocorrelation time.
"""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ebmjax as eb
from benchmarks import measure
from ebmjax.diagnostics.convergence import ess_bulk, rhat
from ebmjax.energies.lattice import ISING_CRITICAL, ising
from ebmjax.kernels.cluster import swendsen_wang, wolff
from ebmjax.kernels.flip import flip
from ebmjax.kernels.gibbs import gibbs

SIDE = 64
CHAINS = (1, 16)
SWEEPS = {"gibbs": 200, "thrml": 200, "flip": 400, "swendsen_wang": 20, "wolff": 20}
MAKERS = {"gibbs": gibbs, "flip": flip, "swendsen_wang": swendsen_wang, "wolff": wolff}
NUM_CHAINS = 8  # of the runs for effective samples
LENGTHS = {"gibbs": (20_000, 20), "thrml": (20_000, 20)}  # steps, and which are kept
LENGTHS |= {"swendsen_wang": (1000, 1), "wolff": (2000, 1)}
CONVERGED = 1.1  # R-hat above which a run counts for nothing


def rows(*, is_quick: bool, num_repeats: int = 7) -> Iterator[tuple[int, int, dict]]:
    """``(number, total, row)``: sites a second, then effective samples a second."""
    names = list(LENGTHS)
    total = len(CHAINS) + len(names)
    for i, num_chains in enumerate(CHAINS):
        yield i + 1, total, updates(num_chains, num_repeats)
    for i, name in enumerate(names):
        yield len(CHAINS) + i + 1, total, effective(name, 10 if is_quick else 1)


# --- sites a second -----------------------------------------------------------------


def updates(num_chains: int, num_repeats: int) -> dict[str, Any]:
    """Sites a second of all candidates, in alternation in one process."""
    calls = {name: ours(name, num_chains) for name in MAKERS}
    calls["thrml"] = thrml_sweeps(num_chains)
    timings = measure.alternate(calls, num_repeats=num_repeats)
    row: dict[str, Any] = {"what": "sites/s", "num_chains": num_chains}
    for name, timing in timings.items():
        sites = SWEEPS[name] * num_chains * (1 if name == "flip" else SIDE**2)
        row[name] = sites / timing.median
        row[f"{name} compilation"] = timing.compilation
        row[f"{name} runs"] = timing.runs
    for name in ("thrml", "flip"):
        ratio = measure.ratio(timings[name].runs, timings["gibbs"].runs)
        per_sweep = 1 if name == "thrml" else SWEEPS["gibbs"] * SIDE**2 / SWEEPS["flip"]
        row[f"gibbs x {name}"] = ratio * per_sweep
    return row


def ours(name: str, num_chains: int) -> Callable[[], Any]:
    """Steps of one of our kernels, nothing kept."""
    chains = eb.parallel(MAKERS[name](ising(ISING_CRITICAL)))
    keys = eb.chain_keys(jax.random.key(0), num_chains)
    run = functools.partial(eb.run, num_steps=SWEEPS[name], collect=eb.discard)
    start = chains.init(jnp.ones((num_chains, SIDE, SIDE)))
    return functools.partial(jax.jit(lambda k, s: run(k, chains, s)[0]), keys, start)


def thrml_sweeps(num_chains: int) -> Callable[[], Any]:
    """Sweeps of thrml, the last state kept."""
    run = thrml_runner(SWEEPS["thrml"], num_kept=1)
    keys = jax.random.split(jax.random.key(0), num_chains)
    return functools.partial(run, keys, jnp.ones((num_chains, SIDE**2), bool))


@functools.cache
def thrml_program() -> Any:
    """The torus as thrml's documentation builds an Ising model, in two blocks."""
    from thrml import Block, SpinNode
    from thrml.models import IsingEBM, IsingSamplingProgram

    nodes = [SpinNode() for _ in range(SIDE**2)]
    at = lambda i, j: nodes[i % SIDE * SIDE + j % SIDE]
    sites = [(i, j) for i in range(SIDE) for j in range(SIDE)]
    edges = [(at(i, j), at(i + 1, j)) for i, j in sites]
    edges += [(at(i, j), at(i, j + 1)) for i, j in sites]
    couplings = jnp.full(len(edges), ISING_CRITICAL)
    model = IsingEBM(nodes, edges, jnp.zeros(len(nodes)), couplings, jnp.array(1.0))
    blocks = [Block([at(i, j) for i, j in sites if (i + j) % 2 == c]) for c in (0, 1)]
    return IsingSamplingProgram(model, blocks, []), [Block(nodes)]


def thrml_runner(num_steps: int, num_kept: int) -> Callable:
    """``(keys [C], spins [C, H W]) -> [C, num_kept, H W]`` after ``num_steps``
    sweeps."""
    from thrml import SamplingSchedule, sample_states

    program, kept = thrml_program()
    every = num_steps // num_kept
    plan = SamplingSchedule(n_warmup=every, n_samples=num_kept, steps_per_sample=every)

    def one(key, spins):
        halves = [spins[: SIDE**2 // 2], spins[SIDE**2 // 2 :]]
        return sample_states(key, program, plan, halves, [], kept)[0]

    return jax.jit(jax.vmap(one))


# --- effective samples a second -----------------------------------------------------


def effective(name: str, shorter: int = 1) -> dict[str, Any]:
    """Of the absolute magnetisation, from all spins up, the first fifth left out."""
    num_steps, every = LENGTHS[name]
    num_steps //= shorter
    call = magnetisations(name, num_steps, every)
    program = jax.jit(call).lower(jax.random.key(1)).compile()
    begin = time.perf_counter()
    found = np.asarray(program(jax.random.key(1)))  # [T, C]
    seconds = time.perf_counter() - begin
    draws = np.abs(found[len(found) // 5 :])[..., None]
    size, r = float(ess_bulk(draws)[0]), float(rhat(draws)[0])
    tau = every * draws.shape[0] * NUM_CHAINS / size
    return {
        "what": "ESS of |m|",
        "sampler": name,
        "steps": num_steps * NUM_CHAINS,
        "seconds": seconds,
        "|m|": float(draws.mean()),
        "error": float(draws.std() / size**0.5),
        "R-hat": r,
        "steps an effective sample": tau,
        "ESS/s": 1.25 * size / seconds if r < CONVERGED else 0.0,
    }


def magnetisations(name: str, num_steps: int, every: int) -> Callable:
    """From a key to m of the states that are kept, ``[T, C]``."""
    if name == "thrml":
        run = thrml_runner(num_steps, num_steps // every)
        up = jnp.ones((NUM_CHAINS, SIDE**2), bool)
        spins = lambda key: run(jax.random.split(key, NUM_CHAINS), up)
        return lambda key: jnp.mean(2.0 * spins(key) - 1, axis=2).T
    chains = eb.parallel(MAKERS[name](ising(ISING_CRITICAL)))
    start = jnp.ones((NUM_CHAINS, SIDE, SIDE))

    def run_ours(key):
        keys = eb.chain_keys(key, NUM_CHAINS)
        collect = lambda state, info: jnp.mean(state.position, axis=(1, 2))
        first = chains.init(start)
        return eb.run(keys, chains, first, num_steps, thin=every, collect=collect)[1]

    return run_ours


def summary(found: list[dict[str, Any]]) -> list[str]:
    """Ratios in words."""
    lines = []
    for row in found:
        if row["what"] == "sites/s":
            lines.append(
                f"{row['num_chains']} chains: block Gibbs {row['gibbs']:.3g} sites/s, "
                f"{row['gibbs x thrml']:.2f} times thrml"
            )
    speed = {r["sampler"]: r["ESS/s"] for r in found if r["what"] != "sites/s"}
    best = max(("swendsen_wang", "wolff"), key=lambda n: speed.get(n, 0.0))
    for local in ("gibbs", "thrml"):
        if speed.get(local):
            lines.append(
                f"{best} has {speed[best] / speed[local]:.3g} times the effective "
                f"samples a second of {local}"
            )
        else:
            lines.append(f"{local} has not converged (R-hat above {CONVERGED})")
    return lines
