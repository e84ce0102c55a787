"""Improved contrastive divergence (Du, Li, Tenenbaum & Mordatch 2021,
arXiv:2012.01316).

The chains depend on the parameters, which plain contrastive divergence ignores.  Two
terms account for that, with x(theta) the end of a chain as a function of the parameters
and sg a stopped gradient:

    loss = E_data[E] - E[E(sg x)]          contrastive divergence
           + E[E_{sg theta}(x(theta))]     samples have low energy
           - w H(x(theta))                 and high entropy

The last two are KL(q_theta | p_{sg theta}), up to log Z: they move the distribution q
of the chains to the model.  If q already equals the model, their gradient is zero, and
the optimum is that of maximum likelihood.

The entropy H is estimated from the distance rho_i of each chain to the nearest other
one (Kozachenko & Leonenko 1987):

    H = psi(C) - psi(1) + log V_D + (D / C) sum_i log rho_i,
                                           V_D the volume of the unit ball.

Its gradient is unbiased but has heavy tails, as 1 / rho has; it needs points of at
least two dimensions.  The gradient passes through the last ``num_through`` steps.  Only
unadjusted kernels are differentiable maps of the parameters: ``ula``.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma

from ebmjax import _validation as checks
from ebmjax._value import function, number, static, value
from ebmjax.base import Array, scalar
from ebmjax.kernels.chains import parallel
from ebmjax.objectives._chains import (
    begun,
    drift_of,
    mark_broken,
    metrics_of,
    without_broken,
)
from ebmjax.objectives.base import (
    Chains,
    MakeKernel,
    Objective,
    TrainableEnergy,
    optional,
)
from ebmjax.sampling.collect import discard
from ebmjax.sampling.loop import chain_keys, run

TINY = 1e-20  # the least squared distance, of two chains at the same point


@value
class ImprovedContrastive(Objective):
    """Made by :func:`improved_contrastive`."""

    energy: TrainableEnergy = function()
    make_kernel: MakeKernel = function()
    num_steps: int = static()
    num_through: int = static(default=1)
    entropy_weight: Any = number(default=1.0)
    sampler_weight: Any = number(default=1.0)
    regularisation: Any = number(default=None)
    uses_chains = True

    def check(self):
        for name in ("num_steps", "num_through"):
            num = checks.count(getattr(self, name), name)
            object.__setattr__(self, name, num)
        if self.num_through > self.num_steps:
            raise ValueError(
                f"num_through must be at most num_steps, {self.num_steps}, got "
                f"{self.num_through}"
            )
        for name in ("entropy_weight", "sampler_weight", "regularisation"):
            if getattr(self, name) is not None:
                checks.positive(getattr(self, name), name, zero=True)

    def loss(self, params, key, batch, chains):
        energy = scalar(self.energy)
        stopped = functools.partial(energy, jax.lax.stop_gradient(params))
        state, acceptance = self.end_of_chains(energy, params, stopped, key, chains)
        fixed = jax.lax.stop_gradient(state)
        samples, is_finite = mark_broken(fixed.position, fixed.energy)
        # NaN if no finite chain is left: the update is skipped
        num = jnp.sum(is_finite).astype(fixed.energy.dtype)
        weight = is_finite.astype(num.dtype) / num

        of_params = jax.vmap(functools.partial(energy, params))
        data = of_params(batch)
        model = of_params(without_broken(fixed.position, is_finite))
        moving = without_broken(state.position, is_finite)
        spread = entropy(moving, is_finite)
        value = jnp.mean(data) - jnp.sum(weight * model)
        if self.sampler_weight is not None:
            of_sampler = jnp.sum(weight * jax.vmap(stopped)(moving))
            if self.entropy_weight is not None:
                of_sampler -= self.entropy_weight * spread
            value += self.sampler_weight * of_sampler
        if self.regularisation is not None:
            squares = jnp.mean(data**2) + jnp.sum(weight * model**2)
            value += self.regularisation * squares

        step_size = chains.step_size
        metrics = metrics_of(data, jnp.sum(weight * model), acceptance, step_size)
        metrics |= {"entropy": spread, **drift_of(fixed, step_size)}
        after = jax.lax.stop_gradient(Chains(samples, step_size))
        return value, (after, metrics)

    def end_of_chains(self, energy, params, stopped, key, chains):
        """The state after all steps, with a gradient through the last, and the mean
        acceptance rate of those."""
        keys = chain_keys(key, checks.num_chains(chains.position))

        def advance(energy, position, num, start=0):
            kernel = parallel(self.make_kernel(energy, chains.step_size))
            state = begun(kernel, position, "make_kernel")
            return run(keys, kernel, state, num, start=start, collect=discard)

        position, first = chains.position, self.num_steps - self.num_through
        if first:
            position = advance(stopped, position, first)[0].position
        moving = functools.partial(energy, params)
        state, _, info = advance(moving, position, self.num_through, first)
        return state, jnp.mean(info.acceptance_rate)


def improved_contrastive(
    energy: TrainableEnergy,
    make_kernel: MakeKernel,
    num_steps: int,
    *,
    num_through: int = 1,
    entropy_weight: Any = 1.0,
    sampler_weight: Any = 1.0,
    regularisation: Any = 0.0,
) -> Objective:
    """Contrastive divergence with a gradient through its sampler.

    Args:
      energy: ``energy(params, x)`` of one point.
      make_kernel: from an energy and a step size to an unadjusted kernel, ``ula``.
      num_steps: of each chain in an update.
      num_through: the number of last steps that the gradient passes.
      entropy_weight: w, of the entropy; 1 is the Kullback-Leibler divergence.
      sampler_weight: of the two terms of the sampler together.
      regularisation: of the squared energies.

    Metrics: those of :func:`ebmjax.maximum_likelihood`, and the entropy of the chains.

    Raises:
      ValueError: more steps with a gradient than steps, a negative weight.

    >>> improved_contrastive(lambda params, x: params * jnp.sum(x**2), ula, 8)
    ImprovedContrastive(energy=<lambda>, make_kernel=ula, num_steps=8)
    """
    return ImprovedContrastive(
        energy,
        make_kernel,
        num_steps,
        num_through,
        optional(entropy_weight),
        optional(sampler_weight),
        optional(regularisation),
    )


def entropy(points: Any, is_counted: Array | None = None) -> Array:
    """The entropy in nats of the distribution of points ``[C, ...]``, by nearest
    neighbours; differentiable.

    Args:
      points: a tree of arrays, finite.
      is_counted: ``[C]``, which of them count; all by default.

    Raises:
      ValueError: fewer than two points.
    """
    leaves = jax.tree.leaves(points)
    flat = jnp.concatenate([x.reshape(len(x), -1) for x in leaves], axis=1)
    size, dim = flat.shape
    if size < 2:
        raise ValueError(f"points must be at least two, got {size}")
    is_counted = jnp.ones(size, bool) if is_counted is None else is_counted
    num = jnp.sum(is_counted).astype(flat.dtype)
    gaps = jnp.sum(jnp.square(flat[:, None] - flat[None]), axis=-1)
    is_no_neighbour = jnp.eye(size, dtype=bool) | ~is_counted[None]
    gaps = jnp.where(is_no_neighbour, jnp.inf, jax.lax.stop_gradient(gaps))
    squares = jnp.sum(jnp.square(flat - flat[jnp.argmin(gaps, axis=1)]), axis=1)
    log_distance = 0.5 * jnp.log(jnp.maximum(squares, TINY))
    log_ball = dim / 2 * math.log(math.pi) - math.lgamma(dim / 2 + 1)
    mean = jnp.sum(jnp.where(is_counted, log_distance, 0.0)) / num
    return digamma(num) - digamma(1.0) + log_ball + dim * mean
