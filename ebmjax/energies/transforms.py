"""Functions of energies.  An energy is any function of one point that returns a scalar.

    temper(energy, T)(x)        = E(x) / T                     Boltzmann at temperature T (notes, eq. 4)
    product(e1, e2, ...)(x)     = E1(x) + E2(x) + ...          product of experts, Hinton 2002
    from_log_density(log_p)(x)  = -log p(x)
    confine(energy, s, mu)(x)   = E(x) + |x - mu|^2 / (2 s^2)  keeps exp(-E) normalisable
    denoise(energy, s)(y)       = y - s^2 grad E(y)            E[x | y] where y = x + s xi has energy E

A trainable energy is ``energy(params, x)``; ``functools.partial(energy, params)`` is an energy again, also
inside ``jit`` with ``params`` traced.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax.base import Energy, half_square


def temper(energy: Energy, temperature: float | jax.Array) -> Energy:
    """E / T.  On a Gaussian the variance is multiplied by T.  Raises unless ``temperature`` is positive.

    >>> temper(lambda x: x**2, 2.0)(3.0)
    4.5
    """
    checks.function(energy, "energy")
    checks.positive(temperature, "temperature")
    return lambda x: energy(x) / temperature


def product(*energies: Energy) -> Energy:
    """The sum of energies, a product of densities."""
    if not energies:
        raise ValueError("at least one energy is needed, got none")
    for energy in energies:
        checks.function(energy, "energies")
    return lambda x: sum(energy(x) for energy in energies[1:]) + energies[0](x)


def from_log_density(log_density: Callable[[Any], Any]) -> Energy:
    """The energy of a log density, normalised or not."""
    checks.function(log_density, "log_density")
    return lambda x: -log_density(x)


def confine(energy: Energy, scale: float, mean: Any = 0.0) -> Energy:
    """E(x) + |x - mean|^2 / (2 scale^2): the base measure N(mean, scale^2 I), unnormalised."""
    checks.positive(scale, "scale")

    def confined(x):
        centred = jax.tree.map(lambda leaf, m: (leaf - m) / scale, x, _like(mean, x))
        return energy(x) + half_square(centred)

    return confined


def denoise(energy: Energy, noise: float) -> Callable[[Any], Any]:
    """The posterior mean of x given y = x + noise xi, where ``energy`` is that of y (Robbins 1956; Miyasawa
    1961): the jump of walk-jump sampling (Saremi & Hyvarinen 2019)."""
    checks.positive(noise, "noise")
    return lambda y: jax.tree.map(lambda v, g: v - noise**2 * g, y, jax.grad(energy)(y))


def _like(value, tree):
    same = jax.tree.structure(value) == jax.tree.structure(tree)
    return value if same else jax.tree.map(lambda _: jnp.asarray(value), tree)
