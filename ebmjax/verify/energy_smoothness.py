"""Where an energy is not smooth: jumps, noise, kinks."""

from collections.abc import Iterator

import numpy as np

from ebmjax.verify.energy_probes import Issue, Probe

NUM_LINES = 8
NUM_POINTS = 65  # points on a line that is searched for jumps
NUM_HALVINGS = 12


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


def kinks(probe: Probe) -> Iterator[Issue]:
    """Detect kinks: second derivatives against differences of the gradient."""
    points = probe.near
    v = np.resize(probe.directions(4), points.shape)
    h = 0.5 * probe.scale
    ends = [points + s * h * v for s in (1, -1)]
    in_support = np.isfinite([probe.value(x) for x in ends]).all(axis=0)
    g = [probe.grad(x) for x in ends]
    secant = ((g[0] - g[1]) * v).sum(axis=1) / (2 * h)
    exact = probe.curvature(points, v)
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
