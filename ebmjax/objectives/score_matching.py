"""Score matching: fit the gradient of the energy, without Z ([SK21] section 3).

With the score s(x) = -grad E(x), and all derivatives with respect to x,

    explicit    J = E_x[ |s|^2 / 2 + tr grad s ]       Hyvarinen 2005, Theorem 1
    sliced      J = E_x E_v[ |s|^2 / 2 + v^T (grad s) v ],  E[v v^T] = I
                                                       Song et al. 2019, eq. 8 (SSM-VR)
                J = E_x E_v[ (v^T s)^2 / 2 + v^T (grad s) v ]
                                                       eq. 7 (SSM)
    denoising   J = E_x E_xi[ |s(x + sigma xi) + xi / sigma|^2 ] / 2
                                                       Vincent 2011, section 4.3
                averaged over xi and -xi, where the terms xi . s(x) / sigma cancel,
                whose variance grows as 1 / sigma^2
    multi-scale J = sum_i sigma_i^2 J_denoising(sigma_i) / L
                                                       Song & Ermon 2019, eq. 5 and 6

Explicit and sliced learn the density of the data; denoising learns that of the data
with noise, exactly.  On an energy 1/2 (x - mu)^T P (x - mu) and data of covariance S
the optimum is P = S^-1, and (S + sigma^2 I)^-1.

tr grad s = - sum_i e_i^T (hess E) e_i is computed a direction at a time, forward over
reverse: the work of D gradients, and no matrix.  None of these objectives uses chains.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import function, number, static, value
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
from ebmjax.objectives._gradients import inner, quadratic_form, random_signs, trace
from ebmjax.objectives.base import (
    MeanOverPoints,
    Objective,
    Params,
    TrainableEnergy,
)

NoiseConditionalEnergy = Callable[[Params, Position, Array], Array]
PROJECTIONS = ("rademacher", "gaussian")


@value
class Explicit(MeanOverPoints):
    """Made by :func:`explicit`."""

    energy: TrainableEnergy = function()

    def of_point(self, params, key, x):
        grad = jax.grad(partial(scalar(self.energy), params))
        return half_square(grad(x)) - trace(grad, x)


def explicit(energy: TrainableEnergy) -> Objective:
    """Explicit score matching, with the exact Laplacian: for few dimensions.

    >>> explicit(lambda params, x: 0.5 * params * jnp.sum(x**2))
    Explicit(energy=<lambda>)
    """
    return Explicit(energy)


@value
class Sliced(MeanOverPoints):
    """Made by :func:`sliced`."""

    energy: TrainableEnergy = function()
    num_projections: int = static(default=1)
    projection: str = static(default="rademacher")
    is_variance_reduced: bool = static(default=True)

    def check(self):
        num = checks.count(self.num_projections, "num_projections")
        object.__setattr__(self, "num_projections", num)
        checks.one_of(self.projection, "projection", PROJECTIONS)

    def of_point(self, params, key, x):
        grad = jax.grad(partial(scalar(self.energy), params))
        keys = jax.random.split(key, self.num_projections)
        return jnp.mean(jax.vmap(partial(self.of_direction, grad, x))(keys))

    def of_direction(self, grad, x, key):
        is_sign = self.projection == "rademacher"
        v = random_signs(key, x) if is_sign else normal_like(key, x)
        slope = inner(v, grad(x))
        square = half_square(grad(x)) if self.is_variance_reduced else 0.5 * slope**2
        return square - quadratic_form(grad, x, v)


def sliced(
    energy: TrainableEnergy,
    num_projections: int = 1,
    *,
    projection: str = "rademacher",
    is_variance_reduced: bool = True,
) -> Objective:
    """Sliced score matching.

    Args:
      energy: ``energy(params, x)`` of one point.
      num_projections: directions a point, averaged.
      projection: ``"rademacher"`` (signs) or ``"gaussian"``.  The variance of the trace
        is 2 (|H|^2 - sum_i H_ii^2) with signs and 2 |H|^2 with normals, H the Hessian
        (Hutchinson 1989).
      is_variance_reduced: |s|^2 in place of (v^T s)^2, which has the same mean.

    Raises:
      ValueError: an unknown projection; a count that is not positive.

    >>> sliced(lambda params, x: 0.5 * params * jnp.sum(x**2), 2)
    Sliced(energy=<lambda>, num_projections=2)
    """
    return Sliced(energy, num_projections, projection, is_variance_reduced)


@value
class Denoising(MeanOverPoints):
    """Made by :func:`denoising`."""

    energy: TrainableEnergy = function()
    noise: Any = number()
    is_antithetic: bool = static(default=True)
    adds_noise = True

    def check(self):
        checks.positive(self.noise, "noise")

    def of_point(self, params, key, x):
        energy = partial(scalar(self.energy), params)
        return denoising_error(energy, key, x, self.noise, self.is_antithetic)


def denoising(
    energy: TrainableEnergy, noise: Any, *, is_antithetic: bool = True
) -> Objective:
    """Denoising score matching at one level of noise.

    It learns the density of the data with that noise, from which
    :func:`ebmjax.energies.transforms.denoise` gives the clean point.

    Args:
      energy: ``energy(params, x)`` of one point.
      noise: sigma, in units of the data.
      is_antithetic: each point with a noise and with its negative, at twice the work:
        the same mean and a smaller variance, much smaller where sigma is.

    Raises:
      ValueError: a noise that is not positive.

    >>> denoising(lambda params, x: 0.5 * params * jnp.sum(x**2), 0.3)
    Denoising(energy=<lambda>, noise=0.3)
    """
    return Denoising(energy, noise, is_antithetic)


@value
class MultiScale(MeanOverPoints):
    """Made by :func:`multi_scale`."""

    energy: NoiseConditionalEnergy = function()
    levels: Array = number()
    is_antithetic: bool = static(default=True)
    adds_noise = True

    def check(self):
        checks.positive(self.levels, "levels")
        object.__setattr__(self, "levels", jnp.asarray(self.levels))

    def of_point(self, params, key, x):
        key_level, key_noise = jax.random.split(key)
        noise = jax.random.choice(key_level, self.levels)
        of_level = lambda y: scalar(self.energy)(params, y, noise)
        error = denoising_error(of_level, key_noise, x, noise, self.is_antithetic)
        return noise**2 * error


def multi_scale(
    energy: NoiseConditionalEnergy, levels: Any, *, is_antithetic: bool = True
) -> Objective:
    """Denoising at many levels of noise with one network.

    Each point of a batch gets a level at random; the weight sigma^2 makes the levels
    count alike.

    Args:
      energy: ``energy(params, x, noise)`` of one point and a level.
      levels: of noise, ``[L]``, in units of the data.
      is_antithetic: as of :func:`denoising`.

    Raises:
      ValueError: levels that are not positive.
    """
    return MultiScale(energy, levels, is_antithetic)


def denoising_error(
    energy: Energy, key: Key, x: Position, noise: Any, is_antithetic: bool
) -> Array:
    """|s(x + sigma xi) + xi / sigma|^2 / 2 at one point; of xi and -xi their mean."""
    xi = normal_like(key, x)

    def error(sign):
        grad = jax.grad(energy)(axpy(sign * noise, xi, x))
        return half_square(jax.tree.map(lambda n, g: sign * n / noise - g, xi, grad))

    return 0.5 * (error(1.0) + error(-1.0)) if is_antithetic else error(1.0)
