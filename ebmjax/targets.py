"""Targets with exact samplers and moments: for verification, and toy data.

Most are transformations of a standard normal.  Their energies omit the normalising
constant, which is in ``log_z``; those of mixtures are normalised, ``log_z = 0``.
``sample(key, n)`` gives ``n`` independent exact draws ``[n, D]``.

    gaussian      1/2 (x - mu)^T C^-1 (x - mu)
    mixture       -log sum_k w_k N(x | mu_k, s_k^2 I)
    rosenbrock    a (x1 - mu)^2 + b (x2 - x1^2)^2;
                  x1 ~ N(mu, 1/2a),  x2 | x1 ~ N(x1^2, 1/2b)
    banana        x1^2 / 2s^2 + 1/2 (x2 + b x1^2 - b s^2)^2 + ...
                  (Haario, Saksman & Tamminen 1999)
    funnel        v^2 / 18 + 1/2 sum_i (x_i^2 e^-v + v)    (Neal 2003, section 8)
    double_well   h (x1^2 - 1)^2 + 1/2 sum_i x_i^2
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Array, Energy, Key, half_square

LOG_2PI = math.log(2 * math.pi)


class Target(NamedTuple):
    """A distribution with known sampler, moments and normalising constant."""

    name: str
    energy: Energy  # of one point [D]
    sample: Callable[[Key, int], Array]  # (key, n) -> [n, D], independent and exact
    mean: np.ndarray  # [D]
    covariance: np.ndarray  # [D, D]
    log_z: float  # log of the integral of exp(-energy)

    @property
    def dim(self) -> int:
        return len(self.mean)


def gaussian(mean: Any, covariance: Any, *, name: str = "gaussian") -> Target:
    """N(mean, covariance), ``[D]`` and ``[D, D]``.

    Raises unless the covariance is positive definite.
    """
    checks.covariance(covariance, "covariance")
    mean, covariance = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
    if mean.shape != covariance.shape[:1] or covariance.ndim != 2:
        raise ValueError(
            f"mean [D] and covariance [D, D] must agree, got {mean.shape} and "
            f"{covariance.shape}"
        )
    root = np.linalg.cholesky(covariance)
    whiten, factor = (jnp.asarray(m, jnp.float32) for m in (np.linalg.inv(root), root))
    center = jnp.asarray(mean, jnp.float32)
    return Target(
        name,
        lambda x: half_square(whiten.astype(x.dtype) @ (x - center.astype(x.dtype))),
        lambda key, n: center + jax.random.normal(key, (n, len(mean))) @ factor.T,
        mean,
        covariance,
        len(mean) / 2 * LOG_2PI + float(np.log(np.diag(root)).sum()),
    )


def standard_normal(dim: int = 1) -> Target:
    """N(0, I)."""
    return gaussian(np.zeros(dim), np.eye(dim), name="standard_normal")


def correlated_gaussian(dim: int = 2, correlation: float = 0.9) -> Target:
    """Unit variances, every pair correlated."""
    covariance = (1 - correlation) * np.eye(dim) + correlation
    return gaussian(np.arange(dim) / dim, covariance, name="correlated_gaussian")


def ill_conditioned_gaussian(dim: int = 100, condition: float = 1e4) -> Target:
    """Variances from 1/condition to 1, evenly in the logarithm; along the axes."""
    return gaussian(
        np.zeros(dim),
        np.diag(np.geomspace(1 / condition, 1, dim)),
        name="ill_conditioned_gaussian",
    )


def mixture(weights: Any, means: Any, scales: Any, *, name: str = "mixture") -> Target:
    """sum_k w_k N(mu_k, s_k^2 I); Z = 1.

    Weights ``[K]``, means ``[K, D]``, scales ``[K]`` or a number.

    Raises:
      ValueError: weights or scales that are not positive, or shapes that disagree.
    """
    means = np.asarray(means, np.float64)
    checks.positive(weights, "weights")
    checks.positive(scales, "scales")
    if means.ndim != 2 or np.shape(weights) != means.shape[:1]:
        raise ValueError(
            f"weights [K] and means [K, D] must agree, got {np.shape(weights)}, "
            f"{means.shape}"
        )
    weights = np.asarray(weights, np.float64) / np.sum(weights)
    scales = np.broadcast_to(np.asarray(scales, np.float64), weights.shape)
    dim = means.shape[1]
    mean = weights @ means
    spread = np.einsum("k,kd,ke->de", weights, means - mean, means - mean)
    log_weights = np.log(weights) - dim / 2 * LOG_2PI - dim * np.log(scales)
    mu, s, log_w = (jnp.asarray(v, jnp.float32) for v in (means, scales, log_weights))

    def energy(x):
        squares = jnp.sum(((x - mu) / s[:, None]) ** 2, axis=1)
        return -jax.nn.logsumexp(log_w - 0.5 * squares)

    def sample(key, n):
        key_component, key_noise = jax.random.split(key)
        k = jax.random.categorical(
            key_component, jnp.log(jnp.asarray(weights)), shape=(n,)
        )
        return mu[k] + s[k, None] * jax.random.normal(key_noise, (n, dim))

    return Target(
        name, energy, sample, mean, spread + (weights @ scales**2) * np.eye(dim), 0.0
    )


def two_modes() -> Target:
    """0.3 N(-2, 0.6^2) + 0.7 N(1.5, 0.8^2), on the line."""
    return mixture([0.3, 0.7], [[-2.0], [1.5]], [0.6, 0.8], name="two_modes")


def figure_one() -> Target:
    """Two Gaussians in the plane (notes, figure 1)."""
    return mixture([0.4, 0.6], [[-1.5, 0.0], [1.5, 0.0]], [0.6, 0.6], name="figure_one")


def figure_one_base() -> Target:
    """The initial distribution of figure 1: a Gaussian far above the modes."""
    return gaussian([0.0, 10.0], 0.25 * np.eye(2), name="figure_one_base")


def eight_gaussians(radius: float = 2.0, scale: float = 0.2) -> Target:
    """A mixture of eight Gaussians on a ring."""
    angles = 2 * np.pi * np.arange(8) / 8
    means = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return mixture(np.ones(8), means, scale, name="eight_gaussians")


def grid25(spacing: float = 1.0, scale: float = 0.1) -> Target:
    """A mixture of twenty-five Gaussians on a grid."""
    axis = spacing * np.arange(-2, 3)
    means = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return mixture(np.ones(25), means, scale, name="grid25")


def rosenbrock(a: float = 0.05, b: float = 5.0, mu: float = 1.0) -> Target:
    """The curved valley of figure 3; a normal and a conditional normal (Pagani et al.
    2022)."""
    checks.positive([a, b], "a and b")
    v, w = 1 / (2 * a), 1 / (2 * b)

    def sample(key, n):
        x1, x2 = jax.random.normal(key, (2, n))
        x1 = mu + math.sqrt(v) * x1
        return jnp.stack([x1, x1**2 + math.sqrt(w) * x2], axis=1)

    return Target(
        "rosenbrock",
        lambda x: a * (x[0] - mu) ** 2 + b * (x[1] - x[0] ** 2) ** 2,
        sample,
        np.array([mu, mu**2 + v]),
        np.array([[v, 2 * mu * v], [2 * mu * v, w + 4 * mu**2 * v + 2 * v**2]]),
        math.log(math.pi / math.sqrt(a * b)),
    )


def banana(dim: int = 2, b: float = 0.1, scale: float = 3.0) -> Target:
    """A Gaussian bent along its first coordinate; x2 = z2 - b (x1^2 - scale^2)."""
    checks.count(dim, "dim", least=2)
    checks.positive(scale, "scale")

    def bend(x1):
        return b * (x1**2 - scale**2)

    def sample(key, n):
        z = jax.random.normal(key, (n, dim))
        x1 = scale * z[:, 0]
        return z.at[:, 0].set(x1).at[:, 1].add(-bend(x1))

    covariance = np.eye(dim)
    covariance[0, 0], covariance[1, 1] = scale**2, 1 + 2 * b**2 * scale**4
    return Target(
        "banana",
        lambda x: half_square(x.at[0].divide(scale).at[1].add(bend(x[0]))),
        sample,
        np.zeros(dim),
        covariance,
        dim / 2 * LOG_2PI + math.log(scale),
    )


def funnel(dim: int = 10, scale: float = 3.0) -> Target:
    """Neal's funnel: v = x[0] ~ N(0, scale^2), the others N(0, e^v)."""
    checks.count(dim, "dim", least=2)

    def energy(x):
        v = x[0] / scale
        return (
            0.5 * v**2 + half_square(x[1:] * jnp.exp(-x[0] / 2)) + (dim - 1) * x[0] / 2
        )

    def sample(key, n):
        z = jax.random.normal(key, (n, dim)).at[:, 0].multiply(scale)
        return z.at[:, 1:].multiply(jnp.exp(z[:, :1] / 2))

    variances = np.full(dim, math.exp(scale**2 / 2))
    variances[0] = scale**2
    log_z = dim / 2 * LOG_2PI + math.log(scale)
    return Target("funnel", energy, sample, np.zeros(dim), np.diag(variances), log_z)


