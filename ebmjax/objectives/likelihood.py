"""Maximum likelihood with Markov chains (notes, eq. 6-10).

With E_data the mean over a batch and E_model the mean over chains that have run with
the present parameters,

    loss = E_data[E(x)] - E_model[E(sg x)],
    grad loss = -d/dtheta log-likelihood                                        (eq. 9)

``sg`` stops the gradient: samples do not depend on the parameters here.  The value of
the loss is not a likelihood; only its gradient has a meaning.  Contrastive divergence
(Hinton 2002), persistent chains (Tieleman 2008), a replay buffer (Du & Mordatch 2019)
and short runs (Nijkamp et al. 2019) are this objective with different initial
``chains`` (:mod:`ebmjax.training.chain_init`).

Chains that stay in their mode do not determine the weights of the modes, and do not
find a low energy far from where they are.  ``make_global_kernel`` adds moves to any
distance, in alternation with the local ones (Gabrie, Rotskoff & Vanden-Eijnden 2022);
in few coordinates :func:`~ebmjax.objectives.global_moves.independent_moves` is enough.

An unbounded energy can fall without end; ``regularisation`` adds
lambda (E_data[E^2] + E_model[E^2])  (Du & Mordatch 2019, eq. 4), which fixes the free
constant and bounds the scale, but biases the gradient.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import function, number, static, value
from ebmjax.base import Array, Energy, Kernel, State, scalar
from ebmjax.energies.transforms import temper
from ebmjax.kernels.chains import parallel
from ebmjax.objectives._chains import (
    adapted,
    begun,
    check_adaptation,
    drift_of,
    mark_broken,
    metrics_of,
    without_broken,
)
from ebmjax.objectives.base import (
    Chains,
    Loss,
    MakeKernel,
    Metrics,
    Objective,
    Params,
    TrainableEnergy,
    means_of,
    optional,
)
from ebmjax.sampling.collect import discard
from ebmjax.sampling.loop import chain_keys, run

__all__ = ["Chains", "Loss", "Metrics", "Params", "maximum_likelihood"]

HERE = "this library or from_blackjax"
Mean = Callable[[Array], Array]  # of the energies of a batch, or of all chains


@value
class MaximumLikelihood(Objective):
    """Made by :func:`maximum_likelihood`."""

    energy: TrainableEnergy = function()
    make_kernel: MakeKernel = function()
    num_steps: int = static()
    regularisation: Any = number(default=None)
    temperature: Any = number(default=1.0)
    acceptance_target: Any = number(default=None)
    adaptation_rate: Any = number(default=0.05)
    means: Any = function(default=None)
    make_global_kernel: Any = function(default=None)
    num_global_steps: int | None = static(default=None)
    uses_chains = True

    def check(self):
        steps = checks.count(self.num_steps, "num_steps")
        object.__setattr__(self, "num_steps", steps)
        if self.regularisation is not None:
            checks.positive(self.regularisation, "regularisation", zero=True)
        checks.positive(self.temperature, "temperature")
        if self.num_global_steps is not None:
            steps = checks.count(self.num_global_steps, "num_global_steps")
            object.__setattr__(self, "num_global_steps", steps)
            if self.make_global_kernel is None:
                raise ValueError(
                    "num_global_steps needs make_global_kernel, which is not given; "
                    f"got {steps}"
                )
        check_adaptation(self.acceptance_target, self.adaptation_rate)

    def points(self, batch):
        """The points of a batch ``[B, ...]``."""
        return batch

    def kernel(self, make, params, batch, chains):
        """The kernel of all chains, under these parameters; ``make(energy)`` is that of
        one."""
        fixed = functools.partial(scalar(self.energy), params)
        return parallel(make(temper(fixed, self.temperature)))

    def make_local(self, step_size, energy):
        kernel = self.make_kernel(energy, step_size)
        return checks.instance(kernel, Kernel, "make_kernel(energy, step_size)", HERE)

    def make_global(self, energy):
        kernel = self.make_global_kernel(energy)
        return checks.instance(kernel, Kernel, "make_global_kernel(energy)", HERE)

    def move(self, params, key, batch, chains):
        """The state of all chains after their steps, and the mean acceptance rates of
        local and of global moves, the latter ``None`` without them."""
        local = functools.partial(self.make_local, chains.step_size)
        kernel = self.kernel(local, params, batch, chains)
        keys = chain_keys(key, checks.num_chains(chains.position))
        state = begun(kernel, chains.position, "make_kernel")
        state, _, info = run(keys, kernel, state, self.num_steps, collect=discard)
        acceptance = jnp.mean(info.acceptance_rate)
        if self.make_global_kernel is None:
            return state, acceptance, None
        kernel = self.kernel(self.make_global, params, batch, chains)
        begin = State(state.position, state.energy)
        if kernel.needs_grad:
            begin = begun(kernel, state.position, "make_global_kernel")
        # the keys go on from the local steps
        moved, _, info = run(
            keys,
            kernel,
            begin,
            self.num_global_steps or 1,
            start=self.num_steps,
            collect=discard,
        )
        moved = state._replace(position=moved.position, energy=moved.energy)
        return moved, acceptance, jnp.mean(info.acceptance_rate)

    def energies(self, params, batch, chains):
        """Of the data and of the chains, ``[B]`` and ``[C]``."""
        of_params = jax.vmap(functools.partial(scalar(self.energy), params))
        return of_params(batch), of_params(chains)

    def loss(self, params, key, batch, chains):
        _check_same_points(self.points(batch), chains.position)
        fixed = jax.lax.stop_gradient(params)
        state, acceptance, of_global = self.move(fixed, key, batch, chains)
        samples, is_finite = mark_broken(state.position, state.energy)

        data, model = self.energies(
            params, batch, without_broken(state.position, is_finite)
        )
        means = overall if self.means is None else self.means
        of_data, of_model = means(batch, state.position, is_finite)
        value = of_data(data) - of_model(model)
        if self.regularisation is not None:
            value += self.regularisation * (of_data(data**2) + of_model(model**2))

        metrics = metrics_of(data, of_model(model), acceptance, chains.step_size)
        metrics["temperature"] = jnp.asarray(self.temperature, jnp.float32)
        metrics |= drift_of(state, chains.step_size)
        if of_global is not None:
            metrics["global_acceptance_rate"] = of_global
        step_size = adapted(
            chains.step_size, acceptance, self.acceptance_target, self.adaptation_rate
        )
        after = jax.lax.stop_gradient(Chains(samples, step_size))
        return value, (after, metrics)


def maximum_likelihood(
    energy: TrainableEnergy,
    make_kernel: MakeKernel,
    num_steps: int,
    *,
    regularisation: Any = 0.0,
    temperature: Any = 1.0,
    acceptance_target: Any = None,
    adaptation_rate: Any = 0.05,
    means: Callable[[Any, Any, Array], tuple[Mean, Mean]] | None = None,
    make_global_kernel: Callable[[Energy], Kernel] | None = None,
    num_global_steps: int | None = None,
) -> Objective:
    """Maximum likelihood with Markov chains, E_data[E] - E_model[E].

    Args:
      energy: ``energy(params, x)`` of one point.
      make_kernel: from an energy and a step size to a kernel, ``mala``.
      num_steps: of each chain in an update, K.
      regularisation: lambda, of the squared energies.
      temperature: T of the chains, which run on E / T; the density that is learned is
        exp(-E / T), and ``temper(energy, T)`` is minus its logarithm.
      acceptance_target: moves log step_size by
        ``adaptation_rate (acceptance - target)`` an update (Robbins & Monro 1951): the
        energy sharpens as it trains, and the step must follow.  ``None`` keeps the
        step.
      adaptation_rate: of that.
      means: from the batch, the chains and which of them are finite to the two means,
        E_data and E_model; :func:`overall` by default.
      make_global_kernel: from an energy to a kernel that moves chains between modes,
        :func:`independent_moves`; must leave exp(-energy) invariant.
      num_global_steps: of that kernel in an update, after the others; 1 by default.

    Returns:
      The objective.  Chains that end at a non-finite energy are excluded from the loss
      and returned as NaN, for the loop to restart; if none is left, the loss is NaN.
      Metrics: the two mean energies, their spread, the acceptance rates.

    >>> objective = maximum_likelihood(network.apply, mala, 40)  # doctest: +SKIP
    """
    return MaximumLikelihood(
        energy,
        make_kernel,
        num_steps,
        optional(regularisation),
        temperature,
        acceptance_target,
        adaptation_rate,
        means,
        make_global_kernel,
        num_global_steps,
    )


def overall(batch: Any, chains: Any, is_finite: Array) -> tuple[Mean, Mean]:
    """The means over a batch and over the finite chains; NaN if there is none, so that
    the update is skipped."""
    return jnp.mean, lambda values: means_of(values, is_finite)


def _check_same_points(batch, chains):
    points = [jax.tree.map(lambda x: x.shape[1:], tree) for tree in (batch, chains)]
    if points[0] != points[1]:
        raise ValueError(
            f"chains must be points like the data, of shape {points[0]}, got "
            f"{points[1]}"
        )
