"""Stationary distributions of unadjusted kernels on a Gaussian with precision a in each
coordinate, as targets: an unadjusted kernel is tested against its own distribution.

    ULA      x: variance 1 / (a (1 - eps^2 a / 4))
    BAOAB    x: variance 1 / a,   p: variance 1 - eps^2 a / 4, independent of x

ULA is an autoregression, x' = (1 - eps^2 a / 2) x + eps xi; its variance v solves
v = (1 - eps^2 a / 2)^2 v + eps^2.  BAOAB leaves invariant the modified energy
a x^2 / 2 + p^2 / (2 (1 - eps^2 a / 4)) of its kicks and drifts (positions are exact for
harmonic forces: Leimkuhler & Matthews 2013).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax.base import State
from ebmjax.targets import Target, gaussian


def ula_law(precisions: Any, step_size: float) -> Target:
    """The stationary distribution of ULA on 1/2 sum_i a_i x_i^2.

    Raises unless ``step_size^2 a < 4``.
    """
    a = _stable(precisions, step_size)
    return gaussian(
        np.zeros(len(a)),
        np.diag(1 / (a * (1 - step_size**2 * a / 4))),
        name="the law of ULA",
    )


def baoab_law(precisions: Any, step_size: float) -> tuple[Target, Any]:
    """The stationary distribution of BAOAB: a target for the positions, and
    ``complete(key, state)`` for the momenta."""
    a = _stable(precisions, step_size)
    spread = jnp.asarray(np.sqrt(1 - step_size**2 * a / 4), jnp.float32)

    def complete(key, state: State) -> State:
        return state._replace(momentum=spread * jax.random.normal(key, spread.shape))

    return gaussian(np.zeros(len(a)), np.diag(1 / a), name="the law of BAOAB"), complete


def _stable(precisions, step_size):
    a = np.atleast_1d(np.asarray(precisions, np.float64))
    if not (a > 0).all() or not 0 < step_size**2 * a.max() < 4:
        raise ValueError(
            "step_size^2 times each precision must lie in (0, 4), got step_size "
            f"{step_size:g} and precisions up to {a.max():g}"
        )
    return a
