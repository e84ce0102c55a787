"""Arithmetic of pytrees of arrays."""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax._random import normal, split

Array = jax.Array


class Shape(jax.ShapeDtypeStruct):
    """A ``jax.ShapeDtypeStruct`` that raises a clear error when used as an array."""

    __slots__ = ()

    def _refuse(self, *arguments: Any) -> Any:
        raise TypeError("a ShapeDtypeStruct has a shape and a dtype, and no values")

    __jax_array__ = __array__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __pow__ = __neg__ = __abs__ = _refuse
    __getitem__ = __iter__ = __float__ = __bool__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __matmul__ = __rmatmul__ = _refuse


def shapes_of(tree: Any) -> Any:
    """The shape and dtype of each leaf, a ``jax.ShapeDtypeStruct``."""
    return jax.tree.map(lambda x: Shape(x.shape, x.dtype), tree)


def without_leading_axis(shapes: Any) -> Any:
    """The shapes of one element of arrays ``[C, ...]``."""
    return jax.tree.map(lambda x: Shape(x.shape[1:], x.dtype), shapes)


def select(condition: Array, if_true: Any, if_false: Any) -> Any:
    """One of two trees, by a scalar condition."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)


def cast_like(tree: Any, like: Any) -> Any:
    """The tree in the dtypes of another; the carry of a loop must keep its types."""
    return jax.tree.map(lambda x, y: jnp.asarray(x, jnp.asarray(y).dtype), tree, like)


def axpy(a: float | Array, x: Any, y: Any) -> Any:
    """a x + y, leaf by leaf, in the dtype of y."""
    return jax.tree.map(lambda x, y: (a * x + y).astype(y.dtype), x, y)


def half_square(tree: Any) -> Array:
    """1/2 |x|^2 over all leaves, in float32 or wider."""
    wide = lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32))
    leaves = [jnp.sum(jnp.square(wide(x))) for x in jax.tree.leaves(tree)]
    return 0.5 * sum(leaves[1:], leaves[0])


def normal_like(key: Array, shapes: Any) -> Any:
    """Standard normal numbers in the shapes of a tree."""
    leaves, treedef = jax.tree.flatten(shapes)
    keys = split(key, len(leaves)) if len(leaves) > 1 else [key]
    pairs = zip(keys, leaves, strict=True)
    return jax.tree.unflatten(treedef, [normal(k, x.shape, x.dtype) for k, x in pairs])


def differs(a: Any, b: Any) -> Array:
    """Whether two trees differ anywhere."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return jnp.any(jnp.stack([jnp.any(x != y) for x, y in pairs]))
