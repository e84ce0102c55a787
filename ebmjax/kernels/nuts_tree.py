"""The trajectory of the no-U-turn sampler while it grows, point by point.

Of its points one is drawn with probability in proportion to exp(-H):

    within a doubling    a new point replaces the chosen one with probability
                         w_point / (w_before + w_point)
    between doublings    the new half's choice replaces the old half's with probability
                         min(1, w_new / w_old)

the second biased towards far points (Betancourt 2017, arXiv:1701.02434, appendix
A.3.2).  A stretch with momenta n_a ... n_b turns where

    rho . n_a <= 0   or   rho . n_b <= 0,   rho = sum of its momenta - (n_a + n_b) / 2,

and a doubling counts only when none of the binary stretches it is made of turns: else
the end of the trajectory would depend on where it began.  They are found without
recursion (Phan, Pradhan & Jankowiak 2019, arXiv:1912.11554, appendix A): leaf i of a
doubling closes as many stretches as i has trailing ones in binary, and the first leaf
of each is kept in a table with a row a level.

A stretch diverges where its largest and its smallest H are more than 1000 nats apart.
Like the turn, this is a property of the stretch and does not depend on where the
trajectory began.  The difference to the first point, which other implementations bound,
does, and leaves a target with a step of that height not invariant.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.flatten_util import ravel_pytree

from ebmjax._random import exponential, unit
from ebmjax.base import Array, Energy, Key, Position, State, half_square, select
from ebmjax.kernels.integrators import trajectory

# whether a chain is a thread of a GPU, with its tree in registers (ebmjax.fused)
IN_REGISTERS: ContextVar[bool] = ContextVar("IN_REGISTERS", default=False)
LARGEST_RANGE = 1000.0  # nats between the energies of a trajectory; beyond, it diverges


class Range(NamedTuple):
    """The smallest and the largest H - H_0 of a stretch."""

    low: Array
    high: Array

    def joined(self, other: "Range") -> "Range":
        low, high = jnp.minimum(self.low, other.low), jnp.maximum(self.high, other.high)
        return Range(low, high)

    def is_wide(self) -> Array:
        return self.high - self.low > LARGEST_RANGE


class Tree(NamedTuple):
    """A trajectory while it grows.  Momenta and their sums are flat, ``[D]``; ``left``
    is earlier in time."""

    num_leaves: Array  # [] int32 points of the longest chain, the first not counted
    left: State
    right: State
    n_left: Array
    n_right: Array
    chosen: State  # of the trajectory up to the last whole doubling
    log_weight: Array  # [] log of the sum of exp(H_0 - H) over that
    rho: Array  # [D] sum of its momenta
    errors: Range  # of its points
    new: State  # chosen of the doubling that is under way
    log_new: Array
    rho_new: Array
    errors_new: Range
    # [depth, D] first leaf of open stretches: n, rho; the last row is of odd leaves,
    # which nothing reads: of 2^(depth - 1) leaves no more than depth - 1 stretches wait
    waiting: tuple[Array, ...]
    has_turned: Array  # [] bool, a stretch of this doubling
    has_ended: Array  # [] bool; from then on nothing changes
    num_grads: Array
    sum_rate: Array  # of min(1, exp(H_0 - H))
    num_nonfinite: Array

    def energy_error(self) -> Array:
        """The H - H_0 of the largest size; where the trajectory diverged the range of
        its energies."""
        errors = self.errors.joined(self.errors_new)
        largest = jnp.where(errors.high >= -errors.low, errors.high, errors.low)
        return jnp.where(errors.is_wide(), errors.high - errors.low, largest)


class Growth(NamedTuple):
    """What stays the same while a trajectory grows."""

    energy: Energy
    step_size: Any
    unravel: Callable[[Array], Position]
    turns: Callable[..., Array]  # of :mod:`ebmjax.kernels.nuts_turns`
    words: Array  # [depth] uint32 of each doubling: a coin, and a draw
    key: Key  # of the draws of the leaves
    start: Array  # [] H_0


def seed(state: State, n: Array, max_depth: int) -> Tree:
    """A tree of one point.  Its constants are made from the state: under ``vmap`` they
    have the axis of the chains from the start, and the loop is not traced again to give
    it to them.  XLA removes the selects."""
    is_same = state.energy == state.energy

    def constant(x, dtype):
        x = jnp.asarray(x, dtype)
        return jax.lax.select(jnp.broadcast_to(is_same, x.shape), x, x)

    zero, none = (constant(x, state.energy.dtype) for x in (0, -jnp.inf))
    no, count = constant(False, bool), constant(0, jnp.int32)
    rows = constant(jnp.zeros((max_depth, n.size)), n.dtype)
    only = Range(zero, zero)
    return Tree(
        jnp.int32(0), state, state, n, n, state, zero, n, only,
        state, none, constant(jnp.zeros(n.shape), n.dtype), only, (rows, rows),
        no, no, count, zero, count,
    )  # fmt: skip


def grown(growth: Growth, tree: Tree) -> Tree:
    """One step of the leapfrog at one end, and whatever doubling it completes."""
    count = tree.num_leaves + 1  # doublings begin at the powers of two
    depth = 31 - jax.lax.clz(count)
    i = count - (1 << depth)  # the leaf's place in its doubling
    is_first, is_whole = i == 0, i + 1 == (1 << depth)
    word = growth.words[depth]
    is_forward = word & 1 == 0  # the other bits are those of the draw between halves
    tip, n_tip = _next_point(growth, tree, is_forward)
    left, n_left = select(is_forward, (tree.left, tree.n_left), (tip, n_tip))
    right, n_right = select(is_forward, (tip, n_tip), (tree.right, tree.n_right))

    # its weight, and the draw within the doubling
    counts = ~tree.has_ended
    error = tip.energy + half_square(n_tip) - growth.start
    is_finite, is_wall = jnp.isfinite(error), tip.energy == jnp.inf
    error = jnp.where(jnp.isnan(error), jnp.inf, error)
    log_new = jnp.logaddexp(jnp.where(is_first, -jnp.inf, tree.log_new), -error)
    within = exponential(growth.key, count)
    new = select(-within < -error - log_new, tip, tree.new)
    rho_new = jnp.where(is_first, 0, tree.rho_new) + n_tip
    before = select(is_first, Range(error, error), tree.errors_new)
    errors_new = before.joined(Range(error, error))
    errors_new = select(counts, errors_new, tree.errors_new)

    # an even leaf opens stretches and is kept, an odd one closes some
    row, is_odd = jax.lax.population_count(i >> 1), i & 1
    place = jnp.where(is_odd == 0, row, len(tree.waiting[0]) - 1)
    waiting = tuple(
        _with_row(table, x, place)
        for table, x in zip(tree.waiting, (n_tip, rho_new), strict=True)
    )
    # an odd leaf finds the same in the table of before, but reading that makes XLA copy
    # it; in registers reading the new one makes two tables live
    table = tree.waiting if IN_REGISTERS.get() else waiting
    has_turned = jax.lax.cond(
        is_odd,
        lambda: _closing(growth.turns, table, n_tip, rho_new, i, row),
        lambda: jnp.zeros_like(is_finite),
    )
    has_turned |= ~is_first & tree.has_turned

    # a whole doubling: the draw between the halves, and the trajectory's own turn
    is_good = is_finite & ~errors_new.is_wide() & ~has_turned & counts
    errors = tree.errors.joined(errors_new)
    is_taken = is_whole & is_good
    between = -jnp.log(unit(word))
    is_chosen = is_taken & (-between < log_new - tree.log_weight)
    rho = tree.rho + rho_new
    has_ended = growth.turns(rho, n_left, n_right) | errors.is_wide()
    # the numbers of a chain come first: where selects of its points repeat them, XLA
    # copies the ones of before
    numbers = jax.lax.optimization_barrier(
        (
            jnp.where(
                is_taken, jnp.logaddexp(tree.log_weight, log_new), tree.log_weight
            ),
            select(is_taken, errors, tree.errors),
            ~is_good | (is_whole & has_ended),
            tree.num_grads + jnp.int32(counts),
            tree.sum_rate + jnp.where(counts, jnp.exp(jnp.minimum(-error, 0.0)), 0.0),
            tree.num_nonfinite + jnp.int32(counts & ~is_finite & ~is_wall),
            jnp.where(is_chosen, new.energy, tree.chosen.energy),
            jnp.int32(is_taken) + jnp.int32(is_chosen),
        )
    )
    log_weight, errors, has_ended, *sums, energy, outcome = numbers
    chosen = select(outcome == 2, new, tree.chosen)._replace(energy=energy)
    return Tree(
        count, left, right, n_left, n_right,
        chosen, log_weight, jnp.where(outcome > 0, rho, tree.rho), errors,
        new, log_new, rho_new, errors_new, waiting, has_turned, has_ended, *sums,
    )  # fmt: skip


def _next_point(growth: Growth, tree: Tree, is_forward: Array) -> tuple[State, Array]:
    """The next point and its momentum; back in time is forward with the momentum
    flipped."""
    sign = jnp.where(is_forward, 1, -1).astype(tree.n_left.dtype)
    later, earlier = (tree.right, tree.n_right), (tree.left, tree.n_left)
    end, n_end = select(is_forward, later, earlier)
    tip, n_tip = trajectory(
        growth.energy, end, growth.unravel(sign * n_end), growth.step_size, 1
    )
    n_tip = sign * ravel_pytree(n_tip)[0]
    return tip, n_tip


def _row(table: Array, row: Array) -> Array:
    return jax.lax.dynamic_index_in_dim(table, row, 0, keepdims=False)


@custom_vmap
def _with_row(table: Array, x: Array, row: Array) -> Array:
    return jax.lax.dynamic_update_index_in_dim(table, x, row, 0)


@_with_row.def_vmap
def _with_row_of_each(axis_size, is_batched, table, x, row):
    """In place; JAX's own rule makes a scatter, which reads what it replaces."""
    if is_batched[2]:
        axes = tuple(0 if b else None for b in is_batched)
        write = lambda t, x, i: jax.lax.dynamic_update_index_in_dim(t, x, i, 0)
        return jax.vmap(write, axes)(table, x, row), True
    each = lambda y, is_there: (
        y if is_there else jnp.broadcast_to(y, (axis_size, *y.shape))
    )
    table, x = (each(*pair) for pair in zip((table, x), is_batched[:2], strict=True))
    return jax.lax.dynamic_update_index_in_dim(table, x, row, 1), True


def _closing(turns, waiting, n_tip: Array, rho_new: Array, i: Array, row: Array):
    """Whether any of the stretches that end at leaf i turns: as many as i has trailing
    ones in binary."""
    num_closed = jax.lax.population_count(i & ~(i + 1))

    def close(level, has_turned):
        n_first, rho_first = (_row(table, level) for table in waiting)
        return has_turned | turns(rho_new - rho_first + n_first, n_first, n_tip)

    start = jnp.any(n_tip != n_tip) & False
    return jax.lax.fori_loop(row - num_closed + 1, row + 1, close, start)
