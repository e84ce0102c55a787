"""Kernels as random maps, and the axis of the chains that run together."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax._tree import shapes_of
from ebmjax._value import Value, function, show, static, value
from ebmjax.base.states import Array, Info, Key, Noise, Position, State
from ebmjax.spaces import REAL, Space, check_energy

CHAINS = "chains"  # the name of the axis over which chains run in parallel
Move = Callable[[Noise, State], tuple[State, Info]]


class Kernel(Value):
    """A Markov kernel as a random map.

    ``Kernel(init, draw, move)`` makes one of three functions:

        init(position) -> State                the energy, and the gradient if needed
        draw(key, shapes) -> noise             all randomness of a step; ``shapes`` is a
                                               pytree of ``jax.ShapeDtypeStruct``
        move(noise, state) -> (State, Info)    deterministic

    and keyword arguments set its properties.  The kernels of the library are subclasses
    with fields.

    Attributes:
      rejects_nonfinite: a step never ends where the energy is NaN or infinite.
      needs_grad: its states carry the gradient of the energy.
      is_reversible: it has detailed balance with respect to exp(-energy).
      is_parallel: it moves many chains, and its keys have a leading axis ``[C]``.
      is_trajectory: a step follows a trajectory whose length is a number, in a loop.
      acceptance_target: the acceptance rate at which it works best, or ``None``.
      state_space: of which points its energy is: ``REAL``, ``BITS``, ``SPINS`` or
        ``levels(K)`` of :mod:`ebmjax.spaces`.  An energy that names another space is
        refused when the kernel is made.

    >>> from ebmjax.base import evaluate, normal_like
    >>> energy = lambda x: 0.5 * jnp.sum(x**2)
    >>> def move(noise, state):
    ...     new = evaluate(energy, 0.6 * state.position + 0.8 * noise)
    ...     zero, one = jnp.float32(0), jnp.float32(1)
    ...     return new, Info(one, jnp.bool_(True), zero, jnp.int32(0))
    >>> kernel = Kernel(lambda x: evaluate(energy, x), normal_like, move)
    """

    rejects_nonfinite: bool = False
    needs_grad: bool = False
    is_reversible: bool = False
    is_parallel: bool = False
    acceptance_target: float | None = None
    state_space: Space = REAL
    is_trajectory: bool = False
    is_of_part = False  # whether it moves a part of the position, in a space of its own

    def __new__(cls, *args: Any, **options: Any) -> "Kernel":
        return object.__new__(_FunctionKernel if cls is Kernel else cls)

    def __init__(self, *args: Any, **options: Any):
        raise NotImplementedError  # every subclass is a dataclass and has its own

    def __post_init__(self) -> None:
        super().__post_init__()
        if "energy" in self.__dict__:
            check_energy(self.__dict__["energy"], self.state_space, type(self).__name__)

    def init(self, position: Position) -> State:
        """The state at a position; one evaluation of the energy."""
        raise NotImplementedError

    def draw(self, key: Key, shapes: Position) -> Noise:
        """The noise of a step, for a position of these shapes."""
        raise NotImplementedError

    def move(self, noise: Noise, state: State) -> tuple[State, Info]:
        """The next state; deterministic."""
        raise NotImplementedError

    def step(self, key: Key, state: State) -> tuple[State, Info]:
        """One step; the key is consumed."""
        return self.move(draw_noise(self, key, shapes_of(state.position)), state)


@value
class _FunctionKernel(Kernel):
    """A kernel of three functions."""

    init: Callable[[Position], State] = function()  # type: ignore[assignment]
    draw: Callable[[Key, Position], Noise] = function()  # type: ignore[assignment]
    move: Move = function()  # type: ignore[assignment]
    rejects_nonfinite: bool = static(default=False, kw_only=True)
    needs_grad: bool = static(default=False, kw_only=True)
    is_reversible: bool = static(default=False, kw_only=True)
    acceptance_target: float | None = static(default=None, kw_only=True)
    state_space: Space = static(default=REAL, kw_only=True)

    def __repr__(self) -> str:
        return "Kernel" + super().__repr__().removeprefix("_FunctionKernel")


READS_VALUES = (
    "draw gets the shapes of a position, a pytree of jax.ShapeDtypeStruct, and must "
    "not read its values; {} does.  What depends on the position belongs into move, or "
    "propose"
)


def draw_noise(kernel: Kernel, key: Key, shapes: Position) -> Noise:
    """``kernel.draw``, with a clear error if it reads values."""
    try:
        return kernel.draw(key, shapes)
    except (TypeError, AttributeError) as error:
        if not any(name in str(error) for name in ("ShapeDtypeStruct", "_tree.Shape")):
            raise
        raise TypeError(READS_VALUES.format(show(kernel))) from error


def any_chain(flag: Array) -> Array:
    """Whether the flag is true in any of the chains that run together; the flag itself
    for a single chain.

    A loop that continues while any chain needs it has the same counters in all chains,
    so that an index by a counter is not batched.
    """
    try:
        return jax.lax.pmax(flag.astype(jnp.int32), CHAINS) > 0
    except NameError:  # no such axis
        return flag
