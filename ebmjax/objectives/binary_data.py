"""Objectives for binary data, from ratios p(x) / p(x^i) alone, x^i being x with bit i
flipped.

With the gap  d_i(x) = E(x) - E(x^i),  so that  p(x_i | rest) = sigmoid(-d_i):

    pseudo_likelihood   L = E_x sum_i softplus(d_i(x)) = -E_x sum_i log p(x_i | rest)
                                                       Besag 1975
    ratio_matching      J = E_x sum_i sigmoid(d_i(x))^2
                                                       Hyvarinen 2007

Both have the true parameters as a stationary point, and for independent bits the first
is the negative log-likelihood.  A point costs N + 1 energies; ``num_sites`` takes as
many sites at random and scales their sum to be right on average.  Points are arrays of
floats that are 0 or 1, of any shape.
"""

from functools import partial

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import function, static, value
from ebmjax.base import Array, scalar
from ebmjax.objectives.base import Objective, Params, TrainableEnergy


class OverSites(Objective):
    """The mean over a batch of a sum over the sites of a function of their gaps."""

    energy: TrainableEnergy
    num_sites: int | None

    def of_gap(self, gap: Array) -> Array:
        """The term of one site."""
        raise NotImplementedError

    def check(self):
        if self.num_sites is not None:
            num_sites = checks.count(self.num_sites, "num_sites")
            object.__setattr__(self, "num_sites", num_sites)

    def of_point(self, params, key, x):
        size, num_sites = x.size, self.num_sites
        sites = jnp.arange(size)
        if num_sites is not None:
            sites = jax.random.permutation(key, size)[:num_sites]
        found = gaps(scalar(self.energy), params, x, sites)
        return size / len(sites) * jnp.sum(self.of_gap(found)), jnp.mean(found < 0)

    def loss(self, params, key, batch, chains):
        num, size = checks.num_chains(batch, "batch"), batch[0].size
        if self.num_sites is not None and self.num_sites > size:
            raise ValueError(
                f"num_sites must be at most the number of bits, {size}, got "
                f"{self.num_sites}"
            )
        of_point = partial(self.of_point, params)
        values, right = jax.vmap(of_point)(jax.random.split(key, num), batch)
        metrics = {"loss_spread": jnp.std(values), "share_right": jnp.mean(right)}
        return jnp.mean(values), (chains, metrics)


@value
class PseudoLikelihood(OverSites):
    """Made by :func:`pseudo_likelihood`."""

    energy: TrainableEnergy = function()
    num_sites: int | None = static(default=None)

    def of_gap(self, gap):
        return jax.nn.softplus(gap)


def pseudo_likelihood(
    energy: TrainableEnergy, num_sites: int | None = None
) -> Objective:
    """Minus the sum of the log conditionals of the bits.

    Args:
      energy: ``energy(params, x)`` of one point of bits.
      num_sites: sites a point, chosen at random; all by default.

    Metrics: the standard deviation over the batch, and the share of bits whose value is
    more likely than the other.

    Raises:
      ValueError: a number of sites that is not positive, or above the number of bits.

    >>> pseudo_likelihood(lambda params, x: params @ x, 4)
    PseudoLikelihood(energy=<lambda>, num_sites=4)
    """
    return PseudoLikelihood(energy, num_sites)


@value
class RatioMatching(OverSites):
    """Made by :func:`ratio_matching`."""

    energy: TrainableEnergy = function()
    num_sites: int | None = static(default=None)

    def of_gap(self, gap):
        return jax.nn.sigmoid(gap) ** 2


def ratio_matching(energy: TrainableEnergy, num_sites: int | None = None) -> Objective:
    """The squared distance of ratios of probabilities, each mapped to [0, 1].

    Arguments, metrics and errors as of :func:`pseudo_likelihood`.
    """
    return RatioMatching(energy, num_sites)


def gaps(energy: TrainableEnergy, params: Params, x: Array, sites: Array) -> Array:
    """E(x) - E(x^i) at the sites, ``[M]``."""

    def flipped(site):
        is_site = jnp.arange(x.size).reshape(x.shape) == site
        return energy(params, jnp.where(is_site, 1 - x, x))

    return energy(params, x) - jax.vmap(flipped)(sites)
