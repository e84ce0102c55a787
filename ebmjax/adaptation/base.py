"""What a warm-up tunes, what it sees of a step, and what an adapter is.

A warm-up runs a kernel whose numbers are in :class:`Tuning`; after each step every
adapter gets what all chains showed, pooled, and returns the numbers of the next step.
With hundreds of chains one step says what a single chain learns in hundreds.

To tune by another criterion, write a subclass of :class:`Adapter` and give it to
:func:`ebmjax.adaptation.warmup.adapt` in the place of the one that it replaces.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from ebmjax._value import Value
from ebmjax.base import Array, Info


class Tuning(NamedTuple):
    """The numbers of the next step."""

    log_step_size: Array  # []
    scale: Array  # C^(1/2), standard deviations [D] or a triangular factor [D, D]
    inverse_scale: Array  # its inverse
    log_length: Array  # [] of a trajectory, in time of the whitened space
    num_probes: Array  # [] int32, cheap steps of all chains to find a step size, so far


class Seen(NamedTuple):
    """What a step showed, of all chains."""

    before: Array  # [C, D] positions
    after: Array  # [C, D]
    momentum: Array | None  # [C, D] at the end of the trajectory, where it is kept
    time: Array | None  # [C] that the trajectories took, where their length is tuned
    weight: Array  # [C] 1, or 0 for a chain that is far above the others
    info: Info  # [C]
    is_first: Array  # [] bool, of the first window


class Adapter(Value):
    """Tunes some of the numbers of a warm-up."""

    def init(self, tuning: Tuning, num_chains: int) -> Any:
        """The state before the first step."""
        raise NotImplementedError

    def begin_window(
        self, state: Any, tuning: Tuning, probe: Callable[[Tuning], Array]
    ) -> tuple[Any, Tuning]:
        """Before the first step of a window, in the order of the adapters; ``probe``
        gives the mean acceptance rate of a cheap step with some numbers."""
        return state, tuning

    def update(self, state: Any, tuning: Tuning, seen: Seen) -> tuple[Any, Tuning]:
        """After a step."""
        raise NotImplementedError

    def final(self, state: Any, tuning: Tuning) -> Tuning:
        """The numbers with which the warm-up ends."""
        return tuning


def weighted_mean(values: Array, weights: Array) -> Array:
    """Over chains; that of all where no weight is left."""
    total = jnp.sum(weights)
    mean = jnp.sum(jnp.where(weights > 0, values, 0.0) * weights)
    return jnp.where(total > 0, mean / jnp.maximum(total, 1e-6), jnp.mean(values))


def median(values: Array) -> Array:
    """Of values ``[C]``, NaN where any is; a smaller program than ``jnp.median``'s."""
    ordered, number = jnp.sort(values), len(values)  # NaN is sorted to the end
    middle = 0.5 * (ordered[(number - 1) // 2] + ordered[number // 2])
    return jnp.where(jnp.isnan(ordered[-1]), ordered[-1], middle)
