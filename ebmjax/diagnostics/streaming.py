"""Running statistics of chains, in memory that does not grow with the number of steps.

Each is a :class:`~ebmjax.sampling.collect.Reducer`, an argument ``collect`` of ``run``
or ``sample``.  The result, in place of draws, holds the sums and has the statistics as
properties.

    moments       x-bar_c += (x - x-bar_c) / t,   S_c += (x - old)(x - new)   per chain
                  (Welford 1962); pooled over chains,
                  S = sum_c S_c + t sum_c (x-bar_c - x-bar)^2   (Chan, Golub & LeVeque
                  1983);  R-hat = sqrt((t - 1) / t + var(x-bar_c) / W), neither split
                  nor rank-normalised;  nested R-hat
    covariance    the same with outer products, pooled over chains
    batch_means   means of b consecutive draws;  sigma^2 = b var(means),
                  ESS = N var(x) / sigma^2  and sigma^2 at least what t var(x-bar_c)
                  leaves possible at 99.9 %, for chains that disagree

``batch_means`` keeps a fixed number of batches of each chain and joins neighbours when
all are full, so that b grows with the run (Yeh & Schmeiser 2000, "dynamic batch
means").

Values are relative to the first one, means and sums are pairs of floats, and counts are
pairs of words (:mod:`ebmjax.diagnostics._two_float`): no precision is lost if the mean
is much larger than the standard deviation, nor after 10^10 steps.  1000 steps equal 600
and then 400, bit for bit (:meth:`~ebmjax.sampling.collect.Reducer.continued`).  Two
calls with equal arguments give equal reducers, which share a compiled program.

>>> kernel = hmc(lambda x: 0.5 * jnp.sum(x**2), 0.5, 5)
>>> start = jnp.zeros((4, 2))
>>> found = sample(jax.random.key(0), kernel, start, 1000, collect=moments()).draws
"""

import functools
from typing import Any

from ebmjax import _validation as checks
from ebmjax.diagnostics._batch_means import BatchMeans, batch_means
from ebmjax.diagnostics._moments import Covariance, Moments, covariance, moments
from ebmjax.sampling.collect import Reducer

__all__ = [
    "BatchMeans",
    "Covariance",
    "Moments",
    "batch_means",
    "covariance",
    "moments",
    "together",
]


def together(**reducers: Reducer) -> Reducer:
    """Several at once, by name; the result is a dictionary.

    >>> energy_of = lambda state, info: state.energy
    >>> both = together(x=covariance(), energy=batch_means(energy_of))
    """
    for name, reducer in reducers.items():
        checks.instance(reducer, Reducer, name, "moments() or another of this module")
    items = tuple(sorted(reducers.items()))
    return Reducer(
        functools.partial(_start_together, items),
        functools.partial(_add_together, items),
    )


def _start_together(items, state, info) -> dict[str, Any]:
    return {name: reducer.init(state, info) for name, reducer in items}


def _add_together(items, carries, state, info) -> dict[str, Any]:
    return {name: reducer.update(carries[name], state, info) for name, reducer in items}
