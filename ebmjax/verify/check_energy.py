"""Check an energy before it is sampled or trained.

The energy is examined at a position, at random points around it and far out along
rays.  Each issue comes with a suggestion.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Key
from ebmjax.energies.constrained import Constrained
from ebmjax.verify import energy_errors
from ebmjax.verify.energy_flatness import flat_directions, ignored
from ebmjax.verify.energy_gradients import wrong_gradients
from ebmjax.verify.energy_probes import Issue, probe_at
from ebmjax.verify.energy_smoothness import jumps, kinks
from ebmjax.verify.energy_tails import slow_growth
from ebmjax.verify.energy_types import narrow_types

NOISE_LIMIT = 0.05  # nats, of the rounding error of an energy


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
    issue = energy_errors.of_value(energy, position)
    if issue is not None:
        return Diagnosis((issue,), size)
    with np.errstate(invalid="ignore"):  # inf - inf, beyond a hard boundary
        return Diagnosis(tuple(_examine(energy, position, key, scale)), size)


def _examine(energy, position, key, scale) -> Iterator[Issue]:
    no_grad = energy_errors.of_gradient(energy, position)
    if no_grad is not None:
        yield no_grad
    dtype = jax.eval_shape(lambda x: energy(x), position).dtype
    yield from narrow_types(energy, position, dtype)
    probe = probe_at(energy, position, key, scale, dtype)
    points = np.concatenate([probe.point[None], probe.near])
    try:
        values = probe.value(points)
    except Exception as error:  # a callback may fail at run time
        yield energy_errors.raised(error)
        return
    grads = np.full((len(points), probe.dim), np.nan)
    if no_grad is None:
        grads = probe.grad(points)
    yield from _finite(values, grads, no_grad is None)
    is_finite = np.isfinite(values[0])
    if no_grad is None:
        constant = list(ignored(probe, values, grads))
        yield from constant
        if is_finite and not constant:
            yield from wrong_gradients(probe)
            yield from flat_directions(probe)
            yield from kinks(probe)
    if is_finite:
        yield from jumps(probe)
    yield from _rounding(values, dtype)
    yield from _batch(energy, position, values[0])
    yield from slow_growth(probe, values[0], grads[0])


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
            f"the energy is NaN at {num_nan} of {len(values) - 1} points around the "
            "position",
            "sample free coordinates, constrain(energy, supports.positive()) or "
            "another of ebmjax.supports; or give +inf outside the support",
        )


def _rounding(values, dtype) -> Iterator[Issue]:
    noise = abs(values[0]) * float(jnp.finfo(dtype).eps)
    if np.isfinite(noise) and noise > NOISE_LIMIT:
        yield Issue(
            f"an energy of {values[0]:.3g} at the position has a rounding error of "
            f"{noise:.2g} nats in {dtype}",
            "subtract a constant: acceptance depends only on differences",
        )


def _batch(energy, position, value) -> Iterator[Issue]:
    if _is_batch(energy, position, value):
        yield Issue(
            f"the energy adds up over the first axis of {np.shape(position)}: is this "
            "a batch?",
            "pass one point, position[0]; a batch would be sampled as one point of all "
            "its coordinates",
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
