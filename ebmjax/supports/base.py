"""What a support is: a set that a leaf of a position lies in, with free coordinates.

A support maps free coordinates ``u``, any real numbers, onto the constrained values
``x`` of one leaf.  Their densities differ by the Jacobian,

    p(u) = p(x(u)) |det dx/du|,        E(u) = E(x(u)) - log |det dx/du|.

Where a set has fewer dimensions than ``x`` has entries (a simplex), ``dx`` stands for
the entries that determine the others.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax._value import Value, value
from ebmjax.base import Array

FEW = 32  # entries of a vector


class Support(Value):
    """A set of values of one leaf, with its free coordinates.

    Attributes:
      event_ndims: the last axes that are constrained together; the axes before them
        repeat the support.
      is_periodic: the leaf is a coordinate on a circle.
    """

    event_ndims = 0
    is_periodic = False

    def forward(self, free: Array) -> tuple[Array, Array]:
        """Constrained values of free coordinates, and log |det dx/du|, one number."""
        raise NotImplementedError

    def inverse(self, x: Array) -> Array:
        """Free coordinates of constrained values."""
        raise NotImplementedError

    def free_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the free coordinates of constrained values of a shape."""
        return shape

    def wrap(self, free: Array) -> Array:
        """The same point by the free coordinates that are kept between steps."""
        return free

    def is_inside(self, x: np.ndarray) -> np.ndarray:
        """Which values lie inside; without the ``event_ndims`` axes, on the host."""
        raise NotImplementedError

    def is_fixed(self, shape: tuple[int, ...]) -> np.ndarray:
        """Entries of a leaf that are the same everywhere; a summary omits them."""
        return np.zeros(shape, bool)

    def wants(self) -> str:
        """What values must be, in words."""
        raise NotImplementedError


@value
class Real(Support):
    """All real numbers: no constraint."""

    def forward(self, free):
        return free, jnp.zeros((), free.dtype)

    def inverse(self, x):
        return x

    def is_inside(self, x):
        return np.isfinite(x)

    def wants(self):
        return "finite"


def real() -> Support:
    """All real numbers; ``None`` stands for it."""
    return Real()


def like(number: Any, x: Array) -> Array:
    """A bound in the dtype of the values that it bounds."""
    return jnp.asarray(number, x.dtype)


def bounded_exp(u: Array) -> Array:
    """exp(u), from the smallest normal number of its dtype to nearly the largest.

    Beyond, the gradient is 0 and never 0 times infinity.
    """
    info = jnp.finfo(u.dtype)
    least, most = np.log(np.array([info.tiny, info.max], np.float64))
    return jnp.exp(jnp.clip(u, least + 1e-5, most - 1e-5))


def bounded_log(x: Array) -> Array:
    """log(x) of numbers that are kept within the finite normal ones."""
    info = jnp.finfo(x.dtype)
    return jnp.log(jnp.clip(x, info.tiny, info.max))


def cumulative(x: Array, *, reverse: bool = False) -> Array:
    """Sums of the entries of the last axis up to each, or from each on.

    Of few entries each sum is taken for itself, which compiles faster than a scan.
    """
    size = x.shape[-1]
    if size > FEW:
        return jax.lax.cumsum(x, axis=x.ndim - 1, reverse=reverse)
    is_counted = np.tril(np.ones((size, size), bool))
    is_counted = is_counted.T if reverse else is_counted
    return jnp.sum(jnp.where(is_counted, x[..., None, :], 0), axis=-1)


def strictly(x: Array, low: Any = -jnp.inf, high: Any = jnp.inf) -> Array:
    """Values that rounding put onto an end, or beyond, one number further inside."""
    info = jnp.finfo(x.dtype)
    low, high = (jax.lax.stop_gradient(like(end, x)) for end in (low, high))
    above = jnp.maximum(jnp.nextafter(low, like(jnp.inf, x)), low + info.tiny)
    below = jnp.minimum(jnp.nextafter(high, like(-jnp.inf, x)), high - info.tiny)
    return jnp.clip(x, jnp.maximum(above, info.min), jnp.minimum(below, info.max))
