"""What is wrong with a run, in words: each check returns lines, none where all is well.

    of_chains    chains that never moved, that repeat another, that lie far above the others in
                 energy; draws whose axes are exchanged
    of_sampler   diverged trajectories, infinite walls, E-BFMI, trees of the maximal depth
    of_draws     R-hat, effective sample sizes, angles that wind

All on the host, in NumPy.  Thresholds are those of Vehtari et al. 2021 for four chains; many
short chains are judged by nested R-hat over as many groups (Margossian et al. 2024).
"""

import hashlib
from math import comb
from typing import Any, NamedTuple

import numpy as np
from scipy.special import chdtri

from ebmjax.diagnostics import _host

LARGEST_RHAT, LEAST_ESS = 1.01, 400
MANY_CHAINS, NUM_GROUPS = 16, 8  # four chains are eight halves
APART = 6.0  # standard deviations of a chain's mean
STAYS = 25.0  # var(means of chains) / var(halves of a chain): chains that stay where they are
DIVERGENT = 1000.0  # nat; Stan's
LEAST_BFMI, BFMI_DRAWS = 0.3, 200  # of fewer draws it is too noisy to judge
LEAST_GAP = 10.0  # nat
FULL_TREE, FULL_SHARE = 2**10 - 1, 0.05  # gradients of a tree of depth 10
CHANCE = 0.01  # that chains of few values are alike without a fault


class Stats(NamedTuple):
    """The infos of a run on the host, ``[T, C]``."""

    energy_error: np.ndarray
    num_nonfinite: np.ndarray
    hamiltonian: np.ndarray
    num_grads: np.ndarray


# --- chains -------------------------------------------------------------------------------


def of_chains(leaves: list[np.ndarray]) -> list[str]:
    """Of draws ``[T, C, ...]``."""
    is_stuck = stuck(leaves)
    found = []
    if is_stuck.any():
        which = few(np.flatnonzero(is_stuck))
        found.append(f"{is_stuck.sum()} of {len(is_stuck)} chains never moved: {which}")
    copied = copies(leaves, is_stuck)
    if len(copied):
        found.append(
            f"{len(copied)} chains are copies of another: {few(copied)}; give each its own key"
        )
    if _is_exchanged(leaves):
        steps, chains = leaves[0].shape[:2]
        found.append(
            f"draws of {steps} steps of {chains} chains: neighbouring chains are alike and "
            "neighbouring steps are not, as if the axes were [C, T]; wanted [T, C, ...]"
        )
    return found


def of_energy(energy: np.ndarray) -> list[str]:
    """Of energies ``[T, C]``: chains beyond a gap that no fluctuation explains."""
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
        f"{name} {few(above)} {verb} {height:.0f} nats above the others in energy: not yet "
        "where the others are, or in another mode; run longer, or start nearer"
    ]


def stuck(leaves: list[np.ndarray]) -> np.ndarray:
    """Which chains never moved, ``[C]``."""
    moved = [
        (x != x[:1]).any(axis=tuple(i for i in range(x.ndim) if i != 1)) for x in leaves
    ]
    return ~np.any(moved, axis=0)


def copies(leaves: list[np.ndarray], is_stuck: np.ndarray) -> np.ndarray:
    """Chains that repeat an earlier one and hardly by chance, their numbers.

    Short chains of few values are alike by chance, and then many more pairs are alike over
    one half of the draws than over both; of few chains the chance is estimated, from the
    values that occur and the times at which chains move.
    """
    half = len(leaves[0]) // 2
    parts = [_prints(x[:half] for x in leaves), _prints(x[half:] for x in leaves)]
    whole = list(zip(*parts, strict=True))
    free = [c for c in range(len(whole)) if not is_stuck[c]]
    seen: dict[Any, int] = {}
    found = [c for c in free if seen.setdefault(whole[c], c) != c]
    if not found:
        return np.array([], int)
    num_pairs = _pairs([whole[c] for c in free])
    in_half = sum(_pairs([part[c] for c in free]) - num_pairs for part in parts)
    if in_half > num_pairs:
        return np.array([], int)
    if len(free) < 10:
        chance = comb(len(free), 2) * _chance(leaves, found[0])
        if chance > CHANCE:
            return np.array([], int)
    return np.array(found)


def _prints(leaves) -> list[bytes]:
    """A digest of the bits of each chain."""
    digests: list[Any] = []
    for leaf in leaves:
        digests = digests or [
            hashlib.blake2b(digest_size=16) for _ in range(leaf.shape[1])
        ]
        for c, digest in enumerate(digests):
            digest.update(np.ascontiguousarray(leaf[:, c]).tobytes())
    return [digest.digest() for digest in digests]


