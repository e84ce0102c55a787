"""Optax transformations as pytrees: their numbers are leaves.

An Optax transformation is a pair of closures over its numbers, and each call of
``optax.adam(1e-3)`` makes new ones; given to ``jit`` as structure, each would compile a
separate program.  This module opens the closures of Optax's own functions, so that two
optimisers that differ in a learning rate, a decay or a clipping norm share one program.
Other functions (a user's schedule) are structure.

Some transformations need more than gradients and parameters.  Those that take ``value``
get it (``reduce_on_plateau``, ``polyak_sgd``).  ``lbfgs``, which evaluates the loss
again, and ``lookahead``, which needs its own parameters, raise.
"""

import inspect
import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import Static, Value, is_number, part, value

# modules whose functions are opened; the second holds scale_updates
OPENED = ("optax", "ebmjax.objectives.base")


@value
class Optimizer(Value):
    """An Optax transformation whose numbers are leaves; made by
    :func:`as_optimizer`."""

    init_fn: Any = part()
    update_fn: Any = part()

    def init(self, params: Any) -> Any:
        return closed(self.init_fn)(params)

    def update(self, grads: Any, state: Any, params: Any, loss: Any) -> tuple[Any, Any]:
        """Updates and the next state; ``loss`` for those that take a ``value``."""
        update = closed(self.update_fn)
        options = {"value": loss} if _takes(update, "value") else {}
        return update(grads, state, params, **options)


def as_optimizer(optimizer: Any) -> Optimizer:
    """An Optax transformation as a pytree.

    Raises:
      TypeError: not an ``optax.GradientTransformation``, or one that needs arguments
        that training cannot provide; the message names it.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(
            "optimizer must be an optax.GradientTransformation, got "
            f"{checks.describe(optimizer)}"
        )
    names = _names_of(optimizer.update)
    for needed in ("value_fn", "obj_fn"):
        if needed in names:
            raise TypeError(
                f"optimizer needs {needed}, the loss as a function (optax.lbfgs and "
                "line searches do, and sophia); a loss that runs chains has none: use "
                "optax.adam"
            )
    if any("lookahead" in name for name in names):
        raise TypeError(
            "optimizer must not be optax.lookahead, which trains LookaheadParams of "
            "its own; the moving average that training keeps (ema) is its slow half"
        )
    return Optimizer(opened(optimizer.init), opened(optimizer.update))


def _names_of(update: Any) -> set[str]:
    """Keywords that a function or the functions in its closure ask for, and their
    names."""
    found: set[str] = set()

    def visit(item: Any, depth: int) -> None:
        if depth > 6:
            return
        if isinstance(item, types.FunctionType):
            found.add(item.__qualname__)
            found.update(p.name for p in inspect.signature(item).parameters.values())
            for cell in item.__closure__ or ():
                visit(_content(cell), depth + 1)
        elif isinstance(item, tuple | list):
            for x in item:
                visit(x, depth + 1)

    visit(update, 0)
    return found


def _takes(update: Any, name: str) -> bool:
    parameters = inspect.signature(update).parameters.values()
    return any(p.name == name or p.kind == p.VAR_KEYWORD for p in parameters)


# --- closures -----------------------------------------------------------------------


class Opened(NamedTuple):
    """A function as a pytree: the contents of its closure and its defaults."""

    code: Any  # Static((function, how it is put together))
    parts: tuple


def opened(item: Any, seen: tuple = ()) -> Any:
    """Functions of Optax as :class:`Opened`, numbers as they are, the rest as
    structure."""
    if isinstance(item, float) or is_number(item):
        return item
    if type(item) in (tuple, list):
        return type(item)(opened(x, seen) for x in item)
    if type(item) is dict:
        return {k: opened(x, seen) for k, x in item.items()}
    if isinstance(item, tuple) and hasattr(item, "_fields"):
        return type(item)(*(opened(x, seen) for x in item))
    is_ours = isinstance(item, types.FunctionType) and item not in seen
    if is_ours and str(item.__module__).startswith(OPENED):
        cells = tuple(
            opened(_content(c), (*seen, item)) for c in item.__closure__ or ()
        )
        rest = opened((item.__defaults__ or (), item.__kwdefaults__ or {}), seen)
        return Opened(_Kept(_Code(item)), (cells, rest))
    return _Kept(item)


def closed(item: Any) -> Any:
    """The inverse of :func:`opened`, with the present numbers."""
    if isinstance(item, _Kept):
        return item.structure.item
    if isinstance(item, Opened):
        function = item.code.structure.item.function
        cells, (defaults, keywords) = jax.tree.map(
            lambda x: x, item.parts, is_leaf=lambda x: isinstance(x, _Kept | Opened)
        )
        new = types.FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            tuple(closed(x) for x in defaults) or None,
            tuple(types.CellType(closed(x)) for x in cells),
        )
        new.__kwdefaults__ = {k: closed(x) for k, x in keywords.items()} or None
        new.__qualname__ = function.__qualname__
        return new
    if type(item) in (tuple, list):
        return type(item)(closed(x) for x in item)
    if type(item) is dict:
        return {k: closed(x) for k, x in item.items()}
    if isinstance(item, tuple) and hasattr(item, "_fields"):
        return type(item)(*(closed(x) for x in item))
    return item


class _Code:
    """A function compared by its code: two closures of one source are equal."""

    def __init__(self, function: types.FunctionType):
        self.function = function

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Code) and (
            self.function.__code__ is other.function.__code__
        )

    def __hash__(self) -> int:
        return hash(self.function.__code__)


@jax.tree_util.register_pytree_node_class
class _Kept:
    """Anything as structure, without leaves."""

    def __init__(self, item: Any):
        self.structure = item if isinstance(item, Static) else Static(item)

    def tree_flatten(self) -> tuple[tuple, Static]:
        return (), self.structure

    @classmethod
    def tree_unflatten(cls, structure: Static, children: Any) -> "_Kept":
        return cls(structure)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty, of a function that names itself later
        return None


def traceable(optimizer: Optimizer, params: Any) -> Optimizer:
    """The optimiser with its numbers as leaves if it can be traced with them, else
    entirely as structure."""

    def one(optimizer):
        state = optimizer.init(params)
        return optimizer.update(params, state, params, jnp.float32(0.0))

    try:
        jax.eval_shape(one, optimizer)
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError, TypeError, ValueError):
        fixed = (optimizer.init_fn, optimizer.update_fn)
        return Optimizer(*(_Kept(closed(f)) for f in fixed))
    return optimizer
