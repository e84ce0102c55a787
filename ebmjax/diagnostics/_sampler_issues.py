"""Checks of energies of chains, divergences, E-BFMI, and trees of maximal depth."""

from typing import NamedTuple

import numpy as np

from ebmjax.diagnostics._chain_issues import few

DIVERGENT = 1000.0  # nats; as in Stan
LEAST_BFMI = 0.3
# fewer draws are too noisy: of all chains together, of one chain
BFMI_DRAWS, BFMI_STEPS = 200, 1000
LEAST_GAP = 10.0  # nats
FULL_TREE, FULL_SHARE = 2**10 - 1, 0.05  # gradients of a tree of depth 10


class Stats(NamedTuple):
    """The infos of a run on the host, ``[T, C]``."""

    energy_error: np.ndarray
    num_nonfinite: np.ndarray
    hamiltonian: np.ndarray
    num_grads: np.ndarray


def of_energy(energy: np.ndarray) -> list[str]:
    """Messages about energies ``[T, C]``: chains above a gap that chance does not
    explain."""
    energy = energy.astype(np.float64)
    medians = np.median(energy, axis=0)
    order = np.argsort(medians)
    if len(order) < 2 or not np.isfinite(medians).all():
        return []
    gaps = np.diff(medians[order])
    spread = np.median(np.abs(energy - medians)) / 0.6745
    widest = int(np.argmax(gaps))
    if not gaps[widest] > max(8 * spread, LEAST_GAP):
        return []
    above, below = np.sort(order[widest + 1 :]), order[: widest + 1]
    height = np.median(medians[above]) - np.median(medians[below])
    name = "chain" if len(above) == 1 else "chains"
    verb = "is" if len(above) == 1 else "are"
    return [
        f"{name} {few(above)} {verb} {height:.0f} nats above the others in energy: not "
        "yet where the others are, or in another mode; run longer, or start nearer"
    ]


def of_sampler(stats: Stats) -> list[str]:
    """Messages about a kernel with momenta; none for other kernels."""
    if not np.any(stats.hamiltonian):
        return []
    found = []
    diverged = is_divergent(stats.energy_error, stats.num_nonfinite)
    if diverged.any():
        count, chains = diverged.sum(), diverged.any(axis=0).sum()
        found.append(
            f"{count} of {diverged.size} steps diverged, in {chains} chains: a smaller "
            "step size (warm_up with target=0.95), other coordinates, or float64"
        )
    low = is_bfmi_low(stats.hamiltonian)
    if low.any():
        found.append(
            f"E-BFMI below {LEAST_BFMI} in {low.sum()} chains: momenta change the "
            "energy too little for these tails; other coordinates"
        )
    full = np.mean(stats.num_grads == FULL_TREE)
    if full > FULL_SHARE:
        found.append(
            f"{full:.0%} of the trees have the maximal depth, {FULL_TREE} gradients: "
            "trajectories end before they turn; a larger step size or a mass by warm_up"
        )
    return found


def is_divergent(energy_error: np.ndarray, num_nonfinite: np.ndarray) -> np.ndarray:
    """Whether the integrator diverged: an error above 1000 nats, or NaN.

    An infinite error without a non-finite energy is a hard boundary of the support.
    """
    is_wall = (energy_error == np.inf) & (num_nonfinite == 0)
    return ~(energy_error <= DIVERGENT) & ~is_wall


def is_bfmi_low(hamiltonian: np.ndarray) -> np.ndarray:
    """Which chains have a low E-BFMI, ``[C]``; short chains are tested together."""
    h = hamiltonian.astype(np.float64)
    if not np.isfinite(h).all():  # a start at a hard boundary; its energy is reported
        return np.zeros(h.shape[1], bool)
    h = h - h.mean(axis=0)
    if h.size < BFMI_DRAWS:
        return np.zeros(h.shape[1], bool)
    changes, squares = (np.diff(h, axis=0) ** 2).sum(axis=0), (h**2).sum(axis=0)
    if len(h) >= BFMI_STEPS:
        return changes < LEAST_BFMI * squares
    return np.full(h.shape[1], changes.sum() < LEAST_BFMI * squares.sum())
