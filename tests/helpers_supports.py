"""Energies of constrained values with known answers."""

import jax.numpy as jnp


def lkj_energy(eta, factor):
    """-log of the LKJ density of Cholesky factors ``[K, K]``."""
    size = factor.shape[-1]
    powers = jnp.arange(size - 2, -1, -1) + 2 * eta - 2
    return -jnp.sum(powers * jnp.log(jnp.diag(factor)[1:]))
