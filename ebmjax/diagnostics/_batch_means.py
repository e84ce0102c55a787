"""Running batch means; see :mod:`ebmjax.diagnostics.streaming`."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import as_function
from ebmjax.base import Array
from ebmjax.diagnostics import _two_float as two
from ebmjax.diagnostics._moments import Moments, add_to_moments, start_moments
from ebmjax.diagnostics._reducers import (
    as_float,
    relative_to_first,
    value_shapes,
    zeros,
)
from ebmjax.diagnostics._two_float import Count, TwoFloat
from ebmjax.sampling.collect import Collect, Reducer, position_of


class BatchMeans(NamedTuple):
    """The sums of :func:`batch_means`."""

    moments: Moments
    exponent: Array  # [] int32, a batch has 2^exponent draws
    place: Array  # [] int32, full batches; the index of the open one
    filled: Count  # draws in the open batch
    batches: TwoFloat  # [M, C, ...] sums relative to the first value, the rest zero

    @property
    def num_steps(self) -> Any:
        """Draws of each chain, a whole number on the host."""
        return self.moments.num_steps

    @property
    def size(self) -> Array:
        """Draws of a batch."""
        return two.power_of_two(self.exponent)

    @property
    def mean(self) -> Any:
        """Of all draws of all chains, ``[...]``."""
        return self.moments.mean

    @property
    def ess(self) -> Any:
        """N var(x) / sigma^2, ``[...]``, from the full batches; 0 for a constant."""
        m, size = self.moments, self.size

        def of(variance, relative, origin, high, low, sum_high, sum_low):
            of_batches = jax.vmap(relative_to_first, (None, 0, 0, None, None))
            means = of_batches(origin, sum_high / size, sum_low / size, high, low)
            is_full = jnp.arange(len(means)) < self.place
            is_full = is_full.reshape(-1, *[1] * (means.ndim - 1))
            sigma2 = size * jnp.var(means, axis=(0, 1), ddof=1, where=is_full)
            t, num_chains = as_float(m), means.shape[1]
            if num_chains > 1:  # quantile of chi square over its degrees of freedom
                between = t * relative.var(axis=0, ddof=1)  # (Wilson & Hilferty 1931)
                width = 2 / (9 * (num_chains - 1))
                least = between / (1 - width + 3.09 * width**0.5) ** 3
                sigma2 = jnp.maximum(sigma2, least)
            number = t * num_chains
            return jnp.where(variance > 0, number * variance / sigma2, 0.0)

        parts = (m.origin, *m.shift, *self.batches)
        return jax.tree.map(of, m.variance, m.relative_means(), *parts)

    @property
    def mcse_mean(self) -> Any:
        """Standard error of the mean, ``[...]``."""
        return jax.tree.map(
            lambda v, n: jnp.sqrt(v / n), self.moments.variance, self.ess
        )


def batch_means(value_fn: Collect = position_of, *, num_batches: int = 32) -> Reducer:
    """Mean, its standard error, effective sample size, moments: :class:`BatchMeans`.

    Args:
      value_fn: as in :func:`moments`.
      num_batches: M of each chain, even; between M / 2 and M of them are full at any
        time.  Many batches over all chains reduce the variance of the error, long
        batches its bias.

    Raises:
      TypeError, ValueError: as :func:`moments`; ``num_batches`` odd or below 4.
    """
    value_fn = as_function(value_fn, "value_fn")
    if checks.count(num_batches, "num_batches", least=4) % 2:
        raise ValueError(f"num_batches must be even, got {num_batches}")
    start = functools.partial(_start_batches, value_fn, num_batches)
    return Reducer(start, functools.partial(_add_to_batches, value_fn, num_batches))


def _start_batches(value_fn, num_batches, state, info) -> BatchMeans:
    value = value_shapes(value_fn, state, info)
    slots = jax.tree.map(lambda x: zeros(x, num_batches), value)
    m, none = start_moments(value_fn, state, info), jnp.int32(0)
    return BatchMeans(m, none, none, Count.zero(), TwoFloat(slots, slots))


def _add_to_batches(value_fn, num_batches, b: BatchMeans, state, info) -> BatchMeans:
    is_crowded = b.place == num_batches
    place = jnp.where(is_crowded, num_batches // 2, b.place)
    exponent = b.exponent + jnp.int32(is_crowded)
    batches = jax.lax.cond(is_crowded, _joined, lambda x: x, b.batches)
    m = add_to_moments(value_fn, b.moments, state, info)

    def add_to_slot(x, origin, batches):
        x = two.two_sum(x.astype(origin.dtype), -origin)
        slot = two.add(TwoFloat(*(part[place] for part in batches)), *x)
        parts = zip(batches, slot, strict=True)
        return (TwoFloat(*(part.at[place].set(new) for part, new in parts)),)

    value = value_fn(state, info)
    (batches,) = two.map_pairs(add_to_slot, value, m.origin, batches)
    filled = b.filled.plus_one()
    is_full = filled.is_power(exponent)
    filled = Count(*(jnp.where(is_full, 0, word) for word in filled))
    return BatchMeans(m, exponent, place + jnp.int32(is_full), filled, batches)


def _joined(batches: TwoFloat) -> TwoFloat:
    """Sums of neighbours in the first half; zeros in the second half."""

    def pairs_of(high, batches):
        del high
        (a, b), (c, d) = ((part[0::2], part[1::2]) for part in batches)
        total = two.add(TwoFloat(a, c), b, d)
        return (TwoFloat(*(jnp.concatenate([x, jnp.zeros_like(x)]) for x in total)),)

    return two.map_pairs(pairs_of, batches.high, batches)[0]
