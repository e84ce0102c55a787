"""Callables as pytrees, whose numbers are leaves."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from ebmjax._value.numbers import equal, is_number
from ebmjax._value.structure import Static


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
        leaves, treedef = jax.tree.flatten(unfold(item))
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
        return equal(self, other) if isinstance(other, Function) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.structure)

    def __repr__(self) -> str:
        from ebmjax._value.printing import show

        return show(self.unwrap())

    def __reduce__(self) -> Any:
        return Function, (self.unwrap(),)

    def __getattr__(self, name: str) -> Any:
        if name in ("__name__", "__qualname__", "__doc__"):
            return getattr(self.unwrap(), name)
        raise AttributeError(name)


def unfold(item: Any) -> Any:
    """``functools.partial``, a leaf to JAX, as JAX's own pytree ``Partial``."""
    if isinstance(item, Function):
        return item.unwrap()
    if isinstance(item, functools.partial):
        return Partial(unfold(item.func), item.args, item.keywords)
    return item


@jax.tree_util.register_pytree_node_class
class Partial:
    """A partial application whose function is a child, too, and may hold numbers."""

    def __init__(self, func: Any, args: tuple, keywords: dict):
        self.func, self.args, self.keywords = func, args, keywords

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.func(*self.args, *arguments, **{**self.keywords, **options})

    def tree_flatten(self) -> tuple[tuple, None]:
        return (self.func, self.args, self.keywords), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: Any) -> "Partial":
        return cls(*children)
