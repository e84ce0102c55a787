"""Langevin dynamics (notes, 2.1.4, an empty section).

The diffusion  dX = -1/2 grad E(X) dt + dW  leaves exp(-E) invariant.  One
Euler-Maruyama step over a time ``eps^2`` is

    x* = x - eps^2/2 grad E(x) + eps xi,   xi ~ N(0, I).

* ``ula`` uses it without correction.  Its stationary distribution is biased by
  O(eps^2): on a Gaussian of precision a, its variance is 1 / (a (1 - eps^2 a / 4)), and
  it diverges for eps^2 a >= 4  (Roberts & Tweedie 1996).
* ``mala`` uses it as a Metropolis proposal.  In terms of the noise that leads back,
  xi* = eps/2 (grad E(x) + grad E(x*)) - xi, the log ratio of the densities is
  (|xi|^2 - |xi*|^2) / 2.  This is Hamiltonian Monte Carlo with one leapfrog step (Neal
  2011, 5.2), bit for bit.
* ``underdamped_langevin`` has a momentum,  dX = P dt,
  dP = -grad E dt - gamma P dt + sqrt(2 gamma) dW, split as B A O A B (Leimkuhler &
  Matthews 2013): kick, drift, Ornstein-Uhlenbeck, drift, kick.

``step_size`` is always the leapfrog's ``eps``.  Papers that write
x - alpha grad E + sigma xi  with independent ``alpha`` and ``sigma`` sample at another
temperature:  eps = sigma  and  ``temper(energy, sigma^2 / (2 alpha))``; see
:func:`separate_noise`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import function, number, value
from ebmjax.base import (
    Dense,
    Energy,
    Kernel,
    axpy,
    evaluate,
    half_square,
    moved,
    normal_like,
    preconditioned,
    scale,
)
from ebmjax.kernels.metropolis import MetropolisKernel
from ebmjax.kernels.proposal import Proposal
from ebmjax.kernels.unadjusted import Unadjusted, revert_nonfinite


@value
class Langevin(Proposal):
    """The Euler-Maruyama step as a proposal; one gradient."""

    energy: Energy = function()
    step_size: Any = number()
    uses_grad = True

    def draw(self, key, shapes):
        return normal_like(key, shapes)

    def propose(self, xi, state):
        eps = self.step_size
        # xi - eps/2 grad E(x), and minus xi*
        half = axpy(-0.5, scale(eps, state.grad, transpose=True), xi)
        position = axpy(1.0, scale(eps, half), state.position)
        proposed = moved(self.energy, state, position)
        back = axpy(-0.5, scale(eps, proposed.grad, transpose=True), half)
        return proposed, half_square(xi) - half_square(back)


@value
class MALA(MetropolisKernel):
    """Made by :func:`mala`."""

    energy: Energy = function()
    step_size: Any = number()
    acceptance_target = 0.574  # Roberts & Rosenthal 1998

    def check(self):
        checks.step_size(self.step_size)

    @property
    def proposal(self):
        return Langevin(self.energy, self.step_size)


@value
class ULA(Kernel):
    """Made by :func:`ula`."""

    energy: Energy = function()
    step_size: Any = number()
    rejects_nonfinite = True
    needs_grad = True

    def check(self):
        checks.step_size(self.step_size)

    @property
    def _unadjusted(self):
        return Unadjusted(self.energy, Langevin(self.energy, self.step_size))

    def init(self, position):
        return self._unadjusted.init(position)

    def draw(self, key, shapes):
        return normal_like(key, shapes)

    def move(self, noise, state):
        return self._unadjusted.move(noise, state)


def langevin(energy: Energy, step_size: Any) -> Proposal:
    """The Euler-Maruyama step as a proposal, for :func:`metropolis`; one gradient."""
    checks.step_size(step_size)
    return Langevin(energy, step_size)


def mala(energy: Energy, step_size: Any, *, covariance: Any = None) -> Kernel:
    """Metropolis-adjusted Langevin (Roberts & Tweedie 1996); one gradient per step.

    Args:
      energy: of one point, differentiable.
      step_size: eps; a scalar, an array or tree that broadcasts to the position, or
        ``Dense(matrix)`` with a matrix ``[D, D]``.
      covariance: preconditions by a covariance ``[D]`` or ``[D, D]``; ``step_size`` is
        then a scalar.

    Raises:
      ValueError: a step size that is not positive, a covariance that is not positive
        definite.

    >>> mala(lambda x: 0.5 * jnp.sum(x**2), 1.0)
    MALA(energy=<lambda>, step_size=1.0)
    """
    return MALA(energy, preconditioned(step_size, covariance))


def ula(energy: Energy, step_size: Any, *, covariance: Any = None) -> Kernel:
    """Unadjusted Langevin: biased by O(eps^2); arguments as :func:`mala`."""
    return ULA(energy, preconditioned(step_size, covariance))


def separate_noise(alpha: float, sigma: float) -> tuple[float, float]:
    """``(step_size, temperature)`` of the update x - alpha grad E + sigma xi: sigma and
    sigma^2 / (2 alpha).

    Du & Mordatch (2019) have alpha = 10 and sigma = 0.005; their energy is -log p times
    the temperature 1 / 800,000:

    >>> separate_noise(10.0, 0.005)[1]
    1.25e-06
    """
    checks.positive(alpha, "alpha")
    checks.positive(sigma, "sigma")
    return sigma, sigma**2 / (2 * alpha)


@value
class UnderdampedLangevin(Kernel):
    """Made by :func:`underdamped_langevin`."""

    energy: Energy = function()
    step_size: Any = number()
    friction: Any = number(default=1.0)
    rejects_nonfinite = True
    needs_grad = True

    def check(self):
        if isinstance(self.step_size, Dense):
            raise ValueError(
                "underdamped_langevin takes a scalar or diagonal step_size, got Dense"
            )
        checks.positive(self.step_size, "step_size")
        checks.positive(self.friction, "friction")

    def init(self, position):
        zeros = jax.tree.map(jnp.zeros_like, position)
        state = evaluate(self.energy, position, with_grad=True)
        return state._replace(momentum=zeros)

    def draw(self, key, shapes):
        return normal_like(key, shapes)

    def move(self, xi, state):
        if state.grad is None or state.momentum is None:
            raise TypeError(
                "underdamped_langevin needs a state with gradient and momentum: make "
                "it with this kernel's init(position)"
            )
        eps = self.step_size
        keep = jax.tree.map(lambda h: jnp.exp(-self.friction * h), eps)
        spread = jax.tree.map(lambda c: jnp.sqrt(1.0 - c**2), keep)
        x, p = state.position, state.momentum
        p_half = axpy(-0.5, scale(eps, state.grad), p)  # B
        x = axpy(0.5, scale(eps, p_half), x)  # A
        p_new = axpy(1.0, scale(spread, xi), scale(keep, p_half))  # O
        x = axpy(0.5, scale(eps, p_new), x)  # A
        new = moved(self.energy, state, x)
        p = axpy(-0.5, scale(eps, new.grad), p_new)  # B
        heat = half_square(p_half) - half_square(p_new)  # removed by the O step
        kinetic = half_square(p) - half_square(state.momentum)
        work = new.energy - state.energy + kinetic + heat
        return revert_nonfinite(state, new._replace(momentum=p), work)


def underdamped_langevin(energy: Energy, step_size: Any, friction: Any = 1.0) -> Kernel:
    """Underdamped Langevin by BAOAB, unadjusted; one gradient a step.  The momentum
    persists in the state.

    On a Gaussian of precision a, the positions have the exact variance 1/a and the
    momenta 1 - eps^2 a / 4 (so that eps^2 a < 4 is needed).  ``init`` starts from
    momentum zero.

    Args:
      energy: of one point, differentiable.
      step_size: eps; a scalar, or an array or tree that broadcasts to the position.
      friction: gamma, per unit of time; a step multiplies the momentum by
        exp(-gamma eps).

    Raises:
      ValueError: a step size or friction that is not positive, or a matrix.

    >>> underdamped_langevin(lambda x: 0.5 * jnp.sum(x**2), 0.3)
    UnderdampedLangevin(energy=<lambda>, step_size=0.3)
    """
    return UnderdampedLangevin(energy, step_size, friction)
