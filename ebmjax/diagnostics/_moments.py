"""Running means, variances and covariances; see :mod:`ebmjax.diagnostics.streaming`."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ebmjax._value import as_function
from ebmjax.base import Array
from ebmjax.diagnostics import _two_float as two
from ebmjax.diagnostics._reducers import (
    as_float,
    relative_to_first,
    total_of,
    value_shapes,
    with_origin,
    zeros,
)
from ebmjax.diagnostics._two_float import Count, TwoFloat
from ebmjax.diagnostics.convergence import nested_rhat_of_moments
from ebmjax.sampling.collect import Collect, Reducer, position_of


class Moments(NamedTuple):
    """The sums of :func:`moments`; trees in the structure of the value."""

    steps: Count
    origin: Any  # [C, ...] the first value
    shift: TwoFloat  # [C, ...] mean relative to it
    squares: TwoFloat  # [C, ...] sum of squared deviations from the mean

    @property
    def num_steps(self) -> Any:
        """Draws of each chain, a whole number on the host."""
        return self.steps.value()

    @property
    def means(self) -> Any:
        """Of each chain, ``[C, ...]``; float64 of NumPy on the host."""
        return jax.tree.map(total_of, self.origin, *self.shift)

    @property
    def variances(self) -> Any:
        """Of each chain, ``[C, ...]``."""
        return jax.tree.map(lambda s: s / (as_float(self) - 1), self.squares.high)

    @property
    def mean(self) -> Any:
        """Of all draws of all chains, ``[...]``; float64 of NumPy on the host."""
        return jax.tree.map(
            lambda o, h, l, relative: total_of(o[0], h[0], l[0], relative.mean(axis=0)),
            self.origin,
            *self.shift,
            self.relative_means(),
        )

    @property
    def variance(self) -> Any:
        """Of all draws of all chains, ``[...]``."""

        def pooled(relative, squares):
            number = as_float(self) * len(squares)
            between = number * relative.var(axis=0)
            return (squares.sum(axis=0) + between) / (number - 1)

        return jax.tree.map(pooled, self.relative_means(), self.squares.high)

    @property
    def rhat(self) -> Any:
        """sqrt(var+ / W) of whole chains, ``[...]``; it does not detect a common
        drift."""

        def of(relative, variances):
            between, t = relative.var(axis=0, ddof=1), as_float(self)
            return jnp.sqrt((t - 1) / t + between / variances.mean(axis=0))

        return jax.tree.map(of, self.relative_means(), self.variances)

    def nested_rhat(self, num_groups: int) -> Any:
        """:func:`ebmjax.diagnostics.convergence.nested_rhat` of all draws,
        ``[...]``."""

        def of(relative, squares):  # the variance within one step is zero
            variances = squares / jnp.maximum(as_float(self) - 1, 1)
            return nested_rhat_of_moments(relative, variances, num_groups)

        return jax.tree.map(of, self.relative_means(), self.squares.high)

    def relative_means(self) -> Any:
        """Means of the chains minus that of the first, ``[C, ...]``."""
        return jax.tree.map(relative_to_first, self.origin, *self.shift, *self.shift)


def moments(value_fn: Collect = position_of) -> Reducer:
    """Mean and variance of each chain and overall, R-hat, nested R-hat:
    :class:`Moments`.

    Args:
      value_fn: from ``(state, info)`` to the value, floating leaves ``[C, ...]``; the
        position by default.  New numbers in a ``functools.partial`` compile nothing.

    Raises:
      TypeError: ``value_fn`` is no function, or returns something else.
    """
    value_fn = as_function(value_fn, "value_fn")
    return Reducer(
        functools.partial(start_moments, value_fn),
        functools.partial(add_to_moments, value_fn),
    )


def start_moments(value_fn, state, info) -> Moments:
    none = jax.tree.map(zeros, value_shapes(value_fn, state, info))
    pair = TwoFloat(none, none)
    return Moments(Count.zero(), none, pair, pair)


def add_to_moments(value_fn, m: Moments, state, info) -> Moments:
    value, origin = with_origin(value_fn(state, info), m.origin, m.steps)
    steps = m.steps.plus_one()

    def welford(x, o, shift, squares):
        x = two.two_sum(x, -o)
        distance = two.subtract(x, shift)
        shift = two.add(shift, distance / steps.as_float(o.dtype))
        return shift, two.add(squares, distance * two.subtract(x, shift))

    return Moments(
        steps, origin, *two.map_pairs(welford, value, origin, m.shift, m.squares)
    )


class Covariance(NamedTuple):
    """The sums of :func:`covariance`, all coordinates of a value in one vector."""

    steps: Count
    num_chains: Array  # []
    origin: Array  # [D] the first value of the first chain
    shift: TwoFloat  # [D] mean relative to it
    squares: TwoFloat  # [D, D] sum of outer products of deviations from the mean

    @property
    def num_steps(self) -> Any:
        """Draws of each chain, a whole number on the host."""
        return self.steps.value()

    @property
    def mean(self) -> Array:
        """``[D]``, of all draws of all chains; float64 of NumPy on the host."""
        return total_of(self.origin, *self.shift)

    @property
    def covariance(self) -> Array:
        """``[D, D]``, of all draws of all chains."""
        num_steps = as_float(self)
        num = num_steps * self.num_chains.astype(num_steps.dtype)
        return self.squares.high / (num - 1)


def covariance(value_fn: Collect = position_of) -> Reducer:
    """Mean vector and covariance matrix of all draws: :class:`Covariance`.

    ``value_fn`` and errors as in :func:`moments`.
    """
    value_fn = as_function(value_fn, "value_fn")
    return Reducer(
        functools.partial(_start_covariance, value_fn),
        functools.partial(_add_to_covariance, value_fn),
    )


_flat = jax.vmap(lambda x: ravel_pytree(x)[0])
_row = functools.partial(jax.tree.map, lambda x: x[None])


def _start_covariance(value_fn, state, info) -> Covariance:
    x = jax.eval_shape(_flat, value_shapes(value_fn, state, info))
    vector = jnp.zeros(x.shape[1], jnp.promote_types(x.dtype, jnp.float32))
    matrix = jnp.outer(vector, vector)
    pairs = TwoFloat(vector, vector), TwoFloat(matrix, matrix)
    return Covariance(Count.zero(), jnp.int32(x.shape[0]), vector, *pairs)


def _add_to_covariance(value_fn, c: Covariance, state, info) -> Covariance:
    x = _flat(value_fn(state, info)).astype(c.origin.dtype)  # [C, D]
    origin = jnp.where(c.steps.is_zero(), x[0], c.origin)
    steps = c.steps.plus_one()
    x = two.two_sum(x, -origin[None])  # type: ignore[assignment]
    distance = two.subtract(x, _row(c.shift))  # type: ignore[arg-type]
    shift = two.add(c.shift, distance.mean(axis=0) / steps.as_float(origin.dtype))
    products = jnp.matmul(
        distance.T,
        two.subtract(x, _row(shift)),  # type: ignore[arg-type]
        precision="highest",
    )
    return Covariance(steps, c.num_chains, origin, shift, two.add(c.squares, products))
