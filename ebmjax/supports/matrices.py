"""The support of Cholesky factors of correlation matrices, of the last two axes.

Of L, lower triangular with a positive diagonal and rows of norm 1, so that L L^T is a
correlation matrix.  Canonical partial correlations z_ij = tanh(u_ij), i > j, fill the
rows (Lewandowski, Kurowicka & Joe 2009, section 2; Stan reference manual, "Constraint
transforms", Cholesky factors of correlation matrices):

    L_ij = z_ij sqrt(1 - sum_{k < j} L_ik^2) = z_ij prod_{k < j} sech(u_ik),
    L_ii = prod_{k < i} sech(u_ik),
    log |det dL/du| = sum_{i > j} [sum_{k < j} log sech(u_ik) + 2 log sech(u_ij)],

with dL the entries below the diagonal.  The LKJ density of correlations,
|L L^T|^(eta - 1), is in these entries (Stan functions reference, "Cholesky LKJ
correlation distribution")

    -log p(L) = -sum_{i = 2}^K (K - i + 2 eta - 2) log L_ii + const.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax._value import value
from ebmjax.supports.base import Support, cumulative
from ebmjax.supports.vectors import ROUNDING


@value
class CholeskyCorrelation(Support):
    """Made by :func:`cholesky_correlation`."""

    event_ndims = 2

    def forward(self, free):
        size = _size_of(free.shape[-1])
        rows, columns = np.tril_indices(size, -1)
        u = jnp.zeros((*free.shape[:-1], size, size), free.dtype)
        u = u.at[..., rows, columns].set(free)
        log_sech = np.log(2) - jnp.logaddexp(u, -u)  # 0 on and above the diagonal
        before = cumulative(log_sech) - log_sech
        least = np.log(float(jnp.finfo(free.dtype).tiny)) + 1e-5
        norm = jnp.exp(jnp.maximum(before, least))
        factor = jnp.where(np.eye(size, dtype=bool), norm, jnp.tanh(u) * norm)
        log_det = (before + 2 * log_sech)[..., rows, columns]
        return factor, jnp.sum(log_det)

    def inverse(self, x):
        # norms of what is right of an entry: no difference of numbers near 1
        right = jax.lax.associative_scan(jnp.hypot, x, reverse=True, axis=x.ndim - 1)
        rows, columns = np.tril_indices(x.shape[-1], -1)
        return jnp.arcsinh(x[..., rows, columns] / right[..., rows, columns + 1])

    def free_shape(self, shape):
        return (*shape[:-2], shape[-1] * (shape[-1] - 1) // 2)

    def is_inside(self, x):
        if x.shape[-1] != x.shape[-2] or x.shape[-1] < 2:
            return np.zeros(x.shape[:-2], bool)
        norm = np.linalg.norm(x.astype(np.float64), axis=-1)
        return (
            (np.triu(x, 1) == 0).all(axis=(-2, -1))
            & (np.diagonal(x, axis1=-2, axis2=-1) > 0).all(axis=-1)
            & (np.abs(norm - 1) < ROUNDING).all(axis=-1)
        )

    def is_fixed(self, shape):
        is_fixed = np.triu(np.ones(shape[-2:], bool), 1)
        is_fixed[0, 0] = True
        return np.broadcast_to(is_fixed, shape)

    def wants(self):
        return (
            "a lower triangular matrix on the last two axes, with a positive diagonal "
            "and rows of norm 1"
        )


def cholesky_correlation() -> Support:
    """Cholesky factors ``[K, K]`` of correlation matrices.

    The density is with respect to the entries below the diagonal.

    >>> def lkj(factor, eta=2.0):  # K = 3
    ...     powers = jnp.array([1.0, 0.0]) + 2 * eta - 2
    ...     return -jnp.sum(powers * jnp.log(jnp.diag(factor)[1:]))
    >>> energy = constrain(lkj, cholesky_correlation())
    >>> energy.constrain(jnp.zeros(3)).shape
    (3, 3)
    """
    return CholeskyCorrelation()


def _size_of(num: int) -> int:
    """K of K (K - 1) / 2 free coordinates."""
    size = round((1 + (1 + 8 * num) ** 0.5) / 2)
    if size * (size - 1) // 2 != num:
        raise ValueError(
            "the free coordinates of a correlation matrix are K (K - 1) / 2 on the "
            f"last axis, got {num}"
        )
    return size
