"""Batches of points, with labels or conditions beside them or alone."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Array, Key, Position, axpy, normal_like

MOST_PAIRS = 2**24  # whole numbers that float32 holds


class Labelled(NamedTuple):
    """Points and their labels."""

    point: Position  # [N, ...]
    label: Array  # [N, K] one at the class, zero elsewhere


def labelled(points: Any, labels: Any, num_classes: int | None = None) -> Labelled:
    """Points ``[N, ...]`` and whole labels ``[N]`` from 0, ready to train on.

    Raises:
      ValueError: labels that are not one a point, negative, or not below
        ``num_classes``.
    """
    labels = np.asarray(labels)
    num = checks.num_chains(points, "points")
    if num == 0 or labels.shape != (num,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be {num or 'some'} whole numbers, got "
            f"{checks.describe(labels)}"
        )
    num_classes = checks.count(
        int(labels.max()) + 1 if num_classes is None else num_classes, "num_classes"
    )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels must lie in [0, {num_classes}), got {labels.min()} to "
            f"{labels.max()}"
        )
    points = checks.position(points, "points")
    return Labelled(points, jax.nn.one_hot(labels, num_classes))


def check_labelled(batch: Any) -> None:
    """Raise unless a batch is :class:`Labelled`."""
    if not isinstance(batch, Labelled):
        raise TypeError(
            "batch must be Labelled, of labelled(points, labels), got "
            f"{checks.describe(batch)}"
        )


class Pairs(NamedTuple):
    """Points and their conditions."""

    point: Position  # [N, ...]
    condition: Any  # [N, ...]
    row: Array  # [N] which row of the data; whole numbers as floats


def pairs(points: Any, conditions: Any) -> Pairs:
    """Points ``[N, ...]`` and conditions ``[N, ...]``, ready to train on.

    Whole conditions, ``[N]`` labels from 0, become one-hot rows.

    Raises:
      TypeError, ValueError: no numbers, not finite, another number of conditions than
        of points, labels below 0.

    >>> pairs(jnp.zeros((3, 2)), np.array([0, 2, 1])).condition.shape
    (3, 3)
    """
    points = checks.position(points, "points")
    num = checks.num_chains(points, "points")
    if num > MOST_PAIRS:
        raise ValueError(f"points must be at most {MOST_PAIRS}, got {num}")
    conditions = jax.tree.map(_floating, conditions)
    conditions = checks.position(conditions, "conditions")
    got = checks.num_chains(conditions, "conditions")
    if got != num:
        raise ValueError(f"conditions must be one a point, {num}, got {got}")
    return Pairs(points, conditions, jnp.arange(num, dtype=jnp.float32))


def check_pairs(batch: Any) -> None:
    """Raise unless a batch is :class:`Pairs`."""
    if not isinstance(batch, Pairs):
        raise TypeError(
            f"batch must be Pairs, of pairs(points, conditions), got "
            f"{checks.describe(batch)}"
        )


def _floating(leaf):
    array = np.asarray(leaf) if not isinstance(leaf, jax.Array) else leaf
    if array.ndim == 1 and array.dtype.kind in "iub":
        labels = np.asarray(array)
        if labels.size and labels.min() < 0:
            raise ValueError(f"labels must be at least 0, got {labels.min()}")
        return jax.nn.one_hot(labels, int(labels.max(initial=0)) + 1)
    return leaf


def points_of(batch: Any) -> Any:
    """The points of a batch, without labels and conditions."""
    return batch.point if isinstance(batch, Labelled | Pairs) else batch


def with_points(batch: Any, points: Any) -> Any:
    """The batch with other points."""
    if isinstance(batch, Labelled | Pairs):
        return batch._replace(point=points)  # type: ignore[arg-type]
    return points


def noisy(key: Key, batch: Any, noise: Any) -> Any:
    """A batch with Gaussian noise on its points, and none on what is beside them."""
    if isinstance(batch, Labelled | Pairs):
        point = noisy(key, batch.point, noise)
        return batch._replace(point=point)  # type: ignore[arg-type]
    return axpy(noise, normal_like(key, batch), batch)
