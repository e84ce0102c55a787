"""Where the chains of an update start: the only difference between the ways to train with short chains.

    from_data()               contrastive divergence: at the batch            (Hinton 2002)
    replay_buffer(draw, C)    persistent: where the last update left them     (Tieleman 2008)
    replay_buffer(draw, N, p) a buffer of N, of which C run at a time, restarted with probability p
                                                                              (Du & Mordatch 2019)
    from_noise(draw)          short runs: at fresh noise                      (Nijkamp et al. 2019)

What is kept is positions.  ``draw(key, n)`` gives ``n`` fresh ones, ``[n, ...]``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Array, Key, Position

Draw = Callable[[Key, int], Position]


class ChainInit(NamedTuple):
    """Where chains start, and the buffer that keeps them, as pure functions."""

    # key -> buffer, None where nothing is kept
    init: Callable[[Key], Any]
    # (key, buffer, batch, C) -> chains, slots
    draw: Callable[[Key, Any, Position, int], tuple[Position, Any]]
    # (buffer, slots, chains) -> buffer
    update: Callable[[Any, Any, Position], Any]
    # (key, batch, C) -> positions at which non-finite chains restart
    reset: Callable[[Key, Position, int], Position]


def from_data() -> ChainInit:
    """Contrastive divergence: chains start at the first ``C`` points of the batch."""

    def head(key, batch, num_chains):
        rows = jnp.arange(num_chains) % len(jax.tree.leaves(batch)[0])
        return jax.tree.map(lambda x: x[rows], batch)

    return ChainInit(
        init=lambda key: None,
        draw=lambda key, buffer, batch, num_chains: (
            head(key, batch, num_chains),
            None,
        ),
        update=lambda buffer, slots, chains: buffer,
        reset=head,
    )


FROM_DATA = from_data()  # the default: what needs no chains ignores it


def from_noise(draw: Draw) -> ChainInit:
    """Short runs: chains start at fresh noise."""
    checks.function(draw, "draw")
    return ChainInit(
        init=lambda key: None,
        draw=lambda key, buffer, batch, num_chains: (draw(key, num_chains), None),
        update=lambda buffer, slots, chains: buffer,
        reset=lambda key, batch, num_chains: draw(key, num_chains),
    )


def replay_buffer(draw: Draw, size: int, restart_probability: float = 0.0) -> ChainInit:
    """A buffer of ``size`` chains; each update runs a random choice of them, none twice.

    The choice is one chain, uniformly, out of each of C runs of neighbours, which begin at a random place:
    all chains run equally often, and nothing is sorted.

    Args:
      draw: fresh chains.
      size: N, at least the number of chains that run at a time; equal to it and ``restart_probability=0`` is
        persistent contrastive divergence.
      restart_probability: of a chain, before it runs.

    Raises:
      ValueError: a probability outside [0, 1]; when traced, more chains than the buffer holds, or a buffer of
        another size.
    """
    checks.function(draw, "draw")
    size = checks.count(size, "size")
    if not 0 <= restart_probability <= 1:
        raise ValueError(
            f"restart_probability must lie in [0, 1], got {restart_probability}"
        )

    def draw_chains(key, buffer, batch, num_chains):
        if num_chains > size:
            raise ValueError(
                f"num_chains must be at most the buffer's size, {size}, got {num_chains}"
            )
        lengths = {np.shape(x)[0] for x in jax.tree.leaves(buffer)}
        if lengths != {
            size
        }:  # else an index beyond it would be moved to the last chain, silently
            held = ", ".join(map(str, sorted(lengths))) or "none"
            raise ValueError(
                f"state.buffer must hold the {size} chains of chain_init, got {held}"
            )
        key_begin, key_slots, key_restart, key_fresh = jax.random.split(key, 4)
        stride = size // num_chains
        within = jax.random.randint(key_slots, (num_chains,), 0, stride)
        begin = jax.random.randint(key_begin, (), 0, size)
        slots = (begin + stride * jnp.arange(num_chains) + within) % size
        is_restarted = jax.random.bernoulli(
            key_restart, restart_probability, (num_chains,)
        )
        old = jax.tree.map(lambda x: x[slots], buffer)
        return rows(is_restarted, draw(key_fresh, num_chains), old), slots

    return ChainInit(
        init=lambda key: draw(key, size),
        draw=draw_chains,
        update=lambda buffer, slots, chains: jax.tree.map(
            lambda x, c: x.at[slots].set(c), buffer, chains
        ),
        reset=lambda key, batch, num_chains: draw(key, num_chains),
    )


def rows(condition: Array, if_true: Position, if_false: Position) -> Position:
    """Row by row one tree or the other, by a condition ``[C]``."""
    return jax.tree.map(
        lambda a, b: jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b),
        if_true,
        if_false,
    )
