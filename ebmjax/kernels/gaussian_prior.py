"""Kernels for a Gaussian prior, x ~ N(mean, C), and any likelihood.

The energy of the posterior is E(x) = 1/2 (x - m)^T C^-1 (x - m) + U(x); both kernels
get U, minus the log-likelihood, and leave exp(-E) invariant.  With nu ~ N(0, C):

    pcn                  x* = m + sqrt(1 - beta^2) (x - m) + beta nu,  accepted with
                         probability min(1, exp(U(x) - U(x*))): preconditioned
                         Crank-Nicolson (Cotter, Roberts, Stuart & White 2013, eq. 1.2).
                         The acceptance does not fall with the dimension.
    elliptical_slice     x* = m + (x - m) cos t + nu sin t, with a random threshold for
                         U; the bracket of t shrinks towards 0 until a point is
                         accepted.  It has no step size (Murray, Adams & MacKay 2010,
                         figure 2).

The prior's covariance is given by ``scale``, a square root of C: a scalar, an array
that broadcasts to the position, or ``Dense(matrix)``.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._random import fold_in, fold_in_each, uniform
from ebmjax._tree import half_square
from ebmjax._value import Value, function, number, value
from ebmjax.base import (
    Array,
    Dense,
    Energy,
    Info,
    Kernel,
    differs,
    evaluate,
    moved,
    normal_like,
    select,
)
from ebmjax.base import scale as scaled
from ebmjax.kernels.metropolis import MetropolisKernel
from ebmjax.kernels.proposal import Proposal

MOST_SHRINKS = 100  # shrinkages of a bracket: to (1/2)^100 of the circle, on average


@value
class Posterior(Value):
    """The energy of a Gaussian prior and minus a log-likelihood."""

    likelihood_energy: Energy = function()
    mean: Any = number()
    scale: Any = number()

    def __call__(self, x: Any) -> Array:
        return self.likelihood_energy(x) + self.prior(x)

    def prior(self, x: Any) -> Array:
        """1/2 |S^-1 (x - m)|^2."""
        centred = jax.tree.map(lambda a, m: a - m.astype(a.dtype), x, self.mean_like(x))
        if isinstance(self.scale, Dense):
            flat, _ = jax.flatten_util.ravel_pytree(centred)
            return half_square(jnp.linalg.solve(self.scale.matrix, flat))
        return half_square(scaled(jax.tree.map(lambda s: 1 / s, self.scale), centred))

    def mean_like(self, x: Any) -> Any:
        """The mean in the structure of a position."""
        if jax.tree.structure(self.mean) == jax.tree.structure(x):
            return self.mean
        return jax.tree.map(lambda _: jnp.asarray(self.mean), x)

    def rotated(self, cos: Array, sin: Array, x: Any, xi: Any) -> Any:
        """m + cos (x - m) + sin S xi."""
        nu, mean = scaled(self.scale, xi), self.mean_like(x)
        step = lambda x, m, n: (m + cos * (x - m) + sin * n).astype(x.dtype)
        return jax.tree.map(step, x, mean, nu)


@value
class CrankNicolson(Proposal):
    """A step that leaves the prior invariant."""

    posterior: Posterior = function()
    beta: Any = number()

    def draw(self, key, shapes):
        return normal_like(key, shapes)

    def propose(self, xi, state):
        cos = jnp.sqrt(1 - jnp.square(self.beta))
        x = self.posterior.rotated(cos, self.beta, state.position, xi)
        new = moved(self.posterior, state, x)
        prior = self.posterior.prior
        return new, prior(new.position) - prior(state.position)


@value
class PCN(MetropolisKernel):
    """Made by :func:`pcn`."""

    energy: Posterior = function()
    beta: Any = number()
    acceptance_target = 0.234

    def check(self):
        checks.positive(self.beta, "beta")
        if not checks.is_traced(self.beta) and self.beta > 1:
            raise ValueError(f"beta must lie in (0, 1], got {self.beta}")

    @property
    def proposal(self):
        return CrankNicolson(self.energy, self.beta)


def pcn(
    likelihood_energy: Energy, beta: Any, *, mean: Any = 0.0, scale: Any = 1.0
) -> Kernel:
    """Preconditioned Crank-Nicolson for a Gaussian prior; one energy a step.

    Args:
      likelihood_energy: U, minus the log-likelihood of one point.
      beta: in (0, 1]; at 1 the candidate is a draw of the prior.
      mean: m of the prior, a number or a tree like the position.
      scale: a square root of its covariance; a scalar, an array or ``Dense``.

    Raises:
      ValueError: a beta outside (0, 1], a scale that is not positive.

    >>> kernel = pcn(lambda x: 0.5 * jnp.sum((x - 1.0) ** 2), 0.5)
    """
    checks.step_size(scale, "scale")
    return PCN(Posterior(likelihood_energy, mean, scale), beta)


@value
class EllipticalSlice(Kernel):
    """Made by :func:`elliptical_slice`."""

    energy: Posterior = function()
    rejects_nonfinite = True
    is_reversible = True

    def init(self, position):
        return evaluate(self.energy, position)

    def draw(self, key, shapes):
        key_nu, key_level, key_angles = fold_in_each(key, 3)
        level = -jnp.log(uniform(key_level))
        return normal_like(key_nu, shapes), level, key_angles

    def move(self, noise, state):
        xi, exponential, key = noise
        likelihood = self.energy.likelihood_energy
        level = likelihood(state.position) + exponential
        first = 2 * jnp.pi * uniform(fold_in(key, 0))

        def point(angle):
            return self.energy.rotated(
                jnp.cos(angle), jnp.sin(angle), state.position, xi
            )

        def is_on(carry):
            num, _, _, _, is_found = carry
            return ~is_found & (num < MOST_SHRINKS)

        def shrink(carry):
            num, angle, low, high, _ = carry
            is_found = likelihood(point(angle)) <= level
            low = jnp.where(is_found | (angle > 0), low, angle)
            high = jnp.where(is_found | (angle < 0), high, angle)
            other = low + (high - low) * uniform(fold_in(key, num + 1))
            return num + 1, jnp.where(is_found, angle, other), low, high, is_found

        carry = jnp.int32(0), first, first - 2 * jnp.pi, first, jnp.bool_(False)
        num, angle, _, _, is_found = jax.lax.while_loop(is_on, shrink, carry)
        new = evaluate(self.energy, point(angle))
        is_valid = is_found & jnp.isfinite(new.energy)
        new = select(is_valid, new, state._replace(grad=None, momentum=None))
        new = new._replace(momentum=state.momentum)
        if state.grad is not None:
            new = evaluate(self.energy, new.position, with_grad=True)
        info = Info(
            acceptance_rate=1 / num.astype(new.energy.dtype),
            is_accepted=differs(new.position, state.position),
            energy_error=jnp.zeros_like(new.energy),
            num_nonfinite=jnp.int32(~is_valid),
            hamiltonian=jnp.zeros_like(new.energy),
        )
        return new, info


def elliptical_slice(
    likelihood_energy: Energy, *, mean: Any = 0.0, scale: Any = 1.0
) -> Kernel:
    """Elliptical slice sampling for a Gaussian prior.

    The number of energies in a step is one over ``info.acceptance_rate``.  Arguments as
    of :func:`pcn`.

    >>> kernel = elliptical_slice(lambda x: 0.5 * jnp.sum((x - 1.0) ** 2))
    """
    checks.step_size(scale, "scale")
    return EllipticalSlice(Posterior(likelihood_energy, mean, scale))
