"""Check an energy before it is sampled or trained.

The energy is examined at a position, at random points around it and far out along rays;
:mod:`ebmjax.verify.energy_probes` has the numerical part.  Each issue comes with a
suggestion.
"""

import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax.base import Key
from ebmjax.energies.constrained import Constrained
from ebmjax.verify import energy_probes as probes
from ebmjax.verify.energy_probes import Issue, Probe
from ebmjax.verify.features import labels_of

NUM_PROBES = 16
NOISE_LIMIT = 0.05  # nats, of the rounding error of an energy
NARROW = ("bfloat16", "float16", "float8")


class Diagnosis(NamedTuple):
    """The result of :func:`check`; ``issues`` is empty for a healthy energy."""

    issues: tuple[Issue, ...]
    num_dims: int

    @property
    def is_healthy(self) -> bool:
        return not self.issues

    def __str__(self) -> str:
        head = f"energy in {self.num_dims} dimensions"
        if self.is_healthy:
            return f"{head}: no issue found"
        lines = [f"{head}: {len(self.issues)} found"]
        for i, (message, suggestion) in enumerate(self.issues, 1):
            lines += [f"{i}. {message}", f"   suggestion: {suggestion}"]
        return "\n".join(lines)


def check(
    energy: Callable[[Any], Any], position: Any, key: Key, *, scale: float = 1.0
) -> Diagnosis:
    """Examine an energy at and around one point.

    It detects energies that do not map one point to a floating scalar; values and
    gradients that are not finite; gradients that disagree with finite differences;
    narrow types inside; rounding; jumps, noise and kinks; coordinates and directions
    along which the energy is constant; a batch in the place of a point; growth that is
    too slow for ``exp(-E)`` to be normalisable.

    Args:
      energy: of one point.
      position: one point, any tree of floating arrays; constrained values where the
        energy is of :func:`~ebmjax.constrain`, which is examined in free coordinates.
      key: of the random points.
      scale: distance of the random points from the position, in its units.

    Returns:
      A :class:`Diagnosis`.

    Raises:
      TypeError, ValueError: for an energy that is not callable, a position that is not
        finite and floating, an invalid key.

    >>> found = check(lambda x: -0.5 * jnp.sum(x**2), jnp.ones(2), jax.random.key(0))
    >>> print(found.issues[0].message)
    the energy falls without end in every direction that was tried
    """
    checks.function(energy, "energy")
    checks.positive(scale, "scale")
    position = checks.position(position, "position")
    key = checks.key(key)
    if isinstance(energy, Constrained):
        position = energy.free(position)
    size = sum(x.size for x in jax.tree.leaves(position))
    issue = _value(energy, position)
    if issue is not None:
        return Diagnosis((issue,), size)
    return Diagnosis(tuple(_examine(energy, position, key, scale)), size)


# --- errors of evaluation -------------------------------------------------------------


def _value(energy, position) -> Issue | None:
    """An issue if the energy cannot be evaluated or is not a scalar."""
    try:
        value = jax.eval_shape(
            lambda x: energy(x), position
        )  # energy may be unhashable
    except jax.errors.TracerBoolConversionError:
        return Issue(
            "the energy has a Python `if` or `while` on a traced value",
            "use jnp.where or lax.cond",
        )
    except (
        jax.errors.TracerArrayConversionError,
        jax.errors.ConcretizationTypeError,
    ) as error:
        message = f"the energy leaves JAX: {_first_line(error)}"
        return Issue(message, "use jax.numpy in place of numpy, float() and .item()")
    except Exception as error:  # whatever a user's function raises
        return _raised(error)
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
        return _not_scalar(shape, position)
    if not jnp.issubdtype(dtype, jnp.floating):
        return Issue(f"the energy returns {dtype}", "return a floating scalar")
    return None


def _not_scalar(shape, position) -> Issue:
    first = jnp.shape(jax.tree.leaves(position)[0])
    if shape == first[:1] and len(first) > 1:
        return Issue(
            f"the energy maps a batch: {first} to {shape}",
            "write it for one point; the runner adds the chain axis by itself",
        )
    is_one = np.prod(shape) == 1
    suggestion = "use .squeeze()" if is_one else "sum over the coordinates"
    return Issue(f"the energy returns shape {shape}, not a scalar", suggestion)


