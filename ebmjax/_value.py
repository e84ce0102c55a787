"""Values: frozen dataclasses that are pytrees.

Every field of a value has a kind.

    number()     numbers, or a pytree of them: leaves
    function()   a callable; the numbers that it holds are leaves, its code is structure
    static()     structure, hashable
    count()      a whole number: structure if it is an ``int``, a leaf if it is an array

New leaves compile nothing: a value is an argument of functions under ``jit``, ``scan``
and ``vmap``.  Structure is compared by equality and hashed, so that equal code shares
its compiled programs.

A number becomes an array of the default float type when the value is made, so that
``0.1`` and ``jnp.float32(0.1)`` are the same to ``jit``.  ``check`` runs when a value
is made, but not when JAX rebuilds it from leaves, which may then be of any type.
"""

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax._validation import describe

T = TypeVar("T")
SHOWN = 8  # numbers of an array that are printed


def number(**options: Any) -> Any:
    """A field of numbers, an array or a pytree of arrays."""
    return dataclasses.field(metadata={"kind": "number"}, **options)


def function(**options: Any) -> Any:
    """A field that holds a callable."""
    return dataclasses.field(metadata={"kind": "function"}, **options)


def static(**options: Any) -> Any:
    """A field that is part of the structure; hashable."""
    return dataclasses.field(metadata={"kind": "static"}, **options)


def count(**options: Any) -> Any:
    """A field that is structure if it is an ``int``, and a leaf if it is an array."""
    return dataclasses.field(metadata={"kind": "count"}, **options)


def part(**options: Any) -> Any:
    """A field that holds a value, or a tuple of values."""
    return dataclasses.field(metadata={"kind": "part"}, **options)


