"""Step sizes as linear maps of positions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax._value import Value, number, value
from ebmjax.base.states import Array

UNROLLED = 12  # coordinates up to which a matrix product is written as a sum that fuses


@value
class Dense(Value):
    """A step size that is a matrix ``[D, D]`` and acts on all coordinates together.

    A square root of a covariance: of the proposal, or of the target, whose inverse is
    then the mass of Hamiltonian dynamics.  Raises unless the matrix is square, finite
    and of full rank.

    >>> step_size = Dense(jnp.array([[1.0, 0], [0.5, 2]]))
    >>> kernel = mala(lambda x: 0.5 * jnp.sum(x**2), step_size)
    """

    matrix: Array = number()

    def check(self) -> None:
        shape = np.shape(self.matrix)
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"Dense needs a matrix [D, D], got shape {shape}")
        checks.full_rank(self.matrix, "step_size")


def preconditioned(step_size: Any, covariance: Any = None) -> Any:
    """S = step_size covariance^(1/2); the step size itself without a covariance."""
    checks.step_size(step_size)
    if covariance is None:
        return step_size
    checks.scalar_step(step_size, "covariance")
    checks.covariance(covariance, "covariance")
    if np.ndim(covariance) == 1:
        return step_size * jnp.sqrt(jnp.asarray(covariance))
    return Dense(step_size * jnp.linalg.cholesky(jnp.asarray(covariance)))


def scale(step_size: Any, tree: Any, *, transpose: bool = False) -> Any:
    """S v: the step size as a linear map of a position-shaped tree ``v``.

    ``step_size`` is a scalar; an array that broadcasts to each leaf; a tree of those,
    in the structure of ``v``; or :class:`Dense`.
    """
    if isinstance(step_size, Dense):
        return _matrix_product(step_size.matrix, tree, transpose)
    leaves, treedef = jax.tree.flatten(tree)
    same = jax.tree.structure(step_size) == treedef
    sizes = jax.tree.leaves(step_size) if same else [step_size] * len(leaves)
    pairs = zip(sizes, leaves, strict=True)
    return jax.tree.unflatten(treedef, [_stretch(s, v) for s, v in pairs])


def _matrix_product(matrix, tree, transpose):
    flat, unravel = ravel_pytree(tree)
    if np.shape(matrix) != (flat.size, flat.size):
        raise ValueError(
            f"Dense step_size must be a matrix [{flat.size}, {flat.size}] for a "
            f"position of {flat.size} coordinates, got shape {np.shape(matrix)}"
        )
    matrix = jnp.asarray(matrix, flat.dtype)
    matrix = matrix.T if transpose else matrix
    if flat.size <= UNROLLED:
        columns = [matrix[:, i] * flat[i] for i in range(flat.size)]
        return unravel(sum(columns[1:], columns[0]))
    return unravel(jnp.matmul(matrix, flat, precision=jax.lax.Precision.HIGHEST))


def _stretch(size, leaf):
    if not hasattr(size, "shape") and not isinstance(size, int | float):
        raise ValueError(
            "step_size must be a number, an array, a tree like the position, or Dense; "
            f"got {checks.kind_of(size)}"
        )
    size = jnp.asarray(size, leaf.dtype)
    trailing = zip(size.shape[::-1], leaf.shape[::-1], strict=False)
    if size.ndim > leaf.ndim or any(a not in (1, b) for a, b in trailing):
        is_square = size.ndim == 2 and size.shape[0] == size.shape[1] == leaf.size
        raise ValueError(
            f"step_size of shape {size.shape} does not broadcast to a position of "
            f"shape {leaf.shape}"
            + ("; write a matrix as Dense(matrix)" if is_square else "")
        )
    return size * leaf
