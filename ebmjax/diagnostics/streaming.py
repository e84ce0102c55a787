"""Running statistics of chains, in memory that does not grow with the number of steps.

Each is a :class:`~ebmjax.sampling.loop.Reducer` to give as ``collect`` to ``run`` or ``sample``; what comes back in
the place of draws holds the sums, and has the results as properties.

    moments       x-bar_c += (x - x-bar_c) / t,   S_c += (x - old)(x - new)      a chain (Welford 1962)
                  pooled over chains by  S = sum_c S_c + t sum_c (x-bar_c - x-bar)^2   (Chan, Golub & LeVeque)
                  R-hat = sqrt((t - 1) / t + var(x-bar_c) / W), neither split nor of ranks;  nested R-hat
    covariance    the same with outer products, pooled over chains
    batch_means   means of b consecutive draws;  sigma^2 = b var(means),  ESS = N var(x) / sigma^2
                  and sigma^2 no less than t var(x-bar_c) leaves possible at 99.9 %, for chains that disagree

``batch_means`` keeps a fixed number of batches a chain and joins neighbours when all are full, so that b
grows with the length of the run and nobody has to know it (Yeh & Schmeiser 2000, "dynamic batch means").

Values are taken relative to the first one, so that no digits are lost where a mean is large beside its
deviation.  1000 steps are 600 and then 400, bit for bit (:meth:`~ebmjax.sampling.loop.Reducer.continued`).

>>> kernel = hmc(lambda x: 0.5 * jnp.sum(x**2), 0.5, 5)
>>> found = sample(jax.random.key(0), kernel, jnp.zeros((4, 2)), 1000, collect=moments()).draws
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax.base import Array
from ebmjax.diagnostics.convergence import nested_rhat_of_moments
from ebmjax.sampling.loop import Collect, Reducer, position_of


class Moments(NamedTuple):
    """What :func:`moments` keeps; trees in the structure of the value."""

    num_steps: Array  # []
    origin: Any  # [C, ...] the first value
    shift: Any  # [C, ...] mean of the others relative to it
    squares: Any  # [C, ...] sum of squared deviations from the mean

    @property
    def means(self) -> Any:
        return jax.tree.map(jnp.add, self.origin, self.shift)  # [C, ...]

    @property
    def variances(self) -> Any:
        return jax.tree.map(lambda s: s / (self.num_steps - 1), self.squares)

    @property
    def mean(self) -> Any:
        return jax.tree.map(lambda m: m.mean(axis=0), self.means)  # [...]

    @property
    def variance(self) -> Any:
        """Of all draws of all chains, ``[...]``."""

        def pooled(origin, shift, squares):
            between = _relative(origin, shift).var(axis=0)
            number = self.num_steps.astype(between.dtype) * len(squares)
            return (squares.sum(axis=0) + number * between) / (number - 1)

        return jax.tree.map(pooled, self.origin, self.shift, self.squares)

    @property
    def rhat(self) -> Any:
        """sqrt(var+ / W) of whole chains, ``[...]``; blind to a drift that all chains share."""

        def of(origin, shift, variances):
            between = _relative(origin, shift).var(axis=0, ddof=1)
            return jnp.sqrt(
                (self.num_steps - 1) / self.num_steps + between / variances.mean(axis=0)
            )

        return jax.tree.map(of, self.origin, self.shift, self.variances)

    def nested_rhat(self, num_groups: int) -> Any:
        """:func:`ebmjax.diagnostics.convergence.nested_rhat`, of all that was seen."""

        def of(origin, shift, squares):  # the variance within one step is zero
            variances = squares / jnp.maximum(self.num_steps - 1, 1)
            return nested_rhat_of_moments(
                _relative(origin, shift), variances, num_groups
            )

        return jax.tree.map(of, self.origin, self.shift, self.squares)


@functools.cache
def moments(of: Collect = position_of) -> Reducer:
    """Mean and variance of each chain and of all, R-hat, nested R-hat.

    ``of`` is from ``(state, info)`` to the value, the position by default; leaves ``[C, ...]``.
    """
    checks.function(of, "of")

    def init(state, info):
        value = _shapes(of, state, info)
        return Moments(jnp.int32(0), *(jax.tree.map(_zeros, value) for _ in range(3)))

    def update(m, state, info):
        count = m.num_steps + 1
        value = of(state, info)
        origin = jax.tree.map(
            lambda o, x: jnp.where(m.num_steps == 0, x, o).astype(o.dtype),
            m.origin,
            value,
        )
        distance = jax.tree.map(lambda x, o, s: x - o - s, value, origin, m.shift)
        shift = jax.tree.map(lambda s, d: s + d / count, m.shift, distance)
        left = jax.tree.map(lambda x, o, s: x - o - s, value, origin, shift)
        squares = jax.tree.map(lambda q, d, l: q + d * l, m.squares, distance, left)
        return Moments(count, origin, shift, squares)

    return Reducer(init, update)


class Covariance(NamedTuple):
    """What :func:`covariance` keeps, of all coordinates of a position in one vector."""

    num_steps: Array  # []
    num_chains: Array  # []
    origin: Array  # [D] the first value of the first chain
    shift: Array  # [D] mean relative to it
    squares: Array  # [D, D] sum of outer products of deviations from the mean

    @property
    def mean(self) -> Array:
        return self.origin + self.shift

    @property
    def covariance(self) -> Array:
        """``[D, D]``, over all draws of all chains."""
        return self.squares / (
            self.num_steps.astype(self.squares.dtype) * self.num_chains - 1
        )


@functools.cache
def covariance(of: Collect = position_of) -> Reducer:
    """Mean vector and covariance matrix over all draws of all chains; ``of`` as in :func:`moments`."""
    checks.function(of, "of")
    flat = jax.vmap(lambda x: ravel_pytree(x)[0])

    def init(state, info):
        x = jax.eval_shape(flat, _shapes(of, state, info))
        vector = jnp.zeros(x.shape[1], jnp.promote_types(x.dtype, jnp.float32))
        return Covariance(
            jnp.int32(0),
            jnp.int32(x.shape[0]),
            vector,
            vector,
            jnp.outer(vector, vector),
        )

    def update(c, state, info):
        x = flat(of(state, info)).astype(c.shift.dtype)  # [C, D]
        count = c.num_steps + 1
        origin = jnp.where(c.num_steps == 0, x[0], c.origin)
        distance = x - origin - c.shift
        shift = c.shift + distance.mean(axis=0) / count
        squares = c.squares + jnp.matmul(
            distance.T, x - origin - shift, precision="highest"
        )
        return Covariance(count, c.num_chains, origin, shift, squares)

    return Reducer(init, update)


class BatchMeans(NamedTuple):
    """What :func:`batch_means` keeps."""

    moments: Moments
    size: Array  # [] draws of a batch
    batches: Any  # [M, C, ...] sums of the batches relative to the first value, the rest zero

    @property
    def mean(self) -> Any:
        return self.moments.mean

    @property
    def ess(self) -> Any:
        """N var(x) / sigma^2, ``[...]``, sigma^2 from the batches that are full; 0 where nothing moves."""
        m, steps = self.moments, self.moments.num_steps

        def of(variance, origin, shift, sums):
            means = _relative(origin, sums / self.size)  # [M, C, ...]
            is_full = (jnp.arange(len(means)) < steps // self.size).reshape(
                -1, *[1] * (means.ndim - 1)
            )
            sigma2 = self.size * jnp.var(means, axis=(0, 1), ddof=1, where=is_full)
            if (num_chains := means.shape[1]) > 1:
                between = steps * _relative(origin, shift).var(axis=0, ddof=1)
                spread = 2 / (
                    9 * (num_chains - 1)
                )  # of chi square over its degrees (Wilson & Hilferty 1931)
                sigma2 = jnp.maximum(
                    sigma2, between / (1 - spread + 3.09 * spread**0.5) ** 3
                )
            number = steps.astype(variance.dtype) * num_chains
            return jnp.where(variance > 0, number * variance / sigma2, 0.0)

        return jax.tree.map(of, m.variance, m.origin, m.shift, self.batches)

    @property
    def mcse_mean(self) -> Any:
        return jax.tree.map(
            lambda v, n: jnp.sqrt(v / n), self.moments.variance, self.ess
        )


@functools.cache
def batch_means(of: Collect = position_of, *, num_batches: int = 32) -> Reducer:
    """Mean, its standard error and effective sample size, with :func:`moments` inside.

    ``num_batches`` M, even, are kept of each chain, and between M / 2 and M of them are full at any time:
    many over all chains make the error precise, long ones make it honest.  ``of`` as in :func:`moments`.
    """
    if checks.count(num_batches, "num_batches", least=4) % 2:
        raise ValueError(f"num_batches must be even, got {num_batches}")
    inner = moments(of)

    def init(state, info):
        value = _shapes(of, state, info)
        slots = jax.tree.map(lambda x: _zeros(x, num_batches), value)
        return BatchMeans(inner.init(state, info), jnp.int32(1), slots)

    def joined(operand):
        size, batches = operand
        pairs = jax.tree.map(
            lambda b: b.reshape(-1, 2, *b.shape[1:]).sum(axis=1), batches
        )
        return 2 * size, jax.tree.map(
            lambda p: jnp.concatenate([p, jnp.zeros_like(p)]), pairs
        )

    def update(b, state, info):
        is_room = b.moments.num_steps < b.size * num_batches
        size, batches = jax.lax.cond(is_room, lambda x: x, joined, (b.size, b.batches))
        place = b.moments.num_steps // size
        new = inner.update(b.moments, state, info)
        value = jax.tree.map(lambda x, o: x - o, of(state, info), new.origin)
        return BatchMeans(
            new, size, jax.tree.map(lambda s, x: s.at[place].add(x), batches, value)
        )

    return Reducer(init, update)


def together(**reducers: Reducer) -> Reducer:
    """Several at once, by name: ``together(x=covariance(), energy=batch_means(energy_of))``."""
    return _together(tuple(sorted(reducers.items())))


@functools.cache
def _together(reducers) -> Reducer:
    def init(state, info):
        return {name: reducer.init(state, info) for name, reducer in reducers}

    def update(carries, state, info):
        return {
            name: reducer.update(carries[name], state, info)
            for name, reducer in reducers
        }

    return Reducer(init, update)


def _shapes(of, state, info):
    value = jax.eval_shape(of, state, info)
    for leaf in jax.tree.leaves(value):
        if not jnp.issubdtype(leaf.dtype, jnp.floating) or not leaf.shape:
            raise TypeError(
                f"of must return floating arrays [C, ...], got {checks.describe(leaf)}"
            )
    return value


def _zeros(x, *leading):
    return jnp.zeros((*leading, *x.shape), jnp.promote_types(x.dtype, jnp.float32))


def _relative(origin, shift):
    """Values relative to the first chain's first, ``[..., C, ...]``: differences without the common mean."""
    return shift + (origin - origin[0])
