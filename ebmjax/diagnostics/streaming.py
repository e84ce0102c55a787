"""Running statistics of chains, in memory that does not grow with the number of steps.

Each is a :class:`~ebmjax.sampling.loop.Reducer`, to give as ``collect`` to ``run`` or
``sample``; what comes back in the place of draws holds the sums, and has the results as
properties.

    moments       x-bar_c += (x - x-bar_c) / t,   S_c += (x - old)(x - new)   per chain (Welford 1962)
                  pooled over chains,  S = sum_c S_c + t sum_c (x-bar_c - x-bar)^2   (Chan, Golub
                  & LeVeque 1983);  R-hat = sqrt((t - 1) / t + var(x-bar_c) / W), neither split
                  nor of ranks;  nested R-hat
    covariance    the same with outer products, pooled over chains
    batch_means   means of b consecutive draws;  sigma^2 = b var(means),  ESS = N var(x) / sigma^2
                  and sigma^2 at least what t var(x-bar_c) leaves possible at 99.9 %, for chains
                  that disagree

``batch_means`` keeps a fixed number of batches of each chain and joins neighbours when all are
full, so that b grows with the run (Yeh & Schmeiser 2000, "dynamic batch means").

Values are taken relative to the first one, means and sums are pairs of floats, counts are pairs
of words (:mod:`ebmjax.diagnostics._two_float`): no digits are lost where a mean is large beside
its deviation, nor after 10^10 steps.  1000 steps are 600 and then 400, bit for bit
(:meth:`~ebmjax.sampling.loop.Reducer.continued`).  Two calls with equal arguments give equal
reducers, which share a compiled program.

>>> kernel = hmc(lambda x: 0.5 * jnp.sum(x**2), 0.5, 5)
>>> start = jnp.zeros((4, 2))
>>> found = sample(jax.random.key(0), kernel, start, 1000, collect=moments()).draws
"""

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax.base import Array
from ebmjax.diagnostics import _two_float as two
from ebmjax.diagnostics._two_float import Count, TwoFloat
from ebmjax.diagnostics.convergence import nested_rhat_of_moments
from ebmjax.sampling.loop import Collect, Reducer, position_of


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
        return jax.tree.map(_total, self.origin, *self.shift)

    @property
    def variances(self) -> Any:
        """Of each chain, ``[C, ...]``."""
        return jax.tree.map(lambda s: s / (_float(self) - 1), self.squares.high)

    @property
    def mean(self) -> Any:
        """Of all draws of all chains, ``[...]``; float64 of NumPy on the host."""
        return jax.tree.map(
            lambda o, h, l, relative: _total(o[0], h[0], l[0], relative.mean(axis=0)),
            self.origin,
            *self.shift,
            self._relative_means(),
        )

    @property
    def variance(self) -> Any:
        """Of all draws of all chains, ``[...]``."""

        def pooled(relative, squares):
            number = _float(self) * len(squares)
            between = number * relative.var(axis=0)
            return (squares.sum(axis=0) + between) / (number - 1)

        return jax.tree.map(pooled, self._relative_means(), self.squares.high)

    @property
    def rhat(self) -> Any:
        """sqrt(var+ / W) of whole chains, ``[...]``; no sign of a drift that all share."""

        def of(relative, variances):
            between, t = relative.var(axis=0, ddof=1), _float(self)
            return jnp.sqrt((t - 1) / t + between / variances.mean(axis=0))

        return jax.tree.map(of, self._relative_means(), self.variances)

    def nested_rhat(self, num_groups: int) -> Any:
        """:func:`ebmjax.diagnostics.convergence.nested_rhat` of all draws, ``[...]``."""

        def of(relative, squares):  # the variance within one step is zero
            variances = squares / jnp.maximum(_float(self) - 1, 1)
            return nested_rhat_of_moments(relative, variances, num_groups)

        return jax.tree.map(of, self._relative_means(), self.squares.high)

    def _relative_means(self) -> Any:
        """Means of the chains minus that of the first, ``[C, ...]``."""
        return jax.tree.map(_relative, self.origin, *self.shift, *self.shift)


def moments(value_fn: Collect = position_of) -> Reducer:
    """Mean and variance of each chain and of all, R-hat, nested R-hat: :class:`Moments`.

    Args:
      value_fn: from ``(state, info)`` to the value, floating leaves ``[C, ...]``; the position
        by default.  A plain function, or a partial of one, that can be hashed.

    Raises:
      TypeError: ``value_fn`` is no function, cannot be hashed, or returns something else.
    """
    value_fn = _value(value_fn)
    return Reducer(_Of(_start_moments, value_fn), _Of(_add_to_moments, value_fn))


