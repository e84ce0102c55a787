"""Kernels of this library in the loops of BlackJAX, and BlackJAX's in ours.

BlackJAX's algorithm is a pair ``init(position)``, ``step(key, state) -> (state, info)`` on a log density,
with a state and an info of its own. There, a kernel of ours is the same pair on ``-energy``. Here, an
algorithm of theirs becomes a :class:`~ebmjax.base.Kernel` whose noise is a key; its state is made anew from
the position at every step, at the price of one evaluation, so that it mixes with any kernel and no cache
outlives the energy or the position it is of. What it remembers beside the position (a momentum that
persists) its ``init`` draws anew.

>>> kernel = cycle(random_walk(energy, 0.5), from_blackjax(blackjax.nuts(log_p, h, mass), energy))
... # doctest: +SKIP
"""

import inspect
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax.base import Energy, Info, Kernel, evaluate, moved


def to_blackjax(kernel: Kernel) -> Any:
    """The kernel as a ``blackjax.base.SamplingAlgorithm``, for one chain.  Needs blackjax.

    Its states have a ``position`` and its infos an ``acceptance_rate``, as those of BlackJAX have; in the
    place of ``logdensity`` stands ``energy``.
    """
    if not isinstance(kernel, Kernel):
        raise TypeError(f"kernel must be a Kernel, got {checks.describe(kernel)}")
    from blackjax.base import SamplingAlgorithm

    return SamplingAlgorithm(
        lambda position, rng_key=None: kernel.init(position), kernel.step
    )


def from_blackjax(algorithm: Any, energy: Energy) -> Kernel:
    """An algorithm of BlackJAX as a kernel of ``exp(-energy)``.

    Args:
      algorithm: of ``-energy``, such as ``blackjax.nuts(lambda x: -energy(x), step_size, inverse_mass)``.
      energy: of one point, the same; up to a constant.

    Raises:
      TypeError: something without ``init`` and ``step``.
    """
    if not (hasattr(algorithm, "init") and hasattr(algorithm, "step")):
        raise TypeError(
            f"algorithm must have init and step, got {checks.describe(algorithm)}"
        )
    checks.function(energy, "energy")
    takes_key = "rng_key" in inspect.signature(algorithm.init).parameters

    def init(position):
        return evaluate(energy, position, with_grad=False)

    def move(key, state):
        key_init, key_step = jax.random.split(key)
        fresh = algorithm.init(
            state.position, **({"rng_key": key_init} if takes_key else {})
        )
        theirs, info = algorithm.step(key_step, fresh)
        new = moved(energy, state, theirs.position)
        return new, _info(info, state, new)

    return Kernel(init, lambda key, position: key, move)


def _info(theirs, state, new) -> Info:
    """What can be known; minus the log ratio is that of the rate, unless the step was sure to be accepted."""
    dtype = new.energy.dtype
    pairs = zip(
        jax.tree.leaves(new.position), jax.tree.leaves(state.position), strict=True
    )
    is_moved = jnp.any(jnp.stack([jnp.any(a != b) for a, b in pairs]))
    rate = jnp.asarray(getattr(theirs, "acceptance_rate", is_moved), dtype)
    least = jnp.finfo(dtype).tiny  # a rate that underflows is no divergence
    is_divergent = jnp.asarray(getattr(theirs, "is_divergent", False))
    return Info(
        acceptance_rate=rate,
        is_accepted=is_moved,
        energy_error=jnp.where(
            is_divergent, jnp.inf, -jnp.log(jnp.maximum(rate, least))
        ).astype(dtype),
        num_nonfinite=jnp.int32(~jnp.isfinite(new.energy)),
        hamiltonian=jnp.asarray(getattr(theirs, "energy", 0.0), dtype),
        num_grads=jnp.int32(getattr(theirs, "num_integration_steps", 0)),
    )
