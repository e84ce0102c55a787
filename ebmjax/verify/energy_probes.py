"""Numerical parts of :func:`ebmjax.verify.check`: gradients, jumps, tails.

All functions work on flat points ``[D]``; ``value(points) -> [N]`` and
``grad(points) -> [N, D]`` are compiled.  Differences are taken in the precision of the
energy.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

NUM_LINES = 8
NUM_POINTS = 65  # points on a line that is searched for jumps
NUM_HALVINGS = 12
STEPS = np.array([1e-1, 3e-2, 1e-2, 3e-3, 1e-3])  # of differences, in scales
DISAGREE = 0.05  # relative difference between a gradient and finite differences
RADII = np.array([10.0, 30.0, 100.0, 300.0, 1000.0])
MAX_AXES = 32
MAX_FLAT = 256  # dimensions up to which flat directions are searched


class Issue(NamedTuple):
    """An issue, and a suggestion."""

    message: str
    suggestion: str


class Probe(NamedTuple):
    """An energy at a flat point."""

    value: Callable[[np.ndarray], np.ndarray]
    grad: Callable[[np.ndarray], np.ndarray]
    point: np.ndarray
    near: np.ndarray  # points around it, [N, D]
    scale: float
    labels: list[str]
    rng: np.random.Generator
    eps: float  # of the dtype of the energy
    is_periodic: np.ndarray | None = (
        None  # [D] coordinates on circles, which end nowhere
    )

    @property
    def dim(self) -> int:
        return len(self.point)

    @property
    def lines(self) -> np.ndarray:
        """The coordinates that are not on circles."""
        if self.is_periodic is None:
            return np.arange(self.dim)
        return np.flatnonzero(~self.is_periodic)

    def directions(self, num: int) -> np.ndarray:
        v = self.rng.normal(size=(num, self.dim))
        return v / np.linalg.norm(v, axis=1, keepdims=True)


# --- gradients ------------------------------------------------------------------------


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
    stopped = _stopped(probe, points, grads)
    if stopped:
        names = ", ".join(probe.labels[i] for i in stopped[:5])
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
            "look for a custom_vjp or custom_jvp, or a gradient that is stopped in part",
        )


def _stopped(probe: Probe, points, grads) -> list[int]:
    """Coordinates of zero gradient along which the energy changes."""
    zero = np.flatnonzero((grads == 0).all(axis=0))[:MAX_AXES]
    found = []
    for i in zero:
        axis = np.tile(np.eye(probe.dim)[i], (len(points), 1))
        slopes, errors = differences(probe, points, axis)
        if (np.abs(slopes) > 10 * errors + 1e-6).any():
            found.append(int(i))
    return found


# --- jumps ----------------------------------------------------------------------------


def jumps(probe: Probe) -> Iterator[Issue]:
    """Changes of the energy that do not shrink with the distance.

    On lines through the position, repeatedly halves the interval with the largest
    change beyond its slope.
    """
    v = probe.directions(NUM_LINES)
    t = np.linspace(-2, 2, NUM_POINTS) * probe.scale
    a, b = np.tile(t[:-1], (NUM_LINES, 1)), np.tile(t[1:], (NUM_LINES, 1))
    e = _on_lines(probe, v, np.tile(t, (NUM_LINES, 1)))
    e_a, e_b = e[:, :-1], e[:, 1:]
    is_good = np.isfinite(e_a) & np.isfinite(e_b)
    change = np.where(is_good, np.abs(e_b - e_a), 0)
    excess = change - np.median(change, axis=1, keepdims=True)
    top = excess.argmax(axis=1)[:, None]
    a, b, e_a, e_b = (np.take_along_axis(x, top, 1)[:, 0] for x in (a, b, e_a, e_b))
    first = np.abs(e_b - e_a)
    for _ in range(NUM_HALVINGS):
        middle = (a + b) / 2
        e_m = _on_lines(probe, v, middle[:, None])[:, 0]
        is_left = np.abs(e_m - e_a) > np.abs(e_b - e_m)
        a, b = np.where(is_left, a, middle), np.where(is_left, middle, b)
        e_a, e_b = np.where(is_left, e_a, e_m), np.where(is_left, e_m, e_b)
    last = np.abs(e_b - e_a)
    rounding = 50 * probe.eps * np.maximum(np.abs(e_a), 1)
    is_jump = np.isfinite(last) & (last > 0.3 * first) & (last > rounding)
    if not is_jump.any():
        return
    size, width = np.median(last[is_jump]), np.median((b - a)[is_jump])
    where = f"on {is_jump.sum()} of {NUM_LINES} lines through the position"
    if is_jump.mean() > 0.5 and _is_noise(probe, v):
        yield Issue(
            f"the energy is noisy: it changes by {size:.2g} nats over a distance of "
            f"{width:.1g}, everywhere",
            "an energy is a function: no random numbers inside, and float32 throughout",
        )
    else:
        yield Issue(
            f"the energy jumps by {size:.3g} nats {where}",
            "gradients do not contain a jump; make it smooth, or use random_walk",
        )


def _on_lines(probe, v, t) -> np.ndarray:
    points = probe.point + t[:, :, None] * v[:, None, :]
    return probe.value(points.reshape(-1, probe.dim)).reshape(t.shape)


def _is_noise(probe, v) -> bool:
    """Whether points at a tiny distance differ everywhere on the lines."""
    t = np.linspace(-2, 2, 33) * probe.scale
    t = np.sort(np.concatenate([t, t + 1e-3 * probe.scale]))
    e = _on_lines(probe, v, np.tile(t, (len(v), 1)))
    close, far = np.abs(np.diff(e)[:, ::2]), np.abs(e[:, 2:] - e[:, :-2])
    return bool(np.nanmedian(close) > 0.02 * np.nanmedian(far))


# --- curvature, flat directions -------------------------------------------------------


def kinks(probe: Probe, curvature: Callable) -> Iterator[Issue]:
    """Detect kinks: second derivatives against differences of the gradient.

    ``curvature(points, directions)`` is ``v^T H v`` by differentiation.
    """
    points = probe.near
    v = np.resize(probe.directions(4), points.shape)
    h = 0.5 * probe.scale
    ends = [points + s * h * v for s in (1, -1)]
    in_support = np.isfinite([probe.value(x) for x in ends]).all(axis=0)
    g = [probe.grad(x) for x in ends]
    secant = ((g[0] - g[1]) * v).sum(axis=1) / (2 * h)
    exact = curvature(points, v)
    usable = np.isfinite(secant) & np.isfinite(exact) & in_support
    if usable.sum() < 4:
        return
    secant, exact = secant[usable], exact[usable]
    is_constant = np.ptp(exact) < 1e-4 * np.abs(secant).max()
    gap = np.abs(secant - exact).mean()
    if is_constant and gap > 0.05 * np.abs(secant).mean() and gap > 1e-5:
        yield Issue(
            "the second derivative is the same everywhere, the change of the gradient "
            f"is not (off by {gap:.2g} in the mean): the energy has kinks, as of relu",
            "score matching learns nothing from it; use swish, softplus or tanh",
        )


def flat_directions(probe: Probe) -> Iterator[Issue]:
    """Directions, not only axes, along which the energy is constant."""
    if probe.dim > MAX_FLAT or probe.dim < 2:
        return
    num = 2 * probe.dim + 16
    points = probe.point + probe.scale * probe.rng.normal(size=(num, probe.dim))
    grads = probe.grad(points)
    grads = grads[np.isfinite(grads).all(axis=1)]
    if len(grads) < probe.dim:
        return
    grads = grads / np.maximum(np.linalg.norm(grads, axis=1, keepdims=True), 1e-30)
    _, sizes, axes = np.linalg.svd(grads, full_matrices=False)
    flat = axes[sizes < 1e-5 * sizes[0]]
    flat = [v for v in flat if np.abs(v).max() < 0.999]  # axes are reported by name
    for v in flat[:3]:
        t = np.array([0.0, 1.0, 10.0, 100.0])[:, None] * probe.scale
        e = probe.value(probe.point + t * v)
        if np.isfinite(e).all() and np.ptp(e) < 1e-4 * (1 + np.abs(e).max()):
            top = np.argsort(-np.abs(v))[:4]
            terms = " ".join(f"{v[i]:+.2g} {probe.labels[i]}" for i in top)
            yield Issue(
                f"the energy is constant along the direction {terms}",
                "its density there is not normalisable; fix one of them, or give a prior",
            )


# --- far out --------------------------------------------------------------------------


def far(probe: Probe, value: float, grad: np.ndarray) -> Iterator[Issue]:
    """Along the steepest descent, axes and random rays: does exp(-E) fall fast enough?"""
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
            f"{float(growth[axes][slow].min()):.2g} log r, and must grow faster than log r",
            "exp(-E) is not normalisable there; leave it out or give it a prior",
        )
