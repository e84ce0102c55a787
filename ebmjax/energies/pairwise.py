"""Pairwise models on any graph, with blocks derived by colouring it.

    E(x) = -sum_{i < j} w_ij x_i x_j     - sum_i h_i x_i      bits and spins
    E(x) = -sum_{i < j} w_ij [x_i = x_j] - sum_i h_i[x_i]     levels

Sites of one colour have no coupling between them and are independent given the others
(Gonzalez et al. 2011, "Parallel Gibbs sampling: from colored fields to thin junction
trees", section 3).  Colours are greedy, sites of many neighbours first (Welsh & Powell
1967): at most one more than the largest number of neighbours.  A graph that needs more
than 32 colours is swept site by site, by differences.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import Value, number, static, value
from ebmjax.base import Array, Energy
from ebmjax.energies.lattice import finite
from ebmjax.energies.local import Blocks
from ebmjax.spaces import SPINS, Space

MOST_COLOURS = 32


@value
class Pairwise(Value):
    """Made by :func:`pairwise`; sites are kept in the order of their colours."""

    neighbours: Any = number()  # [N, M] int32, places in that order
    weights: Any = number()  # [N, M], 0 where a site has fewer neighbours
    fields: Any = number()  # [N], or [N, K] of levels
    order: Any = number()  # [N] int32, the site at each place
    place: Any = number()  # [N] int32, the place of each site
    space: Space = static()
    sizes: tuple[int, ...] = static()  # of the colours

    @property
    def state_space(self):
        return self.space

    @property
    def is_levels(self) -> bool:
        return self.space.num_values > 2

    def __call__(self, x: Array) -> Array:
        y = self._ordered(x)
        others, here = y[self.neighbours], y[:, None]
        pairs = (others == here).astype(y.dtype) if self.is_levels else others * here
        if self.is_levels:
            index = y.astype(jnp.int32)[:, None]
            of_fields = jnp.take_along_axis(self.fields, index, axis=1)
        else:
            of_fields = self.fields * y
        energy = -(0.5 * jnp.sum(self.weights * pairs) + jnp.sum(of_fields))
        return self.space.only(x, energy)

    def difference(self, x: Array, site: Any, v: Any) -> Array:
        """E(x with x_i = v) - E(x), from the neighbours."""
        flat, place = x.ravel(), self.place[site]
        old, w = flat[site], self.weights[place]
        others = flat[self.order[self.neighbours[place]]]
        if not self.is_levels:
            return -(v - old) * (w @ others + self.fields[place])
        gain = (others == v).astype(x.dtype) - (others == old).astype(x.dtype)
        field = self.fields[place]
        return -(w @ gain + field[jnp.int32(v)] - field[jnp.int32(old)])

    @property
    def blocks(self) -> Blocks | None:
        """The colours; None where there are too many."""
        if len(self.sizes) > MOST_COLOURS:
            return None
        ends = np.cumsum(self.sizes)
        of = [slice(end - n, end) for end, n in zip(ends, self.sizes, strict=True)]

        def split(x):
            return tuple(self._ordered(x)[s] for s in of)

        def conditional(blocks, i):
            others = jnp.concatenate(blocks)[self.neighbours[of[i]]]
            w, field = self.weights[of[i]], self.fields[of[i]]
            if not self.is_levels:
                gap = self.space.values[1] - self.space.values[0]
                return -gap * (jnp.sum(w * others, axis=1) + field)[None]
            local = lambda k: jnp.sum(w * (others == k), axis=1) + field[:, k]
            return jnp.stack(
                [local(0) - local(k) for k in range(1, self.space.num_values)]
            )

        def join(blocks):
            return jnp.concatenate(blocks)[self.place]

        return Blocks(split, conditional, join)

    def _ordered(self, x):
        if jnp.shape(x) != self.order.shape:
            raise ValueError(
                f"a position must be [N], {list(self.order.shape)}, got shape "
                f"{jnp.shape(x)}"
            )
        return x[self.order]


def pairwise(couplings: Any, fields: Any = None, space: Space = SPINS) -> Energy:
    """A pairwise model of N sites.

    Args:
      couplings: w, a symmetric matrix ``[N, N]`` of NumPy or of ``scipy.sparse``; its
        diagonal must be 0.
      fields: h, ``[N]``, of levels ``[N, K]``; none by default.
      space: BITS, SPINS or levels(K).

    Returns:
      An energy with differences and blocks.  Couplings and fields are leaves; another
      model on the same graph compiles nothing.

    Raises:
      ValueError: couplings that are not square, symmetric and finite, with a zero
        diagonal; fields of another shape.
      TypeError: a space that is not discrete.

    >>> ring = np.roll(np.eye(6), 1, 1)
    >>> energy = pairwise(0.3 * (ring + ring.T))
    >>> energy.sizes, round(float(energy(jnp.ones(6))), 6)
    ((3, 3), -1.8)
    """
    if not isinstance(space, Space) or not space.is_discrete:
        raise TypeError(f"space must be BITS, SPINS or levels(K), got {space}")
    rows, columns, w, num = _entries(couplings)
    shape = (num,) if space.num_values == 2 else (num, space.num_values)
    fields = np.zeros(shape) if fields is None else np.asarray(fields, np.float64)
    if fields.shape != shape:
        raise ValueError(f"fields must have shape {shape}, got {fields.shape}")
    finite(fields, "fields")
    colour = colouring(rows, columns, num)
    order = np.argsort(colour, kind="stable")
    place = np.argsort(order, kind="stable")
    sizes = tuple(int(n) for n in np.bincount(colour))
    slot, most = _slots(rows, num)
    neighbours, weights = np.zeros((num, most), np.int32), np.zeros((num, most))
    neighbours[place[rows], slot], weights[place[rows], slot] = place[columns], w
    ints = lambda a: jnp.asarray(a, jnp.int32)
    w, h = (jnp.asarray(a, float) for a in (weights, fields[order]))
    at = [ints(a) for a in (neighbours, order, place)]
    return Pairwise(at[0], w, h, at[1], at[2], space, sizes)


def colouring(rows: Any, columns: Any, num: int) -> np.ndarray:
    """A colour for each site, ``[N]`` from 0, none equal for sites that are coupled.

    Greedy, sites of many neighbours first; ``rows`` and ``columns`` hold every pair in
    both orders.

    >>> colouring([0, 1, 1, 2], [1, 0, 2, 1], 3).tolist()
    [1, 0, 1]
    """
    rows, columns = np.asarray(rows, int), np.asarray(columns, int)
    by_row = np.argsort(rows, kind="stable")
    degree = np.bincount(rows, minlength=num)
    around = np.split(columns[by_row], np.cumsum(degree)[:-1])
    colour = np.full(num, -1)
    for site in np.argsort(-degree, kind="stable"):
        taken = set(colour[around[site]].tolist())
        colour[site] = next(c for c in range(num) if c not in taken)
    return colour


def _entries(couplings):
    """Rows, columns and values of all couplings that are not 0, and N; checked."""
    if hasattr(couplings, "tocoo"):
        sparse = couplings.tocoo()
        sparse.sum_duplicates()
        rows, columns, w = sparse.row, sparse.col, np.asarray(sparse.data, np.float64)
        shape = sparse.shape
    else:
        dense = np.asarray(couplings, np.float64)
        shape = dense.shape
        if dense.ndim == 2:
            rows, columns = np.nonzero(dense)
            w = dense[rows, columns]
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ValueError(f"couplings must be a matrix [N, N], got shape {shape}")
    checks.finite_rows(w, "couplings")
    keep = w != 0
    rows, columns, w = rows[keep], columns[keep], w[keep]
    if np.any(rows == columns):
        site = rows[rows == columns][0]
        raise ValueError(
            f"couplings must have a zero diagonal, got {w[rows == columns][0]} at "
            f"{site}; write it as a field"
        )
    one, two = np.lexsort((columns, rows)), np.lexsort((rows, columns))
    is_same = np.array_equal(rows[one], columns[two])
    is_same = is_same and np.array_equal(columns[one], rows[two])
    if not is_same or not np.allclose(w[one], w[two]):
        raise ValueError("couplings must be symmetric; use (w + w.T) / 2")
    return rows, columns, w, shape[0]


def _slots(rows, num):
    """A number from 0 for each entry among those of its row, and the most of a row."""
    degree = np.bincount(rows, minlength=num)
    starts = np.cumsum(degree) - degree
    by_row = np.argsort(rows, kind="stable")
    slot = np.empty(len(rows), int)
    slot[by_row] = np.arange(len(rows)) - starts[rows[by_row]]
    return slot, max(1, int(degree.max(initial=0)))
