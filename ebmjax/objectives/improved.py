"""Improved contrastive divergence (Du, Li, Tenenbaum & Mordatch 2021, arXiv:2012.01316).

The chains depend on the parameters, which plain contrastive divergence ignores.  Two terms for that, with
x(theta) the end of a chain as a function of the parameters and sg a stopped gradient:

    loss = E_data[E] - E[E(sg x)]                contrastive divergence
           + E[E_{sg theta}(x(theta))]           samples go where the energy is low,
           - w H(x(theta))                       and do not all go to the same place,

which are KL(q_theta | p_{sg theta}), up to log Z: they draw the law q of the chains to the model.  Where the
chains have that law already these two have no gradient, and the optimum is that of maximum likelihood.

The entropy H is read off the distance rho_i of each chain to the nearest other one (Kozachenko & Leonenko,
1987):

    H = psi(C) - psi(1) + log V_D + (D / C) sum_i log rho_i,      V_D the volume of the unit ball.

Its gradient is right on average but heavy in the tails, as 1 / rho is: for points of two dimensions or more.
``num_through`` is how many of the last steps the gradient passes.  Only unadjusted kernels are differentiable
maps of the parameters: ``ula``.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma

from ebmjax import _validation as checks
from ebmjax.base import Array, Energy, Kernel, Position, scalar
from ebmjax.kernels.combinators import parallel
from ebmjax.objectives.likelihood import (
    Chains,
    Loss,
    Params,
    drift_of,
    mark_broken,
    metrics_of,
    without_broken,
)
from ebmjax.sampling.loop import chain_keys, discard, run

TINY = 1e-20  # a squared distance: two chains at one point have no nearest neighbour to flee


def improved_contrastive(
    energy: Callable[[Params, Position], Array],
    make_kernel: Callable[[Energy, Array], Kernel],
    num_steps: int,
    *,
    num_through: int = 1,
    entropy_weight: float = 1.0,
    sampler_weight: float = 1.0,
    regularisation: float = 0.0,
) -> Loss:
    """Contrastive divergence with a gradient through its sampler.

    Args:
      energy: ``energy(params, x)`` of one point.
      make_kernel: from an energy and a step size to an unadjusted kernel, ``ula``.
      num_steps: of each chain in an update.
      num_through: of them, the last, that the gradient passes.
      entropy_weight: w, of the entropy; 1 is the Kullback-Leibler divergence.
      sampler_weight: of the two terms together.
      regularisation: of the squared energies.

    Raises:
      ValueError: more steps with a gradient than steps.
    """
    energy = scalar(energy)
    checks.function(make_kernel, "make_kernel")
    if checks.count(num_through, "num_through") > checks.count(num_steps, "num_steps"):
        raise ValueError(
            f"num_through must be at most num_steps, {num_steps}, got {num_through}"
        )
    for name, weight in (
        ("entropy_weight", entropy_weight),
        ("sampler_weight", sampler_weight),
    ):
        checks.positive(weight, name, zero=True)
    checks.positive(regularisation, "regularisation", zero=True)

    def loss(params, key, batch, chains):
        keys = chain_keys(key, checks.num_chains(chains.position))
        stopped = functools.partial(energy, jax.lax.stop_gradient(params))

        def advance(energy, position, num, start=0):
            kernel = parallel(make_kernel(energy, chains.step_size))
            return run(
                keys, kernel, kernel.init(position), num, start=start, collect=discard
            )[::2]

        position, first = chains.position, num_steps - num_through
        if first:
            position = advance(stopped, position, first)[0].position
        state, info = advance(
            functools.partial(energy, params), position, num_through, first
        )

        fixed = jax.lax.stop_gradient(state)
        samples, is_finite = mark_broken(fixed.position, fixed.energy)
        weight = is_finite / jnp.sum(
            is_finite
        )  # NaN where no chain is left: the update is skipped
        of_params = jax.vmap(functools.partial(energy, params))
        data, model = (
            of_params(batch),
            of_params(without_broken(fixed.position, is_finite)),
        )
        moving = without_broken(state.position, is_finite)
        pull = jnp.sum(weight * jax.vmap(stopped)(moving))
        spread = entropy(moving, is_finite)
        value = jnp.mean(data) - jnp.sum(weight * model)
        value += sampler_weight * (pull - entropy_weight * spread)
        value += regularisation * (jnp.mean(data**2) + jnp.sum(weight * model**2))
        acceptance = jnp.mean(info.acceptance_rate)
        metrics = metrics_of(
            data, jnp.sum(weight * model), acceptance, chains.step_size
        )
        metrics |= {"entropy": spread, **drift_of(fixed, chains.step_size)}
        return value, (
            jax.lax.stop_gradient(Chains(samples, chains.step_size)),
            metrics,
        )

    return loss


def entropy(points: Any, is_counted: Array | None = None) -> Array:
    """The entropy in nat of the law of points ``[C, ...]``, by nearest neighbours; differentiable.

    Args:
      points: a tree of arrays, finite.
      is_counted: ``[C]``, which of them belong.
    """
    flat = jnp.concatenate(
        [x.reshape(len(x), -1) for x in jax.tree.leaves(points)], axis=1
    )
    size, dim = flat.shape
    if size < 2:
        raise ValueError(f"points must be at least two, got {size}")
    is_counted = jnp.ones(size, bool) if is_counted is None else is_counted
    num = jnp.sum(is_counted)
    gaps = jnp.sum(jnp.square(flat[:, None] - flat), axis=-1)
    gaps = jnp.where(
        jnp.eye(size, dtype=bool) | ~is_counted, jnp.inf, jax.lax.stop_gradient(gaps)
    )
    squares = jnp.sum(jnp.square(flat - flat[jnp.argmin(gaps, axis=1)]), axis=1)
    log_distance = 0.5 * jnp.log(jnp.maximum(squares, TINY))
    log_ball = dim / 2 * math.log(math.pi) - math.lgamma(dim / 2 + 1)
    mean = jnp.sum(jnp.where(is_counted, log_distance, 0.0)) / num
    return digamma(num.astype(flat.dtype)) - digamma(1.0) + log_ball + dim * mean
