"""Sums over all states of up to twenty-four bits: log Z, likelihoods, gradients and
draws without error; of spins and levels all states (:func:`grid`) and their
probabilities.

    log Z = log sum_x exp(-E(x)),   grad log Z = -sum_x p(x) grad E(x),   x in {0, 1}^N

Energies are computed a chunk of states at a time, and summed in double precision on the
host.  State ``k`` has the bits of ``k``, the lowest first.  For densities on the line
and in the plane there is :func:`ebmjax.evaluation.quadrature.log_z`.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Array, Energy, Key
from ebmjax.spaces import Space

MAX_BITS = 24
CHUNK = 2**14


def states(num_bits: int) -> Array:
    """All of them, ``[2^N, N]``, as floats 0 and 1."""
    _check(num_bits)
    return _bits(jnp.arange(2**num_bits), num_bits)


def grid(space: Space, shape: tuple[int, ...]) -> Array:
    """All states of a discrete space, ``[K^N, *shape]``, N the number of sites.

    State ``k`` has the digits of ``k`` to the base K, the lowest first.

    Raises:
      ValueError: more than 2^24 states.
    """
    sites, base = int(np.prod(shape)), space.num_values
    if base**sites > 2**MAX_BITS:
        raise ValueError(
            f"at most 2^{MAX_BITS} states can be listed, got {base}^{sites}"
        )
    digits = np.arange(base**sites)[:, None] // base ** np.arange(sites) % base
    return space.value(digits).reshape(-1, *shape)


def distribution(energy: Energy, space: Space, shape: tuple[int, ...]) -> np.ndarray:
    """The probabilities of all states of :func:`grid`, ``[K^N]``, in double
    precision."""
    states, of_chunk = grid(space, shape), jax.jit(jax.vmap(energy))
    parts = [states[i : i + CHUNK] for i in range(0, len(states), CHUNK)]
    values = -np.concatenate([np.asarray(of_chunk(p), np.float64) for p in parts])
    weights = np.exp(values - values.max())
    return weights / weights.sum()


def energies(energy: Energy, num_bits: int) -> np.ndarray:
    """The energy of every state, ``[2^N]``, in double precision from here on."""
    of_chunk = jax.jit(jax.vmap(lambda k: energy(_bits(k, num_bits))))
    return np.concatenate(
        [np.asarray(of_chunk(k), np.float64) for k in _chunks(num_bits)]
    )


def log_z(energy: Energy, num_bits: int) -> float:
    """log sum_x exp(-energy(x)).

    Raises:
      ValueError: more than 24 bits.

    >>> round(log_z(lambda x: 0.0 * jnp.sum(x), 10) / float(jnp.log(2.0)), 5)
    10.0
    """
    values = -energies(energy, num_bits)
    return float(values.max() + np.log(np.exp(values - values.max()).sum()))


def probabilities(energy: Energy, num_bits: int) -> np.ndarray:
    """Of every state, ``[2^N]``."""
    values = -energies(energy, num_bits)
    weights = np.exp(values - values.max())
    return weights / weights.sum()


def log_likelihood(energy: Energy, x: Any) -> float:
    """Mean over points ``[B, N]`` of bits, in nat."""
    of_data = np.asarray(jax.jit(jax.vmap(energy))(jnp.asarray(x)), np.float64)
    return float(-of_data.mean() - log_z(energy, x.shape[1]))


def mean_gradient(
    energy: Callable[[Any, Array], Array], params: Any, num_bits: int
) -> Any:
    """sum_x p(x) grad E(x) with respect to the parameters, which is -grad log Z; of
    ``energy(params, x)``."""
    weights = probabilities(partial(energy, params), num_bits)

    @jax.jit
    def of_chunk(k, w):
        return jax.grad(
            lambda p: jnp.sum(w * jax.vmap(lambda k: energy(p, _bits(k, num_bits)))(k))
        )(params)

    total = jax.tree.map(lambda p: np.zeros(np.shape(p)), params)
    for k in _chunks(num_bits):
        part = of_chunk(k, jnp.asarray(weights[np.asarray(k)]))
        total = jax.tree.map(lambda t, g: t + np.asarray(g, np.float64), total, part)
    return total


def sampler(energy: Energy, num_bits: int) -> Callable[[Key, int], Array]:
    """Exact draws, ``(key, n) -> [n, N]``: first the upper half of the bits, then
    the lower half given that, for float32 tells no more than 2^23 numbers apart."""
    mass = probabilities(energy, num_bits).reshape(2 ** (num_bits // 2), -1)
    cumulated = np.cumsum(mass.sum(axis=1)), np.cumsum(mass, axis=1)
    upper, lower = (
        jnp.asarray(x / np.maximum(x[..., -1:], 1e-300), jnp.float32) for x in cumulated
    )

    def place(cumulative, u):
        return jnp.minimum(
            jnp.searchsorted(cumulative, u, side="right"), len(cumulative) - 1
        )

    def sample(key, n):
        u, v = jax.random.uniform(key, (2, n))
        first = place(upper, u)
        second = jax.vmap(lambda i, v: place(lower[i], v))(first, v)
        return _bits(first * lower.shape[1] + second, num_bits)

    return sample


def _bits(k, num_bits):
    return ((k[..., None] >> jnp.arange(num_bits)) & 1).astype(jnp.float32)


def _chunks(num_bits) -> Iterator[Array]:
    _check(num_bits)
    size = min(CHUNK, 2**num_bits)
    for first in range(0, 2**num_bits, size):
        yield first + jnp.arange(size)


def _check(num_bits) -> None:
    if checks.count(num_bits, "num_bits") > MAX_BITS:
        raise ValueError(
            f"num_bits must be at most {MAX_BITS}, got {num_bits}: 2^{num_bits} states"
        )
