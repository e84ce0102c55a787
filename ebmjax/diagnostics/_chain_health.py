"""Checks of chains that work inside ``jit``.

stuck         chains that never moved
copies        chains that repeat another, bit for bit
divergences   steps whose error of H is above 1000 nats or NaN.  An infinite error
              without a NaN is a hard boundary of the support, not a divergence
bfmi          sum_t (H_t - H_t-1)^2 / sum_t (H_t - mean)^2 of a chain,
              H_t = E + kinetic energy where step t begins; where it is small, momenta
              change H too little to reach the tails (Betancourt 2016,
              arXiv:1604.00695)
"""

import jax
import jax.numpy as jnp

from ebmjax.base import Array, Info, Position
from ebmjax.diagnostics._sampler_issues import DIVERGENT


def stuck(draws: Position) -> Array:
    """Which chains never moved, ``[C]``, of draws ``[T, C, ...]`` on every leaf."""
    moved = []
    for x in jax.tree.leaves(draws):
        axes = tuple(i for i in range(x.ndim) if i != 1)
        moved.append(jnp.any(x != x[:1], axis=axes))
    return ~jnp.any(jnp.stack(moved), axis=0)


def copies(draws: Position) -> Array:
    """Which chains repeat an earlier one bit for bit, ``[C]``, of draws
    ``[T, C, ...]``.

    Chains are compared by two sums of their bits modulo 2^32 with random odd weights.
    """
    prints = [jnp.uint32(0)] * 2
    for i, leaf in enumerate(jax.tree.leaves(draws)):
        wide = leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
        # float64 has two words, on a last axis
        bits = jax.lax.bitcast_convert_type(wide, jnp.uint32)
        for j in range(2):
            key = jax.random.fold_in(jax.random.key(2 * i + j), 0)
            weights = jax.random.bits(key, (len(bits), 1, *bits.shape[2:])) | 1
            axes = (0, *range(2, bits.ndim))
            prints[j] = prints[j] + jnp.sum(bits * weights, axis=axes, dtype=jnp.uint32)
    order = jnp.lexsort((jnp.arange(len(prints[0])), *prints))
    a, b = (p[order] for p in prints)
    is_same = (a[1:] == a[:-1]) & (b[1:] == b[:-1])
    return jnp.zeros(len(order), bool).at[order[1:]].set(is_same)


def divergences(info: Info) -> Array:
    """Steps of each chain that diverged, ``[C]``, of infos ``[T, C]``."""
    return jnp.sum(is_divergent(info), axis=0)


def is_divergent(info: Info) -> Array:
    """Whether each step diverged: an error above 1000 nats or NaN, no hard boundary."""
    is_wall = (info.energy_error == jnp.inf) & (info.num_nonfinite == 0)
    return ~(info.energy_error <= DIVERGENT) & ~is_wall


def bfmi(hamiltonian: Array) -> Array:
    """E-BFMI of each chain, ``[C]``, from ``Info.hamiltonian`` ``[T, C]``; below 0.3 is
    poor."""
    centred = hamiltonian - hamiltonian.mean(axis=0)  # less rounding in differences
    changes = jnp.sum(jnp.diff(centred, axis=0) ** 2, axis=0)
    return changes / jnp.sum(centred**2, axis=0)
