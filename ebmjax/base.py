"""What everything stands on: an energy, a state, and a kernel written as a random map.

An **energy** is a function ``energy(x) -> scalar`` of one point ``x``, any pytree of floating arrays; the
density is ``exp(-energy(x)) / Z`` (notes, eq. 1).  A Markov **kernel** is a random map (Diaconis & Freedman
1999, "Iterated random functions"): the noise of a step is drawn without looking at where the chain stands,
and the step itself is deterministic,

    noise ~ draw(key, position),        state' = move(noise, state).

That one split is what lets noise be drawn in blocks, chains be coupled, and reversibility be checked
without statistics.  A kernel that cannot say ahead how much noise it needs draws a key.

A :class:`State` is a cache under one energy and never outlives it: what is carried across a change of
parameters is the position, and ``kernel.init`` is paid again.

Axes, here and everywhere: ``T`` steps, ``C`` chains, ``B`` data batch, ``D`` dimension.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax._random import normal

Array = jax.Array
Key = jax.Array
Position = Any  # a pytree of floating arrays
Noise = Any  # a pytree
Energy = Callable[[Position], Array]

UNROLLED = 12  # coordinates up to which a matrix is a sum that fuses; a product is a call of its own


class State(NamedTuple):
    """Where a chain stands, and what is known there; ``grad`` and ``momentum`` may be ``None``."""

    position: Position
    energy: Array  # []
    grad: Position | None = None  # the gradient of the energy at the position
    momentum: Position | None = (
        None  # only where it persists from step to step (underdamped Langevin)
    )


class Info(NamedTuple):
    """What one step did, or many together (:func:`merge`)."""

    acceptance_rate: Array  # [] probability of acceptance, the mean over steps
    is_accepted: Array  # [] bool, whether the chain moved, in any of the steps
    energy_error: (
        Array  # [] minus the log acceptance ratio, the largest in size over steps
    )
    num_nonfinite: (
        Array  # [] int32, proposals whose energy or ratio was NaN or minus infinity
    )
    # [] E + kinetic energy where the last step began; 0 without momenta
    hamiltonian: Array = np.float32(0)  # type: ignore[assignment]
    # [] int32, gradients of the energy that the step took
    num_grads: Array = np.int32(0)  # type: ignore[assignment]


class Kernel(NamedTuple):
    """A Markov kernel as a random map; everything made of kernels is a kernel again."""

    init: Callable[[Position], State]  # evaluates the energy (and gradient) once
    draw: Callable[
        [Key, Position], Noise
    ]  # all randomness of a step; reads shapes and dtypes only
    move: Callable[[Noise, State], tuple[State, Info]]  # deterministic

    def step(self, key: Key, state: State) -> tuple[State, Info]:
        """One step; the key is consumed."""
        return self.move(self.draw(key, state.position), state)


def careful(move):
    """Mark a move that itself undoes a step to where the energy is not finite: nobody need look again."""
    move.is_careful = True
    return move


def is_careful(kernel: Kernel) -> bool:
    return getattr(kernel.move, "is_careful", False)


# --- energies ---------------------------------------------------------------------------------------------


def scalar(energy: Callable[..., Array]) -> Callable[..., Array]:
    """The same energy, of a position or of parameters and a position; its value checked when traced, and kept
    in float32 or wider."""
    checks.function(energy, "energy")

    def checked(*arguments):
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

    return checked


def evaluate(energy: Energy, position: Position, *, with_grad: bool) -> State:
    """The state at a position: one energy, or one energy with its gradient."""
    if with_grad:
        return State(position, *jax.value_and_grad(scalar(energy))(position))
    return State(position, scalar(energy)(position))


def moved(energy: Energy, state: State, position: Position) -> State:
    """The state at another position, keeping a gradient if this one does."""
    new = evaluate(energy, position, with_grad=state.grad is not None)
    return new._replace(momentum=state.momentum)


# --- chains -----------------------------------------------------------------------------------------------

CHAINS = "chains"  # the name of the axis over which chains run in parallel


def any_chain(flag: Array) -> Array:
    """Whether the flag is up in any of the chains that run together; as it is, where one runs alone.

    A loop that goes on while any chain wants to has the same counters in all of them, and what is indexed by
    counters stays an index.
    """
    try:
        return jax.lax.pmax(flag.astype(jnp.int32), CHAINS) > 0
    except NameError:  # no such axis
        return flag


# --- trees ------------------------------------------------------------------------------------------------


def select(condition: Array, if_true: Any, if_false: Any) -> Any:
    """One tree or the other, by one scalar condition."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)


