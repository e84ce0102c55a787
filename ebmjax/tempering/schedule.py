"""Schedules for annealed importance sampling, from a pilot run.

Neighbouring levels of equal thermodynamic length

    d(beta) = integral_0^beta sqrt(Var_b[dE_b/db]) db

have equal Kullback-Leibler divergences to second order, and the smallest sum of them
for their number (Neal 2001, section 4; Gelman & Meng 1998, section 4; Grosse, Maddison
& Salakhutdinov 2013).  The pilot is a run of sequential Monte Carlo, whose steps are
known lengths; between its levels the length is interpolated monotonically.  It uses a
separate key: a schedule that adapts to the same chains makes their weights biased.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

from ebmjax import _validation as checks
from ebmjax.base import Key
from ebmjax.tempering.annealing import MakeKernel
from ebmjax.tempering.paths import Path
from ebmjax.tempering.smc import sequential_monte_carlo


class Schedule(NamedTuple):
    """Levels, and a step size for each: ``*schedule`` are arguments of a run."""

    betas: np.ndarray  # [L + 1], from 0 to 1
    step_sizes: Any  # [L + 1]


def pilot(
    key: Key,
    path: Path,
    make_kernel: MakeKernel,
    step_size: float = 0.1,
    *,
    num_levels: int = 1000,
    num_particles: int = 256,
    num_steps: int = 10,
    target_acceptance: float = 0.7,
) -> Schedule:
    """``num_levels`` levels of equal thermodynamic length, and their step sizes.

    Args:
      key: one key, not that of the runs.
      path, make_kernel: as of the run.
      step_size: a first guess.
      num_levels: L of the run.
      num_particles, num_steps, target_acceptance: of the pilot.

    Raises:
      ValueError, TypeError: as :func:`sequential_monte_carlo`.

    >>> betas, step_sizes = pilot(key, path, eb.mala)  # doctest: +SKIP
    """
    checks.count(num_levels, "num_levels")
    found = sequential_monte_carlo(
        key,
        path,
        make_kernel,
        step_size,
        num_particles=num_particles,
        num_steps=num_steps,
        ess=0.8,
        target_acceptance=target_acceptance,
    )
    betas = equal_lengths(found.betas, found.lengths, num_levels)
    log_sizes = np.log(np.asarray(found.step_sizes, np.float64))
    sizes = np.exp(np.interp(betas, found.betas, log_sizes))
    return Schedule(betas, sizes.astype(np.float32))


def equal_lengths(betas: Any, lengths: Any, num_levels: int) -> np.ndarray:
    """``[L + 1]`` levels from 0 to 1 at equal distances, from the ``lengths [K]``
    between neighbours of ``betas [K + 1]``."""
    betas = np.asarray(betas, np.float64)
    total = np.concatenate([[0.0], np.cumsum(np.maximum(lengths, 0.0))])
    if total[-1] <= 0:  # one density along the whole path
        return np.linspace(0.0, 1.0, num_levels + 1)
    total = total + 1e-9 * total[-1] * betas  # strictly rising
    places = np.linspace(0.0, total[-1], num_levels + 1)
    found = np.clip(PchipInterpolator(total, betas)(places), 0.0, 1.0)
    found[0], found[-1] = 0.0, 1.0
    return found
