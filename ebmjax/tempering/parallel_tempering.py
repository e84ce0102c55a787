"""Parallel tempering: replicas along a path with non-reversible swaps of neighbours.

K replicas at ``0 = beta_0 < ... < beta_{K-1} = 1`` (Geyer 1991; Hukushima & Nemoto
1996).  Iteration t swaps the pairs (k, k + 1) with k + t even, each with probability
min(1, exp r),

    r = E_k(x_k) + E_{k+1}(x_{k+1}) - E_k(x_{k+1}) - E_{k+1}(x_k),

and then moves every replica by its own kernel.  Alternating pairs, in place of random
ones, make a replica move persistently in one direction, so that more replicas never
hurt (Syed, Bouchard-Cote, Deligiannidis & Doucet 2022, "Non-reversible parallel
tempering", JRSS B 84).  If the path has a base, the replica at beta = 0 is an
independent draw of it. From the rejection rates r_k of the swaps:

    barrier        Lambda = sum_k r_k, nearly the same for every ladder    (section 3.3)
    ladder         equal r_k, by interpolating their cumulated sum; rounds of doubled
                   length                                                  (section 5)
    round trips    of replicas 0 -> 1 -> 0, at a rate of at most
                   1 / (2 + 2 sum_k r_k / (1 - r_k)) an iteration          (section 3.4)

The same run gives log Z:

    stepping stones    sum_k log E_k exp(E_k - E_{k+1}), and in the other direction;
                       their mean                     (Xie, Lewis, Fan, Kuo & Chen 2011)
    thermodynamic      -integral E_beta[dE_beta / d beta] d beta  (Gelman & Meng 1998,
                       eq. 9) by the trapezoid rule; on a geometric path corrected by
                       d/d beta E_beta[dE / d beta] = -Var_beta[dE / d beta]
                                                         (Friel, Hurn & Wyse 2014)
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import as_function
from ebmjax.base import Key, Position
from ebmjax.sampling.loop import chain_keys
from ebmjax.tempering.ais import MakeKernel
from ebmjax.tempering.paths import (
    Geometric,
    Path,
    check_base,
    check_betas,
    check_path,
)
from ebmjax.tempering.replicas import Replicas, begin, iterate
from ebmjax.tempering.schedule import equal_lengths

FIRST_ROUND = 32  # iterations of the first round of adaptation
GAIN, DECAY = 1.0, 0.6  # of log step sizes on acceptance, t^-DECAY
CROWDED = 0.9  # rejection rate of a swap above which a warning is raised


class Tempered(NamedTuple):
    """Draws of the target, and statistics of the ladder."""

    draws: Position  # [T, C, ...] at beta = 1
    positions: Position  # [C, K, ...] of all replicas at the end
    betas: np.ndarray  # [K]
    step_sizes: np.ndarray  # [K]
    rejection_rate: np.ndarray  # [K - 1] of swaps
    acceptance_rate: np.ndarray  # [K] of the kernels
    num_round_trips: int  # of all ladders
    log_z_of_ladders: np.ndarray  # [C] by stepping stones
    thermodynamic_of_ladders: np.ndarray  # [C] by thermodynamic integration
    num_grads: int  # after adaptation

    @property
    def communication_barrier(self) -> float:
        """Lambda; about twice as many replicas are a good choice."""
        return float(self.rejection_rate.sum())

    @property
    def round_trip_rate(self) -> float:
        """Round trips per iteration of a ladder."""
        first = jax.tree.leaves(self.draws)[0]
        return self.num_round_trips / (first.shape[0] * first.shape[1])

    @property
    def best_round_trip_rate(self) -> float:
        """The round trip rate if kernels mixed perfectly between swaps."""
        r = np.minimum(self.rejection_rate, 1 - 1e-9)
        return float(1 / (2 + 2 * np.sum(r / (1 - r))))

    @property
    def log_z(self) -> float:
        """log Z_1 / Z_0 by stepping stones."""
        return float(self.log_z_of_ladders.mean())

    @property
    def thermodynamic_log_z(self) -> float:
        return float(self.thermodynamic_of_ladders.mean())

    @property
    def standard_error(self) -> float:
        """Of :attr:`log_z`, over ladders; NaN of one."""
        values = self.log_z_of_ladders
        if len(values) < 2:
            return float("nan")
        return float(values.std(ddof=1) / len(values) ** 0.5)


def parallel_tempering(
    key: Key,
    path: Path,
    make_kernel: MakeKernel,
    num_iterations: int,
    step_size: float = 0.1,
    *,
    positions: Position | None = None,
    num_ladders: int = 8,
    num_replicas: int = 10,
    num_steps: int = 1,
    num_adapt: int = 500,
    target_acceptance: float = 0.65,
    betas: Any = None,
) -> Tempered:
    """Draws of the target from replicas that move between it and the base.

    The ladder and the step size of each replica adapt in ``num_adapt`` iterations,
    whose draws are discarded, and are then fixed.

    Args:
      key: one key.
      path: with a base, or without one and
      positions: ``[C, ...]`` where the replicas of each ladder start.
      make_kernel: ``(energy, step_size) -> kernel``; leaves its energy invariant.
      num_iterations: T, of a swap and ``num_steps`` transitions each.
      step_size: a first guess of all replicas.
      num_ladders: C, independent; errors come from their spread.
      num_replicas: K; twice the communication barrier is a good choice.
      num_steps: transitions between swaps.
      num_adapt: iterations of adaptation; 0 for none.
      target_acceptance: the acceptance rate to which step sizes adapt.
      betas: ``[K]``, initial values, in place of ``num_replicas``.

    Raises:
      ValueError, TypeError: a bad argument, a path without a base and no positions.

    Warns of neighbours whose swaps are almost always rejected.

    >>> found = parallel_tempering(key, path, eb.mala, 1000)  # doctest: +SKIP
    >>> found.log_z, found.communication_barrier  # doctest: +SKIP
    """
    key, path = checks.key(key), check_path(path)
    make_kernel = as_function(make_kernel, "make_kernel")
    checks.positive(step_size, "step_size")
    checks.between(target_acceptance, "target_acceptance")
    checks.count(num_replicas, "num_replicas", least=2)
    num_iterations = checks.count(num_iterations, "num_iterations", least=2)
    for value, name in ((num_ladders, "num_ladders"), (num_steps, "num_steps")):
        checks.count(value, name)
    checks.count(num_adapt, "num_adapt", least=0)
    ladder = np.linspace(0, 1, num_replicas) ** 3 if betas is None else betas
    ladder = check_betas(ladder)
    key_start, key_adapt, key_run = jax.random.split(key, 3)
    x = _start(key_start, path, positions, num_ladders, len(ladder))
    log_sizes = np.full(len(ladder), np.log(step_size))
    options = {"make_kernel": make_kernel, "num_steps": num_steps}
    target = jnp.asarray(target_acceptance, jnp.result_type(float))

    done = 0
    for length in rounds(num_adapt):
        keys = chain_keys(jax.random.fold_in(key_adapt, done), len(_first(x)))
        state = begin(x, jnp.asarray(log_sizes, jnp.result_type(float)))
        state = _adapt(keys, path, _numbers(ladder), state, target, length, **options)
        x, done = state.positions, done + length
        rejection = np.asarray(state.totals.rejection, np.float64).mean(0) / length
        new = equal_lengths(ladder, rejection, len(ladder) - 1)
        found = np.asarray(state.log_sizes, np.float64)
        log_sizes, ladder = np.interp(new, ladder, found), new
    keys = chain_keys(key_run, len(_first(x)))
    state = begin(x, jnp.asarray(log_sizes, jnp.result_type(float)))
    state, draws = _collect(
        keys, path, _numbers(ladder), state, num_iterations=num_iterations, **options
    )
    return _found(
        state, draws, ladder, num_iterations, isinstance(path.energy, Geometric)
    )


def rounds(num_adapt: int) -> list[int]:
    """Lengths of rounds, each twice the one before, that sum to ``num_adapt``."""
    lengths, length = [], FIRST_ROUND
    while num_adapt > 0:
        is_last = num_adapt < 3 * length
        lengths.append(num_adapt if is_last else length)
        num_adapt -= lengths[-1]
        length *= 2
    return lengths


# --- programs -------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames=("num_steps",))
def _adapt(keys, path, betas, state, target, length, *, make_kernel, num_steps):
    def iteration(step, state):
        gain = GAIN / (1.0 + step) ** DECAY
        return iterate(
            path, make_kernel, num_steps, betas, keys, step, state, gain, target
        )

    return jax.lax.fori_loop(0, length, iteration, state)


@functools.partial(jax.jit, static_argnames=("num_steps", "num_iterations"))
def _collect(keys, path, betas, state, *, make_kernel, num_steps, num_iterations):
    def iteration(state, step):
        state = iterate(
            path, make_kernel, num_steps, betas, keys, step, state, 0.0, 0.0
        )
        return state, jax.tree.map(lambda x: x[:, -1], state.positions)

    return jax.lax.scan(iteration, state, jnp.arange(num_iterations))


def _start(key, path, positions, num_ladders, num_replicas):
    if positions is None:
        if path.base is None:
            raise ValueError(
                "positions [C, ...] are needed for a path without a base, got None"
            )
        check_base(path)
        x = path.base.sample(key, num_ladders * num_replicas)
        shape = (num_ladders, num_replicas)
        return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), x)
    x = checks.position(positions)
    checks.num_chains(x)
    repeat = lambda leaf: jnp.repeat(leaf[:, None], num_replicas, axis=1)
    return jax.tree.map(repeat, x)


def _found(state: Replicas, draws, betas, num_iterations, is_corrected) -> Tempered:
    t = state.totals
    up, down = (np.asarray(x, np.float64) for x in (t.up, t.down))
    slope, square = (
        np.asarray(x, np.float64) / num_iterations for x in (t.slope, t.square)
    )
    count = np.log(num_iterations)
    stepping = 0.5 * ((up - count).sum(axis=1) - (down - count).sum(axis=1))
    thermodynamic = -np.trapezoid(slope, betas, axis=1)
    if is_corrected:
        change = np.diff(square - slope**2, axis=1)
        thermodynamic -= (np.diff(betas) ** 2 * change).sum(axis=1) / 12
    rejection = np.asarray(t.rejection, np.float64).mean(axis=0) / num_iterations
    acceptance = np.asarray(t.acceptance, np.float64).mean(axis=0) / num_iterations
    if rejection.max() > CROWDED:
        k = int(rejection.argmax())
        checks.warn(
            f"swaps between beta = {betas[k]:.3g} and {betas[k + 1]:.3g} are rejected "
            f"at a rate of {rejection[k]:.2f}: replicas hardly meet there; use more "
            f"replicas than {len(betas)} or a longer adaptation"
        )
    return Tempered(
        draws,
        state.positions,
        np.asarray(betas),
        np.exp(np.asarray(state.log_sizes, np.float64)),
        rejection,
        acceptance,
        int(np.sum(state.num_round_trips)),
        stepping,
        thermodynamic,
        int(t.num_grads),
    )


def _numbers(betas):
    return jnp.asarray(betas, jnp.result_type(float))


def _first(x):
    return jax.tree.leaves(x)[0]
