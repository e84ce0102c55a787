"""Kernels made of kernels.  Each leaves invariant what its parts leave invariant (Tierney
1994, section 2.4).

    repeat(K, n)           = K^n
    cycle(K1, K2, ...)     = ... K2 K1
    mixture(Ks, w)         = w1 K1 + w2 K2 + ...
    within(E, part, ...)   a kernel of one part of the position, given the rest
                           (Metropolis within Gibbs)
    reject_nonfinite(K)    K, but a step to where the energy is not finite is undone
    parallel(K)            C independent chains, K on each; keys have one entry a chain
    stack([K1, K2, ...])   one kernel a chain: K1 on the first, K2 on the second, ...

They mix freely because there is one state and one info.  Where any part of a cycle needs
the gradient, the state of all of them carries it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._tree import without_leading_axis
from ebmjax._value import function, number, part, show, static, value
from ebmjax.base import (
    CHAINS,
    Energy,
    Info,
    Kernel,
    State,
    draw_noise,
    evaluate,
    merge,
    select,
)

over_chains = functools.partial(jax.vmap, axis_name=CHAINS)


# --- chains -------------------------------------------------------------------------


@value
class Parallel(Kernel):
    """One kernel on ``C`` chains; made by :func:`parallel`."""

    kernel: Kernel = part()
    is_parallel = True

    @property
    def rejects_nonfinite(self):
        return self.kernel.rejects_nonfinite

    @property
    def needs_grad(self):
        return self.kernel.needs_grad

    def init(self, position):
        return over_chains(self.kernel.init)(position)

    def draw(self, key, shapes):
        of_one = without_leading_axis(shapes)
        return jax.vmap(lambda k: draw_noise(self.kernel, k, of_one))(key)

    def move(self, noise, state):
        return over_chains(self.kernel.move)(noise, state)


@value
class Stacked(Kernel):
    """One kernel a chain; made by :func:`stack` and :func:`stacked`.

    The leaves of ``kernel`` have a leading axis ``[C]`` where ``is_stacked`` says so, in
    the order of ``jax.tree.leaves``; the others belong to all chains.
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

    @property
    def rejects_nonfinite(self):
        return self.kernel.rejects_nonfinite

    @property
    def needs_grad(self):
        return self.kernel.needs_grad

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
    ``[C]``.  A kernel of :func:`stack` is one already and is returned as it is.

    >>> kernel = parallel(mala(lambda x: 0.5 * jnp.sum(x**2), 0.5))
    >>> kernel.init(jnp.zeros((4, 2))).energy.shape
    (4,)
    """
    _check_kernels([kernel])
    return kernel if isinstance(kernel, Stacked) else Parallel(kernel)


def stack(kernels: Sequence[Kernel]) -> Kernel:
    """One kernel a chain: kernels that differ in their numbers alone.

    A leaf that is one and the same object in all kernels (the parameters of a network)
    is kept once; the others are stacked.

    Raises:
      ValueError: kernels of different structure, naming the first that differs.

    >>> energy = lambda x: 0.5 * jnp.sum(x**2)
    >>> kernel = stack([mala(energy, h) for h in (0.1, 0.2, 0.4)])
    >>> sample(jax.random.key(0), kernel, jnp.zeros((3, 2)), 100).draws.shape
    (100, 3, 2)
    """
    _check_kernels(kernels)
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
    """One kernel a chain, of a kernel whose leaves all have a leading axis ``[C]``, as
    ``jax.vmap`` over a function that makes kernels returns it.

    >>> energy = lambda x: 0.5 * jnp.sum(x**2)
    >>> ladder = jax.vmap(lambda h: mala(energy, h))(jnp.array([0.1, 0.2, 0.4]))
    >>> stacked(ladder).num_chains
    3
    """
    _check_kernels([kernel])
    return Stacked(kernel, (True,) * len(jax.tree.leaves(kernel)))


# --- steps --------------------------------------------------------------------------


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
        return self.kernels[0].state_space

    def init(self, position):
        """The state that carries what every one of the kernels needs."""
        states = [kernel.init(position) for kernel in self.kernels]
        richness = lambda s: (s.momentum is not None, s.grad is not None)
        richest = max(states, key=richness)
        energies = jnp.stack([s.energy for s in states])  # one may refuse the position
        is_refused = jnp.any(energies == jnp.inf) & (richest.energy != jnp.inf)
        return richest._replace(energy=jnp.where(is_refused, jnp.inf, richest.energy))


@value
class RejectNonfinite(Kernel):
    """Made by :func:`reject_nonfinite`."""

    kernel: Kernel = part()
    rejects_nonfinite = True

    @property
    def needs_grad(self):
        return self.kernel.needs_grad

    @property
    def is_reversible(self):
        return self.kernel.is_reversible

    @property
    def state_space(self):
        return self.kernel.state_space

    def init(self, position):
        return self.kernel.init(position)

    def draw(self, key, shapes):
        return draw_noise(self.kernel, key, shapes)

    def move(self, noise, state):
        new, info = self.kernel.move(noise, state)
        is_finite = jnp.isfinite(new.energy)
        info = info._replace(
            is_accepted=info.is_accepted & is_finite,
            num_nonfinite=info.num_nonfinite + ~is_finite,
        )
        return select(is_finite, new, state), info


def reject_nonfinite(kernel: Kernel) -> Kernel:
    """The kernel, but a step to where the energy is NaN or infinite is undone, and
    counted.

    A kernel whose ``rejects_nonfinite`` is true sees to that itself and is returned as
    it is.
    """
    _check_kernels([kernel])
    return kernel if kernel.rejects_nonfinite else RejectNonfinite(kernel)


@value
class Repeat(Kernel):
    """Made by :func:`repeat`."""

    kernel: Kernel = part()
    num_steps: int = static()

    def check(self):
        _check_kernels([self.kernel])
        object.__setattr__(self, "num_steps", checks.count(self.num_steps, "num_steps"))

    @property
    def rejects_nonfinite(self):
        return self.kernel.rejects_nonfinite

    @property
    def needs_grad(self):
        return self.kernel.needs_grad

    @property
    def is_reversible(self):
        return self.kernel.is_reversible

    @property
    def state_space(self):
        return self.kernel.state_space

    def init(self, position):
        return self.kernel.init(position)

    def draw(self, key, shapes):
        fold = lambda i: jax.random.fold_in(key, i)
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
        _check_kernels(self.kernels)
        _check_state_spaces(self.kernels)

    def draw(self, key, shapes):
        keys = jax.random.split(key, len(self.kernels))
        pairs = zip(self.kernels, keys, strict=True)
        return tuple(draw_noise(k, key, shapes) for k, key in pairs)

    def move(self, noise, state):
        infos = []
        for kernel, kernel_noise in zip(self.kernels, noise, strict=True):
            state, info = kernel.move(kernel_noise, state)
            infos.append(info)
        return state, merge(_stack(infos))


def cycle(*kernels: Kernel) -> Kernel:
    """One step of each in turn.  All must be kernels of the same energy.

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
        _check_kernels(self.kernels)
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
        key_choice, *keys = jax.random.split(key, len(self.kernels) + 1)
        choice = jax.random.categorical(key_choice, jnp.log(jnp.asarray(self.weights)))
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

    Under ``parallel`` all of them are computed and one is kept: a mixture of chains
    costs the sum.

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


# --- parts of a position ------------------------------------------------------------


@value
class Within(Kernel):
    """Made by :func:`within`."""

    energy: Energy = function()
    part: Any = static()
    make_kernel: Callable[[Energy], Kernel] = function()
    rejects_nonfinite = True

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


# --- checks -------------------------------------------------------------------------


def _check_kernels(kernels):
    if not isinstance(kernels, Sequence) or not kernels:
        got = "none" if isinstance(kernels, Sequence) else show(kernels)
        raise ValueError(f"at least one kernel is needed, got {got}")
    for kernel in kernels:
        if not isinstance(kernel, Kernel):
            raise TypeError(f"kernels must be Kernels, got {checks.describe(kernel)}")


def _check_state_spaces(kernels):
    spaces = [k.state_space for k in kernels if not isinstance(k, Within)]
    if len(set(spaces)) > 1:
        raise TypeError(
            "kernels must be of one state space to be combined on a whole position, got "
            f"{', '.join(spaces)}; use within for parts of a position"
        )


def _stack(infos: list[Info]) -> Info:
    return jax.tree.map(lambda *x: jnp.stack(x), *infos)
