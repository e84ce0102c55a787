"""Kernels of binary variables, floats that are 0 or 1.

    flip        one site at random, accepted by Metropolis
    gibbs       each site in turn from its conditional,
                P(x_i = 1 | rest) = sigmoid(E(x_i = 0) - E(x_i = 1))
    rbm_gibbs   all hidden units given the visible ones, then all visible ones

``flip`` and ``rbm_gibbs`` have detailed balance; a sweep of ``gibbs`` has it for each
site in its turn and so leaves exp(-E) invariant (Geman & Geman 1984).  A position that is
not binary has infinite energy, so that a run does not start there.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax._value import function, number, value
from ebmjax.base import Energy, Info, Kernel, State, evaluate, select
from ebmjax.energies.boltzmann import RBM, rbm
from ebmjax.kernels.metropolis import MetropolisKernel, Proposal


@value
class FlipSite(Proposal):
    """One of N sites, or none, is flipped, each with probability 1 / (N + 1)."""

    energy: Energy = function()

    def draw(self, key, shapes):
        return jax.random.randint(key, (), 0, shapes.size + 1)

    def propose(self, site, state):
        x = state.position
        is_site = jnp.arange(x.size).reshape(x.shape) == site
        proposed = evaluate(self.energy, jnp.where(is_site, 1 - x, x))
        return proposed, jnp.zeros_like(state.energy)


@value
class Flip(MetropolisKernel):
    """Made by :func:`flip`."""

    energy: Energy = function()
    state_space = "binary"

    @property
    def proposal(self):
        return FlipSite(self.energy)

    def init(self, position):
        return binary_state(self.energy, position)


def flip(energy: Energy) -> Kernel:
    """Metropolis on single sites; one energy a step.

    Of N sites one is flipped, or none, each with probability 1 / (N + 1).  Without the
    steps that stay, the number of ones would alternate between odd and even on a flat
    energy, and every second draw would be of half the states.

    >>> flip(lambda x: -jnp.sum(x))
    Flip(energy=<lambda>)
    """
    return Flip(energy)


@value
class Gibbs(Kernel):
    """Made by :func:`gibbs`."""

    energy: Energy = function()
    rejects_nonfinite = True
    state_space = "binary"

    def init(self, position):
        return binary_state(self.energy, position)

    def draw(self, key, shapes):
        return jax.random.logistic(key, shapes.shape, shapes.dtype)

    def move(self, noise, state):
        noise = noise.ravel()

        def update(site, carry):
            state, num_nonfinite = carry
            x = state.position
            is_site = jnp.arange(x.size).reshape(x.shape) == site
            other = evaluate(self.energy, jnp.where(is_site, 1 - x, x))
            is_valid = other.energy > -jnp.inf
            # a logistic number is below a with probability sigmoid(a)
            is_moved = is_valid & (noise[site] < state.energy - other.energy)
            return select(is_moved, other, state), num_nonfinite + ~is_valid

        carry = state, jnp.int32(0)
        new, num_nonfinite = jax.lax.fori_loop(0, state.position.size, update, carry)
        return new, _moved(state, new)._replace(num_nonfinite=num_nonfinite)


def gibbs(energy: Energy) -> Kernel:
    """A sweep over all sites in turn, each from its conditional; N energies a step.

    A site is not moved to where the energy is NaN or minus infinity; counted.

    >>> gibbs(lambda x: -jnp.sum(x))
    Gibbs(energy=<lambda>)
    """
    return Gibbs(energy)


@value
class RBMGibbs(Kernel):
    """Made by :func:`rbm_gibbs`."""

    params: RBM = number()
    is_reversible = True
    state_space = "binary"

    def init(self, position):
        return binary_state(lambda v: rbm(self.params, v), position)

    def draw(self, key, shapes):
        key_hidden, key_visible = jax.random.split(key)
        hidden = self.params.hidden.shape
        return (
            jax.random.logistic(key_hidden, hidden, shapes.dtype),
            jax.random.logistic(key_visible, shapes.shape, shapes.dtype),
        )

    def move(self, noise, state):
        of_hidden, of_visible = noise
        weights, visible, hidden = self.params
        v = state.position
        h = (of_hidden < hidden + v @ weights).astype(v.dtype)
        v = (of_visible < visible + weights @ h).astype(v.dtype)
        new = evaluate(lambda v: rbm(self.params, v), v)
        return new, _moved(state, new)


def rbm_gibbs(params: RBM) -> Kernel:
    """Block Gibbs: every hidden unit given the visible ones, every visible one given the
    hidden."""
    return RBMGibbs(params)


def binary_state(energy: Energy, x: Any) -> State:
    """The state at a position; its energy is infinite where a number is neither 0 nor 1,
    so that a run does not start there."""
    state = evaluate(energy, x)
    is_binary = jnp.all((x == 0) | (x == 1))
    return state._replace(energy=jnp.where(is_binary, state.energy, jnp.inf))


def _moved(old: State, new: State) -> Info:
    return Info(
        acceptance_rate=jnp.ones_like(new.energy),
        is_accepted=jnp.any(new.position != old.position),
        energy_error=jnp.zeros_like(new.energy),
        num_nonfinite=jnp.int32(~jnp.isfinite(new.energy)),
        hamiltonian=jnp.zeros_like(new.energy),
    )
