"""The levels of :mod:`ebmjax.tempering.smc`: weights, resampling, transitions."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ebmjax.base import CHAINS, Array, Key, Position, cast_like
from ebmjax.sampling.loop import chain_keys
from ebmjax.tempering.annealing import MakeKernel
from ebmjax.tempering.paths import Path
from ebmjax.tempering.resampling import length_of, next_level, systematic

GAIN = 0.5  # largest change of the log step size per transition
FIRST_GAIN = 1.6  # the same at the base, decreasing as 1 / (1 + i / 2)
REACH = 1e4  # largest ratio of the step size to its first guess
WIDEST = 1e3  # largest ratio of a coordinate's scale to the geometric mean of all


class Population(NamedTuple):
    """The particles between two levels, and a record of the levels so far."""

    positions: Position
    beta: Array
    log_size: Array
    log_z: Array
    level: Array  # -1 at the base, before the first
    betas: Array
    log_sizes: Array
    lengths: Array
    acceptance: Array
    num_grads: Array
    num_nan: Array  # of weights


class Moves(NamedTuple):
    """Transitions of N particles; each adapts the step size to its acceptance rate."""

    path: Path
    make_kernel: MakeKernel
    keys: Array  # [N]
    num_steps: int  # P
    target: Array  # acceptance rate
    ends: tuple[Array, Array]  # smallest and largest log step size
    is_scaled: bool  # a step size for each coordinate

    def kernel(self, beta, log_size, scales):
        size = jnp.exp(log_size)
        if self.is_scaled:
            size = jax.tree.map(lambda scale: size * scale, scales)
        return self.make_kernel(self.path(beta), size)

    def one(self, key, state, beta, log_size, step, scales):
        kernel = self.kernel(beta, log_size, scales)
        return kernel.step(jax.random.fold_in(key, step), state)

    def __call__(
        self, x: Position, beta: Array, log_size: Array, first: Array, scales: Position
    ):
        """All N (P + 1) positions, the log step size after them, the mean acceptance
        rate and the number of gradients; ``first`` is the number of the first step and
        ``scales`` are those of :func:`scales_of`."""
        each = jax.vmap(self.one, (0, 0, None, None, None, None), axis_name=CHAINS)

        def step(carry, i):
            states, log_size = carry
            states, info = each(self.keys, states, beta, log_size, first + i, scales)
            rate = jnp.mean(info.acceptance_rate)
            gain = jnp.where(first == 0, FIRST_GAIN / (1 + i / 2), GAIN)
            log_size = self.adapted(log_size, rate, gain)
            visited = states.position, rate, jnp.sum(info.num_grads)
            return (states, log_size), visited

        states = jax.vmap(lambda x: self.kernel(beta, log_size, scales).init(x))(x)
        (_, log_size), (later, rates, num_grads) = jax.lax.scan(
            step, (states, log_size), jnp.arange(self.num_steps)
        )
        join = lambda x, y: jnp.concatenate([x[None], y]).reshape(-1, *x.shape[1:])
        x = jax.tree.map(join, x, later)
        return x, log_size, jnp.mean(rates), jnp.sum(num_grads)

    def adapted(self, log_size: Array, rate: Array, gain: Array) -> Array:
        """The log step size after a transition with this acceptance rate."""
        error = jnp.nan_to_num(rate) - self.target
        error /= jnp.where(error > 0, 1 - self.target, self.target)  # in [-1, 1]
        return jnp.clip(log_size + gain * error, *self.ends).astype(log_size.dtype)


def run_levels(
    key: Key,
    path: Path,
    step_size: Array,
    ess: Array,
    target: Array,
    *,
    make_kernel: MakeKernel,
    num_particles: int,
    num_steps: int,
    max_levels: int,
    is_scaled: bool = False,
) -> Population:
    """All levels, from draws of the base until beta = 1."""
    key_base, key_resample, key_move = jax.random.split(key, 3)
    keys, first = chain_keys(key_move, num_particles), jnp.log(step_size)
    lowest, highest = (first + sign * jnp.log(REACH) for sign in (-1, 1))
    ends = lowest, highest
    moves = Moves(path, make_kernel, keys, num_steps, target, ends, is_scaled)
    num = num_particles * (num_steps + 1)
    positions = path.base.sample(key_base, num)  # type: ignore[union-attr]

    def is_on(s: Population):
        return (s.beta < 1) & (s.level < max_levels) & jnp.isfinite(s.log_z)

    level = functools.partial(_level, moves, key_resample, ess)
    start = _start(positions, first, max_levels)
    return jax.lax.while_loop(is_on, level, start)


def _start(positions: Position, log_size: Array, max_levels: int) -> Population:
    number = jnp.result_type(float)
    return Population(
        positions,
        jnp.zeros((), number),
        log_size,
        jnp.zeros((), number),
        jnp.int32(-1),
        jnp.zeros(max_levels + 1, number),
        jnp.full(max_levels + 1, log_size),
        jnp.zeros(max_levels, number),
        jnp.zeros(max_levels, number),
        jnp.int32(0),
        jnp.int32(0),
    )


def _level(moves: Moves, key: Key, ess: Array, s: Population) -> Population:
    """The next beta, weights, resampling of N particles, and their transitions."""
    is_first = s.level < 0  # at the base, for the step size
    log_w, beta = next_level(moves.path, s.positions, s.beta, ess)
    num_nan = jnp.sum(jnp.isnan(log_w))
    log_w = jnp.where(jnp.isnan(log_w), -jnp.inf, log_w)
    log_w = jnp.where(is_first, 0.0, log_w)
    beta = jnp.where(is_first, s.beta, beta)
    mean = jax.nn.logsumexp(log_w) - jnp.log(len(log_w))
    rows = systematic(jax.random.fold_in(key, s.level), log_w, len(moves.keys))
    x = jax.tree.map(lambda leaf: leaf[rows], s.positions)
    first = (s.level + 1) * moves.num_steps
    scales = scales_of(s.positions, log_w) if moves.is_scaled else None
    x, log_size, rate, num_grads = moves(x, beta, s.log_size, first, scales)
    i = jnp.maximum(s.level, 0)
    new = Population(
        x,
        beta,
        log_size,
        s.log_z + jnp.where(is_first, 0.0, mean),
        s.level + 1,
        s.betas.at[s.level + 1].set(beta),
        s.log_sizes.at[s.level + 1].set(log_size),
        s.lengths.at[i].set(length_of(log_w)),
        s.acceptance.at[i].set(rate),
        s.num_grads + num_grads,
        s.num_nan + num_nan,
    )
    return cast_like(new, s)


def scales_of(x: Position, log_w: Array) -> Position:
    """The standard deviation of each coordinate of ``x [M, ...]`` with these log
    weights, over the geometric mean of all: 1 where a coordinate is constant, up to
    rounding."""
    weights = jax.nn.softmax(log_w)

    def log_sd(leaf):
        w = weights.astype(leaf.dtype)
        mean = jnp.tensordot(w, leaf, 1)
        variance = jnp.tensordot(w, (leaf - mean[None]) ** 2, 1)
        rounding = 100 * jnp.finfo(leaf.dtype).eps * jnp.max(jnp.abs(leaf), axis=0)
        return jnp.where(variance > rounding**2, 0.5 * jnp.log(variance), -jnp.inf)

    logs, unravel = ravel_pytree(jax.tree.map(log_sd, x))
    is_varied = jnp.isfinite(logs)
    relative = jnp.where(is_varied, logs - jnp.mean(logs, where=is_varied), 0.0)
    limit = math.log(WIDEST)
    return unravel(jnp.exp(jnp.clip(relative, -limit, limit)))