def _start_moments(value_fn, state, info) -> Moments:
    zeros = jax.tree.map(_zeros, _shapes(value_fn, state, info))
    pair = TwoFloat(zeros, zeros)
    return Moments(Count.zero(), zeros, pair, pair)


def _add_to_moments(value_fn, m: Moments, state, info) -> Moments:
    value, origin = _with_origin(value_fn(state, info), m.origin, m.steps)
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
        return _total(self.origin, *self.shift)

    @property
    def covariance(self) -> Array:
        """``[D, D]``, of all draws of all chains."""
        return self.squares.high / (_float(self) * self.num_chains - 1)


def covariance(value_fn: Collect = position_of) -> Reducer:
    """Mean vector and covariance matrix of all draws: :class:`Covariance`.

    ``value_fn`` and errors as in :func:`moments`.
    """
    value_fn = _value(value_fn)
    return Reducer(_Of(_start_covariance, value_fn), _Of(_add_to_covariance, value_fn))


_flat = jax.vmap(lambda x: ravel_pytree(x)[0])


def _start_covariance(value_fn, state, info) -> Covariance:
    x = jax.eval_shape(_flat, _shapes(value_fn, state, info))
    vector = jnp.zeros(x.shape[1], jnp.promote_types(x.dtype, jnp.float32))
    matrix = jnp.outer(vector, vector)
    pairs = TwoFloat(vector, vector), TwoFloat(matrix, matrix)
    return Covariance(Count.zero(), jnp.int32(x.shape[0]), vector, *pairs)


def _add_to_covariance(value_fn, c: Covariance, state, info) -> Covariance:
    x = _flat(value_fn(state, info)).astype(c.origin.dtype)  # [C, D]
    origin = jnp.where(c.steps.is_zero(), x[0], c.origin)
    steps, x = c.steps.plus_one(), two.two_sum(x, -origin)
    distance = two.subtract(x, c.shift)
    shift = two.add(c.shift, distance.mean(axis=0) / steps.as_float(origin.dtype))
    products = jnp.matmul(distance.T, two.subtract(x, shift), precision="highest")
    return Covariance(steps, c.num_chains, origin, shift, two.add(c.squares, products))


