"""Diffusion recovery likelihood (Gao, Song, Poole, Wu & Kingma 2021).

The model is the density of a point y given a noisier copy, z = y + tau xi,

    p(y | z)  ~  exp( -E(y) - |y - z|^2 / (2 tau^2) ),

which for small tau is nearly a normal around z, so that short chains from z converge.
Minus its mean log-likelihood has the gradient of

    loss = E[E(y)] - E[E(sg y')],      y' ~ p(. | z),

and has the optimum of p(y).  For levels of noise sigma_1 > ... > sigma_L one
network ``energy(params, x, noise)`` learns the data with each noise but the largest: y
has sigma_i and z sigma_{i-1}, tau^2 = sigma_{i-1}^2 - sigma_i^2.  (The paper also
shrinks the points as the noise grows, a change of units.)

Sampling starts from draws as wide as data with noise sigma_1 and runs a chain on
p(y | z) at each level in turn.

On an energy of precision a around m, p(y | z) is normal, of precision P = a + 1 / tau^2
and mean c = (a m + z / tau^2) / P; k Langevin steps of size h from z end with mean
c + A^k (z - c) and variance h^2 (1 - A^2k) / (1 - A^2),  A = 1 - h^2 P / 2.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import Value, function, number, static, value
from ebmjax.base import (
    Array,
    Energy,
    Key,
    Position,
    axpy,
    half_square,
    normal_like,
    scalar,
)
from ebmjax.objectives._chains import (
    adapted,
    begun,
    check_adaptation,
    mark_broken,
    metrics_of,
    without_broken,
)
from ebmjax.objectives.base import Chains, MakeKernel, Objective, Params, means_of
from ebmjax.sampling.collect import discard
from ebmjax.sampling.loop import chain_keys, run
from ebmjax.tempering.annealed_langevin import check_falls, descend


@value
class Recovery(Objective):
    """Made by :func:`recovery`."""

    energy: Callable[[Params, Position, Array], Array] = function()
    make_kernel: MakeKernel = function()
    levels: Array = number()
    num_steps: int = static()
    acceptance_target: Any = number(default=None)
    adaptation_rate: Any = number(default=0.05)
    adds_noise = True  # its chains restart in each update: uses_chains is false

    def check(self):
        num_steps = checks.count(self.num_steps, "num_steps")
        object.__setattr__(self, "num_steps", num_steps)
        check_adaptation(self.acceptance_target, self.adaptation_rate)
        check_falls(self.levels, least=2)
        levels = jnp.asarray(self.levels, jnp.float32)
        object.__setattr__(self, "levels", levels)

    def of_point(self, params, step_size, key, x):
        """A point y, its noise, and the state and info of a chain on p(. | z)."""
        energy = scalar(self.energy)
        lower, upper = self.levels[1:], self.levels[:-1]
        key_level, key_clean, key_noisy, key_run = jax.random.split(key, 4)
        i = jax.random.randint(key_level, (), 0, len(lower))
        tau = jnp.sqrt(upper[i] ** 2 - lower[i] ** 2)
        y = axpy(lower[i], normal_like(key_clean, x), x)
        z = axpy(tau, normal_like(key_noisy, x), y)
        fixed = jax.lax.stop_gradient(params)
        given_z = posterior(partial(_at_noise, energy, fixed, lower[i]), z, tau)
        kernel = self.make_kernel(given_z, step_size * tau)
        start = begun(kernel, z, "make_kernel")
        end, _, info = run(key_run, kernel, start, self.num_steps, collect=discard)
        return y, lower[i], end, info

    def loss(self, params, key, batch, chains):
        keys = chain_keys(key, checks.num_chains(batch, "batch"))
        of_point = partial(self.of_point, params, chains.step_size)
        y, noise, state, info = jax.vmap(of_point)(keys, batch)
        _, is_finite = mark_broken(state.position, state.energy)
        of_params = jax.vmap(partial(scalar(self.energy), params))
        data = of_params(y, noise)
        model = of_params(without_broken(state.position, is_finite), noise)
        # NaN if no finite chain is left: the update is skipped
        value = means_of(data - model, is_finite)

        acceptance, step_size = jnp.mean(info.acceptance_rate), chains.step_size
        metrics = metrics_of(data, jnp.mean(data) - value, acceptance, step_size)
        # chains restart in any case
        metrics["num_broken"] = jnp.sum(~is_finite, dtype=jnp.int32)
        step_size = adapted(
            step_size, acceptance, self.acceptance_target, self.adaptation_rate
        )
        after = jax.lax.stop_gradient(Chains(chains.position, step_size))
        return value, (after, metrics)


def recovery(
    energy: Callable[[Params, Position, Array], Array],
    make_kernel: MakeKernel,
    levels: Any,
    num_steps: int,
    *,
    acceptance_target: Any = None,
    adaptation_rate: Any = 0.05,
) -> Objective:
    """Recovery likelihood for levels of noise; each point of a batch gets a random
    level.

    Args:
      energy: ``energy(params, x, noise)`` of one point and a level.
      make_kernel: from an energy and a step size to a kernel, ``mala``.
      levels: of noise ``[L]``, falling, at least two;
        :func:`ebmjax.tempering.annealed_langevin.noise_levels`.
      num_steps: of each chain.
      acceptance_target, adaptation_rate: as of :func:`ebmjax.maximum_likelihood`.

    ``chains.step_size`` is relative to tau; chains restart in each update, and
    ``chains.position`` is returned unchanged.

    Raises:
      ValueError: levels that are not positive and falling, or fewer than two; an
        acceptance target outside (0, 1).

    >>> recovery(network.apply, mala, noise_levels(x, 0.2), 10)  # doctest: +SKIP
    """
    return Recovery(
        energy, make_kernel, levels, num_steps, acceptance_target, adaptation_rate
    )


def _at_noise(energy, params, noise, y):
    return energy(params, y, noise)


def sample_recovery(
    key: Key,
    energy: Callable[[Position, Array], Array],
    positions: Position,
    levels: Any,
    make_kernel: MakeKernel,
    step_size: Any,
    num_steps: int,
) -> Position:
    """Chains ``[C, ...]`` from data with the largest noise down to data with the
    smallest; pure.

    Args:
      key: one key.
      energy: ``energy(x, noise)`` of one point and a level.
      positions: draws as wide as data with noise ``levels[0]``.
      levels: those of training.
      make_kernel: from an energy and a step size to a kernel.
      step_size: of the chains at each level, relative to tau.
      num_steps: of the chains at each level.

    Raises:
      ValueError: levels that are not positive and falling, or fewer than two; a step
        size or a number of steps that is not positive.
    """
    key = checks.key(key)
    energy = scalar(energy)
    checks.positive(step_size, "step_size")
    checks.count(num_steps, "num_steps")
    lower, upper = rungs(levels)

    def kernel_of(i, z):
        tau = jnp.sqrt(upper[i] ** 2 - lower[i] ** 2)
        given_z = posterior(lambda y: energy(y, lower[i]), z, tau)
        return make_kernel(given_z, step_size * tau)

    return descend(key, positions, kernel_of, len(lower), num_steps)


@value
class Posterior(Value):
    """Made by :func:`posterior`."""

    energy: Energy = function()
    z: Position = number()
    tau: Any = number()

    def __call__(self, y: Position) -> Array:
        scaled = jax.tree.map(lambda a, b: (a - b) / self.tau, y, self.z)
        return self.energy(y) + half_square(scaled)


def posterior(energy: Energy, z: Position, tau: Any) -> Energy:
    """E(y) + |y - z|^2 / (2 tau^2), the energy of y given z."""
    return Posterior(energy, z, tau)


def rungs(levels: Any) -> tuple[Array, Array]:
    """The lower and the upper noise of each pair of neighbouring levels,
    ``[L - 1]``."""
    check_falls(levels, least=2)
    levels = jnp.asarray(levels, jnp.float32)
    return levels[1:], levels[:-1]
