"""Sites of a periodic square lattice ``[H, W]``: neighbours, and the two colours.

A site is black where row + column is even, else white; with even sides black sites have
white neighbours alone, so that all sites of a colour are drawn at once.  Each colour is
kept as ``[H, W / 2]``: site j of row r is column 2 j or 2 j + 1.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax.base import Array


def check_sides(x: Array) -> None:
    """Raise unless a position is ``[H, W]`` with even sides."""
    if jnp.ndim(x) != 2 or x.shape[0] % 2 or x.shape[1] % 2:
        raise ValueError(
            "a lattice position must be [H, W] with even sides, got shape "
            f"{jnp.shape(x)}"
        )


def neighbours_of(x: Array, site: Any) -> list[Array]:
    """The values at the four neighbours of a site of ``x.ravel()``."""
    height, width = x.shape
    i, j = site // width, site % width
    rows = ((i - 1) % height, j), ((i + 1) % height, j)
    columns = (i, (j - 1) % width), (i, (j + 1) % width)
    return [x[row, column] for row, column in (*rows, *columns)]


def colours(x: Array) -> tuple[Array, Array]:
    """Black and white sites, ``[H, W / 2]`` each."""
    check_sides(x)
    pairs = x.reshape(x.shape[0], x.shape[1] // 2, 2)
    is_even = _even_rows(x.shape[0])
    left, right = pairs[..., 0], pairs[..., 1]
    return jnp.where(is_even, left, right), jnp.where(is_even, right, left)


def from_colours(blocks: tuple[Array, ...]) -> Array:
    """The inverse of :func:`colours`."""
    black, white = blocks
    is_even = _even_rows(len(black))
    left, right = jnp.where(is_even, black, white), jnp.where(is_even, white, black)
    return jnp.stack([left, right], axis=-1).reshape(len(black), -1)


def across(other: Array, colour: int) -> list[Array]:
    """The neighbours of the sites of a colour, four arrays ``[H, W / 2]`` of the
    other's sites: above, below, in the same pair of columns, in the pair beside it.

    Slices of one array with a margin: compiled as rolls they cost three times as much
    on a CPU, for XLA computes what follows inside of their branches.
    """
    wide = jnp.concatenate([other[-1:], other, other[:1]], axis=0)
    wide = jnp.concatenate([wide[:, -1:], wide, wide[:, :1]], axis=1)
    wide = jax.lax.optimization_barrier(wide)
    is_black = colour == 0  # in even rows the left site of each pair of columns
    is_left = _even_rows(len(other)) == is_black
    beside = jnp.where(is_left, wide[1:-1, :-2], wide[1:-1, 2:])
    return [wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, 1:-1], beside]


def by_columns(x: Array) -> Array:
    """The sum of a matrix, of each column first: a loop over all would not be
    vectorised."""
    return jnp.sum(jnp.sum(x, axis=0))


def _even_rows(height):
    return (jnp.arange(height) % 2 == 0)[:, None]
