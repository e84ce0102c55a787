"""Parallel tempering as one kernel of all replicas.

The position is ``[K, ...]``, one point per replica, and the energy is the sum

    E(x_0, ..., x_{K-1}) = sum_k E_k(x_k),

so that :func:`ebmjax.verify.invariance` can test it as any kernel.
One step is an iteration with each parity of :mod:`ebmjax.tempering.parallel_tempering`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._random import fold_in, split
from ebmjax._value import Value, function, number, part, static, value
from ebmjax.base import Array, Energy, Kernel, Key, Position, State, evaluate, merge
from ebmjax.tempering.annealing import MakeKernel
from ebmjax.tempering.paths import Path
from ebmjax.tempering.swaps import move, swap
from ebmjax.tempering.validation import check_betas, check_path


@value
class JointEnergy(Value):
    """The sum of the energies of all replicas, of ``[K, ...]``."""

    path: Path = part()
    betas: Array = number()

    def __call__(self, x: Position) -> Array:
        return jnp.sum(jax.vmap(lambda b, x: self.path(b)(x))(self.betas, x))


def joint_energy(path: Path, betas: Any) -> Energy:
    """The energy of all replicas together."""
    return JointEnergy(check_path(path), check_betas(betas))  # type: ignore[arg-type]


@value
class ReplicaExchange(Kernel):
    """Made by :func:`replica_exchange`."""

    path: Path = part()
    make_kernel: MakeKernel = function()
    betas: Array = number()
    step_sizes: Array = number()
    num_steps: int = static(default=1)

    def init(self, position: Position) -> State:
        return evaluate(JointEnergy(self.path, self.betas), position)

    def draw(self, key: Key, shapes: Position) -> Key:
        return key

    def move(self, noise, state):
        x, infos = state.position, []
        options = self.path, self.make_kernel, self.betas, self.step_sizes
        for parity in (0, 1):
            key_swap, key_move = split(fold_in(noise, parity))
            x = self.swap(key_swap, jnp.int32(parity), x)
            x, info = move(key_move, *options, self.num_steps, x)
            infos.append(merge(info))
        return self.init(x), merge(jax.tree.map(lambda *i: jnp.stack(i), *infos))

    def swap(self, key, parity, x):
        """Swap the neighbours of one parity, each pair with its probability."""
        return swap(key, self.path, self.betas, parity, x)[0]


def replica_exchange(
    path: Path,
    make_kernel: MakeKernel,
    betas: Any,
    step_sizes: Any,
    *,
    num_steps: int = 1,
) -> Kernel:
    """A kernel of ``[K, ...]``: even swaps, kernels, odd swaps, kernels.

    Args:
      path, make_kernel, num_steps: as of :func:`parallel_tempering`.
      betas: ``[K]``, rising from 0 to 1.
      step_sizes: ``[K]`` or a number.

    Raises:
      ValueError, TypeError: as :func:`parallel_tempering`.

    >>> kernel = replica_exchange(path, eb.mala, [0.0, 0.5, 1.0], 0.5)
    ... # doctest: +SKIP
    """
    checks.positive(step_sizes, "step_sizes")
    checks.count(num_steps, "num_steps")
    betas = check_betas(betas)
    sizes = jnp.broadcast_to(jnp.asarray(step_sizes), betas.shape)
    return ReplicaExchange(check_path(path), make_kernel, betas, sizes, num_steps)
