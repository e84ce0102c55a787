"""Metropolis on single sites of discrete states: bits, spins, levels.

One site at random takes another value, accepted by Metropolis; it has detailed balance.
"""

import jax
import jax.numpy as jnp

from ebmjax._inlined import inlined
from ebmjax._value import function, static, value
from ebmjax.base import Energy, Kernel
from ebmjax.energies.differences import discrete_state, renewed, replaced
from ebmjax.kernels.metropolis import MetropolisKernel
from ebmjax.kernels.proposal import Proposal
from ebmjax.spaces import BITS, Space, chosen


@value
class FlipSite(Proposal):
    """One of N sites takes one of its K - 1 other values, or none does, each with
    probability 1 / (N (K - 1) + 1)."""

    energy: Energy = function()
    space: Space = static(default=BITS)

    def draw(self, key, shapes):
        num = shapes.size * (self.space.num_values - 1)
        return jax.random.randint(inlined(key), (), 0, num + 1)

    def propose(self, choice, state):
        x, num_others = state.position, self.space.num_values - 1
        site, shift = choice // num_others, 1 + choice % num_others
        other = (self.space.index(x) + shift) % self.space.num_values
        other = replaced(x, site, self.space.value(other, x.dtype))
        proposed = renewed(self.energy, self.space, state, other)
        return proposed, jnp.zeros_like(state.energy)


@value
class Flip(MetropolisKernel):
    """Made by :func:`flip`."""

    energy: Energy = function()
    space: Space | None = static(default=None)

    def check(self):
        chosen(self.space, self.energy)

    @property
    def state_space(self):
        return chosen(self.space, self.energy)

    @property
    def proposal(self):
        return FlipSite(self.energy, self.state_space)

    def init(self, position):
        return discrete_state(self.energy, self.state_space, position)


def flip(energy: Energy, space: Space | None = None) -> Kernel:
    """Metropolis on single sites; one energy a step.

    Of N sites one takes one of its K - 1 other values, or none does, each with
    probability 1 / (N (K - 1) + 1).  Without the steps that stay, the number of ones
    would alternate between odd and even on a flat energy of bits, and every second draw
    would be of half the states.

    Args:
      energy: of one position.
      space: BITS, SPINS or levels(K); that of the energy by default, else bits.

    >>> flip(lambda x: -jnp.sum(x))
    Flip(energy=<lambda>)
    """
    return Flip(energy, space)
