"""Draws of many conditions, diagnosed each for itself."""

from typing import Any

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Position
from ebmjax.diagnostics.summary import Summary, summary
from ebmjax.sampling.collect import Record
from ebmjax.sampling.samples import Samples


def by_condition(draws: Samples | Record | Position, num_conditions: int) -> Any:
    """Draws ``[T, B C, ...]`` as ``[T, B, C, ...]``: the chains of condition b are
    ``[:, b]``.

    Raises:
      ValueError: chains that do not divide by the number of conditions.

    >>> by_condition(np.zeros((100, 20, 2)), 5).shape
    (100, 5, 4, 2)
    """
    draws = draws.draws if isinstance(draws, Samples) else draws
    num = checks.count(num_conditions, "num_conditions")
    first = draws.position if isinstance(draws, Record) else draws
    shape = np.shape(jax.tree.leaves(first)[0])
    if len(shape) < 2 or shape[1] % num:
        raise ValueError(
            f"draws must be [T, B C, ...] of B = {num} conditions, got shape {shape}"
        )

    def split(x):
        x = np.asarray(x)
        if x.shape[1:2] != shape[1:2]:  # the same for all chains
            return np.broadcast_to(x, (shape[0], num, shape[1] // num))
        return x.reshape(len(x), num, -1, *x.shape[2:])

    return jax.tree.map(split, draws)


def summary_each(
    draws: Samples | Record | Position, num_conditions: int
) -> list[Summary]:
    """:func:`ebmjax.summary` of each of B conditions, in their order.

    Args:
      draws: of :func:`ebmjax.sample` with the kernel of
        :func:`ebmjax.warm_up_each`, ``[T, B C, ...]`` on every leaf.
      num_conditions: B.

    >>> found = summary_each(samples, 50)  # doctest: +SKIP
    >>> [s.columns["mean"][0] for s in found if not s.warnings]  # doctest: +SKIP
    """
    split = by_condition(draws, num_conditions)
    of_one = lambda b: jax.tree.map(lambda x: x[:, b], split)
    return [summary(of_one(b)) for b in range(num_conditions)]
