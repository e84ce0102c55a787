"""Monte Carlo (notes, section 2.1): an expectation as an average over draws, with its
standard error.

    E[f(x)]  ~  1/n sum_i f(x_i)                                       (eq. 11)

The draws may be those of chains: the standard error accounts for their autocorrelation,
sd(f) / sqrt(ess) with the effective sample size of f itself
(:func:`ebmjax.diagnostics.convergence.mcse_mean`).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _table
from ebmjax import _validation as checks
from ebmjax.base import Array, Position
from ebmjax.diagnostics.convergence import mcse_mean
from ebmjax.sampling.collect import Record
from ebmjax.sampling.samples import Samples, draws_of

HEAVY = 0.1  # share of one weight above which the standard error is unreliable


class Estimate(NamedTuple):
    """An expectation and its standard error, arrays of the shape of f."""

    value: Array  # float64 of NumPy on the host
    standard_error: Array

    def __repr__(self) -> str:
        if checks.is_traced(self):
            return f"Estimate({self.value}, {self.standard_error})"
        if np.ndim(self.value) == 0:
            return f"{float(self.value):.6g} +- {float(self.standard_error):.2g}"
        return _table.text(*self._table())

    def _repr_html_(self) -> str:
        return _table.html(*self._table())

    def _table(self) -> tuple[dict[str, np.ndarray], list[str]]:
        columns = {
            "value": np.ravel(np.asarray(self.value, np.float64)),
            "standard error": np.ravel(np.asarray(self.standard_error, np.float64)),
        }
        places = np.ndindex(*np.shape(self.value))
        return columns, [str(list(i)) if i else "" for i in places]


def expectation(
    function: Callable[[Position], Array],
    draws: Samples | Record | Position,
    weights: Array | None = None,
) -> Estimate:
    """E[f(x)] as the mean over draws (notes, eq. 11), with its standard error.

    For draws of another density q with weights w proportional to exp(-E) / q, it is the
    self-normalised sum w f / sum w.  Its error, by the delta method, is that of the
    mean of w (f - E[f]) / mean(w), with the autocorrelation of that.

    Args:
      function: of one point, to an array.
      draws: ``[T, C, ...]`` on every leaf, or
        :class:`~ebmjax.sampling.samples.Samples`.
      weights: ``[T, C]``, up to a constant; from log weights,
        ``jnp.exp(log_w - log_w.max())``.

    Raises:
      ValueError: weights that are negative, not finite, all zero, or not ``[T, C]``.

    Warns:
      if one draw has more than a tenth of the total weight.

    >>> draws = jax.random.normal(jax.random.key(0), (1000, 4))
    >>> second = expectation(lambda x: x**2, draws)
    """
    checks.function(function, "function")
    values = jax.vmap(jax.vmap(function))(draws_of(draws)[0])
    if weights is None:
        return Estimate(_mean(values), mcse_mean(values))
    weights = _checked(weights, values.shape[:2])
    w = weights / weights.mean()
    w = w.reshape(*weights.shape, *[1] * (values.ndim - 2))
    value = _mean(values, w)
    return Estimate(value, mcse_mean(w * (values - value)))


def _mean(values: Array, weights: Array | float = 1.0) -> Array:
    """The mean over the two leading axes, with weights of mean one.

    In two passes, relative to a first value and then to the mean of the first pass, to
    reduce rounding.
    """
    origin = values[0, 0]
    first = jnp.mean(weights * (values - origin), axis=(0, 1))
    second = jnp.mean(weights * (values - origin - first), axis=(0, 1))
    if checks.is_traced((values, weights)):
        return origin + (first + second)
    return np.sum([np.asarray(x, np.float64) for x in (origin, first, second)], axis=0)


def _checked(weights: Array, shape: tuple[int, ...]) -> Array:
    """Weights of a shape, none negative, not all zero; warns of one large weight."""
    array = jnp.asarray(weights)
    if array.shape != shape:
        raise ValueError(
            f"weights must be one a draw, {shape}, got shape {array.shape}"
        )
    if not checks.is_traced(array):
        checks.positive(array, "weights", zero=True)
        largest, total = float(array.max()), float(array.sum())
        if total == 0:
            raise ValueError("weights must not all be zero, got only zeros")
        if largest > HEAVY * total:
            checks.warn(
                f"one draw has {largest / total:.0%} of the weights: the estimate "
                "depends on it, and its standard error is unreliable",
                RuntimeWarning,
            )
    return array
