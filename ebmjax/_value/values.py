"""Values: frozen dataclasses that are pytrees.

``check`` runs when a value is made, but not when JAX rebuilds it from leaves, which may
then be of any type.
"""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

from ebmjax._validation import describe
from ebmjax._value.functions import Function
from ebmjax._value.numbers import canonical, equal, is_number
from ebmjax._value.printing import show
from ebmjax._value.structure import Static

T = TypeVar("T")


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
        return equal(self, other)

    def __hash__(self) -> int:
        return hash(jax.tree.structure(self))

    def __repr__(self) -> str:
        shown = []
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            item, default = getattr(self, f.name), f.default
            if f.metadata.get("kind", "number") == "number":
                default = canonical(default)
            is_default = default is not dataclasses.MISSING and equal(item, default)
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


def as_function(item: Any, name: str = "function") -> Any:
    """A callable as a pytree; values that can be called are pytrees already."""
    if isinstance(item, Value | Function):
        if not callable(item):
            raise TypeError(f"{name} must be a function, got {show(item)}")
        return item
    if not callable(item):
        raise TypeError(f"{name} must be a function, got {describe(item)}")
    return Function(item)
