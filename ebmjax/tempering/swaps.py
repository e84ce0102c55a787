"""Replicas at the levels of a path: swaps of neighbours, and sums over a run.

The iteration of :mod:`ebmjax.tempering.parallel_tempering`; replica k of a ladder is at
``betas[k]``, and arrays are ``[C, K, ...]`` for C ladders.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ebmjax._inlined import inlined
from ebmjax._random import fold_in, split
from ebmjax.base import CHAINS, Array, Key, Position, cast_like
from ebmjax.sampling.loop import chain_keys
from ebmjax.tempering.annealing import MakeKernel, explore
from ebmjax.tempering.paths import Path


class Totals(NamedTuple):
    """Sums over iterations; ``[C, ...]``."""

    rejection: Array  # [C, K - 1]
    acceptance: Array  # [C, K]


class Energies(NamedTuple):
    """Of one iteration, for the estimates of log Z; ``[C, ...]``."""

    up: Array  # [C, K - 1] E_k - E_{k+1} at x_k, before the swap
    down: Array  # [C, K - 1] E_{k+1} - E_k at x_{k+1}, before the swap
    slope: Array  # [C, K] dE / d beta, after the transitions
    num_grads: Array  # []


class Replicas(NamedTuple):
    positions: Position  # [C, K, ...]
    log_sizes: Array  # [K]
    totals: Totals
    machine: Array  # [C, K] index of the replica at each beta
    last_end: Array  # [C, K] of each replica: 1 at beta = 1, -1 at 0, 0 neither yet
    num_round_trips: Array  # [C]


class Swaps(NamedTuple):
    """The result of one set of swaps of a ladder."""

    order: Array  # [K] index of the replica that moves to each beta
    rejection: Array  # [K - 1] probabilities, of all neighbours
    up: Array  # [K - 1] E_k - E_{k+1} at x_k
    down: Array  # [K - 1] E_{k+1} - E_k at x_{k+1}


def swap(
    key: Key, path: Path, betas: Array, parity: Array, x: Position
) -> tuple[Position, Swaps]:
    """Swap the neighbours (k, k + 1) of ``x [K, ...]`` with k of the given parity."""
    num = len(betas)
    work = jax.vmap(path.work)
    hotter = jax.tree.map(lambda leaf: leaf[:-1], x)
    colder = jax.tree.map(lambda leaf: leaf[1:], x)
    up = -work(betas[:-1], betas[1:], hotter)
    down = -work(betas[1:], betas[:-1], colder)
    log_ratio = up + down
    exponential = jax.random.exponential(inlined(key), (num - 1,))
    is_turn = jnp.arange(num - 1) % 2 == parity
    is_swapped = is_turn & (-exponential < log_ratio)
    here = jnp.arange(num)
    step, none = is_swapped.astype(here.dtype), jnp.zeros(1, here.dtype)
    goes_up = jnp.concatenate([step, none])
    goes_down = jnp.concatenate([none, step])
    order = here + goes_up - goes_down
    rejection = jnp.nan_to_num(-jnp.expm1(jnp.minimum(log_ratio, 0.0)), nan=1.0)
    swapped = jax.tree.map(lambda leaf: leaf[order], x)
    return swapped, Swaps(order, rejection, up, down)


def move(
    key: Key,
    path: Path,
    make_kernel: MakeKernel,
    betas: Array,
    step_sizes: Array,
    num_steps: int,
    x: Position,
):
    """Move every replica of ``x [K, ...]`` by its kernel; the first is a new draw."""
    key_base, key_move = split(key)
    one = functools.partial(explore, path, make_kernel, num_steps)
    keys = chain_keys(key_move, len(betas))
    new, _, info = jax.vmap(one, (0, 0, 0, 0, None), axis_name=CHAINS)(
        keys, x, betas, step_sizes, 0
    )
    if path.base is not None:
        fresh = path.base.sample(key_base, 1)
        new = jax.tree.map(lambda leaf, f: leaf.at[0].set(f[0]), new, fresh)
    return new, info


def iterate(
    path, make_kernel, num_steps, betas, keys, step, state: Replicas, gain, target
) -> tuple[Replicas, Energies]:
    """Iteration ``step`` of all ladders: swaps, then kernels."""
    sizes = jnp.exp(state.log_sizes)

    def of_ladder(key, x):
        key_swap, key_move = split(fold_in(key, step))
        x, swaps = swap(key_swap, path, betas, step % 2, x)
        x, info = move(key_move, path, make_kernel, betas, sizes, num_steps, x)
        return x, swaps, info, jax.vmap(path.slope)(betas, x)

    x, swaps, info, slope = jax.vmap(of_ladder)(keys, state.positions)
    acceptance = jnp.nan_to_num(info.acceptance_rate)
    old = state.totals
    totals = Totals(old.rejection + swaps.rejection, old.acceptance + acceptance)
    machine = jnp.take_along_axis(state.machine, swaps.order, axis=1)
    last_end, num_round_trips = _ends_of(state, machine)
    log_sizes = state.log_sizes + gain * (jnp.mean(acceptance, axis=0) - target)
    new = Replicas(x, log_sizes, totals, machine, last_end, num_round_trips)
    energies = Energies(swaps.up, swaps.down, slope, jnp.sum(info.num_grads))
    return cast_like(new, state), energies


def _ends_of(state, machine):
    """The end that each replica visited last, and round trips that end at beta = 0."""
    rows = jnp.arange(len(machine))
    bottom, top = machine[:, 0], machine[:, -1]
    is_back = state.last_end[rows, bottom] == 1
    last_end = state.last_end.at[rows, top].set(
        jnp.where(state.last_end[rows, top] == -1, 1, state.last_end[rows, top])
    )
    last_end = last_end.at[rows, bottom].set(-1)
    return last_end, state.num_round_trips + jnp.int32(is_back)


def begin(x, log_sizes) -> Replicas:
    num_ladders, num = jax.tree.leaves(x)[0].shape[:2]
    zeros = lambda n: jnp.zeros((num_ladders, n), log_sizes.dtype)
    totals = Totals(zeros(num - 1), zeros(num))
    machine = jnp.broadcast_to(jnp.arange(num), (num_ladders, num))
    seen = jnp.zeros((num_ladders, num), jnp.int32)
    trips = jnp.zeros(num_ladders, jnp.int32)
    return Replicas(x, log_sizes, totals, machine, seen, trips)
