"""Tails of an energy: does exp(-E) fall fast enough to be normalisable?"""

from collections.abc import Iterator

import numpy as np

from ebmjax.verify.energy_probes import Issue, Probe

RADII = np.array([10.0, 30.0, 100.0, 300.0, 1000.0])


def slow_growth(probe: Probe, value: float, grad: np.ndarray) -> Iterator[Issue]:
    """Along the steepest descent, axes and random rays, E must grow fast enough."""
    lines = probe.lines
    if not len(lines):
        return
    rays = np.zeros((16, probe.dim))
    rays[:, lines] = probe.directions(16)[:, lines]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    axes = np.eye(probe.dim)[lines[:16]]
    num_random, num_axes = len(rays), 2 * len(axes)
    rays = np.concatenate([rays, axes, -axes])
    grad = np.where(np.isin(np.arange(probe.dim), lines), grad, 0)
    size = np.linalg.norm(grad)
    if np.isfinite(size) and size > 0:
        rays = np.concatenate([rays, -grad[None] / size])
    reach = probe.scale * max(1.0, float(np.sqrt(np.mean(probe.point**2))))
    radii = reach * np.sqrt(probe.dim) * RADII
    points = probe.point + radii[:, None, None] * rays
    values = probe.value(points.reshape(-1, probe.dim)).reshape(len(RADII), -1)
    falls = (values[1:] < values[:-1]).all(axis=0) & (values[-1] < value - 50)
    falls |= np.isneginf(values).any(axis=0)
    if falls.all():
        yield Issue(
            "the energy falls without end in every direction that was tried",
            "this looks like a log density; pass from_log_density(log_density)",
        )
    elif falls.any():
        yield Issue(
            f"the energy falls without end in {falls.sum()} of {len(rays)} directions "
            "that were tried",
            "exp(-E) is not normalisable; confine(energy, scale), or a network with "
            "confinement",
        )
    else:
        yield from _slow(probe, values, radii, num_random, num_axes)


def _slow(probe, values, radii, num_random, num_axes) -> Iterator[Issue]:
    """exp(-E) r^(D-1) is integrable only if E grows faster than D log r."""
    rounding = 20 * probe.eps * np.abs(values[-1]).clip(1)
    with np.errstate(invalid="ignore"):
        growth = (values[-1] - values[-2]) / np.log(radii[-1] / radii[-2])
    is_clear = np.isfinite(growth) & (rounding < 0.2)
    dim = len(probe.lines)
    slow = is_clear & (growth < dim + 0.02)
    if slow[:num_random].sum() > num_random / 2:
        found = float(np.median(growth[:num_random][slow[:num_random]]))
        yield Issue(
            f"far out the energy grows as {found:.2g} log r, and must grow faster than "
            f"{dim} log r in {dim} dimensions",
            "exp(-E) is not normalisable; confine(energy, scale), or a network with "
            "confinement",
        )
        return
    axes = slice(num_random, num_random + num_axes)
    slow = is_clear[axes] & (growth[axes] < 1.02)
    if slow.any() and dim > 1:
        places = probe.lines[np.flatnonzero(slow) % (num_axes // 2)]
        names = sorted({probe.labels[i] for i in places})
        yield Issue(
            f"far out along {', '.join(names[:5])} the energy grows as "
            f"{float(growth[axes][slow].min()):.2g} log r, and must grow faster than "
            "log r",
            "exp(-E) is not normalisable there; leave it out or give it a prior",
        )
