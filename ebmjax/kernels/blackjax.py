"""Conversion of kernels to and from BlackJAX.

An algorithm of BlackJAX is a pair ``init(position)``,
``step(key, state) -> (state, info)`` on a log density, with its own types of state and
info.  :func:`to_blackjax` returns this pair for a kernel, on ``-energy``.
:func:`from_blackjax` returns a :class:`~ebmjax.base.Kernel` whose noise is a key.  Its
BlackJAX state is rebuilt from the position at every step, at the cost of one
evaluation, so that it can be combined with any kernel and no cached value is out of
date.  Persistent parts of the state that ``init`` draws (a momentum, a slice) are kept
in ``state.momentum``; their first value is drawn with a hash of the position as key, so
chains that start at different points have independent values.

>>> nuts = from_blackjax(blackjax.nuts(log_p, h, mass), energy)  # doctest: +SKIP
>>> kernel = cycle(random_walk(energy, 0.5), nuts)  # doctest: +SKIP
"""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import function, static, value
from ebmjax.base import Energy, Info, Kernel, differs, evaluate, moved


def to_blackjax(kernel: Kernel) -> Any:
    """The kernel as a ``blackjax.base.SamplingAlgorithm``, for one chain.  Needs
    blackjax.

    Its states have a ``position`` and its infos an ``acceptance_rate``, as in BlackJAX;
    ``energy`` replaces ``logdensity``.
    """
    if not isinstance(kernel, Kernel):
        raise TypeError(f"kernel must be a Kernel, got {checks.describe(kernel)}")
    from blackjax.base import SamplingAlgorithm

    return SamplingAlgorithm(
        lambda position, rng_key=None: kernel.init(position), kernel.step
    )


@value
class FromBlackJAX(Kernel):
    """Made by :func:`from_blackjax`."""

    algorithm: Any = static()
    energy: Energy = function()

    def init(self, position):
        if not self.takes_key:
            return evaluate(self.energy, position)
        kept = _persistent(self.algorithm.init(position, rng_key=_hash(position)))
        if not kept:  # a key that init takes and does not use
            return evaluate(self.energy, position)
        # with a gradient: in a cycle this state serves all kernels
        state = evaluate(self.energy, position, with_grad=True)
        return state._replace(momentum=kept)

    def draw(self, key, shapes):
        return key

    def move(self, key, state):
        key_init, key_step = jax.random.split(key)
        options = {"rng_key": key_init} if self.takes_key else {}
        fresh = self.algorithm.init(state.position, **options)
        kept = state.momentum if isinstance(state.momentum, dict) else None
        if self.takes_key and kept is not None:
            fresh = fresh._replace(**kept)
        theirs, info = self.algorithm.step(key_step, fresh)
        new = moved(self.energy, state, theirs.position)
        if self.takes_key and kept is not None:
            new = new._replace(momentum=_persistent(theirs))
        return new, _info(info, state, new)

    @property
    def takes_key(self) -> bool:
        """Whether ``init`` draws a part of the state."""
        return "rng_key" in inspect.signature(self.algorithm.init).parameters


CACHED = {"position", "logdensity", "logdensity_grad"}  # of the position


def _persistent(theirs) -> dict[str, Any]:
    """The fields of the BlackJAX state that are not cached values."""
    return {k: getattr(theirs, k) for k in theirs._fields if k not in CACHED}


def _hash(position) -> jax.Array:
    """A key from the bits of a position."""
    key = jax.random.key(0)
    for leaf in jax.tree.leaves(position):
        bits = jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.uint32)
        place = jnp.arange(leaf.size, dtype=jnp.uint32).reshape(leaf.shape)
        mixed = (bits ^ (place * np.uint32(0x9E3779B9))) * np.uint32(0x85EBCA6B)
        mixed = mixed ^ (mixed >> np.uint32(15))
        key = jax.random.fold_in(key, jnp.sum(mixed, dtype=jnp.uint32))
    return key


def from_blackjax(algorithm: Any, energy: Energy) -> Kernel:
    """A BlackJAX algorithm as a kernel of ``exp(-energy)``.

    Args:
      algorithm: of ``-energy``, such as
        ``blackjax.nuts(lambda x: -energy(x), step_size, inverse_mass)``.
      energy: of one point, the same; up to a constant.

    Raises:
      TypeError: something without ``init`` and ``step``.
    """
    if not (hasattr(algorithm, "init") and hasattr(algorithm, "step")):
        raise TypeError(
            f"algorithm must have init and step, got {checks.describe(algorithm)}"
        )
    return FromBlackJAX(algorithm, energy)


def _info(theirs, state, new) -> Info:
    """The available statistics.  The energy error is minus the log of the acceptance
    rate, or the largest float if the step diverged."""
    dtype = new.energy.dtype
    is_moved = differs(new.position, state.position)
    rate = jnp.asarray(getattr(theirs, "acceptance_rate", is_moved), dtype)
    least = jnp.finfo(dtype).tiny  # a rate that underflows is not a divergence
    is_divergent = jnp.asarray(getattr(theirs, "is_divergent", False))
    largest = jnp.finfo(dtype).max  # infinity would mean a hard boundary
    error = jnp.where(is_divergent, largest, -jnp.log(jnp.maximum(rate, least)))
    return Info(
        acceptance_rate=rate,
        is_accepted=is_moved,
        energy_error=error.astype(dtype),
        num_nonfinite=jnp.int32(~jnp.isfinite(new.energy)),
        hamiltonian=jnp.asarray(getattr(theirs, "energy", 0.0), dtype),
        num_grads=jnp.int32(getattr(theirs, "num_integration_steps", 0)),
    )
