"""Chains of a test, in batches of one size, so that programs compile once.

A kernel of this library runs through :func:`ebmjax.run` with its noise drawn in blocks,
as users run it; any other pair ``init(position)``, ``step(key, state)`` runs step by
step.  Chain ``c`` has the key ``fold_in(key, c)``, whatever the batch.
"""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax._random import fold_in
from ebmjax._value import part, value
from ebmjax.base import Info, Kernel, State, draw_noise
from ebmjax.kernels.chains import parallel
from ebmjax.kernels.free_coordinates import wrapping
from ebmjax.sampling.collect import Reducer
from ebmjax.sampling.loop import run

COMPLETE = 2**31  # folded into a chain's key for the other parts of a state
_PROGRAMS: OrderedDict[tuple, tuple] = OrderedDict()
MAX_PROGRAMS = 24


def cached(make: Callable[[], Any], *parts: Any) -> Any:
    """``make()``, cached for the same objects; the oldest entry is dropped."""
    name = tuple(p if isinstance(p, int | str) else id(p) for p in parts)
    if name not in _PROGRAMS:
        _PROGRAMS[name] = (parts, make())  # parts stay alive: unique ids
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


def name_of(thing: Any) -> str:
    """The ``name`` of a kernel or of its class, else "the kernel"."""
    name = getattr(thing, "name", None) or getattr(thing, "__name__", None)
    if not isinstance(name, str) and isinstance(thing, Kernel):
        name = type(thing).__name__
    is_plain = not isinstance(name, str) or name.startswith("_")
    return "the kernel" if is_plain else name  # type: ignore[return-value]


def chain_keys(key, first: int, num: int):
    """Keys of the chains ``first`` to ``first + num``."""
    return jax.vmap(fold_in, (None, 0))(key, first + jnp.arange(num))


class Chains:
    """A kernel from exact draws: initial states, segments of steps, single steps.

    A kernel that is a pytree is an argument of its programs: a new number in it
    compiles nothing.
    """

    def __init__(self, kernel: Any, complete: Callable | None = None):
        self.kernel = check_kernel(kernel)
        self.complete = complete
        self.is_value = isinstance(kernel, Kernel)
        needs_key = "rng_key" in inspect.signature(kernel.init).parameters
        self._takes_key = needs_key and not self.is_value
        self.start = self._program("start", self.start_one)
        self.single = self._program("one", self.step_one)

    def _program(self, name: str, one: Callable) -> Callable:
        """``one(kernel, key, position)`` over chains, compiled."""
        return self.compiled(jax.vmap(one, (None, 0, 0)), name)

    def compiled(self, function: Callable, *name: Any) -> Callable:
        """``function(kernel, ...)``, its first argument bound, compiled once."""
        if self.is_value:
            program = cached(lambda: jax.jit(function), *name, self.complete)
            return lambda *arguments: program(self.kernel, *arguments)
        bound = partial(function, _Opaque(self.kernel))
        return cached(lambda: jax.jit(bound), *name, self.kernel, self.complete)

    def start_one(self, kernel, key, position):
        """The state of one chain."""
        spare = jax.random.fold_in(key, COMPLETE)
        if self._takes_key:
            return kernel.init(position, rng_key=spare)
        state = kernel.init(position)
        return state if self.complete is None else self.complete(spare, state)

    def step_one(self, kernel, key, position):
        """The position after one step."""
        step = jax.random.fold_in(key, 0)
        state, _ = kernel.step(step, self.start_one(kernel, key, position))
        return wrapping(kernel)(state).position if self.is_value else state.position

    def segment(self, length: int) -> Callable:
        """``(keys, states, first) -> (states, moved)``: ``length`` steps from step
        ``first``, and for each coordinate whether it moved in any chain."""
        return self.compiled(partial(_segment, length), "run", length)


class _Opaque:
    """A user's pair of functions, over which ``vmap`` does not map."""

    def __init__(self, kernel):
        self.init, self.step = kernel.init, kernel.step


jax.tree_util.register_static(_Opaque)


def _segment(length, kernel, keys, states, first):
    origin = states.position

    def is_moved(flags, state):
        return jax.tree.map(lambda f, a, b: f | (a != b), flags, state.position, origin)

    flags = jax.tree.map(lambda x: jnp.zeros(x.shape, bool), origin)
    if isinstance(states, State) and isinstance(kernel, Kernel):
        watch = Reducer(lambda s, i: flags, lambda f, s, i: is_moved(f, s))
        many = parallel(_Quiet(kernel))
        states, flags, _ = run(keys, many, states, length, start=first, collect=watch)
    else:

        def one(carry, t):
            states, flags = carry
            states, _ = jax.vmap(lambda k, s: kernel.step(jax.random.fold_in(k, t), s))(
                keys, states
            )
            return (states, is_moved(flags, states)), None

        times = first + jnp.arange(length)
        (states, flags), _ = jax.lax.scan(one, (states, flags), times)
    flags = jax.tree.map(lambda f: f.any(axis=0), flags)
    return states, ravel_pytree(flags)[0]


@value
class _Quiet(Kernel):
    """A kernel without its info, which tests do not use and which may be ``None``."""

    kernel: Kernel = part()

    def init(self, position):
        return self.kernel.init(position)

    def draw(self, key, shapes):
        # with an extra number: noise without leaves gives a loop no length
        return draw_noise(self.kernel, key, shapes), jnp.float32(0)

    def move(self, noise, state):
        noise, _ = noise
        zero, none = jnp.float32(0), jnp.int32(0)
        info = Info(zero, jnp.bool_(False), zero, none, zero, none)
        return self.kernel.move(noise, state)[0], info


class Meter:
    """Positions as float64 arrays ``[N, D]``, with energies and the user's
    functions."""

    def __init__(self, target: Any, functions: Mapping[str, Callable] | None = None):
        self.target = target
        self.functions = dict(functions or {})
        for name, function in self.functions.items():
            checks.function(function, f"functions[{name!r}]")
        parts = (target, *self.functions.values())
        self._program = cached(lambda: jax.jit(jax.vmap(self._one)), "meter", *parts)

    def _one(self, position):
        extra = [jnp.asarray(f(position)) for f in self.functions.values()]
        for name, found in zip(self.functions, extra, strict=True):
            if found.shape != ():
                raise TypeError(
                    f"functions[{name!r}] must return a scalar of one position, "
                    f"got shape {found.shape}"
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
