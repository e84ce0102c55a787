"""Noise contrastive estimation: learn a density by classifying data against noise with
a known density ([SK21] section 4).

With noise density q and, for ``binary``, nu noise points per data point,

    binary       h(x) = -E(x) - c - log q(x) - log nu
                 L = -E_data[log sigmoid(h)] - nu E_q[log sigmoid(-h)]
                                                     Gutmann & Hyvarinen 2012, eq. 8
    ranking      L = -E log( w(x_0) / sum_{k=0..K} w(x_k) ),  w = exp(-E) / q
                                                     Ma & Collins 2018
    conditional  L = E softplus(E(x) - E(y)),  y = x + eps xi
                                                     Ceylan & Gutmann 2018, eq. 13

In ``binary`` the log partition function c is a trained parameter: at the optimum c =
log Z.  ``ranking`` and ``conditional`` do not need it.  As nu grows the gradient of
``binary`` becomes that of maximum likelihood; as eps shrinks, ``conditional`` becomes
score matching, L = log 2 + eps^2 / 4 J + O(eps^4) with J of
:func:`ebmjax.objectives.score_matching.explicit`.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import function, number, part, static, value
from ebmjax.base import Array, axpy, normal_like, scalar
from ebmjax.objectives._noise import (
    Noise,
    check_noise,
    fitted_normal,
    from_distribution,
)
from ebmjax.objectives.base import Objective, Params, TrainableEnergy

__all__ = [
    "Binary",
    "Conditional",
    "Noise",
    "Normalised",
    "Ranking",
    "binary",
    "conditional",
    "fitted_normal",
    "from_distribution",
    "ranking",
    "with_log_z",
]


class Normalised(NamedTuple):
    """The parameters of an energy, and its log partition function, trained together."""

    energy: Params
    log_z: Array  # []


def with_log_z(params: Params, log_z: float = 0.0) -> Normalised:
    """Parameters for ``binary``."""
    return Normalised(params, jnp.float32(log_z))


@value
class Binary(Objective):
    """Made by :func:`binary`."""

    energy: TrainableEnergy = function()
    noise: Noise = part()
    ratio: int = static(default=1)

    def check(self):
        check_noise(self.noise)
        object.__setattr__(self, "ratio", checks.count(self.ratio, "ratio"))

    def init(self, key, params, data=None):
        return with_log_z(params)

    def energy_params(self, params):
        return params.energy

    def loss(self, params, key, batch, chains):
        if not isinstance(params, Normalised):
            raise TypeError(
                f"binary trains with_log_z(params), got {checks.describe(params)}"
            )
        energy, ratio = partial(scalar(self.energy), params.energy), self.ratio

        def log_odds(x):
            log_q = self.noise.log_prob(x)
            return -energy(x) - params.log_z - log_q - jnp.log(ratio)

        num = checks.num_chains(batch, "batch")
        of_data = jax.vmap(log_odds)(batch)
        of_noise = jax.vmap(log_odds)(self.noise.sample(key, ratio * num))
        missed = jnp.mean(jax.nn.softplus(-of_data))
        value = missed + ratio * jnp.mean(jax.nn.softplus(of_noise))
        right = (jnp.mean(of_data > 0) + ratio * jnp.mean(of_noise < 0)) / (1 + ratio)
        return value, (chains, {"share_right": right, "log_z": params.log_z})


def binary(energy: TrainableEnergy, noise: Noise, ratio: int = 1) -> Objective:
    """Classify data against ``ratio`` times as many noise points.

    It trains :func:`with_log_z`, which ``init`` makes.

    Args:
      energy: ``energy(params, x)`` of one point.
      noise: :func:`fitted_normal`, or any other :class:`Noise`.
      ratio: nu, noise points per data point.

    Metrics: the share that is classified correctly, and log Z.

    Raises:
      ValueError: a ratio that is not a positive count.
      TypeError: when traced, parameters without ``log_z``.

    >>> binary(network.apply, fitted_normal(x), 4)  # doctest: +SKIP
    """
    return Binary(energy, noise, ratio)


@value
class Ranking(Objective):
    """Made by :func:`ranking`."""

    energy: TrainableEnergy = function()
    noise: Noise = part()
    num_noise: int = static(default=16)

    def check(self):
        check_noise(self.noise)
        num_noise = checks.count(self.num_noise, "num_noise")
        object.__setattr__(self, "num_noise", num_noise)

    def loss(self, params, key, batch, chains):
        energy, num_noise = partial(scalar(self.energy), params), self.num_noise
        log_weight = jax.vmap(lambda x: -energy(x) - self.noise.log_prob(x))
        num = checks.num_chains(batch, "batch")
        of_data = log_weight(batch)
        of_noise = log_weight(self.noise.sample(key, num_noise * num))
        of_noise = of_noise.reshape(num, num_noise)
        rivals = jnp.concatenate([of_data[:, None], of_noise], axis=1)
        value = jnp.mean(jax.nn.logsumexp(rivals, axis=1) - of_data)
        right = jnp.mean(of_data > jnp.max(of_noise, axis=1))
        return value, (chains, {"share_right": right})


def ranking(energy: TrainableEnergy, noise: Noise, num_noise: int = 16) -> Objective:
    """Identify the data point among ``num_noise`` noise points (also called InfoNCE).

    Arguments, metrics and errors as of :func:`binary`; it needs no log Z.
    """
    return Ranking(energy, noise, num_noise)


@value
class Conditional(Objective):
    """Made by :func:`conditional`."""

    energy: TrainableEnergy = function()
    noise: Any = number()

    def check(self):
        checks.positive(self.noise, "noise")

    def loss(self, params, key, batch, chains):
        of_points = jax.vmap(partial(scalar(self.energy), params))
        noisy = axpy(self.noise, normal_like(key, batch), batch)
        gap = of_points(batch) - of_points(noisy)
        metrics = {"share_right": jnp.mean(gap < 0)}
        return jnp.mean(jax.nn.softplus(gap)), (chains, metrics)


def conditional(energy: TrainableEnergy, noise: Any) -> Objective:
    """Distinguish a point from the same point with noise.

    Args:
      energy: ``energy(params, x)`` of one point.
      noise: eps, the standard deviation of the Gaussian noise, in units of the data.

    Raises:
      ValueError: a noise that is not positive.

    >>> conditional(lambda params, x: params * jnp.sum(x**2), 0.3)
    Conditional(energy=<lambda>, noise=0.3)
    """
    return Conditional(energy, noise)
