"""Base densities: a sampler and a normalised log density.

    gaussian       N(mean, scale^2), or with a covariance
    fit_gaussian   with the mean and covariance of data or chains
    uniform_box    between two corners
    bits           independent bits
    flow           a normalising flow, :mod:`ebmjax.energies.flows`
    Base           any pair of functions

Positions are trees of arrays.  A base is a pytree (:mod:`ebmjax._value`) whose numbers
are leaves, so that a new base of the same kind compiles nothing.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax._inlined import inlined
from ebmjax._value import Value, function, value
from ebmjax.base import Array, Energy, Key, Position
from ebmjax.energies.transforms import MinusLog

LOG_2PI = math.log(2 * math.pi)
ROWS_A_COORDINATE = 5  # data points per coordinate for a full covariance
SHRINKAGE = 1e-3  # of the mean variance, added to a fitted covariance


@value
class Base(Value):
    """A density with a sampler: ``sample(key, n) -> [n, ...]``, ``log_prob(x) -> []``.

    >>> base = Base(lambda key, n: jax.random.normal(key, (n, 2)),
    ...             lambda x: -0.5 * jnp.sum(x**2) - LOG_2PI)
    """

    sample: Callable[[Key, int], Position] = function()
    log_prob: Callable[[Position], Array] = function()

    def energy(self) -> Energy:
        """``-log_prob``; its log Z is 0."""
        return MinusLog(self.log_prob)


def gaussian(mean: Any, scale: Any = 1.0, *, covariance: Any = None) -> Base:
    """N(mean, scale^2), or N(mean, covariance).

    Args:
      mean: a tree of arrays, of the shape of a position.
      scale: standard deviations, a number or a tree that broadcasts to the mean.
      covariance: ``[D, D]`` of all coordinates of the mean, in place of ``scale``.

    Raises:
      ValueError: a scale that is not positive, a covariance that is not positive
        definite or not ``[D, D]``.

    >>> base = gaussian(jnp.zeros(3), 2.0)
    """
    mean = _floats(mean, "mean")
    flat, _ = ravel_pytree(mean)
    if covariance is None:
        checks.positive(scale, "scale")
        is_one = jax.tree.structure(scale) == jax.tree.structure(0.0)
        if is_one:
            scale = jax.tree.map(lambda _: scale, mean)
        factor, _ = ravel_pytree(
            jax.tree.map(lambda s, m: jnp.broadcast_to(s, m.shape), scale, mean)
        )
        return _gaussian_base(mean, factor.astype(flat.dtype))
    checks.covariance(covariance, "covariance")
    if np.shape(covariance) != (flat.size, flat.size):
        raise ValueError(
            f"covariance must be [{flat.size}, {flat.size}], "
            f"got shape {np.shape(covariance)}"
        )
    return _gaussian_base(mean, jnp.linalg.cholesky(jnp.asarray(covariance)))


def fit_gaussian(x: Any, *, widen: float = 1.0, is_dense: bool | None = None) -> Base:
    """A Gaussian with the mean and covariance of data or chains ``[N, ...]``.

    Args:
      x: a tree of arrays with N rows.
      widen: factor on the standard deviations.
      is_dense: whether with correlations; by default if there are at least
        ``ROWS_A_COORDINATE`` rows per coordinate.

    Raises:
      ValueError: fewer than two rows, values that are not finite, no spread.
    """
    x = checks.position(x, "x")
    checks.positive(widen, "widen")
    num = checks.num_chains(x, "x")
    if num < 2:
        raise ValueError(f"x must have at least two rows, got {num}")
    rows = np.asarray(jax.vmap(lambda row: ravel_pytree(row)[0])(x), np.float64)
    dim = rows.shape[1]
    variances = rows.var(axis=0, ddof=1)
    if not variances.mean() > 0:
        raise ValueError("x must have spread, got rows that are all equal")
    floor = SHRINKAGE * variances.mean()
    mean = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), x)
    dtype = ravel_pytree(mean)[0].dtype
    if is_dense if is_dense is not None else num >= ROWS_A_COORDINATE * dim:
        covariance = np.atleast_2d(np.cov(rows.T)) + floor * np.eye(dim)
        factor = widen * np.linalg.cholesky(covariance)
    else:
        factor = widen * np.sqrt(variances + floor)
    return _gaussian_base(mean, jnp.asarray(factor, dtype))


def uniform_box(low: Any, high: Any) -> Base:
    """Uniform between two corners, trees of arrays of the shape of a position.

    Its log density is minus infinity outside: the target must have its mass inside.

    Raises:
      ValueError: corners of different shapes, or a side that is not positive.

    >>> base = uniform_box(-3 * jnp.ones(2), 3 * jnp.ones(2))
    """
    low, high = _floats(low, "low"), _floats(high, "high")
    if jax.tree.map(jnp.shape, low) != jax.tree.map(jnp.shape, high):
        raise ValueError(
            f"low and high must have one shape, got {jax.tree.map(jnp.shape, low)} "
            f"and {jax.tree.map(jnp.shape, high)}"
        )
    checks.positive(jax.tree.map(jnp.subtract, high, low), "high - low")
    return Base(partial(_box_sample, low, high), partial(_box_log_prob, low, high))


def bits(probability: Any) -> Base:
    """Independent bits, 0 or 1, with the probabilities of a 1, an array.

    Raises:
      ValueError: a probability that is not inside (0, 1).

    >>> base = bits(jnp.full(20, 0.5))
    """
    checks.between(probability, "probability")
    p = _floats(probability, "probability")
    return Base(partial(_bits_sample, p), partial(_bits_log_prob, p))


def flow(flow: Any, params: Any) -> Base:
    """A normalising flow, :class:`ebmjax.energies.flows.Flow`, with its parameters."""
    from ebmjax.energies.flows import Flow  # needs Flax

    checks.instance(flow, Flow, "flow", "ebmjax.energies.flows")
    return Base(
        partial(_flow_sample, flow, params), partial(_flow_log_prob, flow, params)
    )


# --- the functions of the values ------------------------------------------------------


def _gaussian_base(mean, factor):
    if factor.ndim == 1:
        inverse = 1 / factor
    else:
        inverse = jax.scipy.linalg.solve_triangular(
            factor, jnp.eye(len(factor), dtype=factor.dtype), lower=True
        )
    return Base(
        partial(_gaussian_sample, mean, factor),
        partial(_gaussian_log_prob, mean, inverse),
    )


def _gaussian_sample(mean, factor, key, num):
    center, unravel = ravel_pytree(mean)
    z = jax.random.normal(inlined(key), (num, center.size), center.dtype)
    return jax.vmap(lambda z: unravel(center + _times(factor, z)))(z)


def _gaussian_log_prob(mean, inverse, x):
    centred = ravel_pytree(x)[0] - ravel_pytree(mean)[0]
    scales = inverse if inverse.ndim == 1 else jnp.diag(inverse)
    square = jnp.sum(_times(inverse, centred) ** 2)
    return jnp.sum(jnp.log(scales)) - 0.5 * square - 0.5 * centred.size * LOG_2PI


def _times(factor, z):
    if factor.ndim == 1:
        return factor * z
    return jnp.matmul(z, factor.T, precision=jax.lax.Precision.HIGHEST)


def _box_sample(low, high, key, num):
    corner, unravel = ravel_pytree(low)
    side = ravel_pytree(high)[0] - corner
    u = jax.random.uniform(inlined(key), (num, corner.size), corner.dtype)
    return jax.vmap(lambda u: unravel(corner + side * u))(u)


def _box_log_prob(low, high, x):
    low, high, x = (ravel_pytree(tree)[0] for tree in (low, high, x))
    is_inside = jnp.all((x >= low) & (x <= high))
    return jnp.where(is_inside, -jnp.sum(jnp.log(high - low)), -jnp.inf)


def _bits_sample(probability, key, num):
    shape = (num, *probability.shape)
    return jax.random.bernoulli(inlined(key), probability, shape).astype(
        probability.dtype
    )


def _bits_log_prob(probability, x):
    return jnp.sum(x * jnp.log(probability) + (1 - x) * jnp.log1p(-probability))


def _flow_sample(flow, params, key, num):
    from ebmjax.energies.flows import sample

    return sample(flow, params, key, num)


def _flow_log_prob(flow, params, x):
    return flow.apply(params, x)


def _floats(tree, name):
    if not jax.tree.leaves(tree):
        raise TypeError(f"{name} must be an array or a tree of arrays, got {tree!r}")
    if not checks.is_traced(tree):
        for leaf in jax.tree.leaves(tree):
            checks.finite_rows(np.asarray(leaf), name)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), tree)
