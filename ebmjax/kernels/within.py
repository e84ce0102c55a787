"""Kernels of one part of a position, given the rest: Metropolis within Gibbs (Tierney
1994, section 2.4)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import function, static, value
from ebmjax.base import Energy, Kernel, State, draw_noise, evaluate
from ebmjax.kernels.combinators import reject_nonfinite
from ebmjax.spaces import REAL, space_of


@value
class Within(Kernel):
    """Made by :func:`within`."""

    energy: Energy = function()
    part: Any = static()
    make_kernel: Callable[[Energy], Kernel] = function()
    rejects_nonfinite = True
    is_of_part = True

    @property
    def state_space(self):
        return space_of(self.energy) or REAL

    def conditional(self, position):
        """The kernel of the part, given the rest of a position (or of its shapes)."""
        _check_part(position, self.part)
        energy = lambda x: self.energy(_replace(position, self.part, x))
        kernel = self.make_kernel(energy)
        if not isinstance(kernel, Kernel):
            raise TypeError(
                "make_kernel must return a Kernel of the energy that it gets, got "
                f"{checks.describe(kernel)}"
            )
        return reject_nonfinite(kernel)

    def init(self, position):
        _check_part(position, self.part)
        state = evaluate(self.energy, position)
        inner = self.conditional(position).init(position[self.part])
        is_refused = (inner.energy == jnp.inf) & (state.energy != jnp.inf)
        return state._replace(energy=jnp.where(is_refused, jnp.inf, state.energy))

    def draw(self, key, shapes):
        return draw_noise(self.conditional(shapes), key, shapes[self.part])

    def move(self, noise, state):
        kernel = self.conditional(state.position)
        x = state.position[self.part]
        shapes = jax.eval_shape(kernel.init, x)
        if shapes.momentum is not None:
            raise TypeError(
                "within renews the state of its kernel at each step: one that keeps a "
                "momentum would lose it"
            )
        is_plain = shapes.grad is None
        inner = State(x, state.energy) if is_plain else kernel.init(x)
        inner, info = kernel.move(noise, inner)
        position = _replace(state.position, self.part, inner.position)
        if state.grad is None:
            return state._replace(position=position, energy=inner.energy), info
        new = evaluate(self.energy, position, with_grad=True)
        return new._replace(momentum=state.momentum), info


def within(
    energy: Energy, part: Any, make_kernel: Callable[[Energy], Kernel]
) -> Kernel:
    """A kernel that moves ``position[part]`` and leaves the rest: Metropolis within
    Gibbs.

    The kernel of the part goes through :func:`reject_nonfinite`.

    Args:
      energy: of the whole position, a dict, tuple or list.
      part: the entry that moves.
      make_kernel: from the energy of the part, given the rest, to a kernel;
        ``partial(mala, step_size=0.1)``.

    Raises:
      TypeError: a position without that entry; a kernel whose momentum persists.

    >>> sweep = cycle(within(energy, "mean", partial(mala, step_size=0.1)),
    ...               within(energy, "scale", partial(random_walk, step_size=0.5))
    ...               )  # doctest: +SKIP
    """
    checks.function(energy, "energy")
    checks.function(make_kernel, "make_kernel")
    return Within(energy, part, make_kernel)


def _replace(position, part, value):
    if isinstance(position, dict):
        return {**position, part: value}
    entries = (value if i == part else x for i, x in enumerate(position))
    if hasattr(position, "_replace"):
        return type(position)(*entries)
    return type(position)(entries)


def _check_part(position, part):
    entries = list(position) if isinstance(position, dict) else None
    if entries is None and isinstance(position, tuple | list):
        entries = list(range(len(position)))
    if entries is None or part not in entries:
        have = entries if entries is not None else checks.describe(position)
        raise TypeError(
            "within moves an entry of a dict, tuple or list; part "
            f"{part!r} is not among {have}"
        )
