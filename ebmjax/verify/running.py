"""Chains as a test runs them, in batches of one size, so that programs compile once.

A kernel of this library goes through :func:`ebmjax.run` with its noise drawn in blocks,
which is what users run; any other pair ``init(position)``, ``step(key, state)`` goes by
single steps.  Chain ``c`` has the key ``fold_in(key, c)``, whatever the batch.
"""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax._random import fold_in
from ebmjax.base import Info, Kernel, State
from ebmjax.kernels.combinators import parallel
from ebmjax.sampling.loop import Reducer, run

COMPLETE = 2**31  # folded into a chain's key for what a state holds besides position
_PROGRAMS: OrderedDict[tuple, tuple] = OrderedDict()
MAX_PROGRAMS = 24


def cached(make: Callable[[], Any], *parts: Any) -> Any:
    """``make()``, kept for the same objects; the oldest of many is dropped."""
    name = tuple(p if isinstance(p, int | str) else id(p) for p in parts)
    if name not in _PROGRAMS:
        _PROGRAMS[name] = (parts, make())  # parts stay alive, so that ids stay theirs
    _PROGRAMS.move_to_end(name)
    while len(_PROGRAMS) > MAX_PROGRAMS:
        _PROGRAMS.popitem(last=False)
    return _PROGRAMS[name][1]


def check_kernel(kernel: Any) -> Any:
    if not (hasattr(kernel, "init") and hasattr(kernel, "step")):
        raise TypeError(
            f"kernel must have init and step, got {checks.describe(kernel)}"
        )
    return kernel


def chain_keys(key, first: int, num: int):
    """Keys of the chains ``first`` to ``first + num``."""
    return jax.vmap(fold_in, (None, 0))(key, first + jnp.arange(num))


class Chains:
    """A kernel from exact draws: initial states, segments of steps, single steps."""

    def __init__(self, kernel: Any, complete: Callable | None = None):
        self.kernel = check_kernel(kernel)
        self.complete = complete
        needs_key = "rng_key" in inspect.signature(kernel.init).parameters
        self._takes_key = needs_key and not isinstance(kernel, Kernel)
        parts = (kernel, complete)
        self.start = cached(lambda: jax.jit(jax.vmap(self._start)), "start", *parts)
        self.single = cached(lambda: jax.jit(jax.vmap(self._single)), "one", *parts)

    def _start(self, key, position):
        spare = jax.random.fold_in(key, COMPLETE)
        if self._takes_key:
            return self.kernel.init(position, rng_key=spare)
        state = self.kernel.init(position)
        return state if self.complete is None else self.complete(spare, state)

    def _single(self, key, position):
        step = jax.random.fold_in(key, 0)
        state, _ = self.kernel.step(step, self._start(key, position))
        return state.position

    def segment(self, length: int) -> Callable:
        """``(keys, states, first) -> (states, moved)``: ``length`` steps from step
        ``first``, and for each coordinate whether it moved in any chain."""
        return cached(
            lambda: self._segment(length), "run", length, self.kernel, self.complete
        )

    def _segment(self, length):
        many = _without_info(self.kernel)

        def segment(keys, states, first):
            origin = states.position

            def is_moved(flags, state):
                return jax.tree.map(
                    lambda f, a, b: f | (a != b), flags, state.position, origin
                )

            flags = jax.tree.map(lambda x: jnp.zeros(x.shape, bool), origin)
            if isinstance(states, State) and many is not None:
                watch = Reducer(lambda s, i: flags, lambda f, s, i: is_moved(f, s))
                states, flags, _ = run(
                    keys, many, states, length, start=first, collect=watch
                )
            else:

                def one(carry, t):
                    states, flags = carry
                    states, _ = jax.vmap(
                        lambda k, s: self.kernel.step(jax.random.fold_in(k, t), s)
                    )(keys, states)
                    return (states, is_moved(flags, states)), None

                times = first + jnp.arange(length)
                (states, flags), _ = jax.lax.scan(one, (states, flags), times)
            flags = jax.tree.map(lambda f: f.any(axis=0), flags)
            return states, ravel_pytree(flags)[0]

        return jax.jit(segment)


def _without_info(kernel):
    """The kernel on many chains, its info replaced: a test needs none."""
    if not (hasattr(kernel, "draw") and hasattr(kernel, "move")):
        return None
    zero = np.float32(0)
    info = Info(zero, np.bool_(False), zero, np.int32(0), zero, np.int32(0))
    info = jax.tree.map(jnp.asarray, info)

    def move(noise, state):
        return kernel.move(noise, state)[0], info

    return parallel(Kernel(kernel.init, kernel.draw, move))


class Meter:
    """Positions as float64 arrays ``[N, D]``, with energies and the user's functions."""

    def __init__(self, target: Any, functions: Mapping[str, Callable] | None = None):
        self.target = target
        self.functions = dict(functions or {})
        for name, function in self.functions.items():
            checks.function(function, f"functions[{name!r}]")
        parts = (target, *self.functions.values())
        self._program = cached(lambda: jax.jit(jax.vmap(self._one)), "meter", *parts)

    def _one(self, position):
        extra = [jnp.asarray(f(position)) for f in self.functions.values()]
        for name, value in zip(self.functions, extra, strict=True):
            if value.shape != ():
                raise TypeError(
                    f"functions[{name!r}] must return a scalar of one position, "
                    f"got shape {value.shape}"
                )
        values = jnp.stack(extra) if extra else jnp.zeros(0)
        return ravel_pytree(position)[0], self.target.energy(position), values

    def __call__(self, positions) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        x, e, extra = (np.asarray(v, np.float64) for v in self._program(positions))
        return x, e, extra if self.functions else None

    def sample(self, key, num: int) -> Any:
        positions = self.target.sample(key, num)
        found = checks.num_chains(positions, "target.sample(key, n)")
        if found != num:
            raise ValueError(
                f"target.sample(key, n) must give n draws, {num}, got {found}"
            )
        return positions
