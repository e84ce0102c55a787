"""Energies of binary variables with known sums.

    boltzmann   E(x) = -s^T J s / 2 - h^T s,  s = 2 x - 1       Boltzmann machines
    ring        N spins, each coupled to the next by J:
                Z = (2 cosh J)^N + (2 sinh J)^N                 (Ising 1925)
    rbm         E(v) = -b^T v - sum_j softplus(c_j + w_j^T v)   restricted machine,
                hidden units summed out                         (Smolensky 1986)

Positions are floats that are 0 or 1, ``[N]``; elsewhere the energy is infinite, so that
a kernel of real numbers does not wander where the model is not defined.  Kernels:
:mod:`ebmjax.kernels.gibbs`, :mod:`ebmjax.kernels.rbm_gibbs`.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Array
from ebmjax.energies import enumeration
from ebmjax.spaces import BITS, Space


class Boltzmann(NamedTuple):
    """Couplings between spins, of which the symmetric part without its diagonal counts,
    and fields."""

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
    return of_bits(x, -0.5 * s @ (pairs @ s) - params.fields @ s)


boltzmann.state_space = BITS  # type: ignore[attr-defined]


def of_bits(x: Array, energy: Array) -> Array:
    """The energy where all of ``x`` is 0 or 1, else infinity."""
    return jnp.where(jnp.all((x == 0) | (x == 1)), energy, jnp.inf)


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
    hidden = jnp.sum(jax.nn.softplus(params.hidden + v @ params.weights))
    return of_bits(v, -params.visible @ v - hidden)


rbm.state_space = BITS  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True)
class RBMNetwork:
    """A restricted Boltzmann machine as a network: ``init(key, x)``, ``apply(params,
    x)``.

    Points of bits of any shape.  Weights begin normal, of standard deviation 0.01,
    biases at zero (Hinton 2010, "A practical guide to training RBMs", section 8).

    >>> network = RBMNetwork(16)
    >>> params = network.init(jax.random.key(0), jnp.zeros((8, 8)))
    >>> params.weights.shape
    (64, 16)
    """

    num_hidden: int

    def init(self, key: Any, x: Array) -> RBM:
        num_visible, num_hidden = x.size, checks.count(self.num_hidden, "num_hidden")
        weights = 0.01 * jax.random.normal(key, (num_visible, num_hidden))
        return RBM(weights, jnp.zeros(num_visible), jnp.zeros(num_hidden))

    def apply(self, params: RBM, x: Array) -> Array:
        return rbm(params, x.ravel())

    @property
    def state_space(self) -> Space:
        return BITS


def rbm_log_z(params: RBM) -> float:
    """Exact, by a sum over the states of the smaller layer, of at most 24 units."""
    smaller = params
    if params.weights.shape[0] > params.weights.shape[1]:  # the layers are alike
        smaller = RBM(params.weights.T, params.hidden, params.visible)
    return enumeration.log_z(lambda x: rbm(smaller, x), len(smaller.visible))


def rbm_params(key: Any, num_visible: int, num_hidden: int, scale: float = 1.0) -> RBM:
    """Normal weights of standard deviation ``scale / sqrt(V + H)`` a unit and biases of
    ``scale / 2``."""
    checks.count(num_visible, "num_visible")
    checks.count(num_hidden, "num_hidden")
    key_weights, key_visible, key_hidden = jax.random.split(key, 3)
    width = scale / math.sqrt(num_visible + num_hidden)
    return RBM(
        width * jax.random.normal(key_weights, (num_visible, num_hidden)),
        scale / 2 * jax.random.normal(key_visible, (num_visible,)),
        scale / 2 * jax.random.normal(key_hidden, (num_hidden,)),
    )
