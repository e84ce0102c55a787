"""log Z of an energy between bounds, in one call.

A pilot, then annealed importance sampling from a base, and in reverse from samples of
the target: :mod:`ebmjax.tempering.schedule`, :mod:`~ebmjax.tempering.ais`,
:mod:`~ebmjax.tempering.bennett`.  In one or two dimensions quadrature is exact
(:mod:`ebmjax.evaluation.quadrature`), and so is a sum over all states for up to 24 bits
(:mod:`ebmjax.energies.enumeration`).
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Energy, Key, Position
from ebmjax.kernels.hamiltonian import hmc
from ebmjax.sampling.progress import Progress
from ebmjax.tempering.ais import annealed_importance_sampling
from ebmjax.tempering.annealing import MakeKernel
from ebmjax.tempering.bases import Base
from ebmjax.tempering.bennett import LogZ, bennett
from ebmjax.tempering.circles import fit_base
from ebmjax.tempering.paths import geometric
from ebmjax.tempering.schedule import Schedule, pilot
from ebmjax.tempering.weights import NUM_BLOCKS, AnnealedWeights

NUM_LEAPFROG = 5
LEAST = 2 * NUM_BLOCKS  # chains that a bound needs
WIDEN = 1.1  # of the standard deviations of a base that is fitted


class Bracket(NamedTuple):
    """log Z, and the runs that estimate it."""

    log_z: LogZ
    forward: AnnealedWeights
    reverse: AnnealedWeights | None
    schedule: Schedule


def default_kernel(energy: Energy, step_size: Any):
    """Hamiltonian Monte Carlo with ``NUM_LEAPFROG`` steps."""
    return hmc(energy, step_size, NUM_LEAPFROG)


def bracket_log_z(
    key: Key,
    energy: Energy,
    positions: Position | None = None,
    *,
    base: Base | None = None,
    make_kernel: MakeKernel = default_kernel,
    step_size: float = 0.1,
    num_chains: int = 256,
    num_levels: int = 1000,
    num_steps: int = 1,
    confidence: float = 0.99,
    schedule: Schedule | None = None,
    progress: bool | Progress = False,
) -> Bracket:
    """Lower and upper bounds on log Z, and Bennett's estimate.

    Args:
      key: one key.
      energy: of one point.
      positions: exact draws of the target ``[C, ...]``; without them there is no upper
        bound, and the estimate is that of the forward run.
      base: to start from; by default a Gaussian fitted to ``positions``, uniform in
        periodic coordinates.
      make_kernel: ``(energy, step_size) -> kernel``.
      step_size: a first guess for the pilot.
      num_chains: C of the forward run, and at most of the reverse run.
      num_levels, num_steps: of both runs.
      confidence: that log Z lies between the bounds.
      schedule: in place of a pilot's.
      progress: of both runs, as in :func:`annealed_importance_sampling`.

    Raises:
      ValueError, TypeError: as :func:`annealed_importance_sampling`; neither a base nor
        positions; fewer than ``LEAST`` chains or positions.

    >>> found = bracket_log_z(key, energy, draws)  # doctest: +SKIP
    >>> found.log_z.lower, found.log_z.log_z, found.log_z.upper  # doctest: +SKIP
    """
    checks.on_host(
        (key, energy, positions), "bracket_log_z", "ebmjax.tempering.annealing.anneal"
    )
    key_pilot, key_ahead, key_back = jax.random.split(checks.key(key), 3)
    checks.between(confidence, "confidence")
    checks.count(num_chains, "num_chains", least=LEAST)
    checks.count(num_levels, "num_levels")
    if positions is not None and (rows := checks.num_chains(positions)) < LEAST:
        raise ValueError(
            f"positions must have at least {LEAST} rows for a bound, got {rows}"
        )
    if base is not None:
        checks.instance(base, Base, "base", "ebmjax.tempering.bases")
    if schedule is not None:
        checks.instance(schedule, Schedule, "schedule", "pilot or Schedule(betas, s)")
    if base is None:
        if positions is None:
            raise ValueError("base or positions must be given, got neither")
        base = fit_base(energy, positions, widen=WIDEN)
    path = geometric(base, energy)
    if schedule is None:
        schedule = pilot(key_pilot, path, make_kernel, step_size, num_levels=num_levels)
    options: dict[str, Any] = {"num_steps": num_steps, "progress": progress}
    forward = annealed_importance_sampling(
        key_ahead, path, make_kernel, *schedule, num_chains=num_chains, **options
    )
    if positions is None:
        return Bracket(_one_sided(forward, confidence), forward, None, schedule)
    reverse = annealed_importance_sampling(
        key_back,
        path,
        make_kernel,
        *schedule,
        positions=jax.tree.map(lambda x: x[:num_chains], positions),
        is_reversed=True,
        **options,
    )
    found = bennett(forward, reverse, confidence=confidence)
    return Bracket(found, forward, reverse, schedule)


def _one_sided(forward: AnnealedWeights, confidence: float) -> LogZ:
    """The estimate and the lower bound of a forward run; no upper bound."""
    bound = forward.bound(1 - (1 - confidence) / 2)
    error = forward.standard_error
    return LogZ(forward.log_z, error, bound, np.inf, confidence)
