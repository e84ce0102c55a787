"""Noise contrastive estimation: learn a density by telling data from noise of a known one ([SK21] section 4).

With noise density q and, for ``binary``, nu noise points to a data point,

    binary       h(x) = -E(x) - c - log q(x) - log nu
                 L = -E_data[log sigmoid(h)] - nu E_q[log sigmoid(-h)]        Gutmann & Hyvarinen 2012, eq. 8
    ranking      L = -E log( w(x_0) / sum_{k=0..K} w(x_k) ),  w = exp(-E) / q       Ma & Collins 2018
    conditional  L = E softplus(E(x) - E(y)),  y = x + eps xi                Ceylan & Gutmann 2018, eq. 13

In ``binary`` the log partition function c is a parameter that is trained with the rest: at the optimum E is
normalised by it, c = log Z.  ``ranking`` and ``conditional`` do not need it.  As nu grows the gradient of
``binary`` becomes that of maximum likelihood; as eps shrinks, ``conditional`` becomes score matching,
L = log 2 + eps^2 / 4 J + O(eps^4) with J of :func:`ebmjax.objectives.score_matching.explicit`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Array, Key, Position, axpy, normal_like, scalar
from ebmjax.objectives.likelihood import Loss, Params

TrainableEnergy = Callable[[Params, Position], Array]


class Noise(NamedTuple):
    """A distribution that can be drawn from and whose density is known."""

    sample: Callable[[Key, int], Position]  # (key, n) -> [n, ...]
    log_prob: Callable[[Position], Array]  # of one point, normalised


class Normalised(NamedTuple):
    """The parameters of an energy, and its log partition function, trained together."""

    energy: Params
    log_z: Array  # []


def with_log_z(params: Params, log_z: float = 0.0) -> Normalised:
    """Parameters for ``binary``."""
    return Normalised(params, jnp.float32(log_z))


def fitted_normal(data: Array, *, widen: float = 1.0) -> Noise:
    """The normal distribution with the mean and covariance of the data ``[N, D]`` or ``[N, ...]``, times
    ``widen^2``: the usual noise.  Directions without variance get a little.

    Raises:
      ValueError: data that are not finite, a factor that is not positive.
    """
    checks.positive(widen, "widen")
    if np.ndim(data) < 2 or len(data) < 2 or not np.size(data):
        raise ValueError(
            f"data must be at least two points [N, D], got {checks.describe(data)}"
        )
    checks.finite_rows(np.asarray(data), "data")
    flat = np.asarray(data, np.float64).reshape(len(data), -1)
    covariance = widen**2 * np.atleast_2d(np.cov(flat.T))
    covariance += (
        1e-4 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    )
    if not np.trace(covariance) > 0:
        raise ValueError("data must vary, got the same point throughout")
    root = np.linalg.cholesky(covariance)
    log_scale = float(np.log(np.diag(root)).sum() + 0.5 * len(root) * np.log(2 * np.pi))
    mean, spread, whiten = (
        jnp.asarray(m, jnp.float32)
        for m in (flat.mean(axis=0), root, np.linalg.inv(root))
    )
    shape = np.shape(data)[1:]

    def sample(key, n):
        return (mean + jax.random.normal(key, (n, len(root))) @ spread.T).reshape(
            n, *shape
        )

    def log_prob(x):
        return -0.5 * jnp.sum((whiten @ (x.ravel() - mean)) ** 2) - log_scale

    return Noise(sample, log_prob)


def from_distribution(distribution: Any) -> Noise:
    """Noise from a distribution of NumPyro, ``sample(key, shape)``, or of distrax, ``sample(seed=, ...)``."""
    for name in ("sample", "log_prob"):
        checks.function(getattr(distribution, name, None), f"distribution.{name}")

    def sample(key, n):
        try:
            return distribution.sample(key, (n,))
        except TypeError:
            return distribution.sample(seed=key, sample_shape=(n,))

    return Noise(sample, lambda x: jnp.sum(distribution.log_prob(x)))


def binary(energy: TrainableEnergy, noise: Noise, ratio: int = 1) -> Loss:
    """Telling data from ``ratio`` times as much noise; the parameters are those of :func:`with_log_z`.

    Metrics: how often it is right, and log Z.

    Raises:
      ValueError: a ratio that is not a positive count; TypeError, when traced: parameters without ``log_z``.
    """
    energy = scalar(energy)
    checks.instance(noise, Noise, "noise", "fitted_normal(data) or your own")
    ratio = checks.count(ratio, "ratio")

    def loss(params, key, batch, chains):
        if not isinstance(params, Normalised):
            raise TypeError(
                f"binary trains with_log_z(params), got {checks.describe(params)}"
            )

        def log_odds(x):
            return (
                -energy(params.energy, x)
                - params.log_z
                - noise.log_prob(x)
                - jnp.log(ratio)
            )

        num = checks.num_chains(batch, "batch")
        of_data = jax.vmap(log_odds)(batch)
        of_noise = jax.vmap(log_odds)(noise.sample(key, ratio * num))
        value = jnp.mean(jax.nn.softplus(-of_data)) + ratio * jnp.mean(
            jax.nn.softplus(of_noise)
        )
        right = (jnp.mean(of_data > 0) + ratio * jnp.mean(of_noise < 0)) / (1 + ratio)
        return value, (chains, {"share_right": right, "log_z": params.log_z})

    return loss


def ranking(energy: TrainableEnergy, noise: Noise, num_noise: int = 16) -> Loss:
    """Finding the data point among ``num_noise`` noise points (also called InfoNCE)."""
    energy = scalar(energy)
    checks.instance(noise, Noise, "noise", "fitted_normal(data) or your own")
    num_noise = checks.count(num_noise, "num_noise")

    def loss(params, key, batch, chains):
        log_weight = jax.vmap(lambda x: -energy(params, x) - noise.log_prob(x))
        num = checks.num_chains(batch, "batch")
        of_data = log_weight(batch)
        of_noise = log_weight(noise.sample(key, num_noise * num)).reshape(
            num, num_noise
        )
        rivals = jnp.concatenate([of_data[:, None], of_noise], axis=1)
        value = jnp.mean(jax.nn.logsumexp(rivals, axis=1) - of_data)
        right = jnp.mean(of_data > jnp.max(of_noise, axis=1))
        return value, (chains, {"share_right": right})

    return loss


def conditional(energy: TrainableEnergy, noise: float) -> Loss:
    """Telling a point from itself with Gaussian noise of standard deviation ``noise`` added."""
    energy = scalar(energy)
    checks.positive(noise, "noise")

    def loss(params, key, batch, chains):
        of_points = jax.vmap(partial(energy, params))
        gap = of_points(batch) - of_points(axpy(noise, normal_like(key, batch), batch))
        return jnp.mean(jax.nn.softplus(gap)), (
            chains,
            {"share_right": jnp.mean(gap < 0)},
        )

    return loss
