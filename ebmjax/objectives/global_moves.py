"""Moves of training chains between modes: independent candidates from a distribution
with a known density, accepted or rejected (Tierney 1994, section 2.3.3).

A candidate x* ~ q is accepted with probability

    min(1, exp(E(x) - E(x*)) q(x) / q(x*)),

so the chains still sample exp(-E).  The share that is accepted is about that of the
volume of q in which the density lies: it is of use in few coordinates.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ebmjax.base import Energy, Kernel, Key, Position
from ebmjax.kernels.metropolis import independence
from ebmjax.objectives._noise import Noise, check_noise


def independent_moves(noise: Noise) -> Callable[[Energy], Kernel]:
    """``make_global_kernel`` of :func:`ebmjax.maximum_likelihood`: independent
    candidates.

    Args:
      noise: of the candidates, wider than the data:
        ``fitted_normal(data, widen=1.3)``.

    Raises:
      TypeError: not a :class:`~ebmjax.objectives.noise_contrastive.Noise`.

    >>> from ebmjax import mala, maximum_likelihood
    >>> from ebmjax.objectives.noise_contrastive import fitted_normal
    >>> data = jax.random.normal(jax.random.key(0), (100, 2))
    >>> moves = independent_moves(fitted_normal(data, widen=1.3))
    >>> energy = lambda params, x: params * jax.numpy.sum(x**2)
    >>> objective = maximum_likelihood(energy, mala, 5, make_global_kernel=moves)
    """
    check_noise(noise)
    return functools.partial(
        independence,
        sample=functools.partial(_one, noise.sample),
        log_density=noise.log_prob,
    )


def _one(sample: Callable[[Key, int], Position], key: Key) -> Position:
    points = sample(key, 1)
    shapes = [jnp.shape(x) for x in jax.tree.leaves(points)]
    if any(shape[:1] != (1,) for shape in shapes):
        raise ValueError(
            f"noise.sample(key, n) must return n points [n, ...], got shapes {shapes} "
            "for n = 1"
        )
    return jax.tree.map(lambda x: x[0], points)
