"""Step sizes by dual averaging, pooled over chains (Nesterov 2009; Hoffman & Gelman 2014, section 3.2).

With acceptance rates a_t averaged over all chains, target delta, and H_t = delta - a_t,

    log eps_t = mu - sqrt(t) / gamma  1 / (t + t0)  sum_{i <= t} H_i
    log eps   = sum over t of the weights t^-kappa of log eps_t

Many chains make a_t exact, so that tens of steps are enough.  The kernel that comes out has a fixed step size
and leaves its target invariant; the steps taken while it moved do not count as samples.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import checks
from ebmjax.base import Array, Energy, Kernel, Key, Position
from ebmjax.chains import chain_keys
from ebmjax.combinators import parallel

GAMMA, T0, KAPPA = 0.05, 10.0, 0.75
FAR = 0.15  # an acceptance rate that ends further than this from its target is told


class Tuned(NamedTuple):
    """What :func:`tune_step_size` found."""

    step_size: Array  # []
    position: Position  # [C, ...] where the chains are now
    acceptance_rate: np.ndarray  # [T] of each step, the mean over chains


def tune_step_size(
    key: Key,
    make_kernel: Callable[[Energy, Array], Kernel],
    energy: Energy,
    positions: Position,
    *,
    target: float,
    step_size: float = 0.1,
    num_steps: int = 200,
) -> Tuned:
    """Find the step size at which ``make_kernel(energy, step_size)`` accepts with rate ``target``.

    Args:
      key: one key.
      make_kernel: ``mala``, or ``partial(hmc, num_steps=10)``.
      energy: of one point.
      positions: where the chains start, ``[C, ...]``.
      target: 0.234 for a random walk (Roberts, Gelman & Gilks 1997), 0.574 for MALA (Roberts & Rosenthal
        1998), 0.651 for HMC (Beskos et al. 2013).
      step_size: the first guess.
      num_steps: T.

    Raises:
      ValueError: a target outside (0, 1), a start whose energy is not finite.

    Warns:
      where the rate of the last half ends far from the target.

    >>> tuned = tune_step_size(jax.random.key(0), mala, lambda x: 0.5 * jnp.sum(x**2), jnp.zeros((64, 5)),
    ...                        target=0.574)
    """
    key = checks.key(key)
    checks.function(make_kernel, "make_kernel")
    checks.function(energy, "energy")
    positions = checks.position(positions)
    checks.num_chains(positions)
    checks.positive(step_size, "step_size")
    checks.count(num_steps, "num_steps", least=10)
    if not 0 < target < 1:
        raise ValueError(f"target must lie in (0, 1), got {target}")
    if not np.isfinite(np.asarray(jax.vmap(energy)(positions))).all():
        raise ValueError("the energy is not finite where the chains start")
    size, position, rates = _run(make_kernel, energy, num_steps, key, positions, step_size, target)
    rates = np.asarray(rates)
    reached = rates[num_steps // 2 :].mean()
    if abs(reached - target) > FAR:
        warnings.warn(
            f"acceptance ended at {reached:.2f} where {target:.2f} was wanted, step size {float(size):.3g}: "
            "more steps, or a start nearer to the mass of the target",
            RuntimeWarning,
            stacklevel=2,
        )
    return Tuned(size, position, rates)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run(make_kernel, energy, num_steps, key, positions, step_size, target) -> tuple[Array, Any, Array]:
    keys = chain_keys(key, checks.num_chains(positions))
    center = jnp.log(10 * jnp.float32(step_size))

    def step(carry, t):
        state, log_size, total, mean = carry
        kernel = parallel(make_kernel(energy, jnp.exp(log_size)))
        state, info = kernel.step(jax.vmap(jax.random.fold_in, (0, None))(keys, t), state)
        rate = jnp.mean(info.acceptance_rate)
        count = t + 1.0
        total = total + target - rate
        log_size = center - jnp.sqrt(count) / GAMMA * total / (count + T0)
        weight = count**-KAPPA
        mean = weight * log_size + (1 - weight) * mean
        return (state, log_size, total, mean), rate

    first = jnp.log(jnp.float32(step_size))
    state = parallel(make_kernel(energy, jnp.exp(first))).init(positions)
    carry = (state, first, jnp.float32(0.0), first)
    (state, _, _, mean), rates = jax.lax.scan(step, carry, jnp.arange(num_steps))
    return jnp.exp(mean), state.position, rates
