"""Bijectors of distrax, NumPyro and TensorFlow Probability; none is imported.

What they are is told by their methods:

    distrax            forward_and_log_det(u), inverse(x)
    TFP                forward(u), forward_log_det_jacobian(u), inverse(x)
    NumPyro            __call__(u), log_abs_det_jacobian(u, x), _inverse(x) or inv(x)

The log-determinants that they return are added up over all their axes.  The numbers of
a bijector that is a pytree are leaves; all else of it is structure.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax._value import is_number, number, static, value
from ebmjax.supports.base import Support

AGREE = 1e-2  # relative difference of a value and the value of its free coordinates


def is_bijector(item: Any) -> bool:
    """Whether an object has the methods of a bijector of one of the three libraries."""
    if isinstance(item, type | Support):
        return False
    has = lambda *names: all(callable(getattr(item, name, None)) for name in names)
    return (
        has("forward_and_log_det", "inverse")
        or has("forward", "forward_log_det_jacobian", "inverse")
        or (has("__call__", "log_abs_det_jacobian") and (has("_inverse") or has("inv")))
    )


class _Code:
    """The structure of a bijector: equal where the pytrees have equal structure."""

    def __init__(self, treedef: Any, is_leaf: tuple[bool, ...], rest: tuple):
        self.treedef, self.is_leaf, self.rest = treedef, is_leaf, rest

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, _Code) or self.is_leaf != other.is_leaf:
            return False
        pairs = zip(self.rest, other.rest, strict=True)
        same = all(a is b or (type(a) is type(b) and bool(a == b)) for a, b in pairs)
        return same and bool(self.treedef == other.treedef)

    def __hash__(self) -> int:
        return hash((self.is_leaf, *map(type, self.rest)))


@value
class Bijector(Support):
    """Made of a bijector by :func:`~ebmjax.constrain`."""

    numbers: tuple = number()
    code: _Code = static()

    def __repr__(self) -> str:
        text = " ".join(repr(self.unwrap()).split())
        name = type(self.unwrap()).__name__
        return f"Bijector({text if len(text) < 80 else name})"

    def unwrap(self) -> Any:
        """The bijector itself."""
        given = iter(self.numbers)
        pairs = zip(self.code.is_leaf, self.code.rest, strict=True)
        leaves = [next(given) if is_leaf else x for is_leaf, x in pairs]
        return jax.tree.unflatten(self.code.treedef, leaves)

    def forward(self, free):
        bijector = self.unwrap()
        if hasattr(bijector, "forward_and_log_det"):
            x, log_det = bijector.forward_and_log_det(free)
        elif hasattr(bijector, "forward"):
            x = bijector.forward(free)
            log_det = bijector.forward_log_det_jacobian(free)
        else:
            x = bijector(free)
            log_det = bijector.log_abs_det_jacobian(free, x)
        return x, jnp.sum(log_det)

    def inverse(self, x):
        bijector = self.unwrap()
        if hasattr(bijector, "inverse"):
            return bijector.inverse(x)
        if hasattr(bijector, "_inverse"):
            return bijector._inverse(x)
        return bijector.inv(x)

    def free_shape(self, shape):
        x = jax.ShapeDtypeStruct(shape, jnp.zeros(0).dtype)
        return jax.eval_shape(self.inverse, x).shape

    def is_inside(self, x):
        """By going there and back: of a leaf with its chains on the first axis."""

        def back(x):
            free = self.inverse(x)
            is_finite = jnp.all(jnp.isfinite(free))
            return is_finite, self.forward(jnp.where(is_finite, free, 0))[0]

        is_finite, again = jax.vmap(back)(jnp.asarray(x))
        error = np.abs(np.asarray(again) - x) / (1 + np.abs(x))
        agrees = error.reshape(len(x), -1).max(axis=1) < AGREE
        return np.asarray(is_finite) & agrees

    def wants(self):
        return "in the range of the bijector"


def from_bijector(item: Any) -> Bijector:
    """A bijector object as a support."""
    leaves, treedef = jax.tree.flatten(item)
    is_leaf = tuple(is_number(x) or isinstance(x, float) for x in leaves)
    pairs = list(zip(is_leaf, leaves, strict=True))
    rest = tuple(None if n else x for n, x in pairs)
    return Bijector(tuple(x for n, x in pairs if n), _Code(treedef, is_leaf, rest))
