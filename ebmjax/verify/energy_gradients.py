"""Gradients of an energy against finite differences in its own precision."""

from collections.abc import Iterator

import numpy as np

from ebmjax.verify.energy_probes import Issue, Probe

STEPS = np.array([1e-1, 3e-2, 1e-2, 3e-3, 1e-3])  # of differences, in scales
DISAGREE = 0.05  # relative difference between a gradient and finite differences
MAX_AXES = 32


def differences(probe: Probe, points, directions) -> tuple[np.ndarray, np.ndarray]:
    """Central differences along unit vectors, ``[N]``, with an estimate of their error.

    The step is the one with the smallest difference to the next smaller step.
    """
    steps = STEPS[:, None, None] * probe.scale
    ends = [points + s * steps * directions for s in (1, -1)]
    plus, minus = (
        probe.value(e.reshape(-1, probe.dim)).reshape(len(STEPS), -1) for e in ends
    )
    slopes = (plus - minus) / (2 * steps[:, :, 0])
    rounding = probe.eps * (np.abs(plus) + np.abs(minus)) / steps[:, :, 0]
    change = np.abs(np.diff(slopes, axis=0))
    errors = np.where(np.isfinite(slopes[1:]), change + rounding[1:], np.inf)
    best = np.nan_to_num(errors, nan=np.inf).argmin(axis=0)
    columns = np.arange(slopes.shape[1])
    return slopes[1:][best, columns], errors[best, columns]


def wrong_gradients(probe: Probe) -> Iterator[Issue]:
    """Gradients against finite differences: along random directions, and
    coordinates."""
    points = np.concatenate([probe.point[None], probe.near[:7]])
    grads = probe.grad(points)
    usable = np.isfinite(grads).all(axis=1)
    points, grads = points[usable], grads[usable]
    if not len(points):
        return
    if hidden := stopped(probe, points, grads):
        names = ", ".join(probe.labels[i] for i in hidden[:5])
        yield Issue(
            f"the gradient with respect to {names} is zero, but the energy changes",
            "look for stop_gradient, round, argmax or casts to integer",
        )
        return
    v = probe.directions(4)
    points, grads = np.repeat(points, 4, axis=0), np.repeat(grads, 4, axis=0)
    v = np.tile(v, (len(points) // 4, 1))
    slopes, errors = differences(probe, points, v)
    claimed = (grads * v).sum(axis=1)
    gap = np.abs(claimed - slopes)
    size = np.maximum(np.abs(slopes), np.abs(claimed))
    is_wrong = np.isfinite(errors) & (gap > DISAGREE * size + 4 * errors)
    is_wrong &= gap > 1e-3 * (np.linalg.norm(grads, axis=1) + 1e-6)
    if is_wrong.sum() >= max(2, len(gap) // 8):
        ratio = np.median(
            claimed[is_wrong] / np.where(slopes == 0, 1, slopes)[is_wrong]
        )
        yield Issue(
            f"the gradient disagrees with finite differences along {is_wrong.sum()} of "
            f"{len(gap)} random directions; it is {ratio:.3g} times them (the median)",
            "look for a custom_vjp or custom_jvp, or a gradient that is stopped in "
            "part",
        )


def stopped(probe: Probe, points, grads) -> list[int]:
    """Coordinates of zero gradient along which the energy changes."""
    zero = np.flatnonzero((grads == 0).all(axis=0))[:MAX_AXES]
    found = []
    for i in zero:
        axis = np.tile(np.eye(probe.dim)[i], (len(points), 1))
        slopes, errors = differences(probe, points, axis)
        if (np.abs(slopes) > 10 * errors + 1e-6).any():
            found.append(int(i))
    return found
