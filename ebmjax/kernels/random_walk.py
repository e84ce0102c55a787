"""Random-walk Metropolis (notes, 2.1.2; Metropolis et al. 1953).

    x* = x + S xi,   xi ~ N(0, I)

The move is symmetric, so the acceptance ratio is exp(E(x) - E(x*)).  ``S`` is the step
size: a scalar, one number per coordinate, or a square root of a covariance.  On a
Gaussian in D dimensions the optimal step is about 2.38 / sqrt(D) standard deviations,
with acceptance 0.234 as D grows (Roberts, Gelman & Gilks 1997).
"""

from typing import Any

import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import function, number, value
from ebmjax.base import (
    Energy,
    Kernel,
    axpy,
    moved,
    normal_like,
    preconditioned,
    scale,
)
from ebmjax.kernels.metropolis import MetropolisKernel
from ebmjax.kernels.proposal import Proposal


@value
class Gaussian(Proposal):
    """x + S xi."""

    energy: Energy = function()
    step_size: Any = number()

    def draw(self, key, shapes):
        return normal_like(key, shapes)

    def propose(self, xi, state):
        position = axpy(1.0, scale(self.step_size, xi), state.position)
        return moved(self.energy, state, position), jnp.zeros_like(state.energy)


@value
class RandomWalk(MetropolisKernel):
    """Made by :func:`random_walk`."""

    energy: Energy = function()
    step_size: Any = number()
    acceptance_target = 0.234  # Roberts, Gelman & Gilks 1997

    def check(self):
        checks.step_size(self.step_size)

    @property
    def proposal(self):
        return Gaussian(self.energy, self.step_size)


def random_walk(energy: Energy, step_size: Any, *, covariance: Any = None) -> Kernel:
    """Random-walk Metropolis; one energy per step.

    Args:
      energy: of one point.
      step_size: a scalar; an array or tree that broadcasts to the position;
        ``Dense(matrix)`` with a matrix ``[D, D]``.
      covariance: of the proposal, ``[D]`` or ``[D, D]``, then multiplied by
        ``step_size^2``, a scalar.

    Raises:
      ValueError: a step size that is not positive, a covariance that is not positive
        definite.

    >>> random_walk(lambda x: 0.5 * jnp.sum(x**2), 1.7)
    RandomWalk(energy=<lambda>, step_size=1.7)
    """
    return RandomWalk(energy, preconditioned(step_size, covariance))
