"""Energies of bits of which everything is known, and kernels on them.

    boltzmann   E(x) = -s^T J s / 2 - h^T s,  s = 2 x - 1         Ising spins, Boltzmann machines
    ring        N spins, each coupled to the next by J:  Z = (2 cosh J)^N + (2 sinh J)^N       (Ising 1925)
    rbm         E(v) = -b^T v - sum_j softplus(c_j + w_j^T v)     restricted Boltzmann machine, hidden units
                                                                  summed out (Smolensky 1986)

Positions are floats that are 0 or 1, ``[N]`` (others have infinite energy), so that the kernels here are
kernels like any other:

    flip        one site at random, accepted by Metropolis
    gibbs       each site in turn from its conditional,  P(x_i = 1 | rest) = sigmoid(E(x_i=0) - E(x_i=1))
    rbm_gibbs   all hidden units given the visible ones, then all visible ones given those

``flip`` and ``rbm_gibbs`` have detailed balance; a sweep of ``gibbs`` has each in its turn and so leaves
exp(-E) invariant.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Array, Energy, Info, Kernel, State, careful, evaluate, select
from ebmjax.energies import enumeration
from ebmjax.kernels.metropolis import Proposal, metropolis


class Boltzmann(NamedTuple):
    """Couplings between spins, of which the symmetric part without its diagonal counts, and fields."""

    couplings: Array  # [N, N]
    fields: Array  # [N]


class RBM(NamedTuple):
    """Weights and biases of a restricted Boltzmann machine."""

    weights: Array  # [V, H]
    visible: Array  # [V]
    hidden: Array  # [H]


def boltzmann(params: Boltzmann, x: Array) -> Array:
    """The energy of spins s = 2 x - 1."""
    s = 2 * x - 1
    pairs = params.couplings - jnp.diag(jnp.diag(params.couplings))
    return -0.5 * s @ (pairs @ s) - params.fields @ s


def ring(num: int, coupling: float) -> Boltzmann:
    """N spins on a ring, N at least three."""
    checks.count(num, "num", least=3)
    shift = np.roll(np.eye(num), 1, axis=1)
    return Boltzmann(
        jnp.asarray(coupling * (shift + shift.T), jnp.float32), jnp.zeros(num)
    )


def ring_log_z(num: int, coupling: float) -> float:
    """log((2 cosh J)^N + (2 sinh J)^N), from the eigenvalues of the transfer matrix."""
    rest = math.tanh(coupling) ** num
    return num * math.log(2 * math.cosh(coupling)) + math.log1p(rest)


def rbm(params: RBM, v: Array) -> Array:
    """The energy of the visible units, the hidden ones summed out."""
    return -params.visible @ v - jnp.sum(
        jax.nn.softplus(params.hidden + v @ params.weights)
    )


def rbm_log_z(params: RBM) -> float:
    """Exact, by a sum over the states of the smaller layer, of at most 24 units."""
    smaller = params
    if (
        params.weights.shape[0] > params.weights.shape[1]
    ):  # the two layers play the same part
        smaller = RBM(params.weights.T, params.hidden, params.visible)
    return enumeration.log_z(lambda x: rbm(smaller, x), len(smaller.visible))


def flip(energy: Energy) -> Kernel:
    """Metropolis on single sites: one of them, chosen uniformly, is flipped; one energy a step."""

    def draw(key, x):
        return jax.random.randint(key, (), 0, x.size)

    def propose(site, state):
        x = state.position
        flipped = jnp.where(jnp.arange(x.size).reshape(x.shape) == site, 1 - x, x)
        return evaluate(energy, flipped, with_grad=False), jnp.zeros_like(state.energy)

    return metropolis(energy, Proposal(draw, propose))._replace(init=_of_bits(energy))


def gibbs(energy: Energy) -> Kernel:
    """A sweep of heat baths over all sites in turn; N energies a step.

    A site is not moved to where the energy is NaN or minus infinity; counted.
    """
    checks.function(energy, "energy")

    def move(noise, state):
        def update(site, carry):
            state, num_nonfinite = carry
            x = state.position
            is_site = jnp.arange(x.size).reshape(x.shape) == site
            other = evaluate(energy, jnp.where(is_site, 1 - x, x), with_grad=False)
            is_valid = other.energy > -jnp.inf
            is_moved = is_valid & (
                noise.ravel()[site] < state.energy - other.energy
            )  # sigmoid(E(x) - E(other))
            return select(is_moved, other, state), num_nonfinite + ~is_valid

        new, num_nonfinite = jax.lax.fori_loop(
            0, state.position.size, update, (state, jnp.int32(0))
        )
        return new, _moved(state, new)._replace(num_nonfinite=num_nonfinite)

    return Kernel(
        _of_bits(energy),
        lambda key, x: jax.random.logistic(key, x.shape, x.dtype),
        careful(move),
    )


def rbm_gibbs(params: RBM) -> Kernel:
    """Block Gibbs: every hidden unit given the visible ones, every visible one given the hidden."""

    def draw(key, v):
        key_hidden, key_visible = jax.random.split(key)
        hidden = jax.random.logistic(key_hidden, params.hidden.shape, v.dtype)
        return hidden, jax.random.logistic(key_visible, v.shape, v.dtype)

    def move(noise, state):
        of_hidden, of_visible = noise
        h = (of_hidden < params.hidden + state.position @ params.weights).astype(
            state.position.dtype
        )
        v = (of_visible < params.visible + params.weights @ h).astype(
            state.position.dtype
        )
        new = init(v)
        return new, _moved(state, new)

    def init(v):
        return evaluate(lambda v: rbm(params, v), v, with_grad=False)

    return Kernel(init, draw, move)


def rbm_params(key: Any, num_visible: int, num_hidden: int, scale: float = 1.0) -> RBM:
    """Normal weights of standard deviation ``scale / sqrt(V + H)`` a unit and biases of ``scale / 2``."""
    checks.count(num_visible, "num_visible")
    checks.count(num_hidden, "num_hidden")
    key_weights, key_visible, key_hidden = jax.random.split(key, 3)
    width = scale / math.sqrt(num_visible + num_hidden)
    return RBM(
        width * jax.random.normal(key_weights, (num_visible, num_hidden)),
        scale / 2 * jax.random.normal(key_visible, (num_visible,)),
        scale / 2 * jax.random.normal(key_hidden, (num_hidden,)),
    )


def _of_bits(energy):
    """The state at a position, whose energy is infinite unless it is of bits: so that it is refused."""

    def init(x):
        state = evaluate(energy, x, with_grad=False)
        return state._replace(
            energy=jnp.where(jnp.all((x == 0) | (x == 1)), state.energy, jnp.inf)
        )

    return init


def _moved(old: State, new: State) -> Info:
    return Info(
        acceptance_rate=jnp.ones_like(new.energy),
        is_accepted=jnp.any(new.position != old.position),
        energy_error=jnp.zeros_like(new.energy),
        num_nonfinite=jnp.int32(~jnp.isfinite(new.energy)),
        hamiltonian=jnp.zeros_like(new.energy),
    )
