"""The Pallas kernel: a block of chains takes all of its steps, its state in registers,
one thread per chain, and writes the draws.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl

from ebmjax.fused.entries import (
    Entries,
    entries,
    flattened,
    flattened_like,
    scalar,
)
from ebmjax.fused.program import Program
from ebmjax.fused.step import Step

BOOL = np.dtype(bool)  # stored as int32


def take_steps(step: Step, given, made, num_kept, thin, block) -> None:
    """What a block of chains does: read ``given``, take all steps, write ``made``."""
    rows = pl.ds(pl.program_id(0) * block, block)
    program = Program(block)
    done, given = given[0][0], list(given[1:])
    take = lambda shapes: [given.pop(0) for _ in shapes]
    numbers = [
        _read(ref, (rows,) if is_own else (), x)
        for ref, is_own, x in zip(
            take(step.numbers), step.is_own, step.numbers, strict=True
        )
    ]
    noise = take(step.noise)
    last = [*step.state, *step.info]
    carry = [_read(ref, (rows,), x) for ref, x in zip(take(last), last, strict=True)]
    flat, rebuild = flattened(carry, program.rows)

    def one_step(t, flat):
        pairs = zip(noise, step.noise, strict=True)
        drawn = [_read(ref, (t, rows), x) for ref, x in pairs]
        operands = [*numbers, *drawn, *rebuild(flat), scalar(done + t)]
        found = program.evaluate(step.jaxpr, operands)
        return flattened_like(found[: len(last)], flat), found[len(last) :]

    def kept_step(i, flat):
        first = i * thin
        if thin > 1:
            skip = lambda j, flat: one_step(first + j, flat)[0]
            flat = jax.lax.fori_loop(0, thin - 1, skip, flat)
        flat, kept = one_step(first + thin - 1, flat)
        for ref, x in zip(made, kept, strict=False):
            _write(ref, (i, rows), x, block)
        return flat

    flat = jax.lax.fori_loop(0, num_kept, kept_step, flat)
    for ref, x in zip(made[len(step.kept) :], rebuild(flat), strict=True):
        _write(ref, (rows,), x, block)


def _read(ref, before, x) -> Entries:
    items = [ref[(*before, *where)] for where in np.ndindex(*x.shape)]
    items = [i != 0 for i in items] if x.dtype == BOOL else items
    return entries(items, x.shape)


def _write(ref, before, x: Entries, block) -> None:
    like = jax.ShapeDtypeStruct((block,), ref.dtype)
    for where in np.ndindex(*x.shape):
        [ref[(*before, *where)]] = flattened_like([scalar(x[where])], [like])


def stored(dtype):
    """The type in which the kernel reads and writes it."""
    return jnp.int32 if dtype == BOOL else dtype