def double_well(dim: int = 2, height: float = 3.0) -> Target:
    """Wells at x1 = -1 and 1.

    The first coordinate is drawn by inverting its distribution on 2^16 points, which is
    exact to the last digits of float32.
    """
    checks.count(dim, "dim")
    checks.positive(height, "height")
    x = np.linspace(-4, 4, 2**16 + 1)
    weights = np.exp(-height * (x**2 - 1) ** 2)
    cumulative = np.concatenate([[0.0], np.cumsum((weights[1:] + weights[:-1]) / 2)])
    integral = cumulative[-1] * (x[1] - x[0])
    table, levels = (
        jnp.asarray(x, jnp.float32),
        jnp.asarray(cumulative / cumulative[-1], jnp.float32),
    )

    def sample(key, n):
        key_well, key_rest = jax.random.split(key)
        u = jax.random.uniform(key_well, (n,))
        rest = jax.random.normal(key_rest, (n, dim))
        return rest.at[:, 0].set(jnp.interp(u, levels, table))

    covariance = np.eye(dim)
    covariance[0, 0] = float((x**2 * weights).sum() / weights.sum())
    return Target(
        "double_well",
        lambda x: height * (x[0] ** 2 - 1) ** 2 + half_square(x[1:]),
        sample,
        np.zeros(dim),
        covariance,
        math.log(integral) + (dim - 1) / 2 * LOG_2PI,
    )


TARGETS: dict[str, Callable[[], Target]] = {
    f.__name__: f
    for f in (
        standard_normal,
        correlated_gaussian,
        ill_conditioned_gaussian,
        two_modes,
        figure_one,
        eight_gaussians,
        grid25,
        rosenbrock,
        banana,
        funnel,
        double_well,
    )
}
