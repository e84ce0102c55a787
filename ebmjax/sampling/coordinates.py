"""Constrained values at the borders of a run, free coordinates within.

Of a kernel whose energy is :class:`~ebmjax.energies.constrained.Constrained` the starts
become free coordinates here, and what is collected sees constrained values.
"""

from typing import Any

import jax

from ebmjax import _validation as checks
from ebmjax.base import Kernel, Position, State
from ebmjax.energies.constrained import Constrained, constrained_in
from ebmjax.kernels.chains import Stacked, parallel
from ebmjax.kernels.free_coordinates import over
from ebmjax.sampling.collect import Collect, Reducer


def to_free(kernel: Kernel, positions: Position) -> Position:
    """Free coordinates of starts ``[C, ...]`` of the chains of a kernel.

    Raises:
      TypeError, ValueError: a start outside of its support, naming leaf, value, chain.
    """
    energy = constrained_in(kernel)
    if energy is None:
        return positions
    positions = checks.position(positions)
    checks.num_chains(positions)
    if isinstance(kernel, Stacked):
        for c in range(kernel.num_chains):
            one = jax.tree.map(lambda x, c=c: x[c : c + 1], positions)
            name = f"positions of chain {c}"
            of_chain(kernel, c).check_inside(one, name, is_point=True)
    else:
        energy.check_inside(positions)
    return _free(kernel, positions)


def free_of(energy: Constrained, positions: Position) -> Position:
    """Free coordinates of starts ``[C, ...]``; raises as :func:`to_free`."""
    energy.check_inside(positions)
    return _free_of(energy, positions)


def of_chain(kernel: Stacked, chain: int) -> Constrained:
    """The constrained energy of one chain of a stack."""
    leaves, treedef = jax.tree.flatten(kernel.kernel)
    pairs = zip(leaves, kernel.is_stacked, strict=True)
    own = [x[chain] if is_own else x for x, is_own in pairs]
    one = jax.tree.unflatten(treedef, own)
    return constrained_in(one)  # type: ignore[return-value]


def support_of(kernel: Kernel) -> Any:
    """The supports of the positions of a kernel, or ``None``."""
    energy = constrained_in(kernel)
    if isinstance(kernel, Stacked) and energy is not None:
        energy = of_chain(kernel, 0)
    return None if energy is None else energy.support


def collected(kernel: Kernel, collect: Collect | Reducer) -> Collect | Reducer:
    """What is collected, of states with constrained values ``[C, ...]``."""
    if constrained_in(kernel) is None:
        return collect

    def seen(state: State) -> State:
        constrain = lambda energy, x: energy.constrain(x)
        return state._replace(position=over(kernel, constrain, state.position))

    if isinstance(collect, Reducer):
        return Reducer(
            lambda state, info: collect.init(seen(state), info),
            lambda reduced, state, info: collect.update(reduced, seen(state), info),
        )
    return lambda state, info: collect(seen(state), info)


@jax.jit
def _free(kernel, positions):
    return over(parallel(kernel), lambda energy, x: energy.free(x), positions)


@jax.jit
def _free_of(energy, positions):
    return jax.vmap(energy.free)(positions)


@jax.jit
def constrained_of(energy: Constrained, free: Position) -> Position:
    """Constrained values of free coordinates ``[C, ...]``."""
    return jax.vmap(energy.constrain)(free)
