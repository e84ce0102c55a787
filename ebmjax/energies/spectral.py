"""Spectral normalisation (Miyato et al. 2018): each weight divided by its largest
singular value.

Power iterations start at a fixed vector in each call, so that it is a function of the
weights alone.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


def spectral(
    module: type[nn.Module], num_iterations: int = 8
) -> Callable[..., nn.Module]:
    """The same layer, its kernel divided by its largest singular value."""

    def normalise(variables):
        def one(w):
            return (
                w / jnp.maximum(largest_singular_value(w, num_iterations), 1e-12)
                if w.ndim > 1
                else w
            )

        return jax.tree.map(one, variables)

    return nn.map_variables(module, "params", trans_in_fn=normalise, init=True)


def largest_singular_value(weight: jax.Array, num_iterations: int = 8) -> jax.Array:
    """By power iterations from the row of ones; its vectors are not differentiated."""
    matrix = weight.reshape(-1, weight.shape[-1])

    def iterate(_, v):
        v = matrix.T @ (matrix @ v)
        return v / (jnp.linalg.norm(v) + 1e-12)

    start = jnp.ones(matrix.shape[1], matrix.dtype)
    v = jax.lax.stop_gradient(jax.lax.fori_loop(0, num_iterations, iterate, start))
    u = jax.lax.stop_gradient(matrix @ v)
    return jnp.vdot(u / (jnp.linalg.norm(u) + 1e-12), matrix @ v)
