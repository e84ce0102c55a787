"""What kernels of constrained energies do with positions: maps of them, over chains.

A kernel whose energy is :class:`~ebmjax.energies.constrained.Constrained` moves free
coordinates.  Those on a circle are wrapped after each step: the energy is the same at
``u`` and ``u + period``, and what is far from 0 loses the digits that many turns cost.
The gradient and the momentum at the point stay what they are.
"""

from collections.abc import Callable
from typing import Any

import jax

from ebmjax.base import Kernel, Position, State
from ebmjax.energies.constrained import Constrained, constrained_in
from ebmjax.kernels.chains import Stacked


def over(
    kernel: Kernel, f: Callable[[Constrained, Position], Any], position: Position
) -> Any:
    """``f(constrained energy, position)``, for each chain of a kernel of many."""
    if isinstance(kernel, Stacked):
        of_one = lambda one, x: f(constrained_in(one), x)  # type: ignore[arg-type]
        return kernel.over(of_one, position)
    energy = constrained_in(kernel)
    one = lambda x: f(energy, x)  # type: ignore[arg-type]
    return (jax.vmap(one) if kernel.is_parallel else one)(position)


def wrapping(kernel: Kernel) -> Callable[[State], State]:
    """From a state to the same one with its periodic coordinates in their range."""
    energy = constrained_in(kernel)
    if energy is None or not energy.is_periodic:
        return lambda state: state
    wrap = lambda energy, x: energy.wrap(x)
    return lambda state: state._replace(position=over(kernel, wrap, state.position))
