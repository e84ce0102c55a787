"""The approach: out of the far tails, with cheap steps (MALA where there is a
gradient).

Every chain has a step size of its own, which grows when it moves and shrinks when it
does not, and the rounds go on until no energy falls any more.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax._random import fold_in
from ebmjax.base import Array, Kernel, Key, State, cast_like

ROUND, LEAST_ROUNDS, MOST_ROUNDS = 25, 2, 40  # steps of a round, and how many
FALL = 10.0  # nats beyond D in a round: a chain that falls further is on its way
LAST_FALL = 0.02  # of what it fell in all: it goes on while it gains that much
FIRST_TIME = 2**30  # steps of the approach use keys that no other step does


def approach(
    keys: Key,
    make_kernel: Callable[[Array], Kernel],
    state: State,
    log_sizes: Array,
    target: Any,
    dim: int,
) -> tuple[State, Array, Array]:
    """Chains ``[C]`` and the logarithms of their step sizes ``[C]`` after the approach,
    and the number of rounds that it took."""

    def one(key, state, log_size):
        kernel = make_kernel(jnp.exp(log_size))
        state, info = kernel.step(key, state)
        new = state, log_size + info.acceptance_rate - target
        return cast_like(new, (state, log_size))

    def step(carry, t):
        return jax.vmap(one)(jax.vmap(fold_in, (0, None))(keys, t), *carry), None

    first_energy = state.energy

    def again(carry):
        state, sizes, num, _ = carry
        times = FIRST_TIME + num * ROUND + jnp.arange(ROUND)
        (new, new_sizes), _ = jax.lax.scan(step, (state, sizes), times)
        fall, in_all = state.energy - new.energy, first_energy - new.energy
        falls = (fall > FALL + dim) | (
            (fall > LAST_FALL * in_all) & (in_all > 10 * (FALL + dim)) & (fall > FALL)
        )
        # refused, and its step still shrinks
        is_refused = sizes - new_sizes > 0.8 * ROUND * target
        is_on = (num + 1 < LEAST_ROUNDS) | jnp.any(falls | is_refused)
        return new, new_sizes, num + 1, is_on & (num + 1 < MOST_ROUNDS)

    start = state, log_sizes, jnp.int32(0), jnp.bool_(True)
    return jax.lax.while_loop(lambda carry: carry[-1], again, start)[:3]
