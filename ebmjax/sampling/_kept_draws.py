"""The draws of a run, chunk by chunk."""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax.base import Position


class KeptDraws:
    """The draws of a run ``[T, C, ...]``, of ``num`` kept steps; where there are many
    chunks they are written into one array in place."""

    def __init__(self, num: int, is_in_place: bool):
        self.num, self.is_in_place = num, is_in_place
        self.pieces: list[Position] = []
        self.filled = 0
        self.whole: Any = None

    def add(self, draws: Position) -> None:
        """The draws of the next chunk."""
        leaves = jax.tree.leaves(draws)
        if any(jnp.issubdtype(x.dtype, jax.dtypes.extended) for x in leaves):
            self.is_in_place = False  # keys
        if not self.is_in_place:
            self.pieces.append(draws)
            return
        if self.whole is None:
            empty = lambda x: jnp.zeros((self.num, *x.shape[1:]), x.dtype)
            self.whole = jax.tree.map(empty, draws)
        self.whole = _put(self.whole, draws, self.filled)
        self.filled += len(leaves[0]) if leaves else 0

    def draws(self) -> Any:
        """Of all chunks so far; ``None`` without any."""
        if self.whole is None:
            return jax.tree.map(_join, *self.pieces) if self.pieces else None
        if self.filled in (0, self.num):
            return self.whole
        return jax.tree.map(lambda x: x[: self.filled], self.whole)


def _put_all(whole, draws, start):
    put = lambda x, new: jax.lax.dynamic_update_slice_in_dim(x, new, start, 0)
    return jax.tree.map(put, whole, draws)


_put = jax.jit(_put_all, donate_argnums=0)


def _join(*pieces):
    return pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces)
