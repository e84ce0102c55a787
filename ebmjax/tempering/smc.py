"""Sequential Monte Carlo along a path, with adaptive temperatures.

Del Moral, Doucet & Jasra 2006, "Sequential Monte Carlo samplers", with the weights of
their section 3.3.2.3 (MCMC kernels), and no state wasted (Dau & Chopin 2022,
"Waste-free sequential Monte Carlo", algorithm 2).  M = N (P + 1) draws of the base are
the first population; then

    1. the next beta is the one at which the weights  w = exp(E_beta(x) - E_beta'(x))
       have an effective sample size of ``ess`` M, or 1 (Jasra et al. 2011, section 3)
    2. log Z += log (1/M) sum w
    3. systematic resampling of N (Carpenter, Clifford & Fearnhead 1999)
    4. P = ``num_steps`` transitions of each at beta', whose acceptance moves the step
       size, here at beta = 0 before the first level, too; all N (P + 1) states are the
       next population, where the usual algorithm keeps the N last.  With
       ``covariance="diagonal"`` the step sizes of the coordinates are in the ratio of
       the standard deviations of the weighted particles

until beta = 1.  ``E Z^`` is Z for a fixed schedule; with an adaptive one bias and
variance are O(1/N) (Beskos, Jasra, Kantas & Thiery 2016).  Independent repeats give the
standard error of log Z.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import as_function
from ebmjax.base import Kernel, Key, Position
from ebmjax.spaces import REAL
from ebmjax.tempering import weights
from ebmjax.tempering.annealing import MakeKernel
from ebmjax.tempering.particles import Population, run_levels
from ebmjax.tempering.paths import Path
from ebmjax.tempering.validation import (
    check_base,
    check_kernel,
    check_path,
    check_support,
)


class Particles(NamedTuple):
    """Of one run; of several, fields of arrays have a leading axis ``[R]``."""

    positions: Position  # [N (P + 1), ...] at beta = 1
    log_z: Any  # log Z_1 / Z_0
    standard_error: float  # over repeats; NaN of one
    betas: np.ndarray  # [K + 1] from 0 to 1
    step_sizes: np.ndarray  # [K + 1], the geometric mean of all coordinates
    lengths: np.ndarray  # [K] sd of the log weights of each level
    acceptance_rate: np.ndarray  # [K]
    num_grads: int  # of all particles

    @property
    def num_levels(self) -> int:
        return len(self.lengths)


def sequential_monte_carlo(
    key: Key,
    path: Path,
    make_kernel: MakeKernel,
    step_size: float = 0.1,
    *,
    num_particles: int = 500,
    num_steps: int = 10,
    ess: float = 0.5,
    target_acceptance: float = 0.8,
    max_levels: int = 500,
    num_repeats: int = 1,
    covariance: str | None = None,
) -> Particles:
    """Particles moved from the base to the target, and log Z.

    Args:
      key: one key.
      path: with a base.
      make_kernel: ``(energy, step_size) -> kernel``.
      step_size: a first guess; each transition moves its logarithm up where the
        acceptance rate of the particles is above ``target_acceptance``, else down.
      num_particles: N, resampled at each level.
      num_steps: P, transitions of each at a level, whose states are all kept.
      ess: effective sample size that a level keeps, a share in (0, 1).
      target_acceptance: in (0, 1).
      max_levels: the run raises if beta = 1 needs more levels.
      num_repeats: R independent runs in one program.  Then ``log_z`` is the log of the
        mean of their Z, ``standard_error`` is measured, positions are those of all,
        ``[R N (P + 1), ...]``, and the levels are those of the first.
      covariance: ``"diagonal"`` gives ``make_kernel`` a step size for each coordinate,
        a tree like the position; for real numbers.  ``None``: one for all.

    Raises:
      ValueError, TypeError: a bad argument; no base, or one of smaller support than
        the target; an energy that is NaN at a particle; no particle with a positive
        weight; beta = 1 is not reached in ``max_levels``; values that are traced.

    >>> found = sequential_monte_carlo(key, path, eb.mala, 0.5, num_repeats=8)
    ... # doctest: +SKIP
    >>> found.log_z, found.standard_error  # doctest: +SKIP
    """
    checks.on_host(
        (key, path, step_size, ess, target_acceptance),
        "sequential_monte_carlo",
        "ebmjax.tempering.particles.run_levels",
    )
    key, path = checks.key(key), check_path(path)
    make_kernel = as_function(make_kernel, "make_kernel")
    checks.positive(step_size, "step_size")
    for value, name in ((ess, "ess"), (target_acceptance, "target_acceptance")):
        checks.between(value, name)
    num_particles = checks.count(num_particles, "num_particles", least=2)
    checks.count(num_steps, "num_steps")
    checks.count(max_levels, "max_levels")
    checks.count(num_repeats, "num_repeats")
    check_base(path)
    kernel = check_kernel(make_kernel, path, step_size)
    _check_covariance(covariance, kernel)
    ends = _program(
        jax.random.split(key, num_repeats),
        path,
        jnp.asarray(step_size, jnp.result_type(float)),
        jnp.asarray(ess, jnp.result_type(float)),
        jnp.asarray(target_acceptance, jnp.result_type(float)),
        make_kernel=make_kernel,
        num_particles=num_particles,
        num_steps=num_steps,
        max_levels=max_levels,
        is_scaled=covariance is not None,
    )
    found = _found(ends, max_levels)
    check_support(path, found.positions, "final positions")
    return found


def _check_covariance(covariance: str | None, kernel: Kernel) -> None:
    if covariance is None:
        return
    if covariance != "diagonal":
        raise ValueError(f"covariance must be 'diagonal' or None, got {covariance!r}")
    if kernel.state_space != REAL:
        raise ValueError(
            f"covariance must be None for a kernel of {kernel.state_space}, got "
            f"{covariance!r}"
        )


@functools.partial(
    jax.jit, static_argnames=("num_particles", "num_steps", "max_levels", "is_scaled")
)
def _program(keys, path, step_size, ess, target, **options):
    one = lambda key: run_levels(key, path, step_size, ess, target, **options)
    return jax.vmap(one)(keys)


def _found(ends: Population, max_levels: int) -> Particles:
    if np.asarray(ends.num_nan).any():
        raise ValueError(
            f"energy must not be NaN along the path: {int(np.sum(ends.num_nan))} "
            "particles have no weight; make it infinite outside its support"
        )
    log_z = np.asarray(ends.log_z, np.float64)
    if not np.isfinite(log_z).all():
        raise ValueError(
            "no particle has a weight left: the energy is infinite at every one; use "
            "more particles or a base inside the support of the target"
        )
    if not (np.asarray(ends.beta) == 1).all():
        raise ValueError(
            f"the path is not finished in max_levels = {max_levels} levels: it got to "
            f"beta = {float(np.min(ends.beta)):.3g}; use more levels or a nearer base"
        )
    num = int(ends.level[0])
    rates = np.asarray(ends.acceptance[0, :num])
    if rates[num // 2 :].mean() < 0.05:
        checks.warn(
            f"particles hardly move: acceptance {rates[num // 2 :].mean():.2g} in the "
            "last levels; use more steps a level or a smaller step_size"
        )
    is_one = len(log_z) == 1
    return Particles(
        jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), ends.positions),
        float(weights.log_mean_exp(log_z)),
        float("nan") if is_one else weights.standard_error(log_z),
        np.asarray(ends.betas[0, : num + 1], np.float64),
        np.exp(np.asarray(ends.log_sizes[0, : num + 1], np.float64)),
        np.asarray(ends.lengths[0, :num], np.float64),
        rates,
        int(np.sum(ends.num_grads)),
    )
