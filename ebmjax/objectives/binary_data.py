"""Objectives for bits, from ratios p(x) / p(x^i) alone, x^i being x with bit i flipped.

With the gap  d_i(x) = E(x) - E(x^i),  so that  p(x_i | rest) = sigmoid(-d_i):

    pseudo_likelihood   L = E_x sum_i softplus(d_i(x)) = -E_x sum_i log p(x_i | rest)         Besag 1975
    ratio_matching      J = E_x sum_i sigmoid(d_i(x))^2                                       Hyvarinen 2007

Both have the true parameters as a stationary point, and for independent bits the first is the negative
log-likelihood.  A point costs N + 1 energies; ``num_sites`` takes as many sites at random and scales their
sum to be right in the mean.  Points are floats that are 0 or 1, of any shape.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax.base import Array, Position, scalar
from ebmjax.objectives.likelihood import Loss, Params

TrainableEnergy = Callable[[Params, Position], Array]


def pseudo_likelihood(energy: TrainableEnergy, num_sites: int | None = None) -> Loss:
    """Minus the sum of the log conditionals of the bits.

    >>> loss = pseudo_likelihood(binary.boltzmann)  # doctest: +SKIP
    """
    return _over_gaps(energy, num_sites, jax.nn.softplus)


def ratio_matching(energy: TrainableEnergy, num_sites: int | None = None) -> Loss:
    """The squared distance of ratios of probabilities, each squashed to [0, 1]."""
    return _over_gaps(energy, num_sites, lambda gap: jax.nn.sigmoid(gap) ** 2)


def gaps(energy, params: Params, x: Array, sites: Array) -> Array:
    """E(x) - E(x^i) at the sites, ``[M]``."""

    def flipped(site):
        return energy(
            params, jnp.where(jnp.arange(x.size).reshape(x.shape) == site, 1 - x, x)
        )

    return energy(params, x) - jax.vmap(flipped)(sites)


def _over_gaps(energy, num_sites, of_gap) -> Loss:
    energy = scalar(energy)
    if num_sites is not None:
        checks.count(num_sites, "num_sites")

    def loss(params, key, batch, chains):
        num, size = checks.num_chains(batch, "batch"), batch[0].size
        if num_sites is not None and num_sites > size:
            raise ValueError(
                f"num_sites must be at most the number of bits, {size}, got {num_sites}"
            )

        def of_point(key, x):
            sites = jnp.arange(size)
            if num_sites is not None:
                sites = jax.random.permutation(key, size)[:num_sites]
            found = gaps(energy, params, x, sites)
            return size / len(sites) * jnp.sum(of_gap(found)), jnp.mean(found < 0)

        values, right = jax.vmap(of_point)(jax.random.split(key, num), batch)
        return jnp.mean(values), (
            chains,
            {"loss_spread": jnp.std(values), "share_right": jnp.mean(right)},
        )

    return loss
