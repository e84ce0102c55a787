"""Score matching: fit the gradient of the energy, and Z is never needed ([SK21] section 3).

With the score s(x) = -grad E(x), and all derivatives with respect to x,

    explicit    J = E_x[ |s|^2 / 2 + tr grad s ]                              Hyvarinen 2005, Theorem 1
    sliced      J = E_x E_v[ |s|^2 / 2 + v^T (grad s) v ],  E[v v^T] = I      Song et al. 2019, eq. 8 (SSM-VR)
                J = E_x E_v[ (v^T s)^2 / 2 + v^T (grad s) v ]                 eq. 7 (SSM)
    denoising   J = E_x E_xi[ |s(x + sigma xi) + xi / sigma|^2 ] / 2          Vincent 2011, section 4.3
    multi-scale J = sum_i sigma_i^2 J_denoising(sigma_i) / L                  Song & Ermon 2019, eq. 5 and 6

Explicit and sliced learn the data; denoising learns the data with noise, exactly.  On an energy
1/2 (x - mu)^T P (x - mu) and data of covariance S the optimum is P = S^-1, and (S + sigma^2 I)^-1.

tr grad s = - sum_i e_i^T (hess E) e_i is computed a direction at a time, forward over reverse: D gradients'
worth of work and never a matrix.

All are losses ``loss(params, key, batch, chains) -> (loss, (chains, metrics))`` that leave the chains alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax.base import (
    Array,
    Energy,
    Key,
    Position,
    axpy,
    half_square,
    normal_like,
    scalar,
)
from ebmjax.objectives.likelihood import Loss, Params

TrainableEnergy = Callable[[Params, Position], Array]
PROJECTIONS = ("rademacher", "gaussian")


def explicit(energy: TrainableEnergy) -> Loss:
    """Explicit score matching, with the exact Laplacian: for few dimensions.

    >>> loss = explicit(lambda p, x: 0.5 * p * jnp.sum(x**2))
    """
    energy = scalar(energy)

    def of_point(params, key, x):
        grad = jax.grad(partial(energy, params))
        flat, unravel = ravel_pytree(x)
        along = lambda i: curvature(
            grad, x, unravel(jnp.zeros_like(flat).at[i].set(1.0))
        )
        return half_square(grad(x)) - jnp.sum(jax.lax.map(along, jnp.arange(flat.size)))

    return _mean_over_batch(of_point)


def sliced(
    energy: TrainableEnergy,
    num_projections: int = 1,
    *,
    projection: str = "rademacher",
    is_variance_reduced: bool = True,
) -> Loss:
    """Sliced score matching.

    Args:
      energy: ``energy(params, x)``.
      num_projections: directions a point, averaged.
      projection: ``rademacher`` (signs) or ``gaussian``; the variance of the trace is
        2 (|H|^2 - sum_i H_ii^2) with signs and 2 |H|^2 with normals, H the Hessian (Hutchinson 1989).
      is_variance_reduced: |s|^2 in place of (v^T s)^2, which has the same mean.

    Raises:
      ValueError: an unknown projection, a count that is not positive.
    """
    energy = scalar(energy)
    checks.count(num_projections, "num_projections")
    if projection not in PROJECTIONS:
        raise ValueError(
            f"projection must be one of {', '.join(PROJECTIONS)}, got {projection!r}"
        )

    def of_direction(grad, x, key):
        v = normal_like(key, x)
        if projection == "rademacher":
            v = jax.tree.map(jnp.sign, v)
        slope = _inner(v, grad(x))
        speed = half_square(grad(x)) if is_variance_reduced else 0.5 * slope**2
        return speed - curvature(grad, x, v)

    def of_point(params, key, x):
        grad = jax.grad(partial(energy, params))
        keys = jax.random.split(key, num_projections)
        return jnp.mean(jax.vmap(partial(of_direction, grad, x))(keys))

    return _mean_over_batch(of_point)


def denoising(energy: TrainableEnergy, noise: float | Array) -> Loss:
    """Denoising score matching at one level of noise, in units of the data; learns the density of data with
    that noise, of which :func:`ebmjax.denoise` gives the clean point.

    Raises:
      ValueError: a noise that is not positive.
    """
    energy = scalar(energy)
    checks.positive(noise, "noise")

    def of_point(params, key, x):
        return denoising_error(partial(energy, params), key, x, noise)

    return _mean_over_batch(of_point)


def multi_scale(
    energy: Callable[[Params, Position, Array], Array], levels: Any
) -> Loss:
    """Denoising at many levels with one network, ``energy(params, x, noise)``; each point of a batch gets a
    level at random, and the weight sigma^2 makes all levels count alike.

    Raises:
      ValueError: levels that are not positive.
    """
    energy = scalar(energy)
    checks.positive(levels, "levels")
    levels = jnp.asarray(levels)

    def of_point(params, key, x):
        key_level, key_noise = jax.random.split(key)
        noise = jax.random.choice(key_level, levels)
        return noise**2 * denoising_error(
            lambda y: energy(params, y, noise), key_noise, x, noise
        )

    return _mean_over_batch(of_point)


def denoising_error(energy: Energy, key: Key, x: Position, noise: Any) -> Array:
    """|s(x + sigma xi) + xi / sigma|^2 / 2 at one point."""
    xi = normal_like(key, x)
    grad = jax.grad(energy)(axpy(noise, xi, x))
    return half_square(jax.tree.map(lambda n, g: n / noise - g, xi, grad))


def curvature(grad: Callable[[Position], Position], x: Position, v: Position) -> Array:
    """v^T (hess E) v, forward over reverse."""
    _, product = jax.jvp(grad, (x,), (v,))
    return _inner(v, product)


def _inner(a: Position, b: Position) -> Array:
    products = [
        jnp.vdot(x, y)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    ]
    return sum(products[1:], products[0])


def _mean_over_batch(of_point) -> Loss:
    def loss(params, key, batch, chains):
        keys = jax.random.split(key, checks.num_chains(batch, "batch"))
        values = jax.vmap(partial(of_point, params))(keys, batch)
        return jnp.mean(values), (chains, {"loss_spread": jnp.std(values)})

    return loss
