"""Kernels made of kernels.  Each leaves invariant what its parts leave invariant (Tierney 1994, section 2.4).

    repeat(K, n)         = K^n
    cycle(K1, K2, ...)   = ... K2 K1
    mixture(Ks, w)       = w1 K1 + w2 K2 + ...
    within(E, part, ...) : a kernel of one part of the position, given the rest (Metropolis within Gibbs)
    reject_nonfinite(K)           : K, but a step to where the energy is not finite is undone; what is made of kernels
                           that undo it themselves needs no guard either
    parallel(K)          : C independent chains, K on each; the key, too, has one entry a chain

They mix freely because there is one state and one info.  Where any part of a cycle needs the gradient, the
state of all of them carries it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import (
    CHAINS,
    Energy,
    Info,
    Kernel,
    State,
    careful,
    evaluate,
    is_careful,
    merge,
    select,
)


def parallel(kernel: Kernel) -> Kernel:
    """The kernel on ``C`` chains: positions, states, keys and infos get a leading axis ``[C]``."""
    _check_kernels([kernel])
    over_chains = partial(jax.vmap, axis_name=CHAINS)
    move = over_chains(kernel.move)
    setattr(move, "is_parallel", True)  # noqa: B010  sample takes a kernel of one chain, and says so
    return Kernel(over_chains(kernel.init), over_chains(kernel.draw), move)


def reject_nonfinite(kernel: Kernel) -> Kernel:
    """The kernel, but a step to where the energy is NaN or infinite is undone, and counted.

    A kernel whose move is marked :func:`~ebmjax.base.careful` sees to that itself and is returned as it is.
    """
    if is_careful(kernel):
        return kernel

    def move(noise, state):
        new, info = kernel.move(noise, state)
        is_finite = jnp.isfinite(new.energy)
        info = info._replace(
            is_accepted=info.is_accepted & is_finite,
            num_nonfinite=info.num_nonfinite + ~is_finite,
        )
        return select(is_finite, new, state), info

    return Kernel(kernel.init, kernel.draw, careful(move))


def repeat(kernel: Kernel, num_steps: int) -> Kernel:
    """``num_steps`` steps as one; the infos merged.  Raises unless ``num_steps`` is a positive count."""
    _check_kernels([kernel])
    checks.count(num_steps, "num_steps")

    def draw(key, position):
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(num_steps))
        return jax.vmap(lambda k: kernel.draw(k, position))(keys)

    def move(noise, state):
        state, infos = jax.lax.scan(lambda s, n: kernel.move(n, s), state, noise)
        return state, merge(infos)

    return Kernel(kernel.init, draw, _as_careful_as([kernel], move))


def cycle(*kernels: Kernel) -> Kernel:
    """One step of each in turn.  All must be kernels of the same energy."""
    _check_kernels(kernels)

    def draw(key, position):
        keys = jax.random.split(key, len(kernels))
        return tuple(
            k.draw(key, position) for k, key in zip(kernels, keys, strict=True)
        )

    def move(noise, state):
        infos = []
        for kernel, kernel_noise in zip(kernels, noise, strict=True):
            state, info = kernel.move(kernel_noise, state)
            infos.append(info)
        return state, merge(_stack(infos))

    return Kernel(_richest(kernels), draw, _as_careful_as(kernels, move))


def mixture(
    kernels: Sequence[Kernel], weights: Sequence[float] | None = None
) -> Kernel:
    """One of the kernels, chosen at random each step with the given weights (equal by default).

    Under ``parallel`` all of them are computed and one is kept: a mixture of chains costs the sum.
    """
    _check_kernels(kernels)
    shares = np.ones(len(kernels)) if weights is None else np.asarray(weights)
    checks.positive(shares, "weights")
    if len(shares) != len(kernels):
        raise ValueError(
            f"weights must be one a kernel, got {len(shares)} for {len(kernels)} kernels"
        )
    log_weights = jnp.log(jnp.asarray(shares))

    def draw(key, position):
        key_choice, *keys = jax.random.split(key, len(kernels) + 1)
        choice = jax.random.categorical(key_choice, log_weights)
        return choice, tuple(
            k.draw(key, position) for k, key in zip(kernels, keys, strict=True)
        )

    def move(noise, state):
        choice, noise = noise
        branches = [
            lambda operand, k=k, i=i: k.move(operand[0][i], operand[1])
            for i, k in enumerate(kernels)
        ]
        return jax.lax.switch(choice, branches, (noise, state))

    return Kernel(_richest(kernels), draw, _as_careful_as(kernels, move))


def within(
    energy: Energy, part: Any, make_kernel: Callable[[Energy], Kernel]
) -> Kernel:
    """A kernel that moves ``position[part]`` and leaves the rest: Metropolis within Gibbs.

    The kernel of the part is :func:`reject_nonfinite`.

    Args:
      energy: of the whole position, a dict, tuple or list.
      part: the entry that moves.
      make_kernel: from the energy of the part, given the rest, to a kernel; ``partial(mala, step_size=0.1)``.

    Raises:
      TypeError: a position without that entry; a kernel whose momentum persists.

    >>> sweep = cycle(within(energy, "mean", lambda e: mala(e, 0.1)),
    ...               within(energy, "scale", lambda e: random_walk(e, 0.5)))  # doctest: +SKIP
    """
    checks.function(energy, "energy")
    checks.function(make_kernel, "make_kernel")

    def conditional(position):
        _check_part(position, part)
        return reject_nonfinite(
            make_kernel(lambda value: energy(_replace(position, part, value)))
        )

    def init(position):
        _check_part(position, part)
        return evaluate(energy, position, with_grad=False)

    def draw(key, position):
        return conditional(position).draw(key, position[part])

    def move(noise, state):
        kernel = conditional(state.position)
        value = state.position[part]
        shapes = jax.eval_shape(kernel.init, value)
        if shapes.momentum is not None:
            raise TypeError(
                "within renews the state of its kernel at each step: one that keeps a momentum loses it"
            )
        inner = (
            State(value, state.energy) if shapes.grad is None else kernel.init(value)
        )
        inner, info = kernel.move(noise, inner)
        position = _replace(state.position, part, inner.position)
        if state.grad is None:
            return state._replace(position=position, energy=inner.energy), info
        new = evaluate(energy, position, with_grad=True)
        return new._replace(momentum=state.momentum), info

    return Kernel(init, draw, careful(move))


def _replace(position, part, value):
    if isinstance(position, dict):
        return {**position, part: value}
    if hasattr(position, "_replace"):
        return type(position)(
            *(value if i == part else x for i, x in enumerate(position))
        )
    return type(position)(value if i == part else x for i, x in enumerate(position))


def _check_part(position, part):
    entries = list(position) if isinstance(position, dict) else None
    if entries is None and isinstance(position, tuple | list):
        entries = list(range(len(position)))
    if entries is None or part not in entries:
        raise TypeError(
            f"within moves an entry of a dict, tuple or list; part {part!r} is not among "
            f"{entries if entries is not None else checks.describe(position)}"
        )


def _check_kernels(kernels):
    if not kernels:
        raise ValueError("at least one kernel is needed, got none")
    for kernel in kernels:
        if not isinstance(kernel, Kernel):
            raise TypeError(f"kernels must be Kernels, got {checks.describe(kernel)}")


def _as_careful_as(kernels, move):
    return careful(move) if all(is_careful(kernel) for kernel in kernels) else move


def _richest(kernels):
    """The init whose state carries what every one of the kernels needs."""

    def init(position):
        states = [kernel.init(position) for kernel in kernels]
        fullest = max(
            states, key=lambda s: (s.momentum is not None, s.grad is not None)
        )
        return fullest

    return init


def _stack(infos: list[Info]) -> Info:
    return jax.tree.map(lambda *x: jnp.stack(x), *infos)
