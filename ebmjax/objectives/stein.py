"""Kernel Stein discrepancy between data and a density, from its score.

With the score s = -grad E, a kernel k(x, y) = phi(|x - y|^2), r = x - y and t = |r|^2,

    u(x, y) = s(x).s(y) k + s(x).grad_y k + s(y).grad_x k + tr grad_x grad_y k
            = s(x).s(y) phi - 2 phi' (s(x) - s(y)).r - 2 D phi' - 4 t phi''

    KSD^2 = E u(x, y),   x, y ~ data, independent
                                        Liu, Lee & Jordan 2016; Chwialkowski, Strathmann
                                        & Gretton 2016
    U-statistic  the mean over pairs of different points of a batch; unbiased
    V-statistic  the mean over all pairs, x = y included; at least zero

The discrepancy is zero only if the two agree.  ``rbf``: phi = exp(-t / 2h^2); ``imq``:
phi = (1 + t / h^2)^(-1/2), whose tails detect mass that escapes (Gorham & Mackey 2017).
Between N(m, I) and the model N(0, I), with ``rbf``, KSD^2 = |m|^2 (1 + 2 / h^2)^(-D/2).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax._value import function, number, static, value
from ebmjax.base import Array, Energy, Position, scalar
from ebmjax.objectives.base import Objective, TrainableEnergy

Profile = Callable[[Array, Any], Array]  # of a squared distance and a width
KERNELS: dict[str, Profile] = {
    "rbf": lambda t, h: jnp.exp(-t / (2 * h**2)),
    "imq": lambda t, h: (1 + t / h**2) ** -0.5,
}
NUM_COMPARED = 256  # points whose distances give the default width
LEAST_WIDTH = 1e-6  # added to that, in case all points are equal


@value
class KernelStein(Objective):
    """Made by :func:`kernel_stein`."""

    energy: TrainableEnergy = function()
    width: Any = number(default=None)
    kernel: str = static(default="rbf")
    is_unbiased: bool = static(default=True)

    def check(self):
        checks.one_of(self.kernel, "kernel", KERNELS)
        if self.width is not None:
            checks.positive(self.width, "width")

    def loss(self, params, key, batch, chains):
        if checks.num_chains(batch, "batch") < 2:
            raise ValueError("batch must hold at least two points, got one")
        width = median_distance(batch) if self.width is None else self.width
        energy = partial(scalar(self.energy), params)
        pairs = pair_values(energy, batch, partial(KERNELS[self.kernel], h=width))
        value = u_statistic(pairs) if self.is_unbiased else jnp.mean(pairs)
        return value, (chains, {"width": jnp.float32(width)})


def kernel_stein(
    energy: TrainableEnergy,
    width: Any = None,
    *,
    kernel: str = "rbf",
    is_unbiased: bool = True,
) -> Objective:
    """Minimise KSD^2 between a batch and the model.

    Args:
      energy: ``energy(params, x)`` of one point.
      width: h, in units of the data; by default the median distance within the batch.
      kernel: ``"rbf"`` or ``"imq"``.
      is_unbiased: U-statistic if true, else V-statistic.

    Raises:
      ValueError: a width that is not positive, an unknown kernel; when traced, a batch
        of one.

    >>> kernel_stein(lambda params, x: 0.5 * params * jnp.sum(x**2), 1.0)
    KernelStein(energy=<lambda>, width=1.0)
    """
    return KernelStein(energy, width, kernel, is_unbiased)


def discrepancy(
    energy: Energy, x: Position, width: Any = None, *, kernel: str = "rbf"
) -> Array:
    """KSD^2 between points ``[B, ...]`` and exp(-energy), without bias: a measure of
    samples."""
    objective = kernel_stein(lambda _, x: energy(x), width, kernel=kernel)
    return objective.loss(None, None, x, None)[0]  # type: ignore[arg-type]


def pair_values(
    energy: Energy, batch: Position, phi: Callable[[Array], Array]
) -> Array:
    """u(x, y) of all pairs of a batch, ``[B, B]``."""
    flatten = lambda tree: ravel_pytree(tree)[0]
    x = centred(jax.vmap(flatten)(batch))
    s = -jax.vmap(lambda x: flatten(jax.grad(energy)(x)))(batch)
    along = jnp.sum(s * x, axis=1)
    cross = s @ x.T  # s(x).y
    # (s(x) - s(y)).(x - y)
    turn = along[:, None] + along[None] - cross - cross.T
    t = squared_distances(x)
    slope = jax.vmap(jax.vmap(jax.grad(phi)))(t)
    bend = jax.vmap(jax.vmap(jax.grad(jax.grad(phi))))(t)
    return (s @ s.T) * phi(t) - 2 * slope * turn - 2 * x.shape[1] * slope - 4 * t * bend


def u_statistic(pairs: Array) -> Array:
    """The mean over pairs of two different points."""
    num = len(pairs)
    return (jnp.sum(pairs) - jnp.trace(pairs)) / (num * (num - 1))


def centred(x: Array) -> Array:
    """Points minus their mean, to reduce rounding in differences of squares."""
    return x - jax.lax.stop_gradient(jnp.mean(x, axis=0, keepdims=True))


def squared_distances(x: Array) -> Array:
    """|x - y|^2 of all pairs, ``[B, B]``, exactly zero of a point with itself."""
    squares = jnp.sum(x**2, axis=1)
    t = jnp.maximum(squares[:, None] + squares[None] - 2 * x @ x.T, 0.0)
    return jnp.where(jnp.eye(len(x), dtype=bool), 0.0, t)


def median_distance(batch: Position) -> Array:
    """The median distance of two points of a batch, of its first 256: the usual
    width."""
    x = centred(jax.vmap(lambda x: ravel_pytree(x)[0])(batch)[:NUM_COMPARED])
    t = squared_distances(x)
    of_others = jnp.where(jnp.eye(len(x), dtype=bool), jnp.nan, t)
    median = jnp.sqrt(jnp.nanmedian(of_others))
    return jax.lax.stop_gradient(median + LEAST_WIDTH)
