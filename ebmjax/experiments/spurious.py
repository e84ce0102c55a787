"""Chains in spurious modes: regions whose energy is so far below that of the data that
most of the density may be there.

One chain of hundreds in such a region hardly changes a picture, but log Z and all
likelihoods.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks

SPREADS, NATS = 6.0, 10.0  # below the data
MOST_POINTS = 5000


def energies_of_points(run: Any, state: Any) -> list[np.ndarray]:
    """Energies of the training points of a run, and of the held-out points where there
    are any, with the noise of training."""
    energy, found = jax.jit(jax.vmap(run.trained(state))), []
    for points in (run.kept, run.held):
        if points is not None:
            z = jnp.asarray(run.standard.forward(points.x[:MOST_POINTS]), jnp.float32)
            noise = run.config.noise * jax.random.normal(jax.random.key(2), z.shape)
            found.append(np.asarray(energy(z + noise), np.float64))
    return found


def num_spurious(of_chains: np.ndarray, of_data: np.ndarray) -> int:
    """How many chains have far less energy than all data.

    Far are ``NATS`` below the least energy of the data, and below their median less
    ``SPREADS`` standard deviations, estimated by the median absolute deviation.

    >>> num_spurious(np.array([1.0, -90.0]), np.array([0.0, 1.0, 2.0]))
    1
    """
    middle = np.median(of_data)
    spread = 1.4826 * np.median(np.abs(of_data - middle))
    least = min(np.min(of_data), middle - SPREADS * spread) - NATS
    return int(np.sum(of_chains < least))


def warn_of_spurious(of_chains: np.ndarray, of_data: np.ndarray) -> int:
    """The same, with a warning where there are any."""
    if num := num_spurious(of_chains, of_data):
        least, of_points = np.min(of_chains), np.min(of_data)
        checks.warn(
            f"{num} of {len(of_chains)} final chains are in spurious modes: the least "
            f"energy of a chain is {least:.4g} nats, of the data {of_points:.4g}. The "
            "density may be mostly there, and likelihoods far lower than they seem; "
            "train with more updates or chains, or with a smaller learning rate"
        )
    return num
