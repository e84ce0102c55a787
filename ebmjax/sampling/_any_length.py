"""One program for any number of steps, of kernels that follow trajectories.

A step of ``nuts`` is a loop of hundreds of operations, which take a second to compile.
So their steps have a program of their own, whose number of steps is an argument:
:func:`ebmjax.warm_up` calls it for one step at a time and
:func:`~ebmjax.sampling.sample.sample` for as many as its buffer of draws holds.  It is
compiled once for both, and another number of steps compiles nothing.

On a GPU, where a call and a turn of a loop take longer than the operations of a small
step, programs of a fixed number of steps are used as for other kernels.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax._random import fold_in, once
from ebmjax._value import as_function
from ebmjax.base import (
    Array,
    Info,
    Kernel,
    Key,
    Position,
    State,
    add,
    draw_noise,
    shapes_of,
)
from ebmjax.kernels.chains import parallel
from ebmjax.kernels.combinators import reject_nonfinite
from ebmjax.kernels.free_coordinates import wrapping
from ebmjax.kernels.hamiltonian import factor_of, with_any_length, with_momentum
from ebmjax.sampling.collect import (
    Collect,
    Record,
    Reducer,
    collect_stats,
    discard,
    position_of,
)
from ebmjax.sampling.coordinates import collected
from ebmjax.sampling.loop import Run, zeros_like_shapes

BUFFER_BYTES, FEWEST_STEPS, MOST_STEPS = 2**22, 16, 1024
OTHER_BYTES = 21  # of the record of a step of a chain, without its position
POSITIONS, STATS, NOTHING = map(as_function, (position_of, collect_stats, discard))


class Stepped(NamedTuple):
    """What a call of :func:`steps` returns."""

    state: State  # [C]
    momentum: Position | None  # [C, ...] where the last trajectory of ``hmc`` ended
    factor: Array | None  # [C] of the step size of that trajectory, where it is random
    buffer: Record  # [S, C, ...] the first of which are of these steps
    info: Info  # [C] of all steps, merged


def is_for(kernel: Kernel) -> bool:
    """Whether steps of this kernel have a program of their own here."""
    return kernel.is_trajectory and jax.default_backend() == "cpu"


def of_any_length(kernel: Kernel) -> Kernel:
    """A kernel whose trajectories have a length that is a number here, no structure."""
    return with_any_length(kernel) if is_for(kernel) else kernel


def fits(positions: Position, num_chains: int) -> bool:
    """Whether the buffer holds some steps of chains at positions ``[C, ...]``; those of
    more numbers take so long that compilation does not matter."""
    size = sum(x.nbytes for x in jax.tree.leaves(positions)) + OTHER_BYTES * num_chains
    return FEWEST_STEPS * size <= BUFFER_BYTES


def takes(
    kernel: Kernel, collect: Collect | Reducer, thin: int, positions: Position
) -> bool:
    """Whether a run that collects this can use it."""
    if thin != 1 or collect not in (POSITIONS, STATS, NOTHING) or not is_for(kernel):
        return False
    return fits(positions, len(jax.tree.leaves(positions)[0]))


@functools.partial(jax.jit, donate_argnames="buffer")
def steps(
    kernel: Kernel, keys: Key, state: State, start: Any, num: Any, buffer: Record
) -> Stepped:
    """``num`` steps after ``start`` earlier ones; at most as many as the buffer
    holds."""
    chains = parallel(reject_nonfinite(with_momentum(kernel)))
    collect = collected(chains, collect_stats)
    wrap, shapes = wrapping(chains), shapes_of(state.position)
    fold = jax.vmap(fold_in, (0, None))
    is_kept = state.momentum is None and with_momentum(kernel) is not kernel
    if is_kept:
        zeros = jax.tree.map(jnp.zeros_like, state.position)
        state = state._replace(momentum=zeros)

    @once
    def move(step, state):
        noise = _drawn_once(
            lambda: draw_noise(chains, fold(keys, step), shapes), jnp.minimum(num, 1)
        )
        state, info = chains.move(noise, state)
        return wrap(state), info, factor_of(noise)

    def body(i, carry):
        state, total, _, buffer = carry
        state, info, factor = move(start + i, state)
        put = lambda x, new: jax.lax.dynamic_update_index_in_dim(
            x, new.astype(x.dtype), i, 0
        )
        buffer = jax.tree.map(put, buffer, collect(state, info))
        return state, add(total, info), factor, buffer

    empty = zeros_like_shapes(jax.eval_shape(move, start, state)[1:])
    carry = jax.lax.fori_loop(0, num, body, (state, *empty, buffer))
    state, total, factor, buffer = carry
    momentum = state.momentum
    if is_kept:
        state = state._replace(momentum=None)
    rate = total.acceptance_rate
    total = total._replace(acceptance_rate=rate / jnp.asarray(num, rate.dtype))
    return Stepped(state, momentum, factor, buffer, total)


def _drawn_once(draw: Callable[[], Any], one: Array) -> Any:
    """``draw()``, its numbers in memory: drawn in a loop of ``one`` turn, they are not
    computed again wherever they are used, as in a fusion."""
    leaves, treedef = jax.tree.flatten(draw())
    is_key = [jnp.issubdtype(x.dtype, jax.dtypes.extended) for x in leaves]

    def numbers(*_):
        found = zip(jax.tree.leaves(draw()), is_key, strict=True)
        return [x for x, is_key in found if not is_key]

    zeros = zeros_like_shapes(jax.eval_shape(numbers))
    drawn = iter(jax.lax.fori_loop(0, one, numbers, zeros))
    pairs = zip(leaves, is_key, strict=True)
    return jax.tree.unflatten(
        treedef, [x if is_key else next(drawn) for x, is_key in pairs]
    )


def empty_buffer(kernel: Kernel, state: State) -> Record:
    """A buffer of records of chains in a state ``[C]``: a few megabytes, so that one
    that is written is still in the cache."""
    of = lambda dtype: cast(Array, np.zeros(state.energy.shape, dtype))
    number, count, flag = map(of, (state.energy.dtype, np.int32, np.bool_))
    info = Info(number, flag, number, count, number, count)
    collect: Any = collected(parallel(kernel), collect_stats)
    shapes = jax.eval_shape(collect, state, info)
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
    num = int(np.clip(BUFFER_BYTES // max(size, 1), 1, MOST_STEPS))
    return jax.tree.map(lambda x: np.zeros((num, *x.shape), x.dtype), shapes)


class Chunks:
    """The chunks of a run, which share a buffer; a call takes and returns what
    :func:`ebmjax.sampling._chunk_programs.chunk` does."""

    def __init__(self) -> None:
        self.buffer: Any = None

    def __call__(
        self,
        kernel: Kernel,
        collect: Collect,
        keys: Key,
        state: State,
        start: int,
        reduced: None,
        *,
        num_steps: int,
        thin: int,
    ) -> Run:
        if self.buffer is None:
            self.buffer = empty_buffer(kernel, state)
        most = len(jax.tree.leaves(self.buffer)[0])
        whole, infos, lengths = None, [], []
        for first in range(0, num_steps, most):
            num = min(most, num_steps - first)
            numbers = np.int32(start + first), np.int32(num)
            found = steps(kernel, keys, state, *numbers, self.buffer)
            state, self.buffer = found.state, found.buffer
            infos.append(found.info)
            lengths.append(num)
            if collect != NOTHING:
                kept = self.buffer if collect == STATS else self.buffer.position
                if whole is None:
                    empty = lambda x: np.empty((num_steps, *x.shape[1:]), x.dtype)
                    whole = jax.tree.map(empty, kept)
                # copied before the next call writes into the buffer
                for to, new in zip(*map(jax.tree.leaves, (whole, kept)), strict=True):
                    to[first : first + num] = np.asarray(new)[:num]
        devices = state.energy.devices()
        device = next(iter(devices)) if len(devices) == 1 else None
        draws = None if whole is None else jax.device_put(whole, device)
        return Run(state, draws, _merged(infos, lengths))


def _merged(infos: list[Info], lengths: list[int]) -> Info:
    """The infos of pieces of a run of these lengths as one, on the host."""
    if len(infos) == 1:
        return infos[0]
    all_of = jax.tree.map(lambda *x: np.stack([np.asarray(y) for y in x]), *infos)
    error = all_of.energy_error
    size = np.where(np.isnan(error), np.inf, np.abs(error))
    worst = np.argmax(size, axis=0)[None]
    rate = np.array(lengths) / sum(lengths) @ all_of.acceptance_rate
    return Info(
        acceptance_rate=rate.astype(all_of.acceptance_rate.dtype),
        is_accepted=all_of.is_accepted.any(axis=0),
        energy_error=np.take_along_axis(error, worst, axis=0)[0],
        num_nonfinite=all_of.num_nonfinite.sum(axis=0),
        hamiltonian=all_of.hamiltonian[-1],
        num_grads=all_of.num_grads.sum(axis=0),
    )
