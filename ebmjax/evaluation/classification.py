"""Energies as classifiers and as detectors of out-of-distribution inputs.

    calibration_error   sum_b (n_b / N) |accuracy_b - confidence_b| over equal bins
                        (low, high] of confidence  (Guo, Pleiss, Sun & Weinberger 2017,
                        "On calibration of modern neural networks")
    auroc               P(score inside > score outside) + P(equal) / 2
                        (Mann & Whitney 1947)

Scores, higher for inputs of the distribution (Grathwohl et al. 2020): minus the energy,
which is log p(x) up to a constant; the largest class probability; minus |grad E|, which
is small where the density hardly changes.

With the energy of N(0, I) against draws of N(0, s^2 I) the first and the last have an
AUROC of F_{D,D}(s^2), the distribution function of Fisher's F.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Energy, half_square


def calibration_error(probabilities: Any, labels: Any, num_bins: int = 15) -> float:
    """The expected calibration error, in [0, 1].

    Args:
      probabilities: of classes, ``[N, K]``.
      labels: ``[N]``, whole numbers below K.
      num_bins: of confidence.

    Raises:
      ValueError: probabilities that do not sum to one, labels of another shape or
        outside the classes.
    """
    confidence, right, share = reliability(probabilities, labels, num_bins)
    return float(np.nansum(np.abs(right - confidence) * share))


def reliability(
    probabilities: Any, labels: Any, num_bins: int = 15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, accuracy and share of points by bin, each ``[num_bins]``.

    The bins are equal in confidence.  The first two are NaN where a bin is empty.
    """
    checks.count(num_bins, "num_bins")
    probabilities, labels = _classified(probabilities, labels)
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    sums = [
        np.bincount(bins, weights=w, minlength=num_bins)
        for w in (confidence, is_right, np.ones(len(bins)))
    ]
    with np.errstate(invalid="ignore"):
        return sums[0] / sums[2], sums[1] / sums[2], sums[2] / len(labels)


def accuracy(probabilities: Any, labels: Any) -> float:
    """The share of rows whose largest probability is at their label."""
    probabilities, labels = _classified(probabilities, labels)
    return float((probabilities.argmax(axis=1) == labels).mean())


def auroc(inside: Any, outside: Any) -> float:
    """The area under the ROC curve of scores ``[N]`` inside against ``[M]`` outside.

    Raises:
      ValueError: no scores, or NaN among them.
    """
    inside, outside = (np.asarray(x, np.float64).ravel() for x in (inside, outside))
    for name, x in (("inside", inside), ("outside", outside)):
        if not len(x) or np.isnan(x).any():
            raise ValueError(
                f"{name} must be scores without NaN, got {len(x)} with "
                f"{np.isnan(x).sum()} NaN"
            )
    ordered = np.sort(outside)
    below = np.searchsorted(ordered, inside, side="left")
    up_to = np.searchsorted(ordered, inside, side="right")
    return float((below + up_to).mean() / (2 * len(outside)))


def density_score(energy: Energy, points: Any) -> np.ndarray:
    """-E(x) of points ``[N, ...]``."""
    return -np.asarray(jax.jit(jax.vmap(energy))(points), np.float64)


def mass_score(energy: Energy, points: Any) -> np.ndarray:
    """-|grad E(x)| of points ``[N, ...]``."""
    norm = lambda x: jnp.sqrt(2 * half_square(jax.grad(energy)(x)))
    return -np.asarray(jax.jit(jax.vmap(norm))(points), np.float64)


def _classified(probabilities, labels):
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or not len(probabilities):
        raise ValueError(
            f"probabilities must be [N, K], got shape {probabilities.shape}"
        )
    if (
        not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3)
        or (probabilities < 0).any()
    ):
        raise ValueError("probabilities must be at least 0 and sum to one in each row")
    num, num_classes = probabilities.shape
    if labels.shape != (num,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be {num} whole numbers, got {checks.describe(labels)}"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels must lie in [0, {num_classes}), got {labels.min()} to "
            f"{labels.max()}"
        )
    return probabilities, labels
