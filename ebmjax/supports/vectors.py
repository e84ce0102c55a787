"""Supports of vectors, of the last axis of a leaf: simplex, order, sphere.

Simplex, x_k > 0 with sum 1, K entries from K - 1 free coordinates: the isometric log
ratio (Egozcue et al. 2003; Stan reference manual, "Constraint transforms", simplex),

    y = V u,   x = softmax(y),   log |det dx_{1..K-1} / du| = sum_k log x_k + 1/2 log K,

with V the orthonormal basis of Helmert of the vectors whose sum is 0.  It treats all
entries alike, up to a rotation.

Ordered, x_1 < x_2 < ... < x_K (Stan, "ordered vector"; positive ordered with x_0 = 0):

    x_1 = u_1,   x_k = x_{k-1} + exp(u_k),   log |det dx/du| = sum_{k > 1} u_k.

Sphere, |x| = 1 (Stan, "unit vector"; Marsaglia 1972): u in R^K is given a standard
normal density, so that x = u / |u| is uniform where the energy is constant and the
radius is independent of it,

    E(u) = E(x) + |u|^2 / 2 + log Z_r,   Z_r = int r^(K-1) exp(-r^2/2) dr
                                             = 2^(K/2-1) Gamma(K/2),

so that log Z is that of the density with respect to the area of the sphere.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax._value import static, value
from ebmjax.supports.base import (
    Support,
    bounded_exp,
    bounded_log,
    cumulative,
    strictly,
)

ROUNDING = 1e-4  # of a sum, or of a norm, that a start may have


@value
class Simplex(Support):
    """Made by :func:`simplex`."""

    event_ndims = 1

    def forward(self, free):
        log_x = jax.nn.log_softmax(_with_sum_zero(free), axis=-1)
        size = log_x.shape[-1]
        num = log_x.size // size
        return strictly(bounded_exp(log_x), 0, 1), (
            jnp.sum(log_x) + 0.5 * num * np.log(size)
        )

    def inverse(self, x):
        log_x = bounded_log(x)
        centred = log_x - jnp.mean(log_x, axis=-1, keepdims=True)
        n = jnp.arange(1, x.shape[-1], dtype=x.dtype)
        partial = cumulative(centred)[..., :-1]
        return (partial - n * centred[..., 1:]) / jnp.sqrt(n * (n + 1))

    def free_shape(self, shape):
        return (*shape[:-1], shape[-1] - 1)

    def is_inside(self, x):
        is_sum = np.abs(np.sum(x, axis=-1, dtype=np.float64) - 1) < ROUNDING
        return (x > 0).all(axis=-1) & is_sum & (x.shape[-1] > 1)

    def wants(self):
        return "two or more positive numbers with sum 1 on the last axis"


def _with_sum_zero(u):
    """V u: ``[..., K]`` with sum 0 of ``[..., K - 1]``."""
    n = jnp.arange(1, u.shape[-1] + 1, dtype=u.dtype)
    w = u / jnp.sqrt(n * (n + 1))
    zero = jnp.zeros_like(u[..., :1])
    rest = cumulative(w, reverse=True)
    return jnp.concatenate([rest, zero], -1) - jnp.concatenate([zero, n * w], -1)


@value
class Ordered(Support):
    """Made by :func:`ordered` and :func:`positive_ordered`."""

    is_positive: bool = static(default=False)
    event_ndims = 1

    def forward(self, free):
        num = 0 if self.is_positive else 1
        first, rest = free[..., :num], free[..., num:]
        gaps, info = bounded_exp(rest), jnp.finfo(free.dtype)
        # no smaller than what keeps the sums apart when they are rounded
        sizes = cumulative(jnp.concatenate([jnp.abs(first), gaps], -1))[..., num:]
        least = 4 * info.eps * jax.lax.stop_gradient(jnp.minimum(sizes, info.max))
        steps = jnp.concatenate([first, jnp.maximum(gaps, least)], -1)
        return jnp.minimum(cumulative(steps), info.max), jnp.sum(rest)

    def inverse(self, x):
        if self.is_positive:
            return bounded_log(jnp.diff(x, axis=-1, prepend=jnp.zeros_like(x[..., :1])))
        return jnp.concatenate([x[..., :1], bounded_log(jnp.diff(x, axis=-1))], -1)

    def is_inside(self, x):
        is_positive = not self.is_positive or x[..., 0] > 0
        return (np.diff(x, axis=-1) > 0).all(axis=-1) & is_positive

    def wants(self):
        return "increasing" + " and positive" * self.is_positive + " on the last axis"


@value
class UnitVector(Support):
    """Made by :func:`unit_vector`."""

    event_ndims = 1

    def forward(self, free):
        largest = jax.lax.stop_gradient(jnp.max(jnp.abs(free), -1, keepdims=True))
        scaled = free / jnp.maximum(largest, jnp.finfo(free.dtype).tiny)
        square = jnp.sum(scaled**2, axis=-1, keepdims=True)
        x = scaled / jnp.sqrt(jnp.where(square > 0, square, 1))
        size = free.shape[-1]
        of_radius = (size / 2 - 1) * math.log(2) + math.lgamma(size / 2)
        num = free.size // size
        return x, -0.5 * jnp.sum(free**2) - num * of_radius

    def inverse(self, x):
        return x * np.sqrt(x.shape[-1] - 1)  # the most probable radius

    def is_inside(self, x):
        square = np.sum(np.square(x, dtype=np.float64), axis=-1)
        return (np.abs(np.sqrt(square) - 1) < ROUNDING) & (x.shape[-1] > 1)

    def wants(self):
        return "two or more numbers of norm 1 on the last axis"


def simplex() -> Support:
    """Probabilities: positive numbers with sum 1, on the last axis.

    The density is with respect to all entries but the last.

    >>> dirichlet = constrain(lambda x: -jnp.sum(2 * jnp.log(x)), simplex())
    >>> dirichlet.constrain(jnp.zeros(2)).shape
    (3,)
    """
    return Simplex()


def ordered() -> Support:
    """Increasing numbers on the last axis."""
    return Ordered()


def positive_ordered() -> Support:
    """Increasing positive numbers on the last axis."""
    return Ordered(True)


def unit_vector() -> Support:
    """Directions: vectors of norm 1 on the last axis.

    The density is with respect to the area of the sphere.  There is one free coordinate
    more than the sphere has dimensions; of one angle :func:`periodic` has just one.
    """
    return UnitVector()
