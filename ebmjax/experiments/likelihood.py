"""The log-likelihood of a run where Z is known: in the plane by quadrature, of few bits
by a sum."""

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Energy
from ebmjax.energies import enumeration
from ebmjax.evaluation.quadrature import log_z
from ebmjax.experiments import data
from ebmjax.experiments.data import Dataset
from ebmjax.experiments.experiment import Run
from ebmjax.experiments.registry import space_of_config
from ebmjax.spaces import BITS, REAL
from ebmjax.training.step import TrainState


def log_likelihood(
    run: Run, state: TrainState, points: Dataset | None = None
) -> float | None:
    """Mean log-likelihood in nats and units of the data, with Z by quadrature or a sum.

    Args:
      points: by default held-out points (new ones of a toy set), or, if there are none,
        the training points.

    Returns:
      None for more than two coordinates that vary (twenty for bits).
    """
    points = points or run.held or run.kept
    x, dim = points.x, run.facts.shape
    if space_of_config(run.config) not in (REAL, BITS):
        return None
    if space_of_config(run.config) == BITS:
        is_small = x.ndim == 2 and x.shape[1] < 21
        return enumeration.log_likelihood(run.trained(state), x) if is_small else None
    if len(dim) != 1 or dim[0] > 2:
        return None
    energy, z = run.trained(state), run.standard.forward(x)
    energies = np.asarray(
        jax.jit(jax.vmap(energy))(jnp.asarray(z, jnp.float32)), np.float64
    )
    log_spread = float(np.log(run.standard.spread).sum())
    return float(-energies.mean() - _log_z(energy, dim[0]) - log_spread)


def log_likelihoods(run: Run, state: TrainState) -> dict[str, float]:
    """Log-likelihoods of training and held-out points by name, if Z is known."""
    is_toy = run.config.data in data.TOYS
    groups = {"training data": run.kept}
    if run.held is not None:
        name = f"{len(run.held.x)} {'new points' if is_toy else 'held-out points'}"
        groups[name] = run.held
    found = {
        name: log_likelihood(run, state, points) for name, points in groups.items()
    }
    return {name: value for name, value in found.items() if value is not None}


def _log_z(energy: Energy, dim: int) -> float:
    """log Z over six standard deviations of the data to each side, or more.

    The square is doubled until its mass stops growing.
    """
    within = lambda reach: log_z(energy, [-reach] * dim, [reach] * dim, resolution=600)
    reach = 6.0
    inside = within(reach)
    while (wider := within(2 * reach)) > inside + 0.01:
        reach, inside = 2 * reach, wider
        if reach > 200:
            checks.warn(
                "the energy is so flat that log Z cannot be computed; use confinement"
            )
            break
    return inside