class BatchMeans(NamedTuple):
    """The sums of :func:`batch_means`."""

    moments: Moments
    exponent: Array  # [] int32, a batch has 2^exponent draws
    place: Array  # [] int32, full batches, and the number of the one that fills
    filled: Count  # draws in that one
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
        """N var(x) / sigma^2, ``[...]``, from the full batches; 0 where nothing moves."""
        m, size = self.moments, self.size

        def of(variance, relative, origin, high, low, sum_high, sum_low):
            means = _relative(origin, sum_high / size, sum_low / size, high, low)
            is_full = jnp.arange(len(means)) < self.place
            is_full = is_full.reshape(-1, *[1] * (means.ndim - 1))
            sigma2 = size * jnp.var(means, axis=(0, 1), ddof=1, where=is_full)
            t, num_chains = _float(m), means.shape[1]
            if num_chains > 1:  # quantile of chi square over its degrees of freedom
                between = t * relative.var(axis=0, ddof=1)  # (Wilson & Hilferty 1931)
                width = 2 / (9 * (num_chains - 1))
                least = between / (1 - width + 3.09 * width**0.5) ** 3
                sigma2 = jnp.maximum(sigma2, least)
            number = t * num_chains
            return jnp.where(variance > 0, number * variance / sigma2, 0.0)

        parts = (m.origin, *m.shift, *self.batches)
        return jax.tree.map(of, m.variance, m._relative_means(), *parts)

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
      num_batches: M of each chain, even; between M / 2 and M of them are full at any time.
        Many batches over all chains make the error precise, long batches make it unbiased.

    Raises:
      TypeError, ValueError: as :func:`moments`; ``num_batches`` odd or below 4.
    """
    value_fn = _value(value_fn)
    if checks.count(num_batches, "num_batches", least=4) % 2:
        raise ValueError(f"num_batches must be even, got {num_batches}")
    start = _Of(_start_batches, value_fn, num_batches)
    return Reducer(start, _Of(_add_to_batches, value_fn, num_batches))


def _start_batches(value_fn, num_batches, state, info) -> BatchMeans:
    value = _shapes(value_fn, state, info)
    slots = jax.tree.map(lambda x: _zeros(x, num_batches), value)
    m, none = _start_moments(value_fn, state, info), jnp.int32(0)
    return BatchMeans(m, none, none, Count.zero(), TwoFloat(slots, slots))


def _add_to_batches(value_fn, num_batches, b: BatchMeans, state, info) -> BatchMeans:
    is_crowded = b.place == num_batches
    place = jnp.where(is_crowded, num_batches // 2, b.place)
    exponent = b.exponent + is_crowded
    batches = jax.lax.cond(is_crowded, _joined, lambda x: x, b.batches)
    m = _add_to_moments(value_fn, b.moments, state, info)

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
    return BatchMeans(m, exponent, place + is_full, filled, batches)


def _joined(batches: TwoFloat) -> TwoFloat:
    """Neighbours summed, in the first half; the second half zero."""

    def pairs_of(high, batches):
        del high
        (a, b), (c, d) = ((part[0::2], part[1::2]) for part in batches)
        total = two.add(TwoFloat(a, c), b, d)
        return (TwoFloat(*(jnp.concatenate([x, jnp.zeros_like(x)]) for x in total)),)

    return two.map_pairs(pairs_of, batches.high, batches)[0]


def together(**reducers: Reducer) -> Reducer:
    """Several at once, by name; the result is a dictionary.

    >>> both = together(x=covariance(), energy=batch_means(lambda state, info: state.energy))
    """
    for name, reducer in reducers.items():
        checks.instance(reducer, Reducer, name, "moments() or another of this module")
    items = tuple(sorted(reducers.items()))
    return Reducer(_Of(_start_together, items), _Of(_add_together, items))


def _start_together(items, state, info) -> dict[str, Any]:
    return {name: reducer.init(state, info) for name, reducer in items}


def _add_together(items, carries, state, info) -> dict[str, Any]:
    return {name: reducer.update(carries[name], state, info) for name, reducer in items}


@dataclasses.dataclass(frozen=True, init=False)
class _Of:
    """A function with its first arguments; equal to another where all of these are."""

    function: Callable
    arguments: tuple
    keywords: tuple

    def __init__(self, function, *arguments, **keywords):
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "arguments", arguments)
        object.__setattr__(self, "keywords", tuple(sorted(keywords.items())))

    def __call__(self, *rest):
        return self.function(*self.arguments, *rest, **dict(self.keywords))


def _value(function: Collect) -> Collect:
    """The function as a value that is equal to another of the same parts."""
    checks.function(function, "value_fn")
    if isinstance(function, functools.partial):
        function = _Of(function.func, *function.args, **function.keywords)
    elif isinstance(function, types.MethodType):
        function = _Of(function.__func__, function.__self__)
    try:
        hash(function)
    except TypeError as error:
        raise TypeError(
            f"value_fn must be hashable, a function without arrays in it, got {error}"
        ) from None
    return function


def _shapes(value_fn, state, info):
    value = jax.eval_shape(value_fn, state, info)
    if not jax.tree.leaves(value):
        raise TypeError("value_fn must return floating arrays [C, ...], got none")
    for leaf in jax.tree.leaves(value):
        if not jnp.issubdtype(leaf.dtype, jnp.floating) or not leaf.shape:
            raise TypeError(
                "value_fn must return floating arrays [C, ...], got "
                f"{checks.describe(leaf)}"
            )
    return value


def _with_origin(value, origin, steps: Count):
    """The value in the dtype of the sums, and the first value there was."""
    value = jax.tree.map(lambda x, o: x.astype(o.dtype), value, origin)
    is_first = steps.is_zero()
    return value, jax.tree.map(lambda x, o: jnp.where(is_first, x, o), value, origin)


def _zeros(x, *leading):
    return jnp.zeros((*leading, *x.shape), jnp.promote_types(x.dtype, jnp.float32))


def _float(sums) -> Array:
    return sums.steps.as_float()


def _total(*parts):
    """A sum of parts of falling size: in float64 on the host, where digits allow it."""
    if checks.is_traced(parts):
        return functools.reduce(jnp.add, parts[::-1])
    return np.sum([np.asarray(part, np.float64) for part in parts], axis=0)


def _relative(origin, high, low, first_high, first_low):
    """origin + high + low minus that of the first chain, without the common digits."""
    apart = two.two_sum(origin, -origin[0])
    total = two.add(apart, high, low)
    return two.subtract(total, TwoFloat(first_high[0], first_low[0]))
