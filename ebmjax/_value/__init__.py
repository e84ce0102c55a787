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
``0.1`` and ``jnp.float32(0.1)`` are the same to ``jit``.
"""

from ebmjax._value.fields import count, function, number, part, static
from ebmjax._value.functions import Function, Partial
from ebmjax._value.numbers import canonical, is_number
from ebmjax._value.printing import show
from ebmjax._value.structure import Static
from ebmjax._value.values import Value, as_function, value

__all__ = [
    "Function",
    "Partial",
    "Static",
    "Value",
    "as_function",
    "canonical",
    "count",
    "function",
    "is_number",
    "number",
    "part",
    "show",
    "static",
    "value",
]
