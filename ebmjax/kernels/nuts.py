"""The no-U-turn sampler (Hoffman & Gelman 2014), multinomial (Betancourt 2017, arXiv:1701.02434, appendix A).

A trajectory of H(x, n) = E(x) + |n|^2 / 2 is doubled, forward or backward in time by a coin, until it turns
back on itself or leaves the level of energy where it began.  Of its points one is drawn with probability in
proportion to exp(-H), so that nothing is wasted on a rejection:

    within a doubling    a new point replaces the chosen one with probability  w_point / (w_before + w_point)
    between doublings    the new half's choice replaces the old half's with    min(1, w_new / w_old)

the second biased towards far points (appendix A.3.2 there).  A stretch with momenta n_a ... n_b turns where

    rho . n_a <= 0   or   rho . n_b <= 0,      rho = sum of its momenta - (n_a + n_b) / 2,

and a doubling counts only when none of the binary stretches it is made of turns: else the end of the
trajectory could tell where it began.  They are found without recursion (Phan, Pradhan & Jankowiak 2019,
arXiv:1912.11554, appendix A): leaf i of a doubling closes as many stretches as i has trailing ones in binary,
and the first leaf of each waits in a table with a row a level.

Momenta are standard normal in units of M^(-1/2), as in :mod:`ebmjax.kernels.hamiltonian`, so that the mass
is in the step size and the criterion is that of the whitened space.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax._random import bits, exponentials, fold_in, fold_in_each
from ebmjax.base import (
    Array,
    Energy,
    Info,
    Kernel,
    Position,
    State,
    any_chain,
    careful,
    evaluate,
    half_square,
    normal_like,
    select,
)
from ebmjax.kernels.hamiltonian import trajectory, with_mass

LARGEST_ERROR = 1000.0  # nat; a trajectory that is off by more has diverged, and ends


class Tree(NamedTuple):
    """A trajectory while it grows.  Momenta and their sums are flat, ``[D]``; ``left`` is earlier in time."""

    num_leaves: Array  # [] int32 points that all chains together have come to, the first not counted
    left: State
    right: State
    n_left: Array
    n_right: Array
    chosen: State  # of the trajectory up to the last whole doubling
    log_weight: Array  # [] log of the sum of exp(H_0 - H) over that
    rho: Array  # sum of its momenta
    new: State  # chosen of the doubling that is under way
    log_new: Array
    rho_new: Array
    waiting: tuple[
        Array, Array
    ]  # [depth, D] first leaf of the open stretches: its momentum, and rho up to it
    has_turned: Array  # [] bool, a stretch of this doubling
    has_ended: Array  # [] bool; what follows stands still from then on
    num_grads: Array
    sum_rate: Array  # of min(1, exp(H_0 - H))
    worst: Array  # the largest H - H_0 in size
    num_nonfinite: Array


def nuts(
    energy: Energy, step_size: Any, *, mass: Any = None, max_depth: int = 10
) -> Kernel:
    """The no-U-turn sampler; at most ``2^max_depth - 1`` gradients a step, in ``info.num_grads``.

    ``info.acceptance_rate`` is the mean over the trajectory of min(1, exp(H_0 - H)), what dual averaging aims
    at 0.8; ``info.energy_error`` is the largest H - H_0 met, infinite where H was NaN: beyond 1000 the
    trajectory has diverged.

    Args:
      energy: of one point, differentiable.
      step_size: eps; a scalar, an array or tree that broadcasts to the position, or a matrix ``[D, D]``.
      mass: M, ``[D]`` or ``[D, D]``; ``step_size`` is then a scalar.
      max_depth: of the binary tree.

    Raises:
      ValueError: a step size that is not positive, a mass that is not positive definite, a depth that is not
        between 1 and 20.

    >>> kernel = nuts(lambda x: 0.5 * jnp.sum(x**2), 0.5)
    """
    checks.function(energy, "energy")
    if checks.count(max_depth, "max_depth") > 20:
        raise ValueError(
            f"max_depth must be at most 20, a million gradients a step, got {max_depth}"
        )
    step = with_mass(step_size, mass)

    def init(position):
        return evaluate(energy, position, with_grad=True)

    def draw(key, position):
        key_momentum, key_directions, key_leaves = fold_in_each(key, 3)
        is_forward = bits(key_directions, max_depth) & 1 == 0
        return normal_like(key_momentum, position), is_forward, key_leaves

    def move(noise, state):
        momentum, is_forward, key = noise
        if state.grad is None:
            raise TypeError(
                "nuts needs a state with its gradient: make it with this kernel's init(position)"
            )
        unravel = ravel_pytree(momentum)[1]
        start = state.energy + half_square(momentum)

        def leaf(tree: Tree) -> Tree:
            return _leaf(energy, step, unravel, is_forward, key, start, tree)

        tree = jax.lax.while_loop(
            lambda tree: (
                any_chain(~tree.has_ended) & (tree.num_leaves < 2**max_depth - 1)
            ),
            leaf,
            _seed(state, ravel_pytree(momentum)[0], max_depth),
        )
        info = Info(
            acceptance_rate=tree.sum_rate / tree.num_grads,
            is_accepted=_differs(tree.chosen.position, state.position),
            energy_error=tree.worst,
            num_nonfinite=tree.num_nonfinite,
            hamiltonian=start,
            num_grads=tree.num_grads,
        )
        return tree.chosen, info

    return Kernel(init, draw, careful(move))


def _seed(state: State, n: Array, max_depth: int) -> Tree:
    zero, no = jnp.zeros_like(state.energy), jnp.bool_(False)
    none = jnp.full_like(state.energy, -jnp.inf)
    rows = jnp.zeros((max_depth, n.size), n.dtype)
    return Tree(
        jnp.int32(0), state, state, n, n, state, zero, n, state, none, jnp.zeros_like(n), (rows, rows),
        no, no, jnp.int32(0), zero, zero, jnp.int32(0),
    )  # fmt: skip


def _leaf(energy, step, unravel, is_forward, key, start, tree: Tree) -> Tree:
    """One step of the leapfrog at one end, and whatever doubling it completes."""
    count = tree.num_leaves + 1  # doublings begin at the powers of two
    depth = 31 - jax.lax.clz(count)
    i = count - (1 << depth)  # the leaf's place in its doubling
    is_first, is_whole = i == 0, i + 1 == (1 << depth)

    # the next point in that direction; going back in time is going forward with the momentum flipped
    forward = is_forward[depth]
    sign = jnp.where(forward, 1, -1).astype(tree.n_left.dtype)
    end, n_end = select(forward, (tree.right, tree.n_right), (tree.left, tree.n_left))
    tip, n_tip = trajectory(energy, end, unravel(sign * n_end), step, 1)
    n_tip = sign * ravel_pytree(n_tip)[0]
    left, n_left = select(forward, (tree.left, tree.n_left), (tip, n_tip))
    right, n_right = select(forward, (tip, n_tip), (tree.right, tree.n_right))

    # its weight, and the draw within the doubling
    error = tip.energy + half_square(n_tip) - start
    is_finite, is_wall = jnp.isfinite(error), tip.energy == jnp.inf
    error = jnp.where(jnp.isnan(error), jnp.inf, error)
    log_new = jnp.logaddexp(jnp.where(is_first, -jnp.inf, tree.log_new), -error)
    within, between = exponentials(fold_in(key, count))
    new = select(-within < -error - log_new, tip, tree.new)
    rho_new = jnp.where(is_first, 0, tree.rho_new) + n_tip

    # an even leaf waits for the stretches that it opens, an odd one closes some
    row = jax.lax.population_count(i >> 1)
    waiting, has_turned = jax.lax.cond(
        i & 1,
        lambda: (tree.waiting, _closing(tree.waiting, n_tip, rho_new, i, row)),
        lambda: (
            _opening(tree.waiting, (n_tip, rho_new), row),
            jnp.zeros_like(is_finite),
        ),
    )
    has_turned |= ~is_first & tree.has_turned

    # a whole doubling: the draw between the halves, and the trajectory's own turn
    is_good = is_finite & (error < LARGEST_ERROR) & ~has_turned & ~tree.has_ended
    is_taken = is_whole & is_good
    is_chosen = is_taken & (-between < log_new - tree.log_weight)
    rho = tree.rho + rho_new
    counts = ~tree.has_ended
    return Tree(
        count, left, right, n_left, n_right,
        select(is_chosen, new, tree.chosen),
        jnp.where(is_taken, jnp.logaddexp(tree.log_weight, log_new), tree.log_weight),
        jnp.where(is_taken, rho, tree.rho),
        new, log_new, rho_new, waiting, has_turned,
        ~is_good | (is_whole & _turns(rho, n_left, n_right)),
        tree.num_grads + counts,
        tree.sum_rate + jnp.where(counts, jnp.exp(jnp.minimum(-error, 0.0)), 0.0),
        jnp.where(counts & (jnp.abs(error) > jnp.abs(tree.worst)), error, tree.worst),
        tree.num_nonfinite + (counts & ~is_finite & ~is_wall),
    )  # fmt: skip


def _opening(waiting, entry, row):
    return jax.tree.map(
        lambda table, value: jax.lax.dynamic_update_index_in_dim(table, value, row, 0),
        waiting,
        entry,
    )


def _closing(waiting, n_tip: Array, rho_new: Array, i: Array, row: Array) -> Array:
    """Whether any of the stretches that end at leaf i turns: as many as i has trailing ones in binary."""
    num_closed = jax.lax.population_count(i & ~(i + 1))

    def close(level, has_turned):
        n_first, rho_first = (
            jax.lax.dynamic_index_in_dim(t, level, 0, keepdims=False) for t in waiting
        )
        return has_turned | _turns(rho_new - rho_first + n_first, n_first, n_tip)

    return jax.lax.fori_loop(row - num_closed + 1, row + 1, close, jnp.bool_(False))


def _turns(rho: Array, n_first: Array, n_last: Array) -> Array:
    """Whether stretches ``[..., D]`` turn: the trapezium sum of momenta against that of either end."""
    rho = rho - (n_first + n_last) / 2
    return (jnp.sum(rho * n_first, axis=-1) <= 0) | (
        jnp.sum(rho * n_last, axis=-1) <= 0
    )


def _differs(a: Position, b: Position) -> Array:
    return jnp.any(
        jnp.stack(
            [
                jnp.any(x != y)
                for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
            ]
        )
    )
