"""Training of p(x | c) from pairs of a point and its condition.

    conditional_likelihood   maximum likelihood of points given their conditions, with
                             chains at the conditions of the batch
    over_pairs               an objective without chains that is a mean over points
                             (score matching, noise contrastive), each given its
                             condition

With chain i at the condition c_i of a point x_i of the batch,

    loss = mean_i [E(x_i, c_i) - E(sg x'_i, c_i)],    x'_i ~ p(x | c_i),

whose gradient is minus that of the mean log p(x_i | c_i).  A function of c alone that
is added to the energy cancels, as it must: were chains at other conditions than the
batch, the loss would fall without end along it.

Batches are :class:`~ebmjax.objectives.batches.Pairs`; chains start as
:mod:`ebmjax.objectives.conditional_chains` says.

Noise contrastive estimation with noise q(x): ``ranking`` needs no Z(c) (Ma & Collins
2018, section 3); in ``binary`` the network learns log Z(c) itself (Mnih & Teh 2012).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import function, value
from ebmjax.base import Array, scalar
from ebmjax.energies.conditional import AtCondition
from ebmjax.energies.transforms import temper
from ebmjax.kernels.conditional import conditioned
from ebmjax.objectives import noise_contrastive as nce
from ebmjax.objectives.base import (
    MakeKernel,
    MeanOverPoints,
    Objective,
    means_of,
    optional,
)
from ebmjax.objectives.batches import Pairs, check_pairs
from ebmjax.objectives.likelihood import MaximumLikelihood

MEANS = (MeanOverPoints, nce.Binary, nce.Ranking, nce.Conditional)


# --- maximum likelihood -------------------------------------------------------------


@value
class ConditionalLikelihood(MaximumLikelihood):
    """Made by :func:`conditional_likelihood`."""

    def points(self, batch):
        check_pairs(batch)
        return batch.point

    def kernel(self, make, params, batch, chains):
        energy = functools.partial(scalar(self.energy), params)
        c = _of_chains(batch.condition, chains.position)
        return conditioned(lambda e: make(temper(e, self.temperature)), energy, c)

    def energies(self, params, batch, chains):
        """Of the data at the conditions of the chains and of the chains, ``[C]``."""
        of_pairs = jax.vmap(functools.partial(scalar(self.energy), params))
        c = _of_chains(batch.condition, chains)
        data = of_pairs(_of_chains(batch.point, chains), c)
        return data, of_pairs(chains, c)


def conditional_likelihood(
    energy: Callable[..., Array],
    make_kernel: MakeKernel,
    num_steps: int,
    **options: Any,
) -> Objective:
    """Maximum likelihood of points given their conditions.

    Batches are :class:`Pairs`, chains are points: chain i runs at the condition of row
    i of the batch (i modulo B).  Where there are fewer chains than points, the points
    beyond do not count in this update.

    Args:
      energy: ``energy(params, x, c)`` of one point and its condition.
      make_kernel, num_steps: of the chains; these and ``options`` as of
        :func:`ebmjax.maximum_likelihood`.

    Raises:
      TypeError: when traced, a batch that is not :class:`Pairs`, a kernel that does not
        keep its energy as a field.

    >>> objective = conditional_likelihood(network.apply, mala, 20)  # doctest: +SKIP
    """
    return ConditionalLikelihood(
        energy,
        make_kernel,
        num_steps,
        optional(options.pop("regularisation", 0.0)),
        means=at_the_same_conditions,
        **options,
    )


def at_the_same_conditions(batch: Pairs, chains: Any, is_finite: Array) -> Any:
    """Means over chains that are finite, and over the data at their conditions."""
    mean = lambda values: means_of(values, is_finite)
    return mean, mean


# --- objectives without chains ------------------------------------------------------


@value
class OverPairs(Objective):
    """Made by :func:`over_pairs`."""

    make: Callable[..., Objective] = function()
    energy: Callable[..., Array] = function()

    def check(self):
        made = self.make(self.energy)
        if not isinstance(made, MEANS):
            raise TypeError(
                "make must return an objective without chains that is a mean over "
                "points: of score_matching, noise_contrastive or energy_discrepancy; "
                f"got {made!r}; with chains, conditional_likelihood"
            )

    @property
    def adds_noise(self):
        return self.make(self.energy).adds_noise

    @property
    def update_scale(self):
        return self.make(self.energy).update_scale

    def at(self, c):
        """The objective of points given c."""
        return self.make(AtCondition(self.energy, c))

    def init(self, key, params, data=None):
        first = (
            jax.tree.map(lambda x: x[0], data.condition) if data is not None else 0.0
        )
        point = data.point if data is not None else None
        return self.at(first).init(key, params, point)

    def energy_params(self, params):
        return self.make(self.energy).energy_params(params)

    def loss(self, params, key, batch, chains):
        check_pairs(batch)

        def one(key, x, c):
            x = jax.tree.map(lambda leaf: leaf[None], x)
            value, (_, metrics) = self.at(c).loss(params, key, x, None)
            return value, metrics

        keys = jax.random.split(key, len(batch.row))
        values, metrics = jax.vmap(one)(keys, batch.point, batch.condition)
        metrics = jax.tree.map(jnp.mean, metrics) | {"loss_spread": jnp.std(values)}
        return jnp.mean(values), (chains, metrics)


def over_pairs(
    make: Callable[..., Objective], energy: Callable[..., Array]
) -> Objective:
    """The mean of an objective over pairs, each point given its condition.

    Args:
      make: from an energy ``energy(params, x)`` to an objective, ``sliced`` or
        ``partial(ranking, noise=fitted_normal(x))``.
      energy: ``energy(params, x, c)``.

    Raises:
      TypeError: an objective that is no mean over points, or has chains; when traced, a
        batch that is not :class:`Pairs`.

    >>> from ebmjax.objectives.score_matching import sliced
    >>> energy = lambda params, x, c: params * jnp.sum((x - c) ** 2)
    >>> objective = over_pairs(sliced, energy)
    """
    checks.function(make, "make")
    return OverPairs(make, energy)


def _of_chains(tree, chains):
    """The rows of a batch that belong to the chains, ``[C, ...]``."""
    num = len(jax.tree.leaves(chains)[0])
    index = jnp.arange(num) % len(jax.tree.leaves(tree)[0])
    return jax.tree.map(lambda x: x[index], tree)
