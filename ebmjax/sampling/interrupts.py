"""Runs that Ctrl-C ends early: chunks of about a second, and the draws until then.

A compiled program cannot be interrupted.  So a long run is divided into chunks whose
length follows from the numbers that a step computes, as its jaxpr tells, and the draws
of a chunk are written into one array in place.
"""

import math
import signal
import threading
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax._compile import work
from ebmjax.base import Kernel, Key, Position, State, draw_noise, shapes_of
from ebmjax.kernels.chains import parallel

WORTH = 1e6  # numbers of a run, one energy a step, below which a step is not looked at
# numbers of a chunk and its steps: half a second of two CPU cores (2 to 8e9 a second),
# and of a GPU some seconds at most, if its steps take 10 microseconds
CHUNK_WORK = {"cpu": 1e9}
CHUNK_STEPS = {"cpu": math.inf}
OTHER_WORK, OTHER_STEPS = 1e11, 1e5
FEWEST = 8  # chunks: a run of fewer is not divided
LOOPS = 64  # rounds of a loop of unknown length
MOST_CHUNKS = 20_000


def longest_chunk(
    kernel: Kernel, keys: Key, state: State, size: float, num_steps: int
) -> int | None:
    """Steps of a chunk of about half a second; ``None`` where a run, of ``size`` numbers
    at one energy a step, is short, or where a step cannot be traced, which is reported
    elsewhere."""
    if size < WORTH:
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


def num_chunks(num: int, longest: int) -> int:
    """Of ``num`` units, none longer than ``longest``; of one length if that takes at
    most twice as many, so that one program is compiled, and none of a single step, whose
    program may round otherwise.

    >>> num_chunks(1000, 400), num_chunks(1009, 400)
    (4, 3)
    """
    least = min(-(-num // longest), MOST_CHUNKS)
    tried = range(least, min(2 * least, num // 2) + 1)
    even = (m for m in tried if num % m == 0)
    rest = (m for m in tried if num % -(-num // m) != 1)
    return next(even, next(rest, least))


def interrupts() -> list[int]:
    """SIGINT, where its handler is Python's own: others are left alone."""
    is_main = threading.current_thread() is threading.main_thread()
    is_own = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return [signal.SIGINT] if is_main and is_own else []


class Kept:
    """The draws of a run ``[T, C, ...]``, chunk by chunk."""

    def __init__(self, num: int, is_in_place: bool):
        self.num, self.is_in_place = num, is_in_place
        self.pieces: list[Position] = []
        self.filled = 0
        self.whole: Any = None

    def add(self, draws: Position) -> None:
        leaves = jax.tree.leaves(draws)
        if any(jnp.issubdtype(x.dtype, jax.dtypes.extended) for x in leaves):
            self.is_in_place = False  # keys
        if not self.is_in_place:
            self.pieces.append(draws)
            return
        if self.whole is None:
            empty = lambda x: jnp.zeros((self.num, *x.shape[1:]), x.dtype)
            self.whole = jax.tree.map(empty, draws)
        self.whole = _put(self.whole, draws, self.filled)
        self.filled += len(leaves[0]) if leaves else 0

    def draws(self) -> Any:
        """Of all chunks so far; ``None`` without any."""
        if self.whole is None:
            return jax.tree.map(_join, *self.pieces) if self.pieces else None
        if self.filled in (0, self.num):
            return self.whole
        return jax.tree.map(lambda x: x[: self.filled], self.whole)


def _put_all(whole, draws, start):
    put = lambda x, new: jax.lax.dynamic_update_slice_in_dim(x, new, start, 0)
    return jax.tree.map(put, whole, draws)


_put = jax.jit(_put_all, donate_argnums=0)


def _join(*pieces):
    return pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces)