class Value:
    """The base of all values; see :func:`value`."""

    def check(self) -> None:
        """Raise if a field is invalid; called when a value is made."""

    def __post_init__(self) -> None:
        static_names = set()
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            kind, item = f.metadata.get("kind", "number"), getattr(self, f.name)
            if kind == "function" and not (item is None and f.default is None):
                object.__setattr__(self, f.name, as_function(item, f.name))
            elif kind == "static" or (kind == "count" and not is_number(item)):
                static_names.add(f.name)
        object.__setattr__(self, "_static_names", frozenset(static_names))
        self.check()
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            if f.metadata.get("kind", "number") == "number":
                item = canonical(getattr(self, f.name))
                object.__setattr__(self, f.name, item)

    def __eq__(self, other: Any) -> Any:
        if type(other) is not type(self):
            return NotImplemented
        return _equal(self, other)

    def __hash__(self) -> int:
        return hash(jax.tree.structure(self))

    def __repr__(self) -> str:
        shown = []
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            item, default = getattr(self, f.name), f.default
            if f.metadata.get("kind", "number") == "number":
                default = canonical(default)
            is_default = default is not dataclasses.MISSING and _equal(item, default)
            if not is_default:
                shown.append(f"{f.name}={show(item)}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def replace(self: T, **changes: Any) -> T:
        """The same value with other fields, checked again."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


@dataclass_transform(frozen_default=True, eq_default=False)
def value(cls: type[T]) -> type[T]:
    """Make a subclass of :class:`Value` a frozen dataclass and a pytree."""
    cls = dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
    names = tuple(f.name for f in dataclasses.fields(cls))  # type: ignore[arg-type]

    def split(item: Any) -> tuple[tuple[str, ...], tuple]:
        data = tuple(n for n in names if n not in item._static_names)
        aux = tuple(
            (n, Static(getattr(item, n))) for n in names if n in item._static_names
        )
        return data, (data, aux)

    def flatten(item: Any) -> tuple[tuple, tuple]:
        data, aux = split(item)
        return tuple(getattr(item, n) for n in data), aux

    def flatten_with_keys(item: Any) -> tuple[tuple, tuple]:
        data, aux = split(item)
        key = jax.tree_util.GetAttrKey
        return tuple((key(n), getattr(item, n)) for n in data), aux

    def unflatten(aux: tuple, children: Any) -> T:
        data, static_items = aux
        item = object.__new__(cls)
        for name, child in zip(data, children, strict=True):
            object.__setattr__(item, name, child)
        for name, kept in static_items:
            object.__setattr__(item, name, kept.item)
        static_names = frozenset(name for name, _ in static_items)
        object.__setattr__(item, "_static_names", static_names)
        return item

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


# --- structure ----------------------------------------------------------------------


class Static:
    """Any object as structure: compared by equality if it has a hash, else by identity.

    Two methods are equal if their functions and their objects are: ``network.apply`` of
    two equal networks.
    """

    __slots__ = ("item", "_key")

    def __init__(self, item: Any):
        self.item = item
        self._key = _key(item)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Static) and bool(self._key == other._key)

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return show(self.item)

    def __reduce__(self) -> Any:
        return Static, (self.item,)


def _key(item: Any) -> Any:
    if isinstance(item, types.MethodType):
        return "method", item.__func__, _key(item.__self__)
    try:
        hash(item)
    except TypeError:
        return "identity", id(item)
    return type(item), item


# --- functions ----------------------------------------------------------------------


@jax.tree_util.register_pytree_with_keys_class
class Function:
    """A callable as a pytree: the numbers that it holds are leaves, the rest is
    structure.

    A plain function is all structure.  ``functools.partial(network.apply, params)``, a
    ``jax.tree_util.Partial``, and any callable that is a pytree (an Equinox module)
    keep arrays and floats as leaves; their whole numbers, strings and functions are
    structure.
    """

    __slots__ = ("__weakref__", "numbers", "structure")

    def __init__(self, item: Callable[..., Any]):
        leaves, treedef = jax.tree.flatten(_unfold(item))
        is_leaf = tuple(is_number(x) or isinstance(x, float) for x in leaves)
        kept = tuple(
            None if n else Static(x) for n, x in zip(is_leaf, leaves, strict=True)
        )
        self.numbers = tuple(x for n, x in zip(is_leaf, leaves, strict=True) if n)
        self.structure = (Static(treedef), is_leaf, kept)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.unwrap()(*arguments, **options)

    def unwrap(self) -> Callable[..., Any]:
        """The callable itself."""
        treedef, is_leaf, kept = self.structure
        numbers = iter(self.numbers)
        leaves = [
            next(numbers) if n else k.item  # type: ignore[union-attr]
            for n, k in zip(is_leaf, kept, strict=True)  # type: ignore[union-attr]
        ]
        return jax.tree.unflatten(treedef.item, leaves)

    def tree_flatten_with_keys(self) -> tuple[tuple, tuple]:
        keys = map(jax.tree_util.SequenceKey, range(len(self.numbers)))
        return tuple(zip(keys, self.numbers, strict=True)), self.structure

    def tree_flatten(self) -> tuple[tuple, tuple]:
        return self.numbers, self.structure

    @classmethod
    def tree_unflatten(cls, structure: tuple, numbers: Any) -> "Function":
        new = object.__new__(cls)
        new.numbers, new.structure = tuple(numbers), structure
        return new

    def __eq__(self, other: Any) -> Any:
        return _equal(self, other) if isinstance(other, Function) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.structure)

    def __repr__(self) -> str:
        return show(self.unwrap())

    def __reduce__(self) -> Any:
        return Function, (self.unwrap(),)

    def __getattr__(self, name: str) -> Any:
        if name in ("__name__", "__qualname__", "__doc__"):
            return getattr(self.unwrap(), name)
        raise AttributeError(name)


def as_function(item: Any, name: str = "function") -> Any:
    """A callable as a pytree; values that can be called are pytrees already."""
    if isinstance(item, Value | Function):
        if not callable(item):
            raise TypeError(f"{name} must be a function, got {show(item)}")
        return item
    if not callable(item):
        raise TypeError(f"{name} must be a function, got {describe(item)}")
    return Function(item)


def _unfold(item: Any) -> Any:
    """``functools.partial``, a leaf to JAX, as JAX's own pytree ``Partial``."""
    if isinstance(item, Function):
        return item.unwrap()
    if isinstance(item, functools.partial):
        return _Partial(_unfold(item.func), item.args, item.keywords)
    return item


@jax.tree_util.register_pytree_node_class
class _Partial:
    """A partial application whose function is a child, too, and may hold numbers."""

    def __init__(self, func: Any, args: tuple, keywords: dict):
        self.func, self.args, self.keywords = func, args, keywords

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.func(*self.args, *arguments, **{**self.keywords, **options})

    def tree_flatten(self) -> tuple[tuple, None]:
        return (self.func, self.args, self.keywords), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: Any) -> "_Partial":
        return cls(*children)


