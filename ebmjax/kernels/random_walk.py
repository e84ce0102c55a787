"""Random-walk Metropolis (notes, 2.1.2; Metropolis et al. 1953).

    x* = x + S xi,   xi ~ N(0, I)

The move is symmetric, so that the acceptance ratio is exp(E(x) - E(x*)) alone.  ``S`` is the step size: a
scalar, one number a coordinate, or a square root of a covariance.  On a Gaussian in D dimensions the best
step is about 2.38 / sqrt(D) standard deviations, with acceptance 0.234 as D grows (Roberts, Gelman & Gilks
1997).
"""

from typing import Any

import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax.base import Energy, Kernel, axpy, moved, normal_like, scale
from ebmjax.kernels.metropolis import Proposal, metropolis


def random_walk(energy: Energy, step_size: Any, *, covariance: Any = None) -> Kernel:
    """Random-walk Metropolis; one energy a step.

    Args:
      energy: of one point.
      step_size: a scalar; an array or tree that broadcasts to the position; a matrix ``[D, D]``.
      covariance: of the proposal, ``[D]`` or ``[D, D]``, then multiplied by ``step_size^2``, a scalar.

    Raises:
      ValueError: a step size that is not positive, a covariance that is not positive definite.

    >>> kernel = random_walk(lambda x: 0.5 * jnp.sum(x**2), 1.7)
    """
    step = factor(step_size, covariance)

    def propose(xi, state):
        position = axpy(1.0, scale(step, xi), state.position)
        return moved(energy, state, position), jnp.zeros_like(state.energy)

    return metropolis(energy, Proposal(normal_like, propose))


def factor(step_size: Any, covariance: Any = None) -> Any:
    """S = step_size covariance^(1/2), checked; the step size itself where there is no covariance."""
    checks.step_size(step_size)
    if covariance is None:
        return step_size
    checks.scalar_step(step_size, "covariance")
    checks.covariance(covariance, "covariance")
    covariance = jnp.asarray(covariance)
    root = (
        jnp.sqrt(covariance)
        if covariance.ndim == 1
        else jnp.linalg.cholesky(covariance)
    )
    return step_size * root
