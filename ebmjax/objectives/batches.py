"""Batches of points, with labels or conditions beside them or alone."""

from typing import Any

from ebmjax.base import Key, axpy, normal_like
from ebmjax.objectives.conditional import Pairs
from ebmjax.objectives.joint import Labelled


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
        return batch._replace(point=noisy(key, batch.point, noise))  # type: ignore[arg-type]
    return axpy(noise, normal_like(key, batch), batch)