# --- numbers ------------------------------------------------------------------------


def is_number(item: Any) -> bool:
    """An array of numbers or keys, of JAX or NumPy, traced or not."""
    if isinstance(item, jax.Array):
        return True
    return isinstance(item, np.ndarray | np.generic) and item.dtype.kind in "biufcV"


def canonical(tree: Any) -> Any:
    """Numbers as arrays without weak types, in the types that JAX would give them."""
    return jax.tree.map(_canonical, tree)


def _canonical(item: Any) -> Any:
    if isinstance(item, jax.Array):
        weak = getattr(item, "weak_type", False) or getattr(
            item.aval, "weak_type", False
        )
        return jnp.asarray(item, item.dtype) if weak else item
    if isinstance(item, bool | int | float | np.ndarray | np.generic):
        array = np.asarray(item)
        if array.dtype.kind in "iu":
            array = array.astype(np.float64)
        return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
    return item


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    (x, s), (y, t) = jax.tree.flatten(a), jax.tree.flatten(b)
    if s != t:
        return False
    if any(isinstance(v, jax.core.Tracer) for v in (*x, *y)):
        return all(v is w for v, w in zip(x, y, strict=True))
    return all(_same(v, w) for v, w in zip(x, y, strict=True))


def _same(a: Any, b: Any) -> bool:
    if not (is_number(a) or is_number(b)):
        return bool(a == b)
    if jnp.issubdtype(getattr(a, "dtype", np.float32), jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=False)


# --- printed forms ------------------------------------------------------------------


def show(item: Any) -> str:
    """One line for any content of a value."""
    if isinstance(item, jax.core.Tracer):
        return f"{item.dtype}{list(item.shape)}"
    if is_number(item):
        return _show_array(item)
    if isinstance(item, Static):
        return show(item.item)
    if isinstance(item, functools.partial):
        return show(_unfold(item))
    if isinstance(item, _Partial | jax.tree_util.Partial):
        inner = [show(x) for x in item.args]
        inner += [f"{k}={show(x)}" for k, x in item.keywords.items()]
        return f"partial({', '.join([show(item.func), *inner])})"
    if isinstance(item, types.MethodType):
        return f"{show(item.__self__)}.{item.__name__}"
    if isinstance(item, types.FunctionType | types.BuiltinFunctionType | type):
        return item.__qualname__.rpartition("<locals>.")[2]
    if type(item) in (dict, list, tuple) or hasattr(item, "_fields"):
        leaves = jax.tree.leaves(item)
        total = sum(np.size(x) for x in leaves if is_number(x))
        if total > SHOWN:
            return f"<{len(leaves)} arrays, {total:,} numbers>"
        if isinstance(item, dict):
            return "{" + ", ".join(f"{k!r}: {show(x)}" for k, x in item.items()) + "}"
        inner = ", ".join(show(x) for x in item)  # type: ignore[assignment]
        if isinstance(item, list):
            return f"[{inner}]"
        if hasattr(item, "_fields"):
            pairs = zip(item._fields, item, strict=True)
            fields = ", ".join(f"{k}={show(x)}" for k, x in pairs)
            return f"{type(item).__name__}({fields})"
        return f"({inner},)" if len(item) == 1 else f"({inner})"
    text = " ".join(repr(item).split())
    return text if len(text) <= 120 else f"<{type(item).__name__}>"


def _show_array(item: Any) -> str:
    if jnp.issubdtype(item.dtype, jax.dtypes.prng_key) or np.size(item) > SHOWN:
        return f"<{item.dtype}{list(np.shape(item))}>"
    array = np.asarray(item)
    if array.ndim == 0:
        return str(array)
    numbers = " ".join(np.array2string(array, separator=", ").split())
    return f"array({numbers})"
