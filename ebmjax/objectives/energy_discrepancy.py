"""Energy discrepancy (Schroeder, Ou, Lim, Li, Vollmer & Duncan 2023): no chains and no gradients in x.

With t the time of a diffusion, ``noise`` = sqrt(t), and the energy seen through its noise,

    E_t(y) = -log int N(x - y; t I) exp(-E(x)) dx       (the contrastive potential),
    ED = E_data[E(x)] - E_data[E_t(x + sqrt(t) xi)],

which is least where exp(-E) is the data's density, up to its constant.  As t -> 0, ED / t becomes score
matching; as t -> infinity, ED becomes maximum likelihood.  The integral is by M draws about the same noisy
point, and w keeps the logarithm from falling where they are few:

    loss = E log( w / M + 1/M sum_j exp(E(x) - E(x + sqrt(t) xi + sqrt(t) xi_j)) ).

On a Gaussian energy of precision a about 0, E_t(y) = a y^2 / (2 (1 + t a)) + log(1 + t a) / 2, a coordinate.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax.base import Array, Position, axpy, normal_like, scalar
from ebmjax.objectives.likelihood import Loss, Params


def energy_discrepancy(
    energy: Callable[[Params, Position], Array],
    noise: float,
    num_draws: int = 16,
    *,
    stabiliser: float = 1.0,
) -> Loss:
    """Energy discrepancy with Gaussian noise of standard deviation ``noise``.

    Args:
      energy: ``energy(params, x)`` of one point.
      noise: sqrt(t), in units of the data.
      num_draws: M, for each data point.
      stabiliser: w.  The logarithm of a mean of M is low, by O(1/M), and w / M makes up for it: with w = 1
        and 16 draws the precision of a normal in two dimensions is right, with w = 0 and 32 draws 5 % high.

    Raises:
      ValueError: a noise that is not positive, a negative stabiliser, a number that is not a positive count.
    """
    energy = scalar(energy)
    checks.positive(noise, "noise")
    checks.count(num_draws, "num_draws")
    checks.positive(stabiliser, "stabiliser", zero=True)

    def of_point(params, key, x):
        key_out, key_back = jax.random.split(key)
        noisy = axpy(noise, normal_like(key_out, x), x)
        rivals = jax.vmap(lambda k: axpy(noise, normal_like(k, x), noisy))(
            jax.random.split(key_back, num_draws)
        )
        gaps = energy(params, x) - jax.vmap(partial(energy, params))(rivals)
        floor = jnp.log(
            jnp.asarray(stabiliser, gaps.dtype)
        )  # w = 0: minus infinity, which adds nothing
        return jax.nn.logsumexp(jnp.append(gaps, floor)) - jnp.log(num_draws)

    def loss(params, key, batch, chains):
        keys = jax.random.split(key, checks.num_chains(batch, "batch"))
        values = jax.vmap(partial(of_point, params))(keys, batch)
        return jnp.mean(values), (chains, {"loss_spread": jnp.std(values)})

    return loss
