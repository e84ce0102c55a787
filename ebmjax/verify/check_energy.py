"""The doctor: what is wrong with an energy, before hours are spent on it.

Everything is looked for at the given position, at a few random points around it, and far out along rays.
Each symptom names its cure.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax.base import Key

NUM_PROBES = 16
RADII = np.array([10.0, 30.0, 100.0, 300.0, 1000.0])
NOISE_LIMIT = 0.05  # nat, of the rounding error of an energy


class Issue(NamedTuple):
    what: str
    suggestion: str


class Diagnosis(NamedTuple):
    """What :func:`check` found; nothing is good news."""

    symptoms: tuple[Issue, ...]
    num_dims: int

    @property
    def is_healthy(self) -> bool:
        return not self.symptoms

    def __str__(self) -> str:
        if self.is_healthy:
            return f"energy in {self.num_dims} dimensions: nothing found"
        lines = [f"energy in {self.num_dims} dimensions: {len(self.symptoms)} found"]
        for i, (what, suggestion) in enumerate(self.symptoms, 1):
            lines += [f"{i}. {what}", f"   suggestion: {suggestion}"]
        return "\n".join(lines)


def check(
    energy: Callable[[Any], Any], position: Any, key: Key, *, scale: float = 1.0
) -> Diagnosis:
    """Examine an energy at and around one point.

    Args:
      energy: of one point.
      position: one point, any tree of floating arrays.
      key: of the random points.
      scale: how far they lie from the position, in its units.

    Returns:
      A :class:`Diagnosis`, whose ``symptoms`` are empty for a healthy energy.

    Raises:
      TypeError, ValueError: for an energy that is not a function, a position that is not finite and floating,
        a key that is not one.

    >>> print(check(lambda x: -0.5 * jnp.sum(x**2), jnp.ones(2), jax.random.key(0)).symptoms[0].what)
    the energy falls without end in every direction that was tried
    """
    checks.function(energy, "energy")
    checks.positive(scale, "scale")
    position = checks.position(position, "position")
    key = checks.key(key)
    size = sum(x.size for x in jax.tree.leaves(position))
    symptom = _value(energy, position)
    if symptom is not None:
        return Diagnosis((symptom,), size)
    return Diagnosis(tuple(_examine(energy, position, key, scale)), size)


def _value(energy, position) -> Issue | None:
    """What keeps the energy from being evaluated at all, or from being a scalar."""
    try:
        value = jax.eval_shape(energy, position)
    except jax.errors.TracerBoolConversionError:
        return Issue(
            "the energy has a Python `if` or `while` on a traced value",
            "use jnp.where or lax.cond",
        )
    except (
        jax.errors.TracerArrayConversionError,
        jax.errors.ConcretizationTypeError,
    ) as error:
        what = f"the energy leaves JAX: {str(error).splitlines()[0]}"
        return Issue(what, "use jax.numpy in place of numpy, float() and .item()")
    if isinstance(value, tuple | list):
        return Issue(
            f"the energy returns {len(value)} values", "return the energy alone"
        )
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        return Issue(
            f"the energy returns {type(value).__name__}", "return a floating scalar"
        )
    if shape != ():
        first = jnp.shape(jax.tree.leaves(position)[0])
        if shape == first[:1] and len(first) > 1:
            return Issue(
                f"the energy maps a batch: {first} to {shape}",
                "write it for one point; the runner adds the chain axis by itself",
            )
        suggestion = (
            "use .squeeze()" if np.prod(shape) == 1 else "sum over the coordinates"
        )
        return Issue(f"the energy returns shape {shape}, not a scalar", suggestion)
    if not jnp.issubdtype(dtype, jnp.floating):
        return Issue(f"the energy returns {dtype}", "return a floating scalar")
    return None


def _examine(energy, position, key, scale) -> Iterator[Issue]:
    flat, unravel = ravel_pytree(position)
    value_and_grad = jax.jit(jax.vmap(jax.value_and_grad(lambda v: energy(unravel(v)))))
    key_near, key_far = jax.random.split(key)
    near = flat + scale * jax.random.normal(
        key_near, (NUM_PROBES, flat.size), flat.dtype
    )
    points = jnp.concatenate([flat[None], near])
    values, grads = (np.asarray(x, np.float64) for x in value_and_grad(points))

    dtype = jax.eval_shape(energy, position).dtype
    if jnp.finfo(dtype).bits < 32:
        yield Issue(
            f"the energy is computed in {dtype}",
            "compute its last sum in float32: differences decide here",
        )
    if not np.isfinite(values[0]):
        yield Issue(
            f"the energy is {values[0]} at the position",
            "start where the energy is finite",
        )
    elif not np.isfinite(grads[0]).all():
        yield Issue(
            "the gradient is not finite at the position",
            "look for sqrt(0), log(0) or a norm at 0; jnp.where needs a safe value inside, too",
        )
    num_nan = int(np.isnan(values[1:]).sum())
    if num_nan:
        yield Issue(
            f"the energy is NaN at {num_nan} of {NUM_PROBES} points around the position",
            "give +inf outside the support; or sample log x, or another free coordinate",
        )
    yield from _flat_directions(position, unravel, values, grads)
    noise = np.nanmax(np.abs(values[np.isfinite(values)]), initial=0.0) * float(
        jnp.finfo(dtype).eps
    )
    if noise > NOISE_LIMIT:
        yield Issue(
            f"energies of size {np.abs(values[0]):.3g} carry a rounding error of {noise:.2g} nat in {dtype}",
            "subtract a constant: acceptance depends on differences alone",
        )
    if _is_batch(energy, position, values[0]):
        yield Issue(
            f"the energy adds up over the first axis of {np.shape(position)}: is this a batch?",
            "pass one point, position[0]; a batch would be sampled as one point of all its coordinates",
        )
    yield from _far(value_and_grad, flat, values[0], grads[0], key_far, scale)


def _flat_directions(position, unravel, values, grads) -> Iterator[Issue]:
    if not np.isfinite(grads).all():
        return
    if not grads.any():
        if np.ptp(values[np.isfinite(values)]) > 0:
            yield Issue(
                "the gradient is zero everywhere, the energy is not constant: it is not differentiable",
                "round, argmax, casts to integer and comparisons have no gradient; use random_walk",
            )
        else:
            yield Issue("the energy is constant", "does it use its argument?")
        return
    largest = jax.tree_util.tree_leaves_with_path(
        unravel(jnp.asarray(np.abs(grads).max(axis=0)))
    )
    for path, leaf in largest:
        if len(largest) > 1 and not np.any(leaf):
            yield Issue(
                f"the energy does not depend on position{jax.tree_util.keystr(path)}",
                "its density there is not normalisable; leave the entry out or give it a prior",
            )
    ignored = np.flatnonzero(np.abs(grads).max(axis=0) == 0)
    if len(largest) == 1 and len(ignored):
        yield Issue(
            f"the energy does not depend on {len(ignored)} of {grads.shape[1]} coordinates "
            f"({', '.join(map(str, ignored[:5]))})",
            "its density there is not normalisable; leave them out or give them a prior",
        )


def _is_batch(energy, position, value) -> bool:
    """Whether the energy of an array is the sum, or the mean, of the energies of its rows."""
    if (
        len(jax.tree.leaves(position)) != 1
        or np.ndim(position) < 2
        or len(position) < 2
    ):
        return False
    try:
        rows = np.array([float(energy(row)) for row in position[:64]])
    except Exception:  # whatever it does on a row, it is not made for one
        return False
    if len(rows) < len(position):
        return False
    total = rows.sum()
    return bool(
        np.isclose(value, total, rtol=1e-4)
        or np.isclose(value, total / len(rows), rtol=1e-4)
    ) and (np.ptp(rows) > 0)


def _far(value_and_grad, flat, value, grad, key, scale) -> Iterator[Issue]:
    """Along the steepest descent, coordinate axes and random rays, far out."""
    rays = np.asarray(jax.random.normal(key, (NUM_PROBES, flat.size)))
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    axes = np.eye(flat.size)[:NUM_PROBES]
    rays = np.concatenate([rays, axes, -axes])
    size = np.linalg.norm(grad)
    if np.isfinite(size) and size > 0:
        rays = np.concatenate([rays, -grad[None] / size])
    reach = scale * max(1.0, float(jnp.sqrt(jnp.mean(flat**2)))) * np.sqrt(flat.size)
    points = np.asarray(flat) + reach * RADII[:, None, None] * rays
    values = np.asarray(
        value_and_grad(jnp.asarray(points.reshape(-1, flat.size), flat.dtype))[0]
    )
    values = values.reshape(len(RADII), len(rays))
    falls = (values[1:] < values[:-1]).all(axis=0) & (values[-1] < value - 50)
    falls |= np.isneginf(values).any(axis=0)
    if falls.all():
        yield Issue(
            "the energy falls without end in every direction that was tried",
            "this looks like a log density; pass from_log_density(log_density)",
        )
    elif falls.any():
        yield Issue(
            f"the energy falls without end in {falls.sum()} of {len(rays)} directions that were tried",
            "exp(-E) is not normalisable; confine(energy, scale), or a network with confinement",
        )
