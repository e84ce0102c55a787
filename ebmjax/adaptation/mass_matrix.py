"""The mass matrix: scales of the target from the points of a window, chains pooled.

The covariance over chains and steps is merged as Chan, Golub & LeVeque (1979) do.
Correlations are drawn towards none by

    lambda = sum_{i != j} Var(r_ij) / sum_{i != j} r_ij^2

(Schaefer & Strimmer 2005, target D), so that a dense mass is as dense as the points can
tell.  The step size is then  S = eps C^(1/2),  a mass of C^-1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ebmjax._value import static, value
from ebmjax.adaptation.base import Adapter
from ebmjax.base import Array

PRIOR = 5.0  # draws that the scales of before are worth, beside those of a window
LARGEST_LOOP = 64  # coordinates up to which a matrix is factored in a loop of our own
NEIGHBOURS = 5.0  # draws of a chain that say together what one independent draw says


class Moments(NamedTuple):
    """Number, mean and sum of squares (or of products) of points ``[D]``."""

    num: Array
    mean: Array  # [D]
    squares: Array  # [D] or [D, D]

    @staticmethod
    def none(dim: int, *, is_dense: bool) -> "Moments":
        squares = jnp.zeros((dim, dim) if is_dense else dim)
        return Moments(jnp.float32(0.0), jnp.zeros(dim), squares)

    def update(self, x: Array, weight: Array | None = None) -> "Moments":
        """With points ``[C, D]``; those that are not finite or have no weight ``[C]``
        are left out."""
        is_used = jnp.isfinite(x).all(axis=1)
        if weight is not None:
            is_used &= weight > 0
        num = jnp.sum(is_used).astype(x.dtype)
        x = jnp.where(is_used[:, None], x, 0.0)
        mean = jnp.sum(x, axis=0) / jnp.maximum(num, 1)
        centred = jnp.where(is_used[:, None], x - mean[None], 0.0)
        count, delta = self.num + num, mean - self.mean
        share = num / jnp.maximum(count, 1)
        if self.squares.ndim == 1:
            squares = jnp.sum(centred**2, axis=0) + delta**2 * self.num * share
        else:
            squares = centred.T @ centred + jnp.outer(delta, delta) * self.num * share
        return Moments(count, self.mean + share * delta, self.squares + squares)

    def scale(self, before: Array) -> Array:
        """S with S S^T the covariance: standard deviations ``[D]`` or a Cholesky factor
        ``[D, D]``.  The deviations are drawn towards those of before, in the logarithm,
        and stay where nothing moved."""
        weight = self.num / (self.num + PRIOR)
        covariance = self.squares / jnp.maximum(self.num - 1, 1)
        is_dense = self.squares.ndim == 2
        variances = jnp.diag(covariance) if is_dense else covariance
        last = jnp.linalg.norm(before, axis=1) if is_dense else before
        is_known = (variances > 0) & jnp.isfinite(variances)
        log_sd = 0.5 * jnp.log(jnp.where(is_known, variances, 1.0))
        log_scale = weight * log_sd + (1 - weight) * jnp.log(last)
        scale = jnp.where(is_known, jnp.exp(log_scale), last)
        if not is_dense:
            return scale
        factor = scale[:, None] * cholesky(self._correlations(covariance))
        return jnp.where(jnp.isfinite(factor).all(), factor, before)

    def _correlations(self, covariance: Array) -> Array:
        """Correlations ``[D, D]``, shrunk."""
        sd = jnp.sqrt(jnp.diag(covariance))
        # one at a time: the product of two small deviations underflows
        one = jnp.where(sd > 0, sd, 1.0)
        off = (sd[:, None] > 0) & (sd[None] > 0) & ~jnp.eye(len(sd), dtype=bool)
        r = jnp.where(off, covariance / one[:, None] / one[None], 0.0)
        variance = (1 - r**2) ** 2 / jnp.maximum(self.num / NEIGHBOURS - 1, 1)
        noise = jnp.sum(jnp.triu(variance, 1))
        noise /= jnp.maximum(jnp.sum(jnp.triu(r**2, 1)), 1e-6)
        return (1 - jnp.minimum(noise, 1.0)) * r + jnp.eye(len(sd))


@value
class MassMatrixAdapter(Adapter):
    """Scales of the target, renewed at the start of each window."""

    is_dense: bool = static(default=False)

    def init(self, tuning, num_chains):
        return Moments.none(len(tuning.scale), is_dense=self.is_dense)

    def begin_window(self, state, tuning, probe):
        scale = state.scale(tuning.scale)
        # a trajectory keeps its length along the direction whose scale grew most
        ratio = growth(tuning.inverse_scale, scale)
        tuning = tuning._replace(
            scale=scale,
            inverse_scale=inverse_of(scale),
            log_length=tuning.log_length - jnp.log(ratio),
        )
        return jax.tree.map(jnp.zeros_like, state), tuning

    def update(self, state, tuning, seen):
        return state.update(seen.after, seen.weight), tuning


def inverse_of(scale: Array) -> Array:
    """S^-1, ``[D]`` or ``[D, D]``."""
    if scale.ndim == 1:
        return 1 / scale
    # rows in units of their diagonal, so that scales far apart lose no digits
    unit = jnp.diag(scale)
    inner = scale / unit[:, None]
    return inverse_of_triangular(inner) / unit[None]


def cholesky(matrix: Array) -> Array:
    """L with L L^T the matrix ``[D, D]``, a column at a time; NaN where it is not
    positive definite.  For few coordinates a loop of one product: it compiles in less
    time than LAPACK takes to be imported."""
    if len(matrix) > LARGEST_LOOP:
        return jnp.linalg.cholesky(matrix)
    rows = jnp.arange(len(matrix))

    def step(j, factor):
        column = matrix[j] - _product(factor, factor[j])
        return factor.at[:, j].set(
            jnp.where(rows >= j, column / jnp.sqrt(column[j]), 0.0)
        )

    return jax.lax.fori_loop(0, len(matrix), step, jnp.zeros_like(matrix))


def inverse_of_triangular(factor: Array) -> Array:
    """Of a lower triangular ``[D, D]``, a row at a time."""
    if len(factor) > LARGEST_LOOP:
        eye = jnp.eye(len(factor), dtype=factor.dtype)
        return jax.scipy.linalg.solve_triangular(factor, eye, lower=True)
    eye = jnp.eye(len(factor), dtype=factor.dtype)

    def step(i, inverse):
        row = eye[i] - _product(inverse.T, factor[i])
        return inverse.at[i].set(row / factor[i, i])

    return jax.lax.fori_loop(0, len(factor), step, jnp.zeros_like(factor))


def _product(matrix, vector):
    return jnp.matmul(matrix, vector, precision=jax.lax.Precision.HIGHEST)


def growth(inverse_before: Array, after: Array) -> Array:
    """By what the scale of a direction grew, the largest over the axes of the new
    one."""
    if after.ndim == 1:
        return jnp.max(inverse_before * after)
    return jnp.sqrt(jnp.max(jnp.sum((inverse_before @ after) ** 2, axis=0)))


def whitened(x: Array, inverse_scale: Array) -> Array:
    """S^-1 x of points ``[C, D]``."""
    return x * inverse_scale if inverse_scale.ndim == 1 else x @ inverse_scale.T
