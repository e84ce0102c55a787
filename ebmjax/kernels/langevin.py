"""Langevin dynamics, the section that the notes leave empty (2.1.4).

The diffusion  dX = -1/2 grad E(X) dt + dW  leaves exp(-E) invariant.  One Euler-Maruyama step over a time
``eps^2`` is

    x* = x - eps^2/2 grad E(x) + eps xi,   xi ~ N(0, I).

* ``ula`` takes it as it is.  It converges to a law that is off by O(eps^2): on a Gaussian of precision a, its
  variance is 1 / (a (1 - eps^2 a / 4)), and it diverges beyond eps^2 a = 4  (Roberts & Tweedie 1996).
* ``mala`` corrects it by Metropolis.  Written through the noise that would lead back,
  xi* = eps/2 (grad E(x) + grad E(x*)) - xi, the ratio of the densities is (|xi|^2 - |xi*|^2) / 2.  This is
  Hamiltonian Monte Carlo with one leapfrog step (Neal 2011, 5.2), bit for bit.
* ``underdamped_langevin`` keeps a momentum,  dX = P dt,  dP = -grad E dt - gamma P dt + sqrt(2 gamma) dW,
  split as B A O A B (Leimkuhler & Matthews 2013): kick, drift, Ornstein-Uhlenbeck, drift, kick.

``step_size`` is the leapfrog's ``eps`` everywhere.  Papers that write  x - alpha grad E + sigma xi  with
``alpha`` and ``sigma`` apart are sampling at another temperature:  eps = sigma  and
``temper(energy, sigma^2 / (2 alpha))``: :func:`separate_noise`.  That is all there is to it, said here once.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax.base import (
    Energy,
    Kernel,
    axpy,
    careful,
    evaluate,
    half_square,
    is_matrix,
    moved,
    normal_like,
    scale,
)
from ebmjax.kernels.metropolis import Proposal, metropolis, unadjusted, unless_broken
from ebmjax.kernels.random_walk import factor


def langevin(energy: Energy, step_size: Any) -> Proposal:
    """The Euler-Maruyama step as a proposal; one gradient."""

    def propose(xi, state):
        half = axpy(
            -0.5, scale(step_size, state.grad, transpose=True), xi
        )  # xi - eps/2 grad E(x)
        proposed = moved(
            energy, state, axpy(1.0, scale(step_size, half), state.position)
        )
        back = axpy(
            -0.5, scale(step_size, proposed.grad, transpose=True), half
        )  # minus xi*
        return proposed, half_square(xi) - half_square(back)

    return Proposal(normal_like, propose, uses_grad=True)


def mala(energy: Energy, step_size: Any, *, covariance: Any = None) -> Kernel:
    """Metropolis-adjusted Langevin (Roberts & Tweedie 1996); one gradient a step.

    Args:
      energy: of one point, differentiable.
      step_size: eps; a scalar, an array or tree that broadcasts to the position, or a matrix ``[D, D]``.
      covariance: preconditions by a covariance ``[D]`` or ``[D, D]``; ``step_size`` is then a scalar.

    Raises:
      ValueError: a step size that is not positive, a covariance that is not positive definite.

    >>> kernel = mala(lambda x: 0.5 * jnp.sum(x**2), 1.0)
    """
    return metropolis(energy, langevin(energy, factor(step_size, covariance)))


def ula(energy: Energy, step_size: Any, *, covariance: Any = None) -> Kernel:
    """Unadjusted Langevin: biased by O(eps^2); arguments as :func:`mala`."""
    return unadjusted(energy, langevin(energy, factor(step_size, covariance)))


def separate_noise(alpha: float, sigma: float) -> tuple[float, float]:
    """``(step_size, temperature)`` of the papers' x - alpha grad E + sigma xi: sigma and sigma^2 / (2 alpha).

    >>> separate_noise(10.0, 0.005)[1]  # Du & Mordatch's: an energy that is 800,000 times too flat for -log p
    1.25e-06
    """
    checks.positive(alpha, "alpha")
    checks.positive(sigma, "sigma")
    return sigma, sigma**2 / (2 * alpha)


def underdamped_langevin(
    energy: Energy, step_size: Any, friction: float = 1.0
) -> Kernel:
    """Underdamped Langevin by BAOAB, unadjusted; one gradient a step.  The momentum persists in the state.

    On a Gaussian of precision a, the positions have the exact variance 1/a and the momenta 1 - eps^2 a / 4
    (so that eps^2 a < 4 is needed).  ``init`` starts from momentum zero.

    Args:
      energy: of one point, differentiable.
      step_size: eps; a scalar, or an array or tree that broadcasts to the position.
      friction: gamma, per unit of time; the momentum keeps exp(-gamma eps) of itself in a step.

    Raises:
      ValueError: a step size or friction that is not positive.
    """
    checks.function(energy, "energy")
    checks.positive(step_size, "step_size")
    checks.positive(friction, "friction")

    def init(position):
        zeros = jax.tree.map(jnp.zeros_like, position)
        return evaluate(energy, position, with_grad=True)._replace(momentum=zeros)

    def move(xi, state):
        if state.grad is None or state.momentum is None:
            raise TypeError(
                "underdamped_langevin needs a state with gradient and momentum: make it with "
                "this kernel's init(position)"
            )
        if is_matrix(step_size, xi):
            raise ValueError(
                "underdamped_langevin takes a scalar or diagonal step_size, got a matrix"
            )
        keep = jax.tree.map(lambda h: jnp.exp(-friction * h), step_size)
        spread = jax.tree.map(lambda c: jnp.sqrt(1.0 - c**2), keep)
        x, p = state.position, state.momentum
        p_half = axpy(-0.5, scale(step_size, state.grad), p)  # B
        x = axpy(0.5, scale(step_size, p_half), x)  # A
        p_new = axpy(1.0, scale(spread, xi), scale(keep, p_half))  # O
        x = axpy(0.5, scale(step_size, p_new), x)  # A
        new = moved(energy, state, x)
        p = axpy(-0.5, scale(step_size, new.grad), p_new)  # B
        heat = half_square(p_half) - half_square(p_new)  # what the bath took
        work = (
            new.energy
            - state.energy
            + half_square(p)
            - half_square(state.momentum)
            + heat
        )
        return unless_broken(state, new._replace(momentum=p), work)

    return Kernel(init, normal_like, careful(move))
