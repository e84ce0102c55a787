"""The programs of :mod:`ebmjax.tempering.ais`: one for a whole run, or one for a part
of the levels, between which progress is shown."""

import functools
from typing import Any

import jax
import numpy as np

from ebmjax._random import split
from ebmjax.sampling._chunks import length_of_parts
from ebmjax.sampling.progress import Progress
from ebmjax.tempering.annealing import advance, anneal, start_of, steps_of, weights_of
from ebmjax.tempering.weights import AnnealedWeights

NUM_PARTS = 20  # with progress, up to twice as many if they have one length


def annealed(
    report: Progress | None, key: Any, *given: Any, num_chains: int, **options: Any
) -> AnnealedWeights:
    """The weights of a run; ``given`` are the path, the function that makes kernels,
    betas, step sizes and positions, or ``None`` for ``num_chains`` draws of the base.
    """
    if report is None:
        return _whole(key, *given, num_chains=num_chains, **options)
    path, make_kernel, betas, step_sizes, positions = given
    is_reversed, num_relax = positions is not None, options["num_relax"]
    key, positions = _start(key, path, positions, num_chains=num_chains)
    steps = tuple(map(np.asarray, steps_of(len(betas), num_relax, is_reversed)))
    total, rates, chains = len(steps[0]), [], _chains(path, positions)
    length = length_of_parts(total, NUM_PARTS)
    along = path, make_kernel, betas, step_sizes
    for begin in range(0, total, length):
        part = tuple(x[begin : begin + length] for x in steps)
        chains, found = _part(
            key, *along, part, chains, is_reversed=is_reversed, **options
        )
        rates.append(np.asarray(found))
        report(begin + len(found), total, f"acceptance {rates[-1].mean():.2f}")
    how = {"num_relax": num_relax, "is_reversed": is_reversed}
    return _end(*along, chains, np.concatenate(rates), **how)


def start(key: Any, path: Any, positions: Any, *, num_chains: int) -> tuple[Any, Any]:
    """The key of the transitions, and draws of the base if there are no positions."""
    key_base, key_run = split(key)
    if positions is None:
        positions = path.base.sample(key_base, num_chains)
    return key_run, positions


_start = jax.jit(start, static_argnames="num_chains")
_chains = jax.jit(start_of)
STATIC = ("num_steps", "num_relax", "is_reversed")


@functools.partial(jax.jit, static_argnames=("num_chains", *STATIC))
def _whole(key, *given, num_chains, **options):
    *along, positions = given
    is_reversed = positions is not None
    key, positions = start(key, along[0], positions, num_chains=num_chains)
    return anneal(key, *along, positions, is_reversed=is_reversed, **options)


@functools.partial(jax.jit, static_argnames=STATIC)
def _part(key, *given, num_steps, num_relax, is_reversed):
    *along, steps, chains = given
    counts = num_steps, num_relax
    return advance(key, *along, *counts, steps, chains, is_reversed=is_reversed)


@functools.partial(jax.jit, static_argnames=STATIC[1:])
def _end(path, make_kernel, betas, sizes, chains, rates, *, num_relax, is_reversed):
    at_base = make_kernel(path(betas[0]), jax.tree.map(lambda s: s[0], sizes))
    return weights_of(at_base, chains, rates, num_relax, is_reversed)