def _pairs(prints) -> int:
    """Pairs that are alike."""
    counts = np.unique(np.array(prints), return_counts=True)[1]
    return int(np.sum(counts * (counts - 1) // 2))


def _chance(leaves, chain) -> float:
    """About the probability that another chain is bit for bit like this one."""
    flat = [np.ascontiguousarray(x.reshape(*x.shape[:2], -1)) for x in leaves]
    moves = np.any(
        [(np.diff(x[:, chain], axis=0) != 0).any(axis=1) for x in flat], axis=0
    )
    points = np.concatenate([x.astype(np.float64) for x in flat], axis=2)
    points = points.reshape(-1, points.shape[2])[: 2**16]
    counts = np.unique(points, axis=0, return_counts=True)[1]
    same_value = np.sum((counts / counts.sum()) ** 2)
    same_times = 1 / comb(len(moves), int(moves.sum()))
    return min(same_value ** (moves.sum() + 1), same_times)


def _is_exchanged(leaves) -> bool:
    """Whether neighbours along the second axis are alike and those along the first are not."""
    x = np.concatenate([x.reshape(*x.shape[:2], -1)[..., :64] for x in leaves], axis=2)
    steps, chains = x.shape[:2]
    if chains < 30 or chains <= steps:
        return False
    along_steps, along_chains = _lag_one(x), _lag_one(x.swapaxes(0, 1))
    noise = 1 / np.sqrt(steps * chains)
    return bool(
        np.median(along_chains) > max(0.1, 6 * noise)
        and np.median(np.abs(along_steps)) < 0.3 * np.median(along_chains)
    )


@np.errstate(divide="ignore", invalid="ignore")
def _lag_one(x) -> np.ndarray:
    """Correlation of neighbours along the first axis, ``[D]``."""
    x = x.astype(np.float64) - x.mean(axis=(0, 1), dtype=np.float64)
    both = np.mean(x[1:] * x[:-1], axis=(0, 1)) / np.mean(x**2, axis=(0, 1))
    return np.nan_to_num(both)


# --- the sampler --------------------------------------------------------------------------


def of_sampler(stats: Stats) -> list[str]:
    """Of a kernel with momenta; of others, nothing is known."""
    if not np.any(stats.hamiltonian):
        return []
    found = []
    diverged = is_divergent(stats.energy_error, stats.num_nonfinite)
    if diverged.any():
        count, chains = diverged.sum(), diverged.any(axis=0).sum()
        found.append(
            f"{count} of {diverged.size} steps diverged, in {chains} chains: a smaller step "
            "size (warm_up with target=0.95), other coordinates, or float64"
        )
    low = is_bfmi_low(stats.hamiltonian)
    if low.any():
        found.append(
            f"E-BFMI below {LEAST_BFMI} in {low.sum()} chains: momenta change the energy too "
            "little for these tails; other coordinates"
        )
    full = np.mean(stats.num_grads == FULL_TREE)
    if full > FULL_SHARE:
        found.append(
            f"{full:.0%} of the trees have the maximal depth, {FULL_TREE} gradients: "
            "trajectories end before they turn; a larger step size or a mass by warm_up"
        )
    return found


def is_divergent(energy_error: np.ndarray, num_nonfinite: np.ndarray) -> np.ndarray:
    """Whether the integrator lost the trajectory: an error above 1000 nat, or NaN.

    An infinite error without a non-finite energy is a hard boundary of the support.
    """
    is_wall = (energy_error == np.inf) & (num_nonfinite == 0)
    return ~(energy_error <= DIVERGENT) & ~is_wall


def is_bfmi_low(hamiltonian: np.ndarray) -> np.ndarray:
    """Which chains, ``[C]``; of short chains, all of them judged together."""
    h = hamiltonian.astype(np.float64)
    h = h - h.mean(axis=0)
    if h.size < BFMI_DRAWS:
        return np.zeros(h.shape[1], bool)
    changes, squares = (np.diff(h, axis=0) ** 2).sum(axis=0), (h**2).sum(axis=0)
    if len(h) >= BFMI_DRAWS:
        return changes < LEAST_BFMI * squares
    return np.full(h.shape[1], changes.sum() < LEAST_BFMI * squares.sum())


# --- draws --------------------------------------------------------------------------------


def of_draws(
    names: np.ndarray,
    x: np.ndarray,
    columns: dict[str, np.ndarray],
    spreads: tuple[_host.Spread, _host.Spread],
) -> list[str]:
    """Of coordinates ``[T, C, D]``, their table and the spreads of their ranks."""
    found = of_angles(names, x, columns["sd"])
    num_steps, num_chains = x.shape[:2]
    apart = np.array([chains_apart(s, num_steps) for s in spreads]).any(
        axis=0
    )  # [C, D]
    bad = ~(columns["rhat"] <= LARGEST_RHAT)
    if num_chains >= MANY_CHAINS:
        bad &= ~agree(spreads, num_steps)
        bad |= apart.any(axis=0)
    else:
        apart &= bad
    stays = bad & np.any([stay(s) > STAYS for s in spreads], axis=0)
    for is_split, advice in (
        (bad & ~stays, "the chains do not agree, or are too short"),
        (
            stays,
            "each chain stays where it is and they do not agree; running longer will not "
            "help: other starts, or tempering",
        ),
    ):
        if is_split.any():
            where = apart[:, is_split].any(axis=1)
            named = 0 < where.sum() <= num_chains // 4
            which = f" (apart: chains {few(np.flatnonzero(where))})" if named else ""
            found.append(
                f"R-hat above {LARGEST_RHAT} in {few(names[is_split])}: {advice}{which}"
                if (columns["rhat"][is_split] > LARGEST_RHAT).any() or not named
                else f"chains {few(np.flatnonzero(where))} are apart from the others in "
                f"{few(names[is_split])}"
            )
    for name in ("ess_bulk", "ess_tail"):
        small = ~(columns[name] >= LEAST_ESS) & ~stays
        if small.any():
            found.append(f"{name} below {LEAST_ESS} in {few(names[small])}: run longer")
    return found


@np.errstate(divide="ignore", invalid="ignore")
def agree(spreads, num_steps: int) -> np.ndarray:
    """Whether many chains agree, ``[D]``: by nested R-hat of the same number of groups as
    four chains have halves, and by the spread of their means, which is no larger than their
    autocorrelation explains."""
    result = np.ones(spreads[0].tau.shape, bool)
    for s in spreads:
        num_chains = len(s.means) // 2
        groups = np.array_split(np.arange(len(s.means)), NUM_GROUPS)
        between = np.var([s.means[g].mean(axis=0) for g in groups], axis=0, ddof=1)
        inside = np.mean(
            [
                s.means[g].var(axis=0, ddof=1) + s.variances[g].mean(axis=0)
                for g in groups
            ],
            axis=0,
        )
        excess = chain_means(s).var(axis=0, ddof=1) / _mean_variance(s, num_steps)
        level = 1e-4 / len(result)
        largest = max(2.0, chdtri(num_chains - 1, level) / (num_chains - 1))
        result &= (np.sqrt(1 + between / inside) <= LARGEST_RHAT) & (excess <= largest)
    return result


@np.errstate(divide="ignore", invalid="ignore")
def chains_apart(s: _host.Spread, num_steps: int) -> np.ndarray:
    """Chains whose mean is far from that of most, ``[C, D]``."""
    means = chain_means(s)
    distance = np.abs(means - np.median(means, axis=0))
    scale = np.sqrt(_mean_variance(s, num_steps))
    return distance > APART * np.fmax(scale, np.median(distance, axis=0) / 0.6745)


@np.errstate(divide="ignore", invalid="ignore")
def stay(s: _host.Spread) -> np.ndarray:
    """Variance of the means of chains over that which the halves of a chain show, ``[D]``."""
    first, second = np.split(s.means, 2)
    if len(first) < 2:
        return np.zeros(s.tau.shape)
    between = chain_means(s).var(axis=0, ddof=1)
    return between / (np.mean((first - second) ** 2, axis=0) / 4)


def chain_means(s: _host.Spread) -> np.ndarray:
    """``[C, D]``."""
    return np.mean(np.split(s.means, 2), axis=0)


def _mean_variance(s, num_steps) -> np.ndarray:
    """Of the mean of a chain, as its autocorrelation explains it, ``[D]``."""
    return s.variances.mean(axis=0) * s.tau / num_steps


def of_angles(names, x, sd) -> list[str]:
    """Coordinates that move over many turns of 2 pi and have one shape in each."""
    found = []
    for d in np.flatnonzero(sd > np.pi):
        z = x[:, :, d].astype(np.float64)
        centre = np.exp(1j * z).mean()
        turn = np.round((z - np.angle(centre)) / (2 * np.pi))
        turns = turn - turn[:1]
        is_many = (
            np.median([len(np.unique(turn[:, c])) for c in range(z.shape[1])]) >= 5
        )
        share = np.unique(turns, return_counts=True)[1].max() / turns.size
        if abs(centre) > 0.2 and is_many and share < 0.5:
            found.append(d)
    if not found:
        return []
    return [
        f"{few(names[found])} wander over many turns of 2 pi with one shape in each: if they "
        "are angles, wrap them, or give the energy their sine and cosine"
    ]


def few(items) -> str:
    """The first five, and how many more."""
    listed = ", ".join(str(i) for i in items[:5])
    return listed + (f" and {len(items) - 5} more" if len(items) > 5 else "")
