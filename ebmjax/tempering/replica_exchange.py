"""Parallel tempering as a kernel: of all replicas together.

The position is ``[K, ...]``, one point a replica, and the energy the sum of theirs,

    E(x_0, ..., x_{K-1}) = sum_k E_k(x_k),

so that what holds for a kernel can be tested on it: :func:`ebmjax.verify.invariance`.
One step is an iteration with each parity of :mod:`ebmjax.tempering.parallel_tempering`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax.base import Energy, Info, Kernel, State, evaluate, merge
from ebmjax.tempering.ais import MakeKernel
from ebmjax.tempering.parallel_tempering import move, swap
from ebmjax.tempering.paths import Path, check_betas, path_as_value


def joint_energy(path: Path, betas: Any) -> Energy:
    """The sum of the energies of all replicas, of ``[K, ...]``."""
    path, betas = path_as_value(path), jnp.asarray(betas)
    return lambda x: jnp.sum(jax.vmap(lambda b, x: path(b)(x))(betas, x))


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
    path = path_as_value(path)
    checks.function(make_kernel, "make_kernel")
    checks.positive(step_sizes, "step_sizes")
    checks.count(num_steps, "num_steps")
    betas = jnp.asarray(check_betas(betas), jnp.result_type(float))
    sizes = jnp.broadcast_to(jnp.asarray(step_sizes, betas.dtype), betas.shape)
    energy = joint_energy(path, betas)

    def step(key, state):
        x, infos = state.position, []
        for parity in (0, 1):
            key_swap, key_move = jax.random.split(jax.random.fold_in(key, parity))
            x, _ = swap(key_swap, path, betas, jnp.int32(parity), x)
            x, info = move(key_move, path, make_kernel, betas, sizes, num_steps, x)
            infos.append(merge(info))
        info: Info = merge(jax.tree.map(lambda *i: jnp.stack(i), *infos))
        return State(x, energy(x)), info

    return Kernel(
        lambda x: evaluate(energy, x, with_grad=False), lambda key, x: key, step
    )
