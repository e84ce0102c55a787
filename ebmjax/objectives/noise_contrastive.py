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

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import Value, function, number, part, static, value
from ebmjax.base import Array, Key, Position, axpy, normal_like, scalar
from ebmjax.objectives.base import Objective, Params, TrainableEnergy

LEAST_SHARE = 1e-4  # of the mean variance, added to the variance of each direction

# --- noise --------------------------------------------------------------------------


@value
class Noise(Value):
    """A distribution with a sampler and a known density.

    Attributes:
      sample: ``sample(key, n)``, points ``[n, ...]``.
      log_prob: of one point, normalised.

    Numbers in the arguments of a ``functools.partial`` are leaves.
    """

    sample: Callable[[Key, int], Position] = function()
    log_prob: Callable[[Position], Array] = function()


def fitted_normal(data: Array, *, widen: float = 1.0) -> Noise:
    """The normal distribution fitted to data, the usual noise.

    Args:
      data: ``[N, D]`` or ``[N, ...]``, at least two points.  A small variance is added
        to each direction.
      widen: factor on the standard deviations of the data.

    Raises:
      ValueError: data that are not finite or do not vary, a factor that is not
        positive.
    """
    checks.positive(widen, "widen")
    if np.ndim(data) < 2 or len(data) < 2 or not np.size(data):
        raise ValueError(
            f"data must be at least two points [N, D], got {checks.describe(data)}"
        )
    checks.finite_rows(np.asarray(data), "data")
    flat = np.asarray(data, np.float64).reshape(len(data), -1)
    covariance = widen**2 * np.atleast_2d(np.cov(flat.T))
    dim = len(covariance)
    covariance += LEAST_SHARE * np.trace(covariance) / dim * np.eye(dim)
    if not np.trace(covariance) > 0:
        raise ValueError("data must vary, got the same point throughout")
    root = np.linalg.cholesky(covariance)
    log_scale = float(np.log(np.diag(root)).sum() + 0.5 * dim * np.log(2 * np.pi))
    mean, spread, whiten = (
        jnp.asarray(m, jnp.float32)
        for m in (flat.mean(axis=0), root, np.linalg.inv(root))
    )
    return Noise(
        partial(_draw_normal, np.shape(data)[1:], mean, spread),
        partial(_log_normal, mean, whiten, log_scale),
    )


def _draw_normal(shape, mean, spread, key, n):
    z = jax.random.normal(key, (n, len(mean)))
    return (mean + z @ spread.T).reshape(n, *shape)


def _log_normal(mean, whiten, log_scale, x):
    return -0.5 * jnp.sum((whiten @ (x.ravel() - mean)) ** 2) - log_scale


def from_distribution(distribution: Any) -> Noise:
    """Noise from a distribution of NumPyro, ``sample(key, shape)``, or of distrax,
    ``sample(seed=, sample_shape=)``.

    Raises:
      TypeError: no ``sample`` or no ``log_prob``.
    """
    for name in ("sample", "log_prob"):
        checks.function(getattr(distribution, name, None), f"distribution.{name}")
    return Noise(partial(_draw_of, distribution), partial(_log_prob_of, distribution))


def _draw_of(distribution, key, n):
    try:
        return distribution.sample(key, (n,))
    except TypeError:
        return distribution.sample(seed=key, sample_shape=(n,))


def _log_prob_of(distribution, x):
    return jnp.sum(distribution.log_prob(x))


# --- objectives ---------------------------------------------------------------------


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
        _check_noise(self.noise)
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
        _check_noise(self.noise)
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


def _check_noise(noise):
    checks.instance(noise, Noise, "noise", "fitted_normal(data) or your own")
