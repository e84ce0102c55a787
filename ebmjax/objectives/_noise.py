"""Noise with a known density, for :mod:`ebmjax.objectives.noise_contrastive`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import Value, function, value
from ebmjax.base import Array, Key, Position

LEAST_SHARE = 1e-4  # of the mean variance, added to the variance of each direction


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
    return (mean[None] + z @ spread.T).reshape(n, *shape)


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


def check_noise(noise: Any) -> None:
    """Raise unless it is :class:`Noise`."""
    checks.instance(noise, Noise, "noise", "fitted_normal(data) or your own")
