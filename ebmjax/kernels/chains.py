"""Many chains as one kernel.

parallel(K)            C independent chains, K on each; one key per chain
stack([K1, K2, ...])   one kernel per chain: K1 on the first, K2 on the second, ...
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax._tree import without_leading_axis
from ebmjax._value import part, show, static, value
from ebmjax.base import CHAINS, Kernel, draw_noise
from ebmjax.kernels.wrapper import Wrapper, check_kernels

over_chains = functools.partial(jax.vmap, axis_name=CHAINS)


@value
class Parallel(Wrapper):
    """One kernel on ``C`` chains; made by :func:`parallel`."""

    kernel: Kernel = part()
    is_parallel = True

    def init(self, position):
        return over_chains(self.kernel.init)(position)

    def draw(self, key, shapes):
        of_one = without_leading_axis(shapes)
        return jax.vmap(lambda k: draw_noise(self.kernel, k, of_one))(key)

    def move(self, noise, state):
        return over_chains(self.kernel.move)(noise, state)


@value
class Stacked(Wrapper):
    """One kernel per chain; made by :func:`stack` and :func:`stacked`.

    The leaves of ``kernel`` for which ``is_stacked`` is true, in the order of
    ``jax.tree.leaves``, have a leading axis ``[C]``; the others are shared.
    """

    kernel: Kernel = part()
    is_stacked: tuple[bool, ...] = static()
    is_parallel = True

    def check(self):
        leaves = jax.tree.leaves(self.kernel)
        pairs = list(zip(leaves, self.is_stacked, strict=True))
        lengths = {np.shape(x)[:1] for x, is_own in pairs if is_own}
        if len(lengths) != 1 or lengths == {()}:
            raise ValueError(
                "the stacked leaves of a kernel need one leading axis [C], got shapes "
                f"{[np.shape(x) for x, is_own in pairs if is_own]}"
            )

    @property
    def num_chains(self) -> int:
        """C, the number of kernels."""
        leaves = jax.tree.leaves(self.kernel)
        own = [x for x, is_own in zip(leaves, self.is_stacked, strict=True) if is_own]
        return len(own[0])

    def over(self, f: Callable, *arguments: Any) -> Any:
        """``f(kernel, *arguments)`` for the kernel and the arguments of each chain."""
        leaves, treedef = jax.tree.flatten(self.kernel)
        axes = [0 if is_own else None for is_own in self.is_stacked]

        def one(leaves, *arguments):
            return f(jax.tree.unflatten(treedef, leaves), *arguments)

        return over_chains(one, in_axes=(axes, *[0] * len(arguments)))(
            leaves, *arguments
        )

    def init(self, position):
        return self.over(lambda kernel, x: kernel.init(x), position)

    def draw(self, key, shapes):
        of_one = without_leading_axis(shapes)
        return self.over(lambda kernel, k: draw_noise(kernel, k, of_one), key)

    def move(self, noise, state):
        return self.over(lambda kernel, n, s: kernel.move(n, s), noise, state)


def parallel(kernel: Kernel) -> Kernel:
    """The kernel on ``C`` chains: positions, states, keys and infos get a leading axis
    ``[C]``.  A kernel of :func:`stack` is returned unchanged.

    >>> kernel = parallel(mala(lambda x: 0.5 * jnp.sum(x**2), 0.5))
    >>> kernel.init(jnp.zeros((4, 2))).energy.shape
    (4,)
    """
    check_kernels([kernel])
    return kernel if isinstance(kernel, Stacked) else Parallel(kernel)


def stack(kernels: Sequence[Kernel]) -> Kernel:
    """One kernel per chain, from kernels that differ only in their numbers.

    A leaf that is the same object in all kernels (the parameters of a network) is
    stored once; the others are stacked.

    Raises:
      ValueError: kernels of different structure, naming the first that differs.

    >>> energy = lambda x: 0.5 * jnp.sum(x**2)
    >>> kernel = stack([mala(energy, h) for h in (0.1, 0.2, 0.4)])
    >>> sample(jax.random.key(0), kernel, jnp.zeros((3, 2)), 100).draws.shape
    (100, 3, 2)
    """
    check_kernels(kernels)
    flat = [jax.tree.flatten(kernel) for kernel in kernels]
    for i, (_, treedef) in enumerate(flat):
        if treedef != flat[0][1]:
            raise ValueError(
                "kernels must differ in their numbers alone to be stacked; number 0 is "
                f"{show(kernels[0])}, number {i} {show(kernels[i])}"
            )
    rows = list(zip(*(leaves for leaves, _ in flat), strict=True))
    is_stacked = [any(x is not row[0] for x in row) for row in rows]
    if not any(is_stacked):
        is_stacked = [True] * len(rows)
    leaves = [
        jnp.stack(row) if is_own else row[0]
        for row, is_own in zip(rows, is_stacked, strict=True)
    ]
    return Stacked(jax.tree.unflatten(flat[0][1], leaves), tuple(is_stacked))


def stacked(kernel: Kernel) -> Kernel:
    """One kernel per chain, from a kernel whose leaves all have a leading axis ``[C]``,
    as returned by ``jax.vmap`` of a function that makes kernels.

    >>> energy = lambda x: 0.5 * jnp.sum(x**2)
    >>> ladder = jax.vmap(lambda h: mala(energy, h))(jnp.array([0.1, 0.2, 0.4]))
    >>> stacked(ladder).num_chains
    3
    """
    check_kernels([kernel])
    return Stacked(kernel, (True,) * len(jax.tree.leaves(kernel)))
