"""Objectives: ``loss(params, key, batch, chains) -> (loss, (chains, metrics))``.

Maximum likelihood (notes, eq. 6-10).  With E_data the mean over a batch and E_model over chains that have run
under the present parameters,

    loss = E_data[E(x)] - E_model[E(sg x)],      grad loss = -d/dtheta log-likelihood             (eq. 9)

``sg`` stops the gradient: samples do not depend on the parameters here.  The value itself is not a
likelihood, only its gradient means something.  Contrastive divergence (Hinton 2002), persistent chains
(Tieleman 2008), a replay buffer (Du & Mordatch 2019) and short runs (Nijkamp et al. 2019) are this one
function: they differ in the ``chains`` that come in (:mod:`ebmjax.training.chain_init`).

An unbounded energy can fall without end; ``regularisation`` adds  lambda (E_data[E^2] + E_model[E^2])  (Du &
Mordatch 2019, eq. 4), which fixes the free constant and bounds the scale.  It biases the gradient by its own.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ebmjax import _validation as checks
from ebmjax.base import Array, Energy, Kernel, Key, Position, State, scalar
from ebmjax.energies.transforms import temper
from ebmjax.kernels.combinators import parallel
from ebmjax.sampling.loop import chain_keys, discard, run

Params = Any
Metrics = dict[str, Array]
Mean = Callable[[Array], Array]  # of the energies of a batch, or of all chains
Loss = Callable[[Params, Key, Position, Any], tuple[Array, tuple[Any, Metrics]]]


class Chains(NamedTuple):
    """What is carried from update to update: positions, never energies, and the length of a step."""

    position: Position  # [C, ...]
    step_size: Array  # []


def maximum_likelihood(
    energy: Callable[[Params, Position], Array],
    make_kernel: Callable[[Energy, Array], Kernel],
    num_steps: int,
    *,
    regularisation: float = 0.0,
    temperature: float | Array = 1.0,
    acceptance_target: float | None = None,
    adaptation_rate: float = 0.05,
    means: Callable[[Any, Any, Array], tuple[Mean, Mean]] | None = None,
) -> Loss:
    """Maximum likelihood with Markov chains, E_data[E] - E_model[E].

    Args:
      energy: ``energy(params, x)`` of one point.
      make_kernel: from an energy and a step size to a kernel, ``mala``.
      num_steps: of each chain in an update, K.
      regularisation: lambda, of the squared energies.
      temperature: T of the chains, which run on E / T; the density that is learned is exp(-E / T), and
        ``temper(energy, T)`` is minus its logarithm.
      acceptance_target: moves log step_size by ``adaptation_rate (acceptance - target)`` an update (Robbins &
        Monro 1951): the energy sharpens as it trains, and the step must follow.  ``None`` keeps the step.
      adaptation_rate: of that.
      means: from the batch, the chains and which of them are finite to the two means, E_data and E_model;
        :func:`overall` by default.

    Returns:
      The loss.  Chains that end where the energy is not finite do not count in it and come back as NaN, for
      the loop to restart; where none is left, the loss is NaN.  Metrics: the two mean energies, their spread,
      the acceptance rate.

    >>> loss = maximum_likelihood(network.apply, mala, 40, regularisation=0.1)  # doctest: +SKIP
    """
    energy = scalar(energy)
    checks.function(make_kernel, "make_kernel")
    checks.count(num_steps, "num_steps")
    checks.positive(regularisation, "regularisation", zero=True)
    checks.positive(temperature, "temperature")
    check_adaptation(acceptance_target, adaptation_rate)
    means = means or overall

    def loss(params, key, batch, chains):
        _check_same_points(batch, chains.position)
        fixed = functools.partial(energy, jax.lax.stop_gradient(params))
        kernel = parallel(make_kernel(temper(fixed, temperature), chains.step_size))
        keys = chain_keys(key, checks.num_chains(chains.position))
        state, _, info = run(
            keys, kernel, kernel.init(chains.position), num_steps, collect=discard
        )
        samples, is_finite = mark_broken(state.position, state.energy)

        of_params = jax.vmap(functools.partial(energy, params))
        data = of_params(batch)
        model = of_params(without_broken(state.position, is_finite))
        of_data, of_model = means(batch, state.position, is_finite)
        value = of_data(data) - of_model(model)
        if not isinstance(regularisation, float) or regularisation > 0:
            value += regularisation * (of_data(data**2) + of_model(model**2))

        acceptance = jnp.mean(info.acceptance_rate)
        metrics = metrics_of(data, of_model(model), acceptance, chains.step_size)
        metrics["temperature"] = jnp.float32(temperature)
        metrics |= drift_of(state, chains.step_size)
        step_size = adapted(
            chains.step_size, acceptance, acceptance_target, adaptation_rate
        )
        return value, (jax.lax.stop_gradient(Chains(samples, step_size)), metrics)

    return loss


def metrics_of(
    data: Array, mean_model: Array, acceptance: Array, step_size: Array
) -> Metrics:
    """What the objectives with chains tell of themselves; ``data`` are the energies of a batch, ``[B]``."""
    return {
        "energy_data": jnp.mean(data),
        "energy_model": mean_model,
        "energy_spread": jnp.std(data),
        "acceptance_rate": acceptance,
        "step_size": step_size,
    }


def overall(batch: Any, chains: Any, is_finite: Array) -> tuple[Mean, Mean]:
    """The plain means over a batch and over the chains that are finite; NaN where none is, so that the update
    is skipped."""
    num = jnp.sum(is_finite)
    return jnp.mean, lambda values: jnp.sum(jnp.where(is_finite, values, 0.0)) / num


def drift_of(state: State, step_size: Array) -> Metrics:
    """eps^2/2 |grad E|, what a Langevin step drifts by; nothing where no gradient is kept."""
    if state.grad is None:
        return {}
    return {
        "drift": 0.5 * step_size**2 * jnp.nanmean(jax.vmap(optax.tree.norm)(state.grad))
    }


def check_adaptation(target: float | None, rate: float) -> None:
    """Raise unless the target lies in (0, 1) and the rate is not negative."""
    checks.positive(rate, "adaptation_rate", zero=True)
    if target is not None:
        checks.between(target, "acceptance_target")


def adapted(
    step_size: Array, acceptance: Array, target: float | None, rate: float
) -> Array:
    """The step after an update: its logarithm moves by ``rate (acceptance - target)``."""
    if target is None:
        return step_size
    return jnp.exp(jnp.log(step_size) + rate * (acceptance - target)).astype(
        step_size.dtype
    )


def _check_same_points(batch, chains):
    points = [jax.tree.map(lambda x: x.shape[1:], tree) for tree in (batch, chains)]
    if points[0] != points[1]:
        raise ValueError(
            f"chains must be points like the data, of shape {points[0]}, got {points[1]}"
        )


def mark_broken(position: Position, energy: Array) -> tuple[Position, Array]:
    """Chains whose energy is not finite, filled with NaN; and which of them are finite, ``[C]``."""
    is_finite = jnp.isfinite(energy)

    def mark(leaf):
        return jnp.where(is_finite.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, jnp.nan)

    return jax.tree.map(mark, position), is_finite


def without_broken(position: Position, is_finite: Array) -> Position:
    """Broken chains in the place of a whole one: 0 x NaN is NaN, so a weight of zero is not enough."""
    whole = jnp.argmax(is_finite)
    return jax.tree.map(
        lambda x: jnp.where(is_finite.reshape(-1, *[1] * (x.ndim - 1)), x, x[whole]),
        position,
    )
