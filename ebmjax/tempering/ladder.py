"""Estimates of a run of parallel tempering: barrier, round trips, and log Z.

From the rejection rates r_k of the swaps (Syed et al. 2022),

    barrier        Lambda = sum_k r_k, nearly the same for every ladder    (section 3.3)
    round trips    of replicas 0 -> 1 -> 0, at a rate of at most
                   1 / (2 + 2 sum_k r_k / (1 - r_k)) an iteration          (section 3.4)

and log Z from the energies of the replicas:

    stepping stones    sum_k log E_k exp(E_k - E_{k+1}), and in the other direction;
                       their mean                     (Xie, Lewis, Fan, Kuo & Chen 2011)
    thermodynamic      -integral E_beta[dE_beta / d beta] d beta  (Gelman & Meng 1998,
                       eq. 9) by the trapezoid rule; on a geometric path corrected by
                       d/d beta E_beta[dE / d beta] = -Var_beta[dE / d beta]
                                                         (Friel, Hurn & Wyse 2014)
"""

from typing import NamedTuple

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Position
from ebmjax.tempering.swaps import Replicas

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


def tempered(
    state: Replicas, draws: Position, betas: np.ndarray, *, is_corrected: bool
) -> Tempered:
    """From the replicas and their sums at the end, and all draws of the target.

    Warns of neighbours whose swaps are almost always rejected.
    """
    num_iterations = len(jax.tree.leaves(draws)[0])
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
