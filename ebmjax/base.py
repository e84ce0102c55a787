"""Energies, states, and kernels as random maps.

An **energy** is a function ``energy(x) -> scalar`` of one point ``x``, any pytree of
floating arrays; the density is ``exp(-energy(x)) / Z`` (notes, eq. 1).  A Markov
**kernel** is a random map (Diaconis & Freedman 1999, "Iterated random functions"): the
noise of a step is drawn without knowing the state, and the step is a deterministic
function of both,

    noise ~ draw(key, shapes),        state' = move(noise, state).

``draw`` gets the shapes of a position and never its values, so that noise can be drawn
for many steps at once, chains can be coupled, and reversibility can be checked without
statistics.  A kernel that needs a variable amount of noise draws a key.

Kernels are values (:mod:`ebmjax._value`): frozen, printable pytrees whose leaves are
numbers.  Their properties are attributes: whether a kernel rejects non-finite points
itself, needs a gradient, is reversible, and at which acceptance rate it works best.

A :class:`State` caches the value and gradient of one energy at a position.  When
parameters change, the position is kept and ``kernel.init`` is called again.

Axes in the whole library: ``T`` steps, ``C`` chains, ``B`` data batch, ``D`` dimension.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax._tree import (
    axpy,
    cast_like,
    differs,
    half_square,
    normal_like,
    select,
    shapes_of,
)
from ebmjax._value import Value, function, number, show, static, value
from ebmjax.spaces import REAL, Space, check_energy

Array = jax.Array
Key = jax.Array
Position = Any  # a pytree of floating arrays
Noise = Any  # a pytree
Energy = Callable[[Position], Array]

UNROLLED = 12  # coordinates up to which a matrix product is written as a sum that fuses


class State(NamedTuple):
    """The position of a chain, with its energy and gradient."""

    position: Position
    energy: Array  # []
    grad: Position | None = None  # the gradient of the energy at the position
    momentum: Position | None = None  # where it persists from step to step


class Info(NamedTuple):
    """Statistics of one step, or of several (:func:`merge`)."""

    acceptance_rate: Array  # [] probability of acceptance, the mean over steps
    is_accepted: Array  # [] bool, whether the chain moved, in any of the steps
    energy_error: Array  # [] minus the log acceptance ratio, the largest over steps
    num_nonfinite: Array  # [] int32, proposals of energy or ratio NaN or -inf
    # [] E + kinetic energy where the last step began; 0 without momenta
    hamiltonian: Array = np.float32(0)  # type: ignore[assignment]
    # [] int32, gradients of the energy that the step took
    num_grads: Array = np.int32(0)  # type: ignore[assignment]


# --- kernels ------------------------------------------------------------------------


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
      acceptance_target: the acceptance rate at which it works best, or ``None``.
      state_space: of which points its energy is: ``REAL``, ``BITS``, ``SPINS`` or
        ``levels(K)`` of :mod:`ebmjax.spaces`.  An energy that names another space is
        refused when the kernel is made.

    >>> energy = lambda x: 0.5 * jnp.sum(x**2)
    >>> def move(noise, state):
    ...     new = evaluate(energy, 0.6 * state.position + 0.8 * noise)
    ...     return new, Info(jnp.float32(1), jnp.bool_(True), jnp.float32(0), jnp.int32(0))
    >>> kernel = Kernel(lambda x: evaluate(energy, x), normal_like, move)
    """

    rejects_nonfinite: bool = False
    needs_grad: bool = False
    is_reversible: bool = False
    is_parallel: bool = False
    acceptance_target: float | None = None
    state_space: Space = REAL
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
    move: Callable[[Noise, State], tuple[State, Info]] = function()  # type: ignore[assignment]
    rejects_nonfinite: bool = static(default=False, kw_only=True)
    needs_grad: bool = static(default=False, kw_only=True)
    is_reversible: bool = static(default=False, kw_only=True)
    acceptance_target: float | None = static(default=None, kw_only=True)
    state_space: Space = static(default=REAL, kw_only=True)

    def __repr__(self) -> str:
        return "Kernel" + super().__repr__().removeprefix("_FunctionKernel")


