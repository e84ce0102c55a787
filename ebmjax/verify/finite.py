"""Kernels on a finite space: transition matrices, computed or estimated.

Computed, for a Metropolis kernel: P is a finite sum over the noise of its proposal,

    P_ij = sum_noise w(noise) a(i, noise) 1[candidate = j]  +  1[i = j] (rejected),

from the kernel's ``move``.  Then ``pi_i P_ij = pi_j P_ji`` holds to rounding, or the
kernel is wrong.

Counted, for any kernel: n single steps from each state i, N_ij of them to j.  With
pi known, ``sum_i pi_i P_ij = pi_j`` and ``pi_i P_ij = pi_j P_ji`` are z-tests of
multinomial counts.  The graph of the observed steps gives the reachable states and the
period of the chain.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Energy, Kernel, Key
from ebmjax.verify.report import Finding, Report, exact
from ebmjax.verify.running import Chains
from ebmjax.verify.statistics import p_of, z_values

MAX_STATES = 4096
RATIO = (
    "The ratio of the densities is wrong: log_q must be of q(x | x*) over q(x* | x)."
)


def transition_matrix(
    kernel: Kernel, states: Any, noises: Any, weights: Any
) -> np.ndarray:
    """P of a Metropolis kernel on a finite space, ``[K, K]``.

    Args:
      kernel: made by ``metropolis`` from a proposal.
      states: the points of the space, ``[K, ...]``; the proposal must stay among them.
      noises: every value that the noise of the proposal can take, ``[R, ...]``.
      weights: their probabilities, ``[R]``.
    """
    always = jnp.inf  # accepts any candidate of positive probability

    def one(position, noise):
        proposed, info = kernel.move((noise, always), kernel.init(position))
        return proposed.position, info.acceptance_rate

    program = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))
    candidates, accepted = program(states, noises)
    points, candidates = np.asarray(states), np.asarray(candidates)
    size = len(points)
    weights, accepted = (np.asarray(v, np.float64) for v in (weights, accepted))
    where = _nearest(points, candidates.reshape(-1, *points.shape[1:]))
    where = where.reshape(size, -1)
    matrix = np.zeros((size, size))
    for i in range(size):
        np.add.at(matrix[i], where[i], weights * accepted[i])
        matrix[i, i] += (weights * (1 - accepted[i])).sum()
    return matrix


def detailed_balance(
    kernel: Kernel,
    energy: Energy,
    states: Any,
    noises: Any,
    weights: Any,
    *,
    tolerance: float = 1e-6,
) -> Report:
    """pi_i P_ij = pi_j P_ji, sum_i pi_i P_ij = pi_j, rows that sum to one; computed.

    Args: as :func:`transition_matrix`; ``energy`` is that of the target.
    """
    matrix = transition_matrix(kernel, states, noises, weights)
    pi = _probabilities(energy, states)
    flow = pi[:, None] * matrix
    off_diagonal = matrix - np.diag(np.diag(matrix))
    stuck = (off_diagonal.sum(axis=1) == 0).sum()
    findings = (
        exact("largest |pi_i P_ij - pi_j P_ji|", _most(flow - flow.T), tolerance),
        exact("largest |pi P - pi|", _most(pi @ matrix - pi), tolerance),
        exact("largest |row sum - 1|", _most(matrix.sum(axis=1) - 1), tolerance),
        exact("states that cannot be left", stuck, 0),
    )
    return Report(
        "detailed balance",
        f"{len(pi)} states, exact to {tolerance:g}",
        findings,
        evidence={"flow": flow, "pi": pi, "kind": "flow"},
        suggestion=RATIO,
    )


def counted_balance(
    key: Key,
    kernel: Any,
    energy: Energy,
    states: Any,
    *,
    num_chains: int = 20_000,
    alpha: float = 1e-6,
    is_reversible: bool = True,
    name: str = "the kernel",
) -> Report:
    """Invariance, detailed balance and irreducibility on a finite space, by simulation.

    Args:
      key: one key.
      kernel: any pair of ``init`` and ``step``: Gibbs, ``flip``, a cluster move.
      energy: of the target.
      states: all points of the space, an array ``[K, ...]``.
      num_chains: single steps from each state.
      alpha: the false-alarm rate.
      is_reversible: whether detailed balance is claimed; a sweep has none.

    Returns:
      A report.  It fails if a state is never reached from another; a period above one
      is a row of the table, not a failure.

    Raises:
      ValueError: more than 4096 states, or fewer than two.
    """
    points = np.asarray(states)
    size = checks.count(len(points), "number of states", least=2)
    if size > MAX_STATES:
        raise ValueError(f"states must be at most {MAX_STATES}, got {size}")
    counts, num_outside = _counts(checks.key(key), kernel, points, num_chains)
    pi = _probabilities(energy, states)
    findings = [exact("steps to a point that is no state", num_outside, 0)]
    findings += _reach(counts)
    findings.append(_invariant(counts, pi, num_chains))
    if is_reversible:
        findings.append(_balanced(counts, pi, num_chains))
    return Report(
        f"transition matrix of {name}",
        f"{size} states, {num_chains} steps from each, counted",
        tuple(findings),
        alpha,
        {"flow": pi[:, None] * counts / num_chains, "pi": pi, "kind": "flow"},
        RATIO,
    )


def _counts(key, kernel, points, num_chains) -> tuple[np.ndarray, int]:
    single = Chains(kernel).single
    counts, num_outside = np.zeros((len(points), len(points))), 0
    for i, point in enumerate(points):
        keys = jax.random.split(jax.random.fold_in(key, i), num_chains)
        start = jnp.broadcast_to(jnp.asarray(point), (num_chains, *point.shape))
        ends = np.asarray(single(keys, start))
        kinds, number = np.unique(
            ends.reshape(num_chains, -1), axis=0, return_counts=True
        )
        kinds = kinds.reshape(-1, *points.shape[1:])
        where = _nearest(points, kinds)
        is_state = np.isclose(points[where], kinds).reshape(len(kinds), -1).all(axis=1)
        num_outside += int(number[~is_state].sum())
        np.add.at(counts[i], where[is_state], number[is_state])
    return counts, num_outside


def _invariant(counts, pi, num) -> Finding:
    """sum_i pi_i (P_ij - 1[i = j]) = 0 for every j; the largest z."""
    matrix = counts / num
    gap = pi @ matrix - pi
    variance = (pi**2) @ (matrix * (1 - matrix)) / num
    z = z_values(gap, np.sqrt(variance) + 1e-9, pi.max() / (2 * num))
    j = int(np.argmax(z))
    p = min(1.0, float(p_of(z[j])) * len(z))
    name = f"largest deviation of pi P from pi (state {j})"
    return Finding(name, float((pi @ matrix)[j]), float(pi[j]), p)


def _balanced(counts, pi, num) -> Finding:
    """pi_i P_ij = pi_j P_ji for every pair; the largest z."""
    matrix = counts / num
    flow = pi[:, None] * matrix
    variance = pi[:, None] ** 2 * matrix * (1 - matrix) / num
    allowance = np.maximum(pi[:, None], pi[None, :]) / (2 * num)
    z = z_values(flow - flow.T, np.sqrt(variance + variance.T) + 1e-9, allowance)
    z = np.triu(z, 1)
    i, j = np.unravel_index(int(np.argmax(z)), z.shape)
    p = min(1.0, float(p_of(z[i, j])) * (len(pi) * (len(pi) - 1) // 2))
    name = f"largest |pi_i P_ij - pi_j P_ji| (states {i} and {j})"
    return Finding(name, float(flow[i, j]), float(flow[j, i]), p)


def _reach(counts) -> list[Finding]:
    """States that cannot be reached from the first, or cannot reach it; the period."""
    edges = counts > 0
    forward, backward = _depths(edges), _depths(edges.T)
    missing = int(((forward < 0) | (backward < 0)).sum())
    found = [exact("states not connected with the first", missing, 0)]
    if missing == 0:
        i, j = np.nonzero(edges)
        period = math.gcd(*(int(d) for d in forward[i] + 1 - forward[j]))
        found.append(Finding("period of the chain", period, 1, 1.0, family="check"))
    return found


def _depths(edges) -> np.ndarray:
    """Steps from state 0 to each; -1 where it is never reached."""
    depths = np.full(len(edges), -1)
    depths[0], at, depth = 0, np.zeros(1, int), 0
    while len(at):
        depth += 1
        at = np.flatnonzero(edges[at].any(axis=0) & (depths < 0))
        depths[at] = depth
    return depths


def _nearest(points, candidates) -> np.ndarray:
    """The index of the state at each candidate."""
    flat = points.reshape(len(points), -1)
    gaps = [np.abs(flat - c.ravel()).sum(axis=1) for c in candidates]
    return np.array([int(g.argmin()) for g in gaps])


def _probabilities(energy, states) -> np.ndarray:
    energies = np.asarray(jax.vmap(energy)(jnp.asarray(states)), np.float64)
    pi = np.exp(energies.min() - energies)
    return pi / pi.sum()


def _most(values) -> float:
    return float(np.abs(values).max())
