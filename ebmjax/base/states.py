"""States of a chain, and statistics of its steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
Key = jax.Array
Position = Any  # a pytree of floating arrays
Noise = Any  # a pytree
Energy = Callable[[Position], Array]


class State(NamedTuple):
    """The position of a chain, with its energy and gradient."""

    position: Position
    energy: Array  # []
    grad: Position | None = None  # the gradient of the energy at the position
    momentum: Position | None = None  # where it persists from step to step


class Info(NamedTuple):
    """Statistics of one step, or of several (:func:`merge`)."""

    acceptance_rate: Array  # [] probability of acceptance, the mean over steps
    is_accepted: Array  # [] bool, whether the chain moved, in any of the steps
    energy_error: Array  # [] minus the log acceptance ratio, the largest over steps
    # [] int32, proposals whose energy is NaN or -inf, or ratio NaN
    num_nonfinite: Array
    # [] E + kinetic energy where the last step began; 0 without momenta
    hamiltonian: Array = np.float32(0)  # type: ignore[assignment]
    # [] int32, gradients of the energy that the step took
    num_grads: Array = np.int32(0)  # type: ignore[assignment]


def add(total: Info, info: Info) -> Info:
    """Accumulate infos: sums for means, else any, maximum, total or last."""
    larger = _size(info.energy_error) > _size(total.energy_error)
    return Info(
        acceptance_rate=total.acceptance_rate + info.acceptance_rate,
        is_accepted=total.is_accepted | info.is_accepted,
        energy_error=jnp.where(larger, info.energy_error, total.energy_error),
        num_nonfinite=total.num_nonfinite + info.num_nonfinite,
        hamiltonian=info.hamiltonian,
        num_grads=total.num_grads + info.num_grads,
    )


def merge(infos: Info) -> Info:
    """The infos of several steps, stacked on a leading axis, as one."""
    worst = jnp.argmax(_size(infos.energy_error), axis=0, keepdims=True)
    shape = infos.energy_error.shape
    return Info(
        acceptance_rate=jnp.mean(infos.acceptance_rate, axis=0),
        is_accepted=jnp.any(infos.is_accepted, axis=0),
        energy_error=jnp.take_along_axis(infos.energy_error, worst, axis=0)[0],
        num_nonfinite=_total(infos.num_nonfinite),
        hamiltonian=jnp.broadcast_to(infos.hamiltonian, shape)[-1],
        num_grads=_total(jnp.broadcast_to(infos.num_grads, shape)),
    )


def _total(counts: Array) -> Array:
    """Sums over the leading axis, in the type of the counts; ``sum`` alone makes
    64-bit integers of 32-bit ones where 64 bits are enabled."""
    return jnp.sum(counts, axis=0, dtype=counts.dtype)


def _size(error: Array) -> Array:
    """The size of an energy error; NaN counts as infinite."""
    return jnp.where(jnp.isnan(error), jnp.inf, jnp.abs(error))
