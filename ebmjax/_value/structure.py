"""What is no number: compared by equality and hashed, so that equal code shares its
compiled programs.
"""

import types
from typing import Any


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
        from ebmjax._value.printing import show

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
