"""Combinations of kernels.  Each leaves invariant what its parts leave invariant
(Tierney 1994, section 2.4).

    repeat(K, n)           = K^n
    cycle(K1, K2, ...)     = ... K2 K1
    mixture(Ks, w)         = w1 K1 + w2 K2 + ...
    reject_nonfinite(K)    K, with steps to a non-finite energy rejected

All kernels share one type of state and of info, so any combination is possible.  If any
part of a cycle needs the gradient, the state carries it.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._inlined import inlined
from ebmjax._random import fold_in, split
from ebmjax._value import number, part, show, static, value
from ebmjax.base import (
    Info,
    Kernel,
    draw_noise,
    merge,
    select,
)
from ebmjax.kernels.wrapper import Wrapper, check_kernels
from ebmjax.spaces import REAL


class _OfKernels(Kernel):
    """What kernels made of ``kernels`` have in common."""

    kernels: tuple[Kernel, ...]

    @property
    def rejects_nonfinite(self):
        return all(k.rejects_nonfinite for k in self.kernels)

    @property
    def needs_grad(self):
        return any(k.needs_grad for k in self.kernels)

    @property
    def state_space(self):
        spaces = [k.state_space for k in self.kernels if not k.is_of_part]
        return spaces[0] if spaces else REAL

    def init(self, position):
        """The state that carries what every one of the kernels needs."""
        states = [kernel.init(position) for kernel in self.kernels]
        richness = lambda s: (s.momentum is not None, s.grad is not None)
        richest = max(states, key=richness)
        energies = jnp.stack([s.energy for s in states])  # one may refuse the position
        is_refused = jnp.any(energies == jnp.inf) & (richest.energy != jnp.inf)
        return richest._replace(energy=jnp.where(is_refused, jnp.inf, richest.energy))


@value
class RejectNonfinite(Wrapper):
    """Made by :func:`reject_nonfinite`."""

    kernel: Kernel = part()
    rejects_nonfinite = True

    def move(self, noise, state):
        new, info = self.kernel.move(noise, state)
        is_finite = jnp.isfinite(new.energy)
        info = info._replace(
            is_accepted=info.is_accepted & is_finite,
            num_nonfinite=info.num_nonfinite + ~is_finite,
        )
        return select(is_finite, new, state), info


def reject_nonfinite(kernel: Kernel) -> Kernel:
    """The kernel with steps to a NaN or infinite energy rejected and counted.

    A kernel whose ``rejects_nonfinite`` is true does this itself and is returned
    unchanged.
    """
    check_kernels([kernel])
    return kernel if kernel.rejects_nonfinite else RejectNonfinite(kernel)


@value
class Repeat(Wrapper):
    """Made by :func:`repeat`."""

    kernel: Kernel = part()
    num_steps: int = static()

    def check(self):
        check_kernels([self.kernel])
        object.__setattr__(self, "num_steps", checks.count(self.num_steps, "num_steps"))

    def draw(self, key, shapes):
        fold = lambda i: fold_in(key, i)
        keys = jax.vmap(fold)(jnp.arange(self.num_steps))
        return jax.vmap(lambda k: draw_noise(self.kernel, k, shapes))(keys)

    def move(self, noise, state):
        step = lambda state, noise: self.kernel.move(noise, state)
        state, infos = jax.lax.scan(step, state, noise)
        return state, merge(infos)


def repeat(kernel: Kernel, num_steps: int) -> Kernel:
    """``num_steps`` steps as one; the infos merged.

    Raises unless ``num_steps`` is a positive whole number.

    >>> repeat(mala(lambda x: 0.5 * jnp.sum(x**2), 0.5), 3)
    Repeat(kernel=MALA(energy=<lambda>, step_size=0.5), num_steps=3)
    """
    return Repeat(kernel, num_steps)


@value
class Cycle(_OfKernels):
    """Made by :func:`cycle`."""

    kernels: tuple[Kernel, ...] = part()

    def check(self):
        check_kernels(self.kernels)
        _check_state_spaces(self.kernels)

    def draw(self, key, shapes):
        keys = split(key, len(self.kernels))
        pairs = zip(self.kernels, keys, strict=True)
        return tuple(draw_noise(k, key, shapes) for k, key in pairs)

    def move(self, noise, state):
        infos = []
        for kernel, kernel_noise in zip(self.kernels, noise, strict=True):
            state, info = kernel.move(kernel_noise, state)
            infos.append(info)
        return state, merge(_stack(infos))


def cycle(*kernels: Kernel) -> Kernel:
    """One step of each kernel in turn.  All must have the same energy.

    >>> energy = lambda x: 0.5 * jnp.sum(x**2)
    >>> kernel = cycle(random_walk(energy, 2.0), mala(energy, 0.5))
    """
    return Cycle(tuple(kernels))


@value
class Mixture(_OfKernels):
    """Made by :func:`mixture`."""

    kernels: tuple[Kernel, ...] = part()
    weights: Any = number()

    def check(self):
        check_kernels(self.kernels)
        _check_state_spaces(self.kernels)
        checks.positive(self.weights, "weights")
        if np.shape(self.weights) != (len(self.kernels),):
            raise ValueError(
                f"weights must be one a kernel, got shape {np.shape(self.weights)} for "
                f"{len(self.kernels)} kernels"
            )

    @property
    def is_reversible(self):
        return all(k.is_reversible for k in self.kernels)

    def draw(self, key, shapes):
        key_choice, *keys = split(key, len(self.kernels) + 1)
        choice = jax.random.categorical(
            inlined(key_choice), jnp.log(jnp.asarray(self.weights))
        )
        pairs = zip(self.kernels, keys, strict=True)
        return choice, tuple(draw_noise(k, key, shapes) for k, key in pairs)

    def move(self, noise, state):
        choice, noise = noise
        branches = [
            lambda noise, state, k=k, i=i: k.move(noise[i], state)
            for i, k in enumerate(self.kernels)
        ]
        return jax.lax.switch(choice, branches, noise, state)


def mixture(kernels: Sequence[Kernel], weights: Any = None) -> Kernel:
    """One of the kernels, chosen at random each step with the given weights (equal by
    default).

    Under ``parallel`` all of them are computed and one is selected, so the cost of a
    step is the sum of their costs.

    >>> energy = lambda x: 0.5 * jnp.sum(x**2)
    >>> kernel = mixture([random_walk(energy, 2.0), mala(energy, 0.5)], [0.3, 0.7])
    """
    if isinstance(kernels, Kernel):
        raise TypeError(
            "mixture takes a list of kernels and a list of weights, mixture([k1, k2], "
            f"[0.3, 0.7]); got {show(kernels)}"
        )
    kernels = tuple(kernels)
    if weights is None:
        weights = np.ones(len(kernels), np.float32)
    elif not checks.is_traced(weights):
        weights = np.asarray(weights)
    return Mixture(kernels, weights)


def _check_state_spaces(kernels):
    spaces = [k.state_space for k in kernels if not k.is_of_part]
    if len(set(spaces)) > 1:
        raise TypeError(
            "kernels must be of one state space to be combined on a whole position, "
            f"got {', '.join(map(str, spaces))}; use within for parts of a position"
        )


def _stack(infos: list[Info]) -> Info:
    return jax.tree.map(lambda *x: jnp.stack(x), *infos)
