"""Energies of a point given a condition, E(x, c): for each c a density of x,

    p(x | c) = exp(-E(x, c)) / Z(c),      Z(c) = integral of exp(-E(x, c)) over x.

``condition(energy, c)`` is an energy of x whose leaves are c and the numbers that
``energy`` carries: another c compiles nothing, ``jax.vmap`` over c is one energy a
chain, and ``jax.grad`` with respect to it is that with respect to c.  The gradient of
log Z is a mean over samples,

    d log Z / dc = -E_p(x|c)[dE/dc].

A trainable conditional energy is ``energy(params, x, c)``;
``functools.partial(energy, params)`` is a conditional energy.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import Value, function, number, value
from ebmjax.base import Array, Energy

ConditionalEnergy = Callable[[Any, Any], Array]  # of a point and a condition


@value
class Conditioned(Value):
    """Made by :func:`condition`."""

    energy: ConditionalEnergy = function()
    condition: Any = number()

    def __call__(self, x: Any) -> Array:
        return self.energy(x, self.condition)


def condition(energy: ConditionalEnergy, condition: Any) -> Energy:
    """E(., c): the energy of x given c.

    Args:
      energy: ``energy(x, c)`` of one point and one condition.
      condition: c, a number, an array or a tree of them, finite; whole numbers stay
        whole.

    Raises:
      TypeError: ``energy`` is no function; a condition that is not numbers.
      ValueError: a condition that is not finite.

    >>> given = condition(lambda x, c: 0.5 * jnp.sum((x - c) ** 2), 2.0)
    >>> float(given(jnp.float32(3.0)))
    0.5
    """
    return Conditioned(energy, as_condition(condition))


def as_condition(condition: Any, name: str = "condition") -> Any:
    """Numbers as arrays, whole ones whole.

    Raises:
      TypeError: no numbers.
      ValueError: numbers that are not finite.
    """
    leaves = jax.tree_util.tree_leaves_with_path(condition)
    if not leaves:
        raise TypeError(
            f"{name} must be a number, an array or a tree of them, got "
            f"{checks.describe(condition)}"
        )
    for path, leaf in leaves:
        if isinstance(leaf, jax.core.Tracer):
            continue
        where = name + jax.tree_util.keystr(path)
        is_plain = isinstance(leaf, bool | int | float)
        if (
            not is_plain
            and getattr(leaf, "dtype", np.dtype(object)).kind not in "biufV"
        ):
            raise TypeError(f"{where} must be numbers, got {checks.describe(leaf)}")
        checks.finite_rows(jnp.asarray(leaf), where)
    return jax.tree.map(jnp.asarray, condition)


@value
class AtCondition(Value):
    """A trainable conditional energy given c: ``energy(params, x)``."""

    energy: Callable[..., Array] = function()
    condition: Any = number()

    def __call__(self, params: Any, x: Any) -> Array:
        return self.energy(params, x, self.condition)