READS_VALUES = (
    "draw gets the shapes of a position, a pytree of jax.ShapeDtypeStruct, and must not "
    "read its values; {} does.  What depends on the position belongs into move, or propose"
)


def draw_noise(kernel: Kernel, key: Key, shapes: Position) -> Noise:
    """``kernel.draw``, with a clear error if it reads values."""
    try:
        return kernel.draw(key, shapes)
    except (TypeError, AttributeError) as error:
        if not any(name in str(error) for name in ("ShapeDtypeStruct", "_tree.Shape")):
            raise
        raise TypeError(READS_VALUES.format(show(kernel))) from error


# --- energies -----------------------------------------------------------------------


def full_precision() -> AbstractContextManager:
    """Matrix products of float32 in float32, while a function is traced.

    On a GPU and a TPU JAX rounds their operands to fewer digits (TensorFloat-32,
    bfloat16), by which the energy of a regression with 1,000 observations is off by .09
    nat.  ``jax.config.update("jax_default_matmul_precision", ...)`` has the last word.
    """
    is_chosen = jax.config.jax_default_matmul_precision is not None  # type: ignore[attr-defined]
    if is_chosen or jax.default_backend() == "cpu":
        return nullcontext()
    return jax.default_matmul_precision("float32")


def scalar(energy: Callable[..., Array]) -> Callable[..., Array]:
    """The same energy, of a position or of parameters and a position, in full precision;
    its value is checked when traced, and is in float32 or wider."""
    checks.function(energy, "energy")

    def checked(*arguments):
        with full_precision():
            value = energy(*arguments)
        if not hasattr(value, "shape") or not hasattr(value, "dtype"):
            raise TypeError(
                f"energy must return one floating scalar, got {_kind(value)}"
                + (
                    "; return the energy alone"
                    if isinstance(value, tuple | list)
                    else ""
                )
            )
        if value.shape != ():
            raise TypeError(
                f"energy must return a scalar for one point, got shape {value.shape}"
                + (
                    "; use .squeeze()"
                    if value.size == 1
                    else "; sum over the coordinates, or vmap"
                )
            )
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise TypeError(
                f"energy must return a floating scalar, got dtype {value.dtype}"
            )
        return value.astype(jnp.promote_types(value.dtype, jnp.float32))

    checked.__wrapped__ = energy  # type: ignore[attr-defined]
    return checked


def evaluate(energy: Energy, position: Position, *, with_grad: bool = False) -> State:
    """The state at a position: one energy, or one energy with its gradient."""
    if with_grad:
        return State(position, *jax.value_and_grad(scalar(energy))(position))
    return State(position, scalar(energy)(position))


def moved(energy: Energy, state: State, position: Position) -> State:
    """The state at another position, with a gradient if this one has it.

    Positions narrower than float32 are rounded before the energy is evaluated: XLA
    would otherwise keep more digits than the stored position has.
    """
    position = jax.tree.map(_rounded, position)
    new = evaluate(energy, position, with_grad=state.grad is not None)
    return new._replace(momentum=state.momentum)


def _rounded(x):
    if not jnp.issubdtype(x.dtype, jnp.floating) or jnp.finfo(x.dtype).bits >= 32:
        return x
    info = jnp.finfo(x.dtype)
    return jax.lax.reduce_precision(x, info.nexp, info.nmant)


# --- chains -------------------------------------------------------------------------

CHAINS = "chains"  # the name of the axis over which chains run in parallel


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


# --- step sizes ---------------------------------------------------------------------


@value
class Dense(Value):
    """A step size that is a matrix ``[D, D]`` and acts on all coordinates together.

    With mass ``M`` it is ``step_size M^(-1/2)``; with a proposal covariance ``S S^T``
    it is a square root of that.  Raises unless the matrix is square, finite and of full
    rank.

    >>> kernel = mala(lambda x: 0.5 * jnp.sum(x**2), Dense(jnp.array([[1.0, 0], [0.5, 2]])))
    """

    matrix: Array = number()

    def check(self) -> None:
        shape = np.shape(self.matrix)
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"Dense needs a matrix [D, D], got shape {shape}")
        checks.full_rank(self.matrix, "step_size")


