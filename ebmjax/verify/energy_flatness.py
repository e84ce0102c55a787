"""Leaves, coordinates and directions along which an energy is constant."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax.verify.energy_gradients import stopped
from ebmjax.verify.energy_probes import Issue, Probe

MAX_FLAT = 256  # dimensions up to which flat directions are searched


def ignored(probe: Probe, values, grads) -> Iterator[Issue]:
    """Leaves and coordinates on which the energy does not depend."""
    if not np.isfinite(grads).all():
        return
    finite = values[np.isfinite(values)]
    if not grads.any():
        if np.ptp(finite) > 0:
            yield Issue(
                "the gradient is zero everywhere, the energy is not constant: it is "
                "not differentiable",
                "round, argmax, casts to integer and comparisons have no gradient; use "
                "random_walk",
            )
        else:
            yield Issue("the energy is constant", "does it use its argument?")
        return
    largest = np.abs(grads).max(axis=0)
    hidden = set(stopped(probe, probe.near[:4], grads[1:5]))
    largest_of = probe.unravel(jnp.asarray(largest))
    leaves = jax.tree_util.tree_leaves_with_path(largest_of)
    index = jax.tree.leaves(probe.unravel(jnp.arange(len(largest), dtype=jnp.float32)))
    for (path, leaf), place in zip(leaves, index, strict=True):
        is_hidden = hidden & {int(i) for i in np.ravel(place)}
        if len(leaves) > 1 and not np.any(leaf) and not is_hidden:
            yield Issue(
                f"the energy does not depend on position{jax.tree_util.keystr(path)}",
                "its density there is not normalisable; leave the entry out or give it "
                "a prior",
            )
    flat = [i for i in np.flatnonzero(largest == 0) if i not in hidden]
    if len(leaves) == 1 and flat:
        yield Issue(
            f"the energy does not depend on {len(flat)} of {grads.shape[1]} "
            f"coordinates ({', '.join(map(str, flat[:5]))})",
            "its density there is not normalisable; leave them out or give them a "
            "prior",
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
                "its density there is not normalisable; fix one of them, or give a "
                "prior",
            )
