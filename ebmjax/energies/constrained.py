"""Energies of constrained values as energies of free coordinates.

    constrain(energy, support)(u) = E(x(u)) - log |det dx/du|

so that every kernel runs in free coordinates, any real numbers, and draws of x have the
density exp(-E(x)) on the support (:mod:`ebmjax.supports` has the maps, with sources).

``warm_up``, ``sample``, ``summary``, ``to_arviz`` and the command line take and give
constrained values.  What works below them sees free coordinates: a kernel and its
state, ``run``, ``adapt``, and the methods of :mod:`ebmjax.tempering`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import Value, function, part, show, value
from ebmjax.base import Array, Energy, Position, scalar
from ebmjax.supports.base import Real, Support
from ebmjax.supports.bijectors import from_bijector, is_bijector


@value
class Constrained(Value):
    """An energy of free coordinates; made by :func:`constrain`.

    ``support`` is a tree of supports, each of a leaf of the position, or of all leaves
    below it.
    """

    energy: Energy = function()
    support: Any = part()

    def __call__(self, free: Position) -> Array:
        x, log_det = self._forward(free)
        return scalar(self.energy)(x) - log_det

    def constrain(self, free: Position) -> Position:
        """Constrained values of one point in free coordinates."""
        return self._forward(free)[0]

    def free(self, x: Position) -> Position:
        """Free coordinates of one point.

        Raises:
          ValueError: a value outside of its support, naming the leaf.
        """
        if not checks.is_traced(x):
            one = jax.tree.map(lambda leaf: np.asarray(leaf)[None], x)
            self.check_inside(one, "x", is_point=True)
        return self._map(lambda support, leaf: support.inverse(jnp.asarray(leaf)), x)

    def wrap(self, free: Position) -> Position:
        """The same point with periodic coordinates in their range."""
        return self._map(lambda support, leaf: support.wrap(leaf), free)

    @property
    def is_periodic(self) -> bool:
        """Whether any coordinate is periodic."""
        return any(s.is_periodic for s in supports_of(self.support))

    def periods(self, free: Position) -> Position:
        """The period of each coordinate of a point, 0 where it has none."""

        def of(support, leaf):
            period = support.period if support.is_periodic else 0.0
            return jnp.broadcast_to(jnp.asarray(period, leaf.dtype), jnp.shape(leaf))

        return self._map(of, free)

    def check_inside(
        self, positions: Position, name: str = "positions", *, is_point: bool = False
    ) -> None:
        """Raise unless positions ``[C, ...]`` lie inside, on the host.

        ``is_point`` says that they are one point with an axis in front.

        Raises:
          TypeError, ValueError: naming the leaf, the value, the chain and the support.
        """
        paths = jax.tree_util.tree_leaves_with_path(positions)
        supports = matched(self.support, positions, name)
        for support, (path, leaf) in zip(supports, paths, strict=True):
            where = name + jax.tree_util.keystr(path)
            _check_leaf(support, np.asarray(leaf), where, is_point)

    def _forward(self, free):
        supports = matched(self.support, free, "a point in free coordinates")
        leaves, treedef = jax.tree.flatten(free)
        values, log_dets = [], []
        for support, leaf in zip(supports, leaves, strict=True):
            leaf = jnp.asarray(leaf)
            wide = leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
            x, log_det = support.forward(wide)
            values.append(x.astype(leaf.dtype))
            log_dets.append(log_det)
        return jax.tree.unflatten(treedef, values), sum(log_dets[1:], log_dets[0])

    def _map(self, f, position):
        supports = matched(self.support, position, "a point")
        leaves, treedef = jax.tree.flatten(position)
        pairs = zip(supports, leaves, strict=True)
        return jax.tree.unflatten(treedef, [f(s, leaf) for s, leaf in pairs])


def constrain(energy: Energy, support: Any) -> Constrained:
    """The energy of free coordinates of an energy of constrained values.

    Args:
      energy: of one point whose leaves lie in their supports.  Its density is with
        respect to the constrained values: no Jacobian is wanted from it.
      support: of :mod:`ebmjax.supports`, or a bijector of distrax, NumPyro or TFP; one
        for all leaves, or a tree in the structure of the position, with ``None`` for no
        constraint.

    Returns:
      :class:`Constrained`: ``constrain(free)`` and ``free(x)`` map one point.  Its
      numbers, those of the energy and those of the supports, are leaves.

    Raises:
      TypeError: what is neither a support nor a bijector, naming its place.

    >>> energy = constrain(lambda x: x["rate"] + 0.5 * x["shift"] ** 2,
    ...                    {"rate": supports.positive(), "shift": None})
    >>> start = {"rate": jnp.ones(4), "shift": jnp.zeros(4)}
    >>> tuned = warm_up(jax.random.key(0), nuts, energy, start)
    >>> samples = sample(jax.random.key(1), tuned.kernel, tuned.position, 1000
    ...                  )  # doctest: +SKIP
    """
    items = jax.tree_util.tree_flatten_with_path(support, is_leaf=_is_item)
    supports = [_as_support(item, jax.tree_util.keystr(p)) for p, item in items[0]]
    if not supports:
        raise TypeError(f"support must be a support or a tree of them, got {support!r}")
    return Constrained(energy, jax.tree.unflatten(items[1], supports))


def _as_support(item: Any, where: str) -> Support:
    if item is None:
        return Real()
    if isinstance(item, Support):
        return item
    if is_bijector(item):
        return from_bijector(item)
    hint = ""
    if callable(item):
        hint = f"; call it: {getattr(item, '__name__', 'it')}()"
    raise TypeError(
        f"support{where} must be of ebmjax.supports, a bijector of distrax, NumPyro or "
        f"TFP, or None, got {checks.describe(item)}{hint}"
    )


def _is_item(item: Any) -> bool:
    return item is None or isinstance(item, Support) or is_bijector(item)


def supports_of(tree: Any) -> list[Support]:
    """The supports of a tree of them."""
    return jax.tree.leaves(tree, is_leaf=lambda s: isinstance(s, Support))


def matched(tree: Any, position: Position, name: str) -> list[Support]:
    """The support of each leaf of a position.

    Raises:
      TypeError: a position of another structure than the supports.
    """
    supports, treedef = jax.tree.flatten(tree, is_leaf=lambda s: isinstance(s, Support))
    try:
        parts = treedef.flatten_up_to(position)  # type: ignore[attr-defined]
    except (ValueError, TypeError, KeyError):
        raise TypeError(
            f"{name} must have the structure of the supports, {show(tree)}; got "
            f"shapes {jax.tree.map(np.shape, position)}"
        ) from None
    pairs = zip(supports, parts, strict=True)
    return [s for s, part in pairs for _ in jax.tree.leaves(part)]


def constrained_in(item: Any) -> Constrained | None:
    """The constrained energy that a kernel or an energy is made of, if any.

    Raises:
      TypeError: several, whose supports differ.
    """
    is_found = lambda x: isinstance(x, Constrained)
    found = [x for x in jax.tree.leaves(item, is_leaf=is_found) if is_found(x)]
    if not found:
        return None
    structures = [jax.tree.structure(energy.support) for energy in found]
    for energy, structure in zip(found, structures, strict=True):
        if structure != structures[0]:
            raise TypeError(
                "the energies of a kernel must have the same supports, got "
                f"{show(found[0].support)} and {show(energy.support)}"
            )
    return found[0]


def _check_leaf(support: Support, x: np.ndarray, where: str, is_point: bool) -> None:
    is_wide = x.dtype.kind == "f" and x.dtype.itemsize >= 4
    x = x if is_wide else x.astype(np.float32)  # bfloat16 and the like
    if x.ndim - 1 < support.event_ndims:
        raise ValueError(
            f"{where} must have a chain axis and {support.event_ndims} more for "
            f"{show(support)}, got shape {x.shape}"
        )
    is_inside = np.asarray(support.is_inside(x))
    if is_inside.all():
        return
    chain, *entry = np.argwhere(~is_inside)[0]
    num = (~is_inside).reshape(len(x), -1).any(axis=1).sum()
    place = f" in entry {[int(i) for i in entry]}" if entry else ""
    if not is_point:
        place += f" at chain {chain} ({num} of {len(x)} chains)"
    raise ValueError(
        f"{where} must be {support.wants()}, in {show(support)}; got "
        f"{show(x[(chain, *entry)])}{place}"
    )
