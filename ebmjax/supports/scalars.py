"""Supports of single numbers: bounds, intervals, circles.

    x > a        x = a + exp(u)                log |dx/du| = u
    x < b        x = b - exp(u)                log |dx/du| = u
    x > 0        x = c softplus(u)             log |dx/du| = log c + log logistic(u)
    a < x < b    x = a + (b - a) logistic(u)   log |dx/du| = log(b - a)
                                                 + log logistic(u) + log logistic(-u)

(Stan reference manual, "Constraint transforms": lower bounded, upper bounded, lower and
upper bounded scalar; softplus is an alternative of TensorFlow Probability, the same up
to a factor below c and linear above).  A coordinate on a circle of circumference P is
its own free coordinate, u and u + P are one point,

    x = u - P floor((u - a) / P)  in [a, a + P),      log |dx/du| = 0.

Values lie strictly inside: what rounding puts onto an end is moved to the next number.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import number, show, value
from ebmjax.supports.base import Support, bounded_exp, bounded_log, like, strictly


@value
class GreaterThan(Support):
    """Made by :func:`greater_than` and :func:`positive`."""

    low: Any = number()

    def check(self):
        _check_bound(self.low, "low")

    def forward(self, free):
        x = like(self.low, free) + bounded_exp(free)
        return strictly(x, low=self.low), jnp.sum(free)

    def inverse(self, x):
        return bounded_log(x - like(self.low, x))

    def is_inside(self, x):
        return (x > _as(self.low, x)) & np.isfinite(x)

    def wants(self):
        return f"above {show(self.low)}"


@value
class SoftPositive(Support):
    """Made by :func:`positive`."""

    scale: Any = number()

    def check(self):
        checks.positive(self.scale, "linear_above")

    def forward(self, free):
        scale = like(self.scale, free)
        log_det = jnp.sum(jnp.log(scale) + jax.nn.log_sigmoid(free))
        return strictly(scale * jax.nn.softplus(free), low=0.0), log_det

    def inverse(self, x):
        x = x / like(self.scale, x)
        return x + bounded_log(-jnp.expm1(-x))

    def is_inside(self, x):
        return (x > 0) & np.isfinite(x)

    def wants(self):
        return "above 0"


@value
class LessThan(Support):
    """Made by :func:`less_than`."""

    high: Any = number()

    def check(self):
        _check_bound(self.high, "high")

    def forward(self, free):
        x = like(self.high, free) - bounded_exp(free)
        return strictly(x, high=self.high), jnp.sum(free)

    def inverse(self, x):
        return bounded_log(like(self.high, x) - x)

    def is_inside(self, x):
        return (x < _as(self.high, x)) & np.isfinite(x)

    def wants(self):
        return f"below {show(self.high)}"


@value
class Interval(Support):
    """Made by :func:`interval`."""

    low: Any = number()
    high: Any = number()

    def check(self):
        _check_bound(self.low, "low")
        _check_bound(self.high, "high")
        if checks.is_traced((self.low, self.high)):
            return
        width = np.subtract(self.high, self.low, dtype=np.float64)
        if not np.all((width > 0) & (width < np.finfo(np.float32).max)):
            raise ValueError(
                "low must be below high, by a number that float32 has; got low "
                f"{show(self.low)} and high {show(self.high)}"
            )

    def forward(self, free):
        low, high = like(self.low, free), like(self.high, free)
        width = high - low
        # from the nearer end, so that no digits are lost beside it
        below = low + width * jax.nn.sigmoid(free)
        above = high - width * jax.nn.sigmoid(-free)
        x = strictly(jnp.where(free < 0, below, above), low, high)
        log_slope = jax.nn.log_sigmoid(free) + jax.nn.log_sigmoid(-free)
        return x, jnp.sum(jnp.log(width) + log_slope)

    def inverse(self, x):
        return bounded_log(x - like(self.low, x)) - bounded_log(like(self.high, x) - x)

    def is_inside(self, x):
        return (x > _as(self.low, x)) & (x < _as(self.high, x))

    def wants(self):
        return f"between {show(self.low)} and {show(self.high)}"


@value
class Periodic(Support):
    """Made by :func:`periodic`."""

    period: Any = number()
    low: Any = number()
    is_periodic = True

    def check(self):
        checks.positive(self.period, "period")
        _check_bound(self.low, "low")

    def forward(self, free):
        return self.wrap(free), jnp.zeros((), free.dtype)

    def inverse(self, x):
        return self.wrap(x)

    def wrap(self, free):
        low, period = like(self.low, free), like(self.period, free)
        x = free - period * jnp.floor((free - low) / period)
        x = jnp.where(x < low, x + period, x)  # rounding of a large turn
        return jnp.where(x >= low + period, x - period, x)

    def is_inside(self, x):
        return np.isfinite(x)

    def wants(self):
        return "finite"


def positive(*, linear_above: Any = None) -> Support:
    """x > 0, by its logarithm.

    With ``linear_above``, a number or an array, it is c softplus(u): the logarithm for
    x far below c, linear far above.  A scale that multiplies other coordinates changes
    less in a step where it is large; divergences there are a reason for it.

    Raises unless ``linear_above`` is positive.

    >>> energy = constrain(lambda x: x, positive())  # the exponential distribution
    >>> float(energy.constrain(jnp.float32(0)))
    1.0
    """
    return GreaterThan(0.0) if linear_above is None else SoftPositive(linear_above)


def greater_than(low: Any) -> Support:
    """x > low, a number or an array that broadcasts to the leaf.

    Raises unless ``low`` is finite.
    """
    return GreaterThan(low)


def less_than(high: Any) -> Support:
    """x < high, a number or an array that broadcasts to the leaf.

    Raises unless ``high`` is finite.
    """
    return LessThan(high)


def interval(low: Any = None, high: Any = None) -> Support:
    """low < x < high; numbers, or arrays that broadcast to the leaf.

    Without one of the bounds it is one-sided, without both all real numbers.

    Raises:
      TypeError, ValueError: bounds that are not finite, or not in this order.

    >>> energy = constrain(lambda x: -jnp.log(x), interval(0, 1))  # Beta(2, 1)
    """
    if low is None and high is None:
        raise ValueError("interval needs low, high or both, got neither")
    if high is None:
        return GreaterThan(low)
    return LessThan(high) if low is None else Interval(low, high)


def periodic(period: Any = 2 * np.pi, low: Any = None) -> Support:
    """A coordinate on a circle; ``low`` is where its range begins, by default ``-period
    / 2``, so that an angle lies in [-pi, pi) and ``periodic(360)`` in [-180, 180).

    The energy gets values in this range.  It must be periodic itself: a jump where the
    range ends is a hard step for a sampler that uses gradients.

    Raises unless ``period`` is positive and ``low`` finite.

    >>> von_mises = constrain(lambda x: -2 * jnp.cos(x), periodic())
    >>> round(float(von_mises.constrain(jnp.float32(7))), 4)
    0.7168
    """
    if low is None:
        checks.positive(period, "period")
        low = -0.5 * jnp.asarray(period, float)
    return Periodic(period, low)


def _as(number, x):
    """A bound in the dtype of the values on the host."""
    return np.asarray(number).astype(np.asarray(x).dtype)


def _check_bound(value, name) -> None:
    if checks.is_traced(value):
        return
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a number, got {checks.describe(value)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {show(value)}")
