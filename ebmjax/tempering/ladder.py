"""Estimates of a run of parallel tempering: barrier, round trips, and log Z.

From the rejection rates r_k of the swaps (Syed et al. 2022),

    barrier        Lambda = sum_k r_k, nearly the same for every ladder    (section 3.3)
    round trips    of replicas 0 -> 1 -> 0, at a rate of at most
                   1 / (2 + 2 sum_k r_k / (1 - r_k)) an iteration          (section 3.4)

and log Z from the energies of the replicas, of all ladders together:

    Bennett       sum_k d_k, where d_k solves, over all draws x_k and x_{k+1},
                      sum f(E_{k+1}(x_k) - E_k(x_k) + d_k)
                      = sum f(E_k(x_{k+1}) - E_{k+1}(x_{k+1}) - d_k)
                  with f(u) = 1 / (1 + exp u); of all estimates from draws of both it
                  has the smallest variance                   (Bennett 1976, eq. 12)
    stepping      sum_k log E_k exp(E_k - E_{k+1})
                                              (Xie, Lewis, Fan, Kuo & Chen 2011)
    thermodynamic -integral E_beta[dE_beta / d beta] d beta by the trapezoid rule
                  (Gelman & Meng 1998, eq. 9); on a geometric path corrected by
                  d/d beta E_beta[dE / d beta] = -Var_beta[dE / d beta]
                                                      (Friel, Hurn & Wyse 2014)

Stepping stones in the other direction, -sum_k log E_{k+1} exp(E_{k+1} - E_k), are wrong
where the support of k + 1 is smaller than that of k; Bennett's ratio is not.

The error is that of the infinitesimal jackknife over ladders: with g the difference of
the sums above, and g_c the share of ladder c, d_k moves by  -C g_c / g'(d_k).
"""

from typing import NamedTuple

import jax
import numpy as np
from scipy import special

from ebmjax import _validation as checks
from ebmjax.base import Position
from ebmjax.tempering import weights
from ebmjax.tempering.bennett import acceptance_ratio
from ebmjax.tempering.swaps import Energies, Replicas

CROWDED = 0.9  # rejection rate of a swap above which a warning is raised
STUCK = 0.05  # acceptance rate of a kernel below which a warning is raised


class Tempered(NamedTuple):
    """Draws of the target, and statistics of the ladder."""

    draws: Position  # [T, C, ...] at beta = 1
    positions: Position  # [C, K, ...] of all replicas at the end
    betas: np.ndarray  # [K]
    step_sizes: np.ndarray  # [K]
    rejection_rate: np.ndarray  # [K - 1] of swaps
    acceptance_rate: np.ndarray  # [K] of the kernels
    num_round_trips: int  # of all ladders
    log_z_of_ladders: np.ndarray  # [C] by Bennett; their mean is the estimate of all
    stepping_log_z: float  # by stepping stones from the base, of all ladders
    thermodynamic_of_ladders: np.ndarray  # [C]; NaN where a slope is not finite
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
        """log Z_1 / Z_0 by Bennett's acceptance ratio of neighbours."""
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
    state: Replicas,
    draws: Position,
    energies: Energies,
    betas: np.ndarray,
    *,
    is_corrected: bool,
    is_outside: bool = False,
) -> Tempered:
    """From the replicas at the end, and all draws of the target and energies ``[T]``;
    ``is_outside``: draws of the target are outside the support of the base.

    Raises:
      ValueError: energies that are NaN.

    Warns of neighbours whose swaps are almost always rejected, of replicas that hardly
    move, and of draws outside the support of the base.
    """
    num_iterations = len(jax.tree.leaves(draws)[0])
    t = state.totals
    up, down, slope = (np.asarray(x, np.float64) for x in energies[:3])
    if np.isnan(up).any() or np.isnan(down).any():
        raise ValueError(
            "energy must not be NaN along the path, got NaN at replicas; make it "
            "infinite outside its support"
        )
    rejection = np.asarray(t.rejection, np.float64).mean(axis=0) / num_iterations
    acceptance = np.asarray(t.acceptance, np.float64).mean(axis=0) / num_iterations
    _report(rejection, acceptance, betas, is_outside)
    if is_outside:
        slope = np.full_like(slope, np.nan)
    return Tempered(
        draws,
        state.positions,
        np.asarray(betas),
        np.exp(np.asarray(state.log_sizes, np.float64)),
        rejection,
        acceptance,
        int(np.sum(state.num_round_trips)),
        np.sum([_bennett(up[..., k], down[..., k]) for k in range(up.shape[-1])], 0),
        float(weights.log_mean_exp(up.reshape(-1, up.shape[-1])).sum()),
        _thermodynamic(slope, betas, is_corrected),
        int(np.asarray(energies.num_grads).sum(dtype=np.int64)),
    )


def _bennett(up: np.ndarray, down: np.ndarray) -> np.ndarray:
    """log Z_{k+1} / Z_k of all ladders, plus the share of each in its error, ``[C]``;
    of log weights ``[T, C]`` in both directions."""
    if not ((up > -np.inf).any() and (down > -np.inf).any()):
        return np.full(up.shape[1], np.nan)
    log_z, _ = acceptance_ratio(up.ravel(), down.ravel())
    ahead, back = special.expit(up - log_z), special.expit(down + log_z)
    share = (ahead - back).mean(axis=0)  # zero on the average
    slope = (ahead * (1 - ahead) + back * (1 - back)).mean()
    return log_z + share / slope


def _thermodynamic(slope: np.ndarray, betas, is_corrected: bool) -> np.ndarray:
    """``[C]`` of slopes ``[T, C, K]``."""
    if not np.isfinite(slope).all():  # the integral does not exist
        return np.full(slope.shape[1], np.nan)
    found = -np.trapezoid(slope.mean(axis=0), betas, axis=1)
    if is_corrected:
        change = np.diff(slope.var(axis=0), axis=1)
        found -= (np.diff(betas) ** 2 * change).sum(axis=1) / 12
    return found


def _report(rejection, acceptance, betas, is_outside: bool) -> None:
    if is_outside:
        checks.warn(
            "draws of the target are outside the support of the base: replicas below "
            "beta = 1 do not reach them, and log Z may be that of a part; use a wider "
            "base"
        )
    if acceptance.min() < STUCK:
        k = int(acceptance.argmin())
        checks.warn(
            f"replicas at beta = {betas[k]:.3g} hardly move: acceptance "
            f"{acceptance[k]:.2g}; use a smaller step_size or a longer adaptation"
        )
    if rejection.max() > CROWDED:
        k = int(rejection.argmax())
        checks.warn(
            f"swaps between beta = {betas[k]:.3g} and {betas[k + 1]:.3g} are rejected "
            f"at a rate of {rejection[k]:.2f}: replicas hardly meet there; use more "
            f"replicas than {len(betas)} or a longer adaptation"
        )
