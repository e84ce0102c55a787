"""Diffusion recovery likelihood (Gao, Song, Poole, Wu & Kingma 2021).

In place of the density of points, that of a point y given a noisier copy of it, z = y + tau xi,

    p(y | z)  ~  exp( -E(y) - |y - z|^2 / (2 tau^2) ),

which for small tau is nearly a normal around z, so that short chains from z reach it.  Minus its mean
log-likelihood has the gradient of

    loss = E[E(y)] - E[E(sg y')],      y' ~ p(. | z),

and is least where that of p(y) is.  Over a ladder of noise sigma_1 > ... > sigma_L one network
``energy(params, x, noise)`` learns the data with each noise but the largest: y has sigma_i and z sigma_{i-1},
tau^2 = sigma_{i-1}^2 - sigma_i^2.  (The paper also shrinks the points as the noise grows, a change of units.)

Sampling goes down the ladder: from draws as wide as data with sigma_1, a chain on p(y | z) at each level.

On an energy of precision a around m, p(y | z) is normal, of precision P = a + 1 / tau^2 and mean
c = (a m + z / tau^2) / P; k Langevin steps of size h from z end with mean c + A^k (z - c) and variance
h^2 (1 - A^2k) / (1 - A^2),  A = 1 - h^2 P / 2.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax.base import (
    Array,
    Energy,
    Kernel,
    Key,
    Position,
    axpy,
    half_square,
    normal_like,
    scalar,
)
from ebmjax.objectives.likelihood import (
    Chains,
    Loss,
    Params,
    adapted,
    check_adaptation,
    mark_broken,
    metrics_of,
    without_broken,
)
from ebmjax.sampling.loop import chain_keys, discard, run
from ebmjax.tempering.annealed_langevin import check_falls, descend

MakeKernel = Callable[[Energy, Array], Kernel]


def recovery(
    energy: Callable[[Params, Position, Array], Array],
    make_kernel: MakeKernel,
    levels: Any,
    num_steps: int,
    *,
    acceptance_target: float | None = None,
    adaptation_rate: float = 0.05,
) -> Loss:
    """Recovery likelihood over a ladder of noise; each point of a batch gets a level at random.

    Args:
      energy: ``energy(params, x, noise)`` of one point.
      make_kernel: from an energy and a step size to a kernel, ``mala``.
      levels: of noise ``[L]``, falling, at least two; :func:`ebmjax.tempering.annealed_langevin.noise_levels`.
      num_steps: of each chain.
      acceptance_target, adaptation_rate: as of :func:`ebmjax.contrastive`.

    ``chains.step_size`` is relative to tau; chains start anew, and ``chains.position`` is handed back.

    Raises:
      ValueError: levels that are not positive and falling, or fewer than two.
    """
    energy = scalar(energy)
    checks.function(make_kernel, "make_kernel")
    checks.count(num_steps, "num_steps")
    check_adaptation(acceptance_target, adaptation_rate)
    lower, upper = rungs(levels)

    def of_point(params, step_size, key, x):
        key_level, key_clean, key_noisy, key_run = jax.random.split(key, 4)
        i = jax.random.randint(key_level, (), 0, len(lower))
        tau = jnp.sqrt(upper[i] ** 2 - lower[i] ** 2)
        y = axpy(lower[i], normal_like(key_clean, x), x)
        z = axpy(tau, normal_like(key_noisy, x), y)
        given_z = posterior(
            lambda y: energy(jax.lax.stop_gradient(params), y, lower[i]), z, tau
        )
        kernel = make_kernel(given_z, step_size * tau)
        state, _, info = run(
            key_run, kernel, kernel.init(z), num_steps, collect=discard
        )
        return y, lower[i], state, info

    def loss(params, key, batch, chains):
        keys = chain_keys(key, checks.num_chains(batch, "batch"))
        y, noise, state, info = jax.vmap(partial(of_point, params, chains.step_size))(
            keys, batch
        )
        _, is_finite = mark_broken(state.position, state.energy)
        of_params = jax.vmap(partial(energy, params))
        data = of_params(y, noise)
        gap = jnp.where(
            is_finite,
            data - of_params(without_broken(state.position, is_finite), noise),
            0.0,
        )
        value = jnp.sum(gap) / jnp.sum(
            is_finite
        )  # NaN where no chain is left: the update is skipped
        acceptance = jnp.mean(info.acceptance_rate)
        metrics = metrics_of(data, jnp.mean(data) - value, acceptance, chains.step_size)
        metrics["num_broken"] = jnp.sum(
            ~is_finite, dtype=jnp.int32
        )  # they start anew in any case
        step_size = adapted(
            chains.step_size, acceptance, acceptance_target, adaptation_rate
        )
        return value, (
            jax.lax.stop_gradient(Chains(chains.position, step_size)),
            metrics,
        )

    return loss


def sample_recovery(
    key: Key,
    energy: Callable[[Position, Array], Array],
    positions: Position,
    levels: Any,
    make_kernel: MakeKernel,
    step_size: float,
    num_steps: int,
) -> Position:
    """Chains ``[C, ...]`` from data with the largest noise down to data with the smallest; pure.

    Args:
      key: one key.
      energy: ``energy(x, noise)`` of one point.
      positions: draws as wide as data with noise ``levels[0]``.
      levels: those of training.
      make_kernel, step_size, num_steps: of the chains at each level, the step relative to tau.
    """
    key = checks.key(key)
    energy = scalar(energy)
    checks.positive(step_size, "step_size")
    checks.count(num_steps, "num_steps")
    lower, upper = rungs(levels)

    def kernel_of(i, z):
        tau = jnp.sqrt(upper[i] ** 2 - lower[i] ** 2)
        return make_kernel(
            posterior(lambda y: energy(y, lower[i]), z, tau), step_size * tau
        )

    return descend(key, positions, kernel_of, len(lower), num_steps)


def posterior(energy: Energy, z: Position, tau: Any) -> Energy:
    """E(y) + |y - z|^2 / (2 tau^2), the energy of y given z."""
    return lambda y: (
        energy(y) + half_square(jax.tree.map(lambda a, b: (a - b) / tau, y, z))
    )


def rungs(levels: Any) -> tuple[Array, Array]:
    """The lower and the upper noise of each rung of a ladder, ``[L - 1]``."""
    check_falls(levels, least=2)
    levels = jnp.asarray(levels, jnp.float32)
    return levels[1:], levels[:-1]