def scale(step_size: Any, tree: Any, *, transpose: bool = False) -> Any:
    """S v: the step size as a linear map of a position-shaped tree ``v``.

    ``step_size`` is a scalar; an array that broadcasts to each leaf; a tree of those,
    in the structure of ``v``; or :class:`Dense`.
    """
    if isinstance(step_size, Dense):
        return _matrix_product(step_size.matrix, tree, transpose)
    leaves, treedef = jax.tree.flatten(tree)
    same = jax.tree.structure(step_size) == treedef
    sizes = jax.tree.leaves(step_size) if same else [step_size] * len(leaves)
    pairs = zip(sizes, leaves, strict=True)
    return jax.tree.unflatten(treedef, [_stretch(s, v) for s, v in pairs])


def _matrix_product(matrix, tree, transpose):
    flat, unravel = ravel_pytree(tree)
    if np.shape(matrix) != (flat.size, flat.size):
        raise ValueError(
            f"Dense step_size must be a matrix [{flat.size}, {flat.size}] for a position "
            f"of {flat.size} coordinates, got shape {np.shape(matrix)}"
        )
    matrix = jnp.asarray(matrix, flat.dtype)
    matrix = matrix.T if transpose else matrix
    if flat.size <= UNROLLED:
        columns = [matrix[:, i] * flat[i] for i in range(flat.size)]
        return unravel(sum(columns[1:], columns[0]))
    return unravel(jnp.matmul(matrix, flat, precision=jax.lax.Precision.HIGHEST))


def _stretch(size, leaf):
    if not hasattr(size, "shape") and not isinstance(size, int | float):
        raise ValueError(
            "step_size must be a number, an array, a tree like the position, or Dense; "
            f"got {_kind(size)}"
        )
    size = jnp.asarray(size, leaf.dtype)
    trailing = zip(size.shape[::-1], leaf.shape[::-1], strict=False)
    if size.ndim > leaf.ndim or any(a not in (1, b) for a, b in trailing):
        is_square = size.ndim == 2 and size.shape[0] == size.shape[1] == leaf.size
        raise ValueError(
            f"step_size of shape {size.shape} does not broadcast to a position of shape "
            f"{leaf.shape}" + ("; write a matrix as Dense(matrix)" if is_square else "")
        )
    return size * leaf


# --- infos --------------------------------------------------------------------------


def add(total: Info, info: Info) -> Info:
    """Accumulate infos: sums for means, else any, maximum, total or last."""
    larger = _size(info.energy_error) > _size(total.energy_error)
    return Info(
        acceptance_rate=total.acceptance_rate + info.acceptance_rate,
        is_accepted=total.is_accepted | info.is_accepted,
        energy_error=jnp.where(larger, info.energy_error, total.energy_error),
        num_nonfinite=total.num_nonfinite + info.num_nonfinite,
        hamiltonian=info.hamiltonian,
        num_grads=total.num_grads + info.num_grads,
    )


def merge(infos: Info) -> Info:
    """The infos of several steps, stacked on a leading axis, as one."""
    worst = jnp.argmax(_size(infos.energy_error), axis=0, keepdims=True)
    shape = infos.energy_error.shape
    return Info(
        acceptance_rate=jnp.mean(infos.acceptance_rate, axis=0),
        is_accepted=jnp.any(infos.is_accepted, axis=0),
        energy_error=jnp.take_along_axis(infos.energy_error, worst, axis=0)[0],
        num_nonfinite=jnp.sum(infos.num_nonfinite, axis=0),
        hamiltonian=jnp.broadcast_to(infos.hamiltonian, shape)[-1],
        num_grads=jnp.sum(jnp.broadcast_to(infos.num_grads, shape), axis=0),
    )


def _size(error: Array) -> Array:
    """The size of an energy error; NaN counts as infinite."""
    return jnp.where(jnp.isnan(error), jnp.inf, jnp.abs(error))


def _kind(value) -> str:
    return "None" if value is None else type(value).__name__
