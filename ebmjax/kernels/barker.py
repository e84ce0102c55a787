"""Barker's proposal (Livingstone & Zanella 2022, "The Barker proposal: combining
robustness and efficiency in gradient-based MCMC", JRSS B 84, algorithm 1).

Each coordinate makes a symmetric step and chooses its sign by the gradient,

    z_i ~ N(0, eps^2),     x*_i = x_i + b_i z_i,
    b_i = +1 with probability 1 / (1 + exp(z_i d_i E(x))),  else -1,

so that the step follows the sign of -grad E but does not grow with its size.  The log
ratio of the densities is, with the difference v = x* - x,

    sum_i  log(1 + exp(v_i d_i E(x))) - log(1 + exp(-v_i d_i E(x*))).

Its acceptance rate is that of MALA near the optimal step size, and far less sensitive
to a step size that is too large.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._inlined import inlined
from ebmjax._random import split
from ebmjax._value import function, number, value
from ebmjax.base import Dense, Energy, Kernel, moved, normal_like, scale
from ebmjax.kernels.metropolis import MetropolisKernel
from ebmjax.kernels.proposal import Proposal


@value
class Barker(Proposal):
    """A step whose sign is drawn by the gradient, coordinate by coordinate."""

    energy: Energy = function()
    step_size: Any = number()
    uses_grad = True

    def draw(self, key, shapes):
        key_size, key_sign = split(key)
        leaves, treedef = jax.tree.flatten(shapes)
        keys = split(key_sign, len(leaves))
        signs = [
            jax.random.logistic(inlined(k), x.shape, x.dtype)
            for k, x in zip(keys, leaves, strict=True)
        ]
        return normal_like(key_size, shapes), jax.tree.unflatten(treedef, signs)

    def propose(self, noise, state):
        xi, logistic = noise
        z = scale(self.step_size, xi)
        # a logistic number is below a with probability 1 / (1 + exp(-a))
        signed = lambda z, u, g: jnp.where(u < -z * g, z, -z)
        v = jax.tree.map(signed, z, logistic, state.grad)
        position = jax.tree.map(jnp.add, state.position, v)
        new = moved(self.energy, state, position)

        def log_ratio(v, g, g_new):
            terms = jax.nn.softplus(v * g) - jax.nn.softplus(-v * g_new)
            return jnp.sum(terms.astype(state.energy.dtype))

        ratios = jax.tree.leaves(jax.tree.map(log_ratio, v, state.grad, new.grad))
        return new, sum(ratios[1:], ratios[0])


@value
class BarkerKernel(MetropolisKernel):
    """Made by :func:`barker`."""

    energy: Energy = function()
    step_size: Any = number()
    acceptance_target = 0.4  # Vogrinc, Livingstone & Zanella 2023

    def check(self):
        if isinstance(self.step_size, Dense):
            raise ValueError("barker takes a scalar or diagonal step_size, got Dense")
        checks.step_size(self.step_size)

    @property
    def proposal(self):
        return Barker(self.energy, self.step_size)


def barker(energy: Energy, step_size: Any) -> Kernel:
    """Metropolis with Barker's proposal; one gradient a step.

    Args:
      energy: of one point, differentiable.
      step_size: eps; a scalar, or an array or tree that broadcasts to the position.

    Raises:
      ValueError: a step size that is not positive, or a matrix.

    >>> kernel = barker(lambda x: 0.5 * jnp.sum(x**2), 1.5)
    """
    return BarkerKernel(energy, step_size)