def _raised(error: Exception) -> Issue:
    """An issue for an error in the user's code, with the line that raised it."""
    own = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if "/jax/" not in f.filename and "/ebmjax/" not in f.filename
    ]
    where = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    return Issue(
        f"the energy raises {type(error).__name__}: {_first_line(error)}{where}",
        "call energy(position) without JAX and correct the error there",
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _gradient(energy, position) -> Issue | None:
    """An issue if the gradient cannot be evaluated."""
    try:
        jax.eval_shape(lambda x: jax.grad(lambda y: energy(y))(x), position)
    except Exception as error:
        text = str(error)
        if "while_loop" in text or "fori_loop" in text:
            suggestion = "use lax.scan, or fori_loop with a fixed number of steps"
        elif "callback" in text.lower():
            suggestion = "give the callback a jax.custom_jvp"
        else:
            suggestion = "look for operations that JAX cannot differentiate"
        message = f"the energy has no gradient: {_first_line(error)}"
        return Issue(message, f"{suggestion}; random_walk needs no gradient")
    return None


# --- numbers --------------------------------------------------------------------------


def _examine(energy, position, key, scale) -> Iterator[Issue]:
    flat, unravel = ravel_pytree(position)
    no_grad = _gradient(energy, position)
    if no_grad is not None:
        yield no_grad
    dtype = jax.eval_shape(lambda x: energy(x), position).dtype
    yield from _types(energy, position, dtype)
    seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
    probe = _probe(energy, unravel, flat, scale, seed, dtype, labels_of(position))
    points = np.concatenate([probe.point[None], probe.near])
    try:
        values = probe.value(points)
    except Exception as error:  # a callback may fail at run time
        yield _raised(error)
        return
    grads = np.full((len(points), probe.dim), np.nan)
    if no_grad is None:
        grads = probe.grad(points)
    yield from _finite(values, grads, no_grad is None)
    if no_grad is None:
        ignored = list(_ignored(position, unravel, values, grads, probe))
        yield from ignored
        if np.isfinite(values[0]) and not ignored:
            yield from probes.wrong_gradients(probe)
            yield from probes.flat_directions(probe)
            yield from probes.kinks(probe, _curvature(energy, unravel, flat.dtype))
    if np.isfinite(values[0]):
        yield from probes.jumps(probe)
    noise = abs(values[0]) * float(jnp.finfo(dtype).eps)
    if np.isfinite(noise) and noise > NOISE_LIMIT:
        yield Issue(
            f"an energy of {values[0]:.3g} at the position has a rounding error of "
            f"{noise:.2g} nats in {dtype}",
            "subtract a constant: acceptance depends only on differences",
        )
    if _is_batch(energy, position, values[0]):
        yield Issue(
            f"the energy adds up over the first axis of {np.shape(position)}: is this "
            "a batch?",
            "pass one point, position[0]; a batch would be sampled as one point of all "
            "its coordinates",
        )
    yield from probes.far(probe, values[0], grads[0])


def _probe(energy, unravel, flat, scale, seed, dtype, labels) -> Probe:
    of_flat = jax.jit(jax.vmap(lambda v: energy(unravel(v))))
    of_grad = jax.jit(jax.vmap(jax.grad(lambda v: energy(unravel(v)))))

    def call(function):
        return lambda points: np.asarray(
            function(jnp.asarray(points, flat.dtype)), np.float64
        )

    rng = np.random.default_rng(seed)
    near = rng.normal(size=(NUM_PROBES, flat.size))
    point = np.asarray(flat, np.float64)
    eps = float(max(jnp.finfo(dtype).eps, jnp.finfo(flat.dtype).eps))
    is_periodic = None
    if isinstance(energy, Constrained):
        is_periodic = np.asarray(ravel_pytree(energy.periods(unravel(flat)))[0]) > 0
    return Probe(
        call(of_flat),
        call(of_grad),
        point,
        point + scale * near,
        scale,
        labels,
        rng,
        eps,
        is_periodic,
    )


def _curvature(energy, unravel, dtype):
    def one(x, v):
        grad = jax.grad(lambda y: energy(unravel(y)))
        return v @ jax.jvp(grad, (x,), (v,))[1]

    program = jax.jit(jax.vmap(one))

    def curvature(points, directions):
        try:
            found = program(jnp.asarray(points, dtype), jnp.asarray(directions, dtype))
        except Exception:  # a custom_vjp has no second derivative
            return np.full(len(points), np.nan)
        return np.asarray(found, np.float64)

    return curvature


def _types(energy, position, dtype) -> Iterator[Issue]:
    """Narrow types of the result, or anywhere inside."""
    if jnp.finfo(dtype).bits < 32:
        yield Issue(
            f"the energy is computed in {dtype}",
            "compute its last sum in float32: acceptance depends on differences",
        )
        return
    if any(leaf.dtype.name.startswith(NARROW) for leaf in jax.tree.leaves(position)):
        return
    found = sorted(_dtypes(jax.make_jaxpr(lambda x: energy(x))(position).jaxpr))
    narrow = [name for name in found if name.startswith(NARROW)]
    if narrow:
        yield Issue(
            f"a part of the energy is computed in {', '.join(narrow)}",
            "its rounding error enters every difference of energies; use float32",
        )


def _dtypes(jaxpr) -> set[str]:
    """The dtypes of all values in a program and in nested programs."""
    found = set()
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            found.add(getattr(getattr(variable.aval, "dtype", None), "name", ""))
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                found |= _dtypes(inner)
    return found


def _finite(values, grads, has_grad) -> Iterator[Issue]:
    if not np.isfinite(values[0]):
        yield Issue(
            f"the energy is {values[0]} at the position",
            "start where the energy is finite",
        )
    elif has_grad and not np.isfinite(grads[0]).all():
        yield Issue(
            "the gradient is not finite at the position",
            "look for sqrt(0), log(0) or a norm at 0; jnp.where needs a safe value "
            "inside, too",
        )
    num_nan = int(np.isnan(values[1:]).sum())
    if num_nan:
        yield Issue(
            f"the energy is NaN at {num_nan} of {NUM_PROBES} points around the position",
            "sample free coordinates, constrain(energy, supports.positive()) or another "
            "of ebmjax.supports; or give +inf outside the support",
        )


def _ignored(position, unravel, values, grads, probe) -> Iterator[Issue]:
    """Leaves and coordinates on which the energy does not depend."""
    if not np.isfinite(grads).all():
        return
    finite = values[np.isfinite(values)]
    if not grads.any():
        if np.ptp(finite) > 0:
            yield Issue(
                "the gradient is zero everywhere, the energy is not constant: it is not "
                "differentiable",
                "round, argmax, casts to integer and comparisons have no gradient; use "
                "random_walk",
            )
        else:
            yield Issue("the energy is constant", "does it use its argument?")
        return
    largest = np.abs(grads).max(axis=0)
    stopped = set(probes._stopped(probe, probe.near[:4], grads[1:5]))
    leaves = jax.tree_util.tree_leaves_with_path(unravel(jnp.asarray(largest)))
    index = jax.tree.leaves(unravel(jnp.arange(len(largest), dtype=jnp.float32)))
    for (path, leaf), place in zip(leaves, index, strict=True):
        is_seen = stopped & {int(i) for i in np.ravel(place)}
        if len(leaves) > 1 and not np.any(leaf) and not is_seen:
            yield Issue(
                f"the energy does not depend on position{jax.tree_util.keystr(path)}",
                "its density there is not normalisable; leave the entry out or give it "
                "a prior",
            )
    ignored = [i for i in np.flatnonzero(largest == 0) if i not in stopped]
    if len(leaves) == 1 and ignored:
        yield Issue(
            f"the energy does not depend on {len(ignored)} of {grads.shape[1]} "
            f"coordinates ({', '.join(map(str, ignored[:5]))})",
            "its density there is not normalisable; leave them out or give them a prior",
        )


def _is_batch(energy, position, value) -> bool:
    """Whether the energy of an array is the sum, or the mean, of those of its rows."""
    if len(jax.tree.leaves(position)) != 1 or np.ndim(position) < 2:
        return False
    if not 2 <= len(position) <= 64:
        return False
    try:
        rows = np.array([float(energy(row)) for row in position])
    except Exception:  # it raises on a row, so it is not made for a batch
        return False
    total = rows.sum()
    is_sum = np.isclose(value, total, rtol=1e-4)
    is_mean = np.isclose(value, total / len(rows), rtol=1e-4)
    return bool((is_sum or is_mean) and np.ptp(rows) > 0)
