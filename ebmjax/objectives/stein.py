"""Kernel Stein discrepancy: how far data are from a density of which only the score is needed.

With the score s = -grad E, a kernel k(x, y) = phi(|x - y|^2), r = x - y and t = |r|^2,

    u(x, y) = s(x).s(y) k + s(x).grad_y k + s(y).grad_x k + tr grad_x grad_y k
            = s(x).s(y) phi - 2 phi' (s(x) - s(y)).r - 2 D phi' - 4 t phi''

    KSD^2 = E u(x, y),   x, y ~ data, independent                    Liu, Lee & Jordan 2016; Chwialkowski,
                                                                     Strathmann & Gretton 2016
    U-statistic  the mean over the pairs of a batch, without bias
    V-statistic  with x = y too, at least zero

It is zero only where the two agree.  ``rbf``: phi = exp(-t / 2h^2); ``imq``: phi = (1 + t / h^2)^(-1/2),
whose tails hold mass that escapes (Gorham & Mackey 2017).  Between N(m, I) and the model N(0, I), with
``rbf``, KSD^2 = |m|^2 (1 + 2 / h^2)^(-D/2).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax.base import Array, Energy, Position, scalar
from ebmjax.objectives.likelihood import Loss, Params

TrainableEnergy = Callable[[Params, Position], Array]
Profile = Callable[[Array, Any], Array]  # of a squared distance and a width
KERNELS: dict[str, Profile] = {
    "rbf": lambda t, h: jnp.exp(-t / (2 * h**2)),
    "imq": lambda t, h: (1 + t / h**2) ** -0.5,
}


def kernel_stein(
    energy: TrainableEnergy,
    width: float | None = None,
    *,
    kernel: str = "rbf",
    is_unbiased: bool = True,
) -> Loss:
    """Minimising KSD^2 between a batch and the model.

    Args:
      energy: ``energy(params, x)``.
      width: h, in units of the data; by default the median distance within the batch.
      kernel: ``rbf`` or ``imq``.
      is_unbiased: the U-statistic, or else the V-statistic.

    Raises:
      ValueError: a width that is not positive, an unknown kernel; when traced, a batch of one.

    >>> loss = kernel_stein(lambda p, x: 0.5 * p * jnp.sum(x**2), 1.0)
    """
    energy = scalar(energy)
    profile = _profile(kernel, width)

    def loss(params, key, batch, chains):
        if checks.num_chains(batch, "batch") < 2:
            raise ValueError("batch must hold at least two points, got one")
        h = median_distance(batch) if width is None else width
        pairs = pair_values(partial(energy, params), batch, partial(profile, h=h))
        value = u_statistic(pairs) if is_unbiased else jnp.mean(pairs)
        return value, (chains, {"width": jnp.float32(h)})

    return loss


def discrepancy(
    energy: Energy, x: Position, width: float | None = None, *, kernel: str = "rbf"
) -> Array:
    """KSD^2 between points ``[B, ...]`` and exp(-energy), without bias: a measure of samples."""
    return kernel_stein(lambda _, x: energy(x), width, kernel=kernel)(
        None, None, x, None
    )[0]  # type: ignore


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
    """Points about their mean, where differences of squares keep their digits."""
    return x - jax.lax.stop_gradient(jnp.mean(x, axis=0))


def squared_distances(x: Array) -> Array:
    """|x - y|^2 of all pairs, ``[B, B]``, exactly zero of a point with itself."""
    squares = jnp.sum(x**2, axis=1)
    t = jnp.maximum(squares[:, None] + squares[None] - 2 * x @ x.T, 0.0)
    return jnp.where(jnp.eye(len(x), dtype=bool), 0.0, t)


def median_distance(batch: Position) -> Array:
    """The median distance of two points of a batch, of its first 256: the usual width."""
    x = centred(jax.vmap(lambda x: ravel_pytree(x)[0])(batch)[:256])
    t = squared_distances(x)
    off = ~jnp.eye(len(x), dtype=bool)
    return jax.lax.stop_gradient(
        jnp.sqrt(jnp.nanmedian(jnp.where(off, t, jnp.nan))) + 1e-6
    )


def _profile(kernel, width) -> Profile:
    if kernel not in KERNELS:
        raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
    if width is not None:
        checks.positive(width, "width")
    return KERNELS[kernel]
