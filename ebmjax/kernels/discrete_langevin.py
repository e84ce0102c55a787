"""Discrete Langevin: all sites of bits, spins or levels move in a step, each
independently of the others (Zhang, Liu & Liu 2022, "A Langevin-like sampler for
discrete distributions", equation 4),

    q_i(v | x)  proportional to  exp(-d_i(v) / 2 - |v - x_i|^2 / (2 alpha)),

with the differences d of the energy to first order
(:mod:`ebmjax.energies.differences`) and |v - x_i|^2 that of one-hot vectors for levels.

    dula    always accepted: biased, but for energies linear in each site as alpha -> 0
    dmala   accepted by Metropolis
"""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import function, number, static, value
from ebmjax.base import Array, Energy, Kernel, State
from ebmjax.energies.differences import discrete_state, first_order, renewed
from ebmjax.kernels.gibbs import pick, uniforms
from ebmjax.kernels.locally_balanced import check_gradient, to_others
from ebmjax.kernels.metropolis import MetropolisKernel
from ebmjax.kernels.proposal import Proposal
from ebmjax.kernels.unadjusted import revert_nonfinite
from ebmjax.spaces import Space, chosen


@value
class DiscreteLangevin(Proposal):
    """Every site draws a new value, or keeps its own, independently of the others."""

    energy: Energy = function()
    step_size: Any = number()
    space: Space = static()
    uses_grad = True

    def draw(self, key, shapes):
        return uniforms(key, shapes)

    def costs(self, state: State) -> Array:
        """-log of the weights of the other values, that of staying 1; ``[K - 1,
        ...]``."""
        d = to_others(self.space, first_order(self.space, state), state.position)
        distance = self.space.square_distance / (2 * jnp.asarray(self.step_size))
        return (0.5 * d + distance).astype(state.energy.dtype)

    def propose(self, noise, state):
        x, space = state.position, self.space
        costs = self.costs(state)
        shift = pick(noise, costs)
        other = (space.index(x) + shift) % space.num_values
        new = renewed(self.energy, space, state, space.value(other, x.dtype))
        back = (space.num_values - shift) % space.num_values
        return new, _log_q(self.costs(new), back) - _log_q(costs, shift)


def _log_q(costs: Array, shift: Array) -> Array:
    """The log probability of the values chosen, summed over sites."""
    with_own = jnp.concatenate([jnp.zeros_like(costs[:1]), -costs])
    taken = jnp.take_along_axis(with_own, shift[None], axis=0)[0]
    return jnp.sum(taken - jax.nn.logsumexp(with_own, axis=0))


class _OfLangevin(Kernel):
    """What ``dula`` and ``dmala`` have in common."""

    energy: Energy
    step_size: Any
    space: Space | None
    rejects_nonfinite = True

    def check(self):
        checks.positive(self.step_size, "step_size")
        check_gradient(
            self.energy, chosen(self.space, self.energy), "discrete Langevin"
        )

    @property
    def needs_grad(self):
        return True

    @property
    def state_space(self):
        return chosen(self.space, self.energy)

    @property
    def proposal(self):
        return DiscreteLangevin(self.energy, self.step_size, self.state_space)

    def init(self, position):
        return discrete_state(self.energy, self.state_space, position, with_grad=True)


@value
class DMALA(_OfLangevin, MetropolisKernel):  # type: ignore[override]
    """Made by :func:`dmala`."""

    energy: Energy = function()
    step_size: Any = number()
    space: Space | None = static(default=None)
    acceptance_target = 0.574  # Sun, Dai & Schuurmans 2022


@value
class DULA(_OfLangevin):
    """Made by :func:`dula`."""

    energy: Energy = function()
    step_size: Any = number()
    space: Space | None = static(default=None)

    def draw(self, key, shapes):
        return self.proposal.draw(key, shapes)

    def move(self, noise, state):
        proposed, log_q_ratio = self.proposal.propose(noise, state)
        error = proposed.energy - state.energy - log_q_ratio
        return revert_nonfinite(state, proposed, error)


def dmala(energy: Energy, step_size: Any, space: Space | None = None) -> Kernel:
    """All sites a step by the gradient, accepted by Metropolis; one gradient a step.

    Args:
      energy: of one position, differentiable; of levels with ``one_hot``.
      step_size: alpha, a number or an array that broadcasts to the sites.
      space: BITS, SPINS or levels(K); that of the energy by default, else bits.

    Raises:
      TypeError: an energy of another space, or of levels without a gradient.
      ValueError: a step size that is not positive.

    >>> dmala(lambda x: -jnp.sum(x), 0.2)
    DMALA(energy=<lambda>, step_size=0.2)
    """
    return DMALA(energy, step_size, space)


def dula(energy: Energy, step_size: Any, space: Space | None = None) -> Kernel:
    """All sites a step by the gradient, always accepted: biased.

    Args and errors as of :func:`dmala`.

    >>> dula(lambda x: -jnp.sum(x), 0.2)
    DULA(energy=<lambda>, step_size=0.2)
    """
    return DULA(energy, step_size, space)
