"""Functions that are made again and again, each with other data in its closure.

A plain function is structure: compared by identity, and part of the program that is
compiled for it.  A lambda in a loop is a new function each time round, so that each
call compiles a program, and JAX keeps every one, with the arrays in it.  What is bound
by ``jax.tree_util.Partial`` is an argument: one program, and nothing is kept.
"""

import dataclasses
import types
from typing import Any

import jax

from ebmjax import _validation as checks
from ebmjax._value import Function, Static, Value

MANY = 16  # functions of one code, each compiled

_seen: dict[types.CodeType, set[int]] = {}


def warn_of_many(what: str, *items: Any) -> None:
    """Warn, once, where values were made of the sixteenth function of the same code."""
    for f in functions(items):
        found = _seen.setdefault(f.__code__, set())
        if id(f) in found or len(found) >= MANY:
            continue
        found.add(id(f))
        if len(found) == MANY:
            place = f"{f.__code__.co_filename}:{f.__code__.co_firstlineno}"
            checks.warn(
                f"{what} was given {MANY} functions made by the same code, "
                f"{f.__name__} at {place}: each is a new function, for which a program "
                "is compiled and kept, with the arrays that it refers to. Pass arrays "
                "as arguments, jax.tree_util.Partial(energy, data) for "
                "energy(data, x), and one program serves all",
                RuntimeWarning,
            )


def functions(items: Any) -> list[types.FunctionType]:
    """The plain functions in values, partials and tuples, of users' code."""
    if isinstance(items, Static):
        items = items.item
    if isinstance(items, Function):
        items = items.unwrap()
    if isinstance(items, types.FunctionType):
        is_own = (items.__module__ or "").startswith("ebmjax.")
        return [] if is_own else [items]
    if isinstance(items, Value):
        fields = dataclasses.fields(items)  # type: ignore[arg-type]
        items = tuple(getattr(items, f.name) for f in fields)
    elif not isinstance(items, tuple):
        leaves = jax.tree.leaves(items)
        if len(leaves) == 1 and leaves[0] is items:
            return []
        items = tuple(leaves)
    return [f for item in items for f in functions(item)]
