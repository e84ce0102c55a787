"""The kinds of the fields of a value."""

import dataclasses
from typing import Any


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
