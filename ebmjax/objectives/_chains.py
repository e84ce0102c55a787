"""What objectives with chains share: the states at which an update begins, its metrics,
the step size after it, and chains that end at an energy that is not finite."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from ebmjax import _validation as checks
from ebmjax.base import Array, Kernel, Position, State
from ebmjax.objectives.base import Metrics


def begun(kernel: Kernel, position: Any, name: str) -> State:
    """The states of an update.  Raises TypeError for a momentum that is kept from step
    to step: chains store positions, and it would be zero at each update."""
    state = kernel.init(position)
    if state.momentum is not None:
        raise TypeError(
            f"{name} must make a kernel without a momentum that persists, such as mala "
            "or hmc: updates keep positions alone, and the law of the chains would not "
            "be that of the energy"
        )
    return state


def metrics_of(
    data: Array, mean_model: Array, acceptance: Array, step_size: Array
) -> Metrics:
    """The metrics of objectives with chains; ``data`` are the energies of a batch,
    ``[B]``."""
    return {
        "energy_data": jnp.mean(data),
        "energy_model": mean_model,
        "energy_spread": jnp.std(data),
        "acceptance_rate": acceptance,
        "step_size": step_size,
    }


def drift_of(state: State, step_size: Array) -> Metrics:
    """eps^2/2 |grad E|, the drift of a Langevin step; empty without a gradient."""
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
    """The step size after an update: log step_size + rate (acceptance - target)."""
    if target is None:
        return step_size
    return jnp.exp(jnp.log(step_size) + rate * (acceptance - target)).astype(
        step_size.dtype
    )


def mark_broken(position: Position, energy: Array) -> tuple[Position, Array]:
    """Chains whose energy is not finite, filled with NaN; and which of them are finite,
    ``[C]``."""
    is_finite = jnp.isfinite(energy)

    def mark(leaf):
        return jnp.where(is_finite.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, jnp.nan)

    return jax.tree.map(mark, position), is_finite


def without_broken(position: Position, is_finite: Array) -> Position:
    """The positions with non-finite ones replaced by a finite one: 0 x NaN is NaN, so a
    weight of zero is not enough."""
    whole = jnp.argmax(is_finite)
    return jax.tree.map(
        lambda x: jnp.where(is_finite.reshape(-1, *[1] * (x.ndim - 1)), x, x[whole]),
        position,
    )
