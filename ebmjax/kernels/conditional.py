"""Kernels of p(x | c), one a condition, that share all but the condition.

Chain c steps with the kernel of its own energy E(., c).  What does not depend on the
condition, the parameters of a network and a common step size, is kept once and is the
same for all chains, so that a network is applied to all chains together.
"""

from collections.abc import Callable
from typing import Any

import jax

from ebmjax import _validation as checks
from ebmjax.base import Energy, Kernel
from ebmjax.energies.conditional import ConditionalEnergy, condition
from ebmjax.kernels.chains import Stacked


def conditioned(
    make_kernel: Callable[[Energy], Kernel],
    energy: ConditionalEnergy,
    conditions: Any,
) -> Stacked:
    """One kernel a chain, chain c at row c of ``conditions`` ``[C, ...]``.

    Args:
      make_kernel: from an energy to a kernel, ``partial(mala, step_size=0.5)``.
      energy: ``energy(x, c)`` of one point and one condition.
      conditions: ``[C, ...]`` on every leaf.

    Raises:
      TypeError: ``make_kernel`` does not keep the energy that it gets as a value.

    >>> from ebmjax.kernels.langevin import mala
    >>> energy = lambda x, c: 0.5 * jax.numpy.sum((x - c) ** 2)
    >>> conditioned(lambda e: mala(e, 0.5), energy, jax.numpy.zeros(4)).num_chains
    4
    """
    checks.num_chains(conditions, "conditions")
    given = condition(energy, conditions)
    own = jax.tree.leaves(given.condition)  # type: ignore[attr-defined]
    kernel = make_kernel(given)
    checks.instance(kernel, Kernel, "kernel", "make_kernel of an energy")
    is_stacked = tuple(any(x is c for c in own) for x in jax.tree.leaves(kernel))
    if sum(is_stacked) < len(own):
        raise TypeError(
            "make_kernel must keep the energy that it gets in a field of the kernel, "
            f"so that its condition is a leaf; got {kernel!r}"
        )
    return Stacked(kernel, is_stacked)