def cast_like(tree: Any, like: Any) -> Any:
    """The tree in the dtypes of another: what a loop carries keeps its types, with x64 on or off."""
    return jax.tree.map(lambda x, y: jnp.asarray(x, jnp.asarray(y).dtype), tree, like)


def axpy(a: float | Array, x: Any, y: Any) -> Any:
    """a x + y, leaf by leaf, in the dtype of y."""
    return jax.tree.map(lambda x, y: (a * x + y).astype(y.dtype), x, y)


def half_square(tree: Any) -> Array:
    """1/2 |x|^2 over all leaves, in float32 or wider."""
    leaves = [
        jnp.sum(jnp.square(x.astype(jnp.promote_types(x.dtype, jnp.float32))))
        for x in jax.tree.leaves(tree)
    ]
    return 0.5 * sum(leaves[1:], leaves[0])


def normal_like(key: Key, tree: Any) -> Any:
    """Standard normal noise in the shape of a tree."""
    leaves, treedef = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves)) if len(leaves) > 1 else [key]
    noise = [normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, noise)


def scale(step_size: Any, tree: Any, *, transpose: bool = False) -> Any:
    """S v: the step size as a linear map of a position-shaped tree ``v``.

    ``step_size`` is a scalar; an array that broadcasts to each leaf; a tree of those, in the structure of
    ``v``; or a matrix ``[D, D]`` that acts on all ``D`` coordinates of ``v`` together.  With mass ``M`` it is
    ``S = step_size M^(-1/2)``; with a proposal covariance ``S S^T`` it is a square root of that.
    """
    if is_matrix(step_size, tree):
        if not checks.is_traced(step_size) and np.all(np.asarray(step_size) > 0):
            checks.full_rank(
                step_size, "step_size"
            )  # for all that was known, it could have been diagonal
        flat, unravel = ravel_pytree(tree)
        matrix = jnp.asarray(step_size, flat.dtype)
        matrix = matrix.T if transpose else matrix
        if flat.size <= UNROLLED:
            return unravel(
                sum(
                    [matrix[:, i] * flat[i] for i in range(1, flat.size)],
                    matrix[:, 0] * flat[0],
                )
            )
        return unravel(jnp.matmul(matrix, flat, precision=jax.lax.Precision.HIGHEST))
    leaves, treedef = jax.tree.flatten(tree)
    same = jax.tree.structure(step_size) == treedef
    sizes = jax.tree.leaves(step_size) if same else [step_size] * len(leaves)
    return jax.tree.unflatten(
        treedef, [_stretch(s, v) for s, v in zip(sizes, leaves, strict=True)]
    )


def _stretch(size, leaf):
    size = jnp.asarray(size, leaf.dtype)
    trailing = zip(size.shape[::-1], leaf.shape[::-1], strict=False)
    if size.ndim > leaf.ndim or any(a not in (1, b) for a, b in trailing):
        raise ValueError(
            f"step_size of shape {size.shape} does not broadcast to a position of shape {leaf.shape}"
        )
    return size * leaf


def is_matrix(step_size: Any, tree: Any) -> bool:
    """Whether a step size acts on all coordinates of a tree together."""
    leaves = jax.tree.leaves(tree)
    size = sum(x.size for x in leaves)
    shape = jnp.shape(step_size) if hasattr(step_size, "shape") else ()
    return shape == (size, size) and not (len(leaves) == 1 and leaves[0].shape == shape)


# --- infos ------------------------------------------------------------------------------------------------


def add(total: Info, info: Info) -> Info:
    """Accumulate: sums where a mean is wanted in the end, else any, largest, total, last."""
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
    return Info(
        acceptance_rate=jnp.mean(infos.acceptance_rate, axis=0),
        is_accepted=jnp.any(infos.is_accepted, axis=0),
        energy_error=jnp.take_along_axis(infos.energy_error, worst, axis=0)[0],
        num_nonfinite=jnp.sum(infos.num_nonfinite, axis=0),
        hamiltonian=jnp.broadcast_to(infos.hamiltonian, infos.energy_error.shape)[-1],
        num_grads=jnp.sum(
            jnp.broadcast_to(infos.num_grads, infos.energy_error.shape), axis=0
        ),
    )


def _size(error: Array) -> Array:
    """Of an energy error: one that is NaN is as large as can be."""
    return jnp.where(jnp.isnan(error), jnp.inf, jnp.abs(error))


def _kind(value) -> str:
    return "None" if value is None else type(value).__name__
