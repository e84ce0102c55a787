"""Numbers: whole, positive, of full rank."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax._validation.arguments import describe, is_traced


def count(value: Any, name: str, *, least: int = 1) -> int:
    """A whole number, at least ``least``."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be a whole number, got a bool")
    try:
        number = operator.index(value)
    except TypeError:
        message = f"{name} must be a whole number, got {describe(value)}"
        raise TypeError(message) from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def counts(value: Any, name: str, *, least: int = 1) -> None:
    """Whole numbers in an array, at least ``least``; traced ones pass."""
    if not jnp.issubdtype(value.dtype, jnp.integer):
        raise TypeError(f"{name} must be a whole number, got {describe(value)}")
    if not is_traced(value) and np.any(np.asarray(value) < least):
        raise ValueError(f"{name} must be at least {least}, got {np.min(value)}")


def thinned(num_steps: Any, thin: Any) -> tuple[int, int]:
    """Whole numbers, the first a multiple of the second."""
    num_steps, thin = count(num_steps, "num_steps"), count(thin, "thin")
    if num_steps % thin:
        raise ValueError(
            f"num_steps must be a multiple of thin, got {num_steps} and thin {thin}"
        )
    return num_steps, thin


def positive(value: Any, name: str, *, zero: bool = False) -> None:
    """Every number in a tree is finite and above zero (or at least zero)."""
    for leaf in jax.tree.leaves(value):
        if isinstance(leaf, jax.core.Tracer):
            continue
        array = _numbers(leaf, name)
        bad = ~np.isfinite(array) | (array < 0 if zero else array <= 0)
        if bad.any():
            wants = "at least 0" if zero else "above 0"
            raise ValueError(
                f"{name} must be finite and {wants}, got {array[bad].flat[0]!s}"
            )
    if not jax.tree.leaves(value):
        raise TypeError(f"{name} must be a number or an array, got {describe(value)}")


def between(value: Any, name: str) -> None:
    """A number inside (0, 1)."""
    positive(value, name)
    if not is_traced(value) and not np.all(np.asarray(value) < 1):
        raise ValueError(f"{name} must lie in (0, 1), got {value}")


def step_size(value: Any, name: str = "step_size") -> None:
    """Positive numbers, in an array or a tree; or ``Dense``, which checks itself."""
    if not hasattr(value, "matrix"):
        positive(value, name)


def scalar_step(value: Any, other: str) -> None:
    """With a covariance the step size must be a scalar."""
    if np.ndim(value) != 0:
        raise ValueError(
            f"step_size must be a scalar when {other} is given, got shape "
            f"{np.shape(value)}"
        )


def full_rank(value: Any, name: str) -> None:
    """A finite square matrix of full rank; its rows and columns may have any scale."""
    if is_traced(value):
        return
    matrix = _numbers(value, name)
    with np.errstate(divide="ignore", invalid="ignore"):
        balanced = matrix / np.abs(matrix).max(axis=1, keepdims=True)
        balanced = balanced / np.abs(balanced).max(axis=0, keepdims=True)
    rank = 0
    if np.isfinite(balanced).all():
        rank = np.linalg.matrix_rank(balanced)
    if not np.isfinite(matrix).all() or rank < len(matrix):
        raise ValueError(
            f"{name} as a matrix must be finite and of full rank, got rank {rank} of "
            f"{len(matrix)}"
        )


def covariance(value: Any, name: str) -> None:
    """A vector of variances, all positive, or a symmetric positive definite matrix."""
    if is_traced(value):
        return
    array = _numbers(value, name)
    if array.ndim == 1:
        positive(array, name)
        return
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(
            f"{name} must be a vector [D] or a matrix [D, D], got shape {array.shape}"
        )
    if not np.allclose(array, array.T, rtol=1e-5, atol=1e-6 * np.abs(array).max()):
        raise ValueError(
            f"{name} must be symmetric, got a difference of "
            f"{np.abs(array - array.T).max():.3g} from its transpose"
        )
    smallest = np.linalg.eigvalsh(array)[0]
    if not smallest > 0:
        raise ValueError(
            f"{name} must be positive definite, got smallest eigenvalue {smallest:.3g}"
        )


def _numbers(value, name):
    if jnp.issubdtype(getattr(value, "dtype", np.float32), jax.dtypes.extended):
        raise TypeError(
            f"{name} must be a number or an array of numbers, got {describe(value)}"
        )
    array = np.asarray(value)
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    if array.dtype == bool or not (
        np.issubdtype(array.dtype, np.number)
        or jnp.issubdtype(array.dtype, jnp.floating)
    ):
        raise TypeError(
            f"{name} must be a number or an array of numbers, got {describe(value)}"
        )
    if np.iscomplexobj(array):
        raise TypeError(f"{name} must be real, got {describe(value)}")
    return array.astype(np.float64)
