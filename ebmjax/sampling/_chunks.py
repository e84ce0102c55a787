"""How a run is divided into chunks.

A compiled program cannot be interrupted.  So a long run is divided into chunks of about
half a second, whose length follows from the numbers that a step computes, as its jaxpr
tells.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax

from ebmjax import _validation as checks
from ebmjax._jaxpr import work
from ebmjax.base import Kernel, Key, State, draw_noise, shapes_of
from ebmjax.kernels.chains import parallel
from ebmjax.sampling.initialization import _init

LAST_STEP = 2**31 - 1
WORTH = 1e6  # numbers of a run, one energy a step, below which a step is not looked at
# numbers of a chunk and its steps: half a second of two CPU cores (2 to 8e9 a second),
# and of a GPU some seconds at most, if its steps take 10 microseconds
CHUNK_WORK = {"cpu": 1e9}
CHUNK_STEPS = {"cpu": math.inf}
OTHER_WORK, OTHER_STEPS = 1e11, 1e5
FEWEST = 8  # chunks: a run of fewer is not divided
LOOPS = 64  # rounds of a loop of unknown length
MOST_CHUNKS = 20_000


class Steps(NamedTuple):
    """The steps of a run, after ``start`` earlier ones."""

    num_steps: int  # after the warm-up, a multiple of thin
    num_warmup: int  # before, thrown away
    thin: int
    start: int

    @classmethod
    def checked(cls, num_steps: int, num_warmup: int, thin: int, start: int) -> "Steps":
        """The same numbers; raises where they are not whole, too small or too large."""
        num_steps, thin = checks.thinned(num_steps, thin)
        num_warmup = checks.count(num_warmup, "num_warmup", least=0)
        start = checks.count(start, "start", least=0)
        steps = cls(num_steps, num_warmup, thin, start)
        if steps.end > LAST_STEP:
            raise ValueError(
                f"start and the steps must end at {LAST_STEP} or before, the last that "
                f"a key can be folded with, got {steps.end}"
            )
        return steps

    @property
    def total(self) -> int:
        """With those of the warm-up."""
        return self.num_warmup + self.num_steps

    @property
    def end(self) -> int:
        """Steps since step 0 when the run ends."""
        return self.start + self.total


class Chunk(NamedTuple):
    """Steps that are taken in one call of a program."""

    is_warmup: bool
    begin: int  # steps since step 0
    end: int

    @property
    def length(self) -> int:
        return self.end - self.begin


def chunks_of(
    steps: Steps, num_chunks: int, longest: int | None = None
) -> Iterator[Chunk]:
    """The chunks of the warm-up and of the run, ``num_chunks`` of each, or more where
    those would be longer than ``longest``; at most two lengths for each phase, so at
    most two compilations."""
    phases = (True, steps.num_warmup, 1), (False, steps.num_steps, steps.thin)
    begin = steps.start
    for is_warmup, num_left, unit in phases:
        length = -(-num_left // (unit * num_chunks)) * unit
        if longest is not None and length > max(longest, unit):
            num = num_even_chunks(num_left // unit, max(longest // unit, 1))
            length = -(-num_left // (unit * num)) * unit
        end = begin + num_left
        while begin < end:
            yield Chunk(is_warmup, begin, min(begin + length, end))
            begin = min(begin + length, end)


def longest_chunk(
    kernel: Kernel, keys: Key, state: State, num_steps: int
) -> int | None:
    """Steps of a chunk of about half a second; ``None`` where a run of ``num_steps`` is
    short, or where a step cannot be traced, which is reported elsewhere."""
    if work(_init, kernel, state.position) * num_steps < WORTH:
        return None
    try:
        numbers = work(_step, kernel, keys, state, loops=LOOPS)
    except Exception:
        return None
    backend = jax.default_backend()
    most = CHUNK_WORK.get(backend, OTHER_WORK) / max(numbers, 1)
    longest = max(2, int(min(most, CHUNK_STEPS.get(backend, OTHER_STEPS))))
    return longest if num_steps >= FEWEST * longest else None


@jax.jit
def _step(kernel, keys, state):
    chains = parallel(kernel)
    return chains.move(draw_noise(chains, keys, shapes_of(state.position)), state)


def num_even_chunks(num: int, longest: int) -> int:
    """Chunks of ``num`` units, none longer than ``longest``; of one length if that
    takes at most twice as many, so that one program is compiled, and none of a single
    step, whose program may round otherwise.

    >>> num_even_chunks(1000, 400), num_even_chunks(1009, 400)
    (4, 3)
    """
    least = min(-(-num // longest), MOST_CHUNKS)
    tried = range(least, min(2 * least, num // 2) + 1)
    even = (m for m in tried if num % m == 0)
    rest = (m for m in tried if num % -(-num // m) != 1)
    return next(even, next(rest, least))


def length_of_parts(num: int, num_parts: int) -> int:
    """The length of about ``num_parts`` parts of ``num``, up to twice as many if they
    have one length.

    >>> length_of_parts(1000, 20), length_of_parts(7, 20)
    (50, 1)
    """
    return -(-num // num_even_chunks(num, -(-num // num_parts)))
