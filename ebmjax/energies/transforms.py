"""Functions of energies.  An energy is any function of one point that returns a scalar.

    temper(energy, T)(x)        = E(x) / T                     Boltzmann at temperature
                                                               T (notes, eq. 4)
    product(e1, e2, ...)(x)     = E1(x) + E2(x) + ...          product of experts
                                                               (Hinton 2002)
    from_log_density(log_p)(x)  = -log p(x)
    confine(energy, s, mu)(x)   = E(x) + |x - mu|^2 / (2 s^2)  exp(-E) stays
                                                               normalisable
    denoise(energy, s)(y)       = y - s^2 grad E(y)            E[x | y], y = x + s xi
                                                               of energy E

They return values: temperatures, scales and means are leaves, so that another number
compiles nothing, and ``jax.vmap`` over them is one energy a chain.

A trainable energy is ``energy(params, x)``; ``functools.partial(energy, params)`` is an
energy again, also inside ``jit`` with ``params`` traced.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import Value, as_function, function, number, part, value
from ebmjax.base import Array, Energy, half_square
from ebmjax.spaces import Space, space_of


@value
class Tempered(Value):
    """Made by :func:`temper`."""

    energy: Energy = function()
    temperature: Any = number()

    def check(self):
        checks.positive(self.temperature, "temperature")

    @property
    def state_space(self) -> Space | None:
        return space_of(self.energy)

    def __call__(self, x: Any) -> Array:
        energy = self.energy(x)
        return energy / jnp.asarray(self.temperature, energy.dtype)


def temper(energy: Energy, temperature: Any) -> Energy:
    """E / T.  On a Gaussian the variance is multiplied by T.

    Raises unless ``temperature`` is positive.

    >>> float(temper(lambda x: jnp.sum(x**2), 2.0)(jnp.float32(3.0)))
    4.5
    """
    return Tempered(energy, temperature)


@value
class Product(Value):
    """Made by :func:`product`."""

    energies: tuple[Energy, ...] = part()

    def check(self):
        spaces = {space_of(energy) for energy in self.energies} - {None}
        if len(spaces) > 1:
            names = " and ".join(sorted(map(str, spaces)))
            raise TypeError(f"energies of a product must be of one space, got {names}")

    @property
    def state_space(self) -> Space | None:
        named = (space_of(energy) for energy in self.energies)
        return next((space for space in named if space is not None), None)

    def __call__(self, x: Any) -> Array:
        values = [energy(x) for energy in self.energies]
        return sum(values[1:], values[0])


def product(*energies: Energy) -> Energy:
    """The sum of energies, a product of densities.

    Raises without energies, and for energies of two state spaces.

    >>> float(product(lambda x: x, lambda x: 2 * x)(3.0))
    9.0
    """
    if not energies:
        raise ValueError("at least one energy is needed, got none")
    return Product(tuple(as_function(energy, "energies") for energy in energies))


@value
class MinusLog(Value):
    """Made by :func:`from_log_density`."""

    log_density: Callable[[Any], Array] = function()

    def __call__(self, x: Any) -> Array:
        return -self.log_density(x)


def from_log_density(log_density: Callable[[Any], Any]) -> Energy:
    """The energy of a log density, normalised or not."""
    return MinusLog(log_density)


@value
class Confined(Value):
    """Made by :func:`confine`."""

    energy: Energy = function()
    scale: Any = number()
    mean: Any = number(default=0.0)

    def check(self):
        checks.positive(self.scale, "scale")

    @property
    def state_space(self) -> Space | None:
        return space_of(self.energy)

    def __call__(self, x: Any) -> Array:
        mean = _like(self.mean, x)
        centred = jax.tree.map(
            lambda leaf, m: (
                (leaf - m.astype(leaf.dtype)) / jnp.asarray(self.scale, leaf.dtype)
            ),
            x,
            mean,
        )
        return self.energy(x) + half_square(centred)


def confine(energy: Energy, scale: Any, mean: Any = 0.0) -> Energy:
    """E(x) + |x - mean|^2 / (2 scale^2): the base measure N(mean, scale^2 I),
    unnormalised.

    Raises unless ``scale`` is positive.
    """
    return Confined(energy, scale, mean)


def denoise(energy: Energy, noise: Any) -> Callable[[Any], Any]:
    """The posterior mean of x given y = x + noise xi, where ``energy`` is that of y
    (Robbins 1956; Miyasawa 1961): the jump of walk-jump sampling (Saremi & Hyvarinen
    2019)."""
    checks.positive(noise, "noise")
    return Denoiser(energy, noise)


@value
class Denoiser(Value):
    """Made by :func:`denoise`."""

    energy: Energy = function()
    noise: Any = number()

    def __call__(self, y: Any) -> Any:
        square = lambda v: jnp.square(jnp.asarray(self.noise, v.dtype))
        step = lambda v, g: v - square(v) * g
        return jax.tree.map(step, y, jax.grad(self.energy)(y))


def _like(value, tree):
    same = jax.tree.structure(value) == jax.tree.structure(tree)
    return value if same else jax.tree.map(lambda _: jnp.asarray(value), tree)
