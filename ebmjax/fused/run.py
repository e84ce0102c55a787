"""All steps of a run in two launches of a GPU.

:func:`run` is :func:`ebmjax.sampling.loop.run` with the noise of many steps drawn in
one launch and the steps taken in another, a kernel written with Pallas: a block of
chains takes all of them with its state in registers, one thread per chain, and writes
the draws.  Keys and random numbers are those of ``run``; sums may round differently.  A
GPU otherwise launches several programs a step, some microseconds each, in which small
energies spend nearly all of their time.

The step is computed number by number (:mod:`ebmjax.fused.program`), so it is for
energies of up to some thousand operations.  A wide network or a large data set is
refused, and so is a primitive that has no rule.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import as_function
from ebmjax.base import Key, State
from ebmjax.fused.launches import Launches
from ebmjax.kernels.chains import Parallel, Stacked
from ebmjax.sampling.collect import Collect, collect_stats, discard, position_of
from ebmjax.sampling.loop import Run

BLOCK = 32  # chains in a block: the threads of a warp
COLLECTED = tuple(map(as_function, (position_of, collect_stats, discard)))


def run(
    key: Key,
    kernel: Parallel | Stacked,
    state: State,
    num_steps: int,
    *,
    start: int | jax.Array = 0,
    thin: int = 1,
    collect: Collect = position_of,
    interpret: bool | None = None,
) -> Run:
    """``num_steps`` steps of many chains in two launches: pure, for use inside ``jit``.

    Args:
      key: one a chain, ``chain_keys(key, C)``.
      kernel: of ``parallel`` or ``stack``.
      state: from ``kernel.init``.
      num_steps: a multiple of ``thin``.
      start: steps already taken; the keys go on from there.
      thin: store every ``thin``-th step; the info of ``collect_stats`` is of that step.
      collect: ``position_of``, ``collect_stats`` or ``discard``.
      interpret: compute slowly what the kernel computes, without a GPU; by default
        where there is none.

    Returns:
      :class:`~ebmjax.sampling.loop.Run`.

    Raises:
      TypeError: a kernel of one chain, something else to collect, an energy with a
        primitive that has no rule, or too large.

    >>> kernel = parallel(mala(lambda x: 0.5 * jnp.sum(x**2), 0.5))
    >>> keys = chain_keys(jax.random.key(0), 4)
    >>> run(keys, kernel, kernel.init(jnp.zeros((4, 2))), 10).draws.shape
    (10, 4, 2)
    """
    keys = checks.keys(key)
    if not isinstance(kernel, Parallel | Stacked) or keys.ndim != 1:
        raise TypeError(
            "a fused run is of many chains: kernel must be of parallel(kernel) or "
            f"stack(...) and key one a chain, chain_keys(key, C); got {kernel!r} and "
            f"keys {keys.shape}"
        )
    check_threefry(keys)
    num_steps, thin = checks.thinned(num_steps, thin)
    collect = checked(collect)
    return steps(
        keys, kernel, state, start, collect, num_steps // thin, thin, interpret
    )


def checked(collect: Any) -> Collect:
    """What a fused run can collect.

    Raises:
      TypeError: anything else.
    """
    collect = as_function(collect, "collect") if callable(collect) else collect
    if collect not in COLLECTED:
        raise TypeError(
            "collect of a fused run must be position_of, collect_stats or discard, got "
            f"{collect!r}"
        )
    return collect


def check_threefry(keys: Key) -> None:
    """Raises for keys of another implementation."""
    if str(jax.random.key_impl(keys)) != "threefry2x32":
        raise TypeError(
            "a fused run computes threefry keys, jax.random.key(seed), got keys of "
            f"{jax.random.key_impl(keys)}"
        )


def steps(keys, kernel, state, start, collect, num_kept, thin, interpret=None) -> Run:
    """The steps, with chains added so that their number is a multiple of a block."""
    if interpret is None:
        interpret = jax.default_backend() != "gpu"
    num_chains = len(keys)
    block = min(BLOCK, 1 << (num_chains - 1).bit_length())
    missing = -num_chains % block
    if missing:
        longer = lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], missing, 0)])
        keys, state = jax.tree.map(longer, (keys, state))
        kernel = _longer(kernel, longer) if isinstance(kernel, Stacked) else kernel
    launches = Launches(keys, kernel, state, collect, thin, block, interpret)
    found = launches.all_steps(state, jnp.asarray(start, jnp.int32), num_kept)
    if not missing:
        return found
    cut = lambda tree: jax.tree.map(lambda x: x[:num_chains], tree)
    draws = jax.tree.map(lambda x: x[:, :num_chains], found.draws)
    return Run(cut(found.state), draws, cut(found.info))


def _longer(kernel, longer):
    leaves, treedef = jax.tree.flatten(kernel.kernel)
    pairs = zip(leaves, kernel.is_stacked, strict=True)
    leaves = [longer(jnp.asarray(x)) if is_own else x for x, is_own in pairs]
    return Stacked(jax.tree.unflatten(treedef, leaves), kernel.is_stacked)
