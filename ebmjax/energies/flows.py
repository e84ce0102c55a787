"""A normalising flow in Flax: a neural density that is drawn from exactly and whose
log Z is known.

    x = f(z),  z ~ N(0, I),      log q(x) = log N(f^-1(x)) + log |det grad f^-1(x)|

f is a chain of affine couplings (Dinh, Sohl-Dickstein & Bengio 2017, "Density
estimation using Real NVP"): half of the coordinates, every second one and in turn, are
scaled and shifted by networks of the other half,

    y_kept = x_kept,   y_moved = x_moved exp(s(x_kept)) + t(x_kept),
    log |det| = sum s,

and an affine map of every coordinate at the end.  |s| stays below ``REACH`` by a
hyperbolic tangent.  A new flow is the identity: its networks end in zeros.

``-log q(x) - c`` is an energy with log Z = c, exactly: a neural target of which
everything is known (:func:`energy_of`).  ``log q`` and draws are the noise that learns
in :mod:`ebmjax.objectives.flow_contrastive`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax.base import Array, Energy, Key, half_square

REACH = 3.0


class Flow(nn.Module):
    """Affine couplings on points of shape ``shape``; with one coordinate, only the
    affine map is left.

    >>> flow = Flow((2,))
    >>> params = flow.init(jax.random.key(0), jnp.zeros(2))
    >>> flow.apply(params, jnp.ones(2)).shape  # log q
    ()
    """

    shape: tuple[int, ...]
    features: Sequence[int] = (64, 64)
    num_couplings: int = 6

    def setup(self):
        size = math.prod(self.shape)
        self.couplings = [
            Coupling(self.features, parity=i % 2)
            for i in range(self.num_couplings if size > 1 else 0)
        ]
        self.log_scale = self.param("log_scale", nn.initializers.zeros, (size,))
        self.shift = self.param("shift", nn.initializers.zeros, (size,))

    def __call__(self, x: Array) -> Array:
        """log q(x), of one point."""
        z, log_det = self.inverse(x)
        return log_det - half_square(z) - 0.5 * z.size * math.log(2 * math.pi)

    def forward(self, z: Array) -> tuple[Array, Array]:
        """From noise ``[D]`` to a point, and log |det| of the map."""
        log_det = jnp.sum(self.log_scale)
        for coupling in self.couplings:
            z, added = coupling(z)
            log_det += added
        return (z * jnp.exp(self.log_scale) + self.shift).reshape(self.shape), log_det

    def inverse(self, x: Array) -> tuple[Array, Array]:
        """From a point to noise ``[D]``, and log |det| of the inverse."""
        z = (jnp.ravel(x) - self.shift) * jnp.exp(-self.log_scale)
        log_det = -jnp.sum(self.log_scale)
        for coupling in self.couplings[::-1]:
            z, added = coupling(z, is_inverse=True)
            log_det += added
        return z, log_det


class Coupling(nn.Module):
    """One affine coupling; ``parity`` says which half stays."""

    features: Sequence[int]
    parity: int

    @nn.compact
    def __call__(self, x, is_inverse=False):
        is_kept = jnp.arange(x.size) % 2 == self.parity
        h = jnp.where(is_kept, x, 0.0)
        for width in self.features:
            h = nn.tanh(nn.Dense(width)(h))
        out = nn.Dense(2 * x.size, kernel_init=nn.initializers.zeros)(h)
        s = jnp.where(is_kept, 0.0, REACH * jnp.tanh(out[: x.size] / REACH))
        t = jnp.where(is_kept, 0.0, out[x.size :])
        return (
            ((x - t) * jnp.exp(-s), -jnp.sum(s))
            if is_inverse
            else (x * jnp.exp(s) + t, jnp.sum(s))
        )


def sample(flow: Flow, params: Any, key: Key, num: int) -> Array:
    """Exact draws ``[N, ...]``, differentiable in the parameters.

    Raises:
      TypeError: what is no flow; ValueError: a number that is not a positive count.
    """
    _is_flow(flow)
    checks.count(num, "num")
    z = jax.random.normal(key, (num, math.prod(flow.shape)))
    forward: Callable = lambda z: flow.apply(params, z, method="forward")[0]
    return jax.vmap(forward)(z)


def energy_of(flow: Flow, params: Any, log_z: float = 0.0) -> Energy:
    """``-log q - log_z``: an energy whose log partition function is ``log_z``."""
    _is_flow(flow)
    return lambda x: jnp.asarray(-log_z - flow.apply(params, x))


def _is_flow(flow):
    if not isinstance(flow, Flow):
        raise TypeError(f"flow must be a Flow, got {checks.describe(flow)}")
