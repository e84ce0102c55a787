"""The next level of sequential Monte Carlo, its weights, and resampling by them."""

import jax
import jax.numpy as jnp

from ebmjax.base import Array, Key, Position
from ebmjax.tempering.paths import Path

NUM_BISECTIONS = 40
LEAST_ADVANCE = 1e-6  # smallest increase of beta per level


def next_level(path: Path, positions: Position, beta: Array, ess: Array):
    """Log weights ``[N]`` and the beta whose effective sample size is ``ess`` N.

    A weight is NaN where an energy is; such weights do not count.
    """
    num = len(jax.tree.leaves(positions)[0])
    work = jax.vmap(path.work, (None, None, 0))

    def share(new):
        log_w = -work(beta, new, positions)
        log_w = jnp.where(jnp.isnan(log_w), -jnp.inf, log_w)
        total = 2 * jax.nn.logsumexp(log_w) - jax.nn.logsumexp(2 * log_w)
        return jnp.exp(total) / num

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        is_enough = share(middle) >= ess
        return jnp.where(is_enough, middle, low), jnp.where(is_enough, high, middle)

    one = jnp.ones_like(beta)
    low, _ = jax.lax.fori_loop(0, NUM_BISECTIONS, halve, (beta, one))
    low = jnp.minimum(jnp.maximum(low, beta + LEAST_ADVANCE), one)
    new = jnp.where(share(one) >= ess, one, low)
    return -work(beta, new, positions), new


def systematic(key: Key, log_weights: Array, num: int | None = None) -> Array:
    """Indices ``[N]`` of N draws by weights ``[M]`` with one uniform number: particle i
    has floor or ceil of N w_i / sum w children, N w_i / sum w on the average."""
    num = len(log_weights) if num is None else num
    total = jnp.cumsum(jax.nn.softmax(log_weights))
    places = (
        (jnp.arange(num, dtype=total.dtype) + jax.random.uniform(key)) / num * total[-1]
    )
    rows = jnp.searchsorted(total, places, side="right")
    return jnp.minimum(rows, len(log_weights) - 1)


def length_of(log_w: Array) -> Array:
    """The standard deviation of the finite log weights."""
    is_finite = jnp.isfinite(log_w)
    return jnp.std(jnp.where(is_finite, log_w, 0.0), where=is_finite)
