"""Checks for chains that disagree, too few effective draws, and unwrapped angles.

Thresholds are those of Vehtari et al. 2021 for four chains.  Many short chains are
tested by nested R-hat over as many groups as four chains have halves (Margossian et al.
2024), and by the variance of their means, which their autocorrelation should explain.
"""

import numpy as np

from ebmjax.diagnostics import _host
from ebmjax.diagnostics._chain_issues import few

LARGEST_RHAT, LEAST_ESS = 1.01, 400
MANY_CHAINS, NUM_GROUPS = 16, 8  # four chains are eight halves
APART = 6.0  # standard deviations of a chain's mean
STAYS = 25.0  # var(means of chains) / var(halves of a chain): chains that do not mix


def of_draws(
    names: np.ndarray,
    x: np.ndarray,
    columns: dict[str, np.ndarray],
    spreads: tuple[_host.Spread, _host.Spread],
) -> list[str]:
    """Messages about draws ``[T, C, D]``, their table and the spreads of their
    ranks."""
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
            "each chain stays where it is and they do not agree; running longer will "
            "not help: other starts, or tempering",
        ),
    ):
        if is_split.any():
            where = apart[:, is_split].any(axis=1)  # type: ignore[index]
            named = 0 < where.sum() <= num_chains // 4
            which = f" (apart: chains {few(np.flatnonzero(where))})" if named else ""
            found.append(
                f"R-hat above {LARGEST_RHAT} in {few(names[is_split])}: {advice}{which}"
                if (columns["rhat"][is_split] > LARGEST_RHAT).any() or not named
                else f"chains {few(np.flatnonzero(where))} are apart from the others "
                f"in {few(names[is_split])}"
            )
    for name in ("ess_bulk", "ess_tail"):
        small = ~(columns[name] >= LEAST_ESS) & ~stays
        if small.any():
            found.append(f"{name} below {LEAST_ESS} in {few(names[small])}: run longer")
    return found


@np.errstate(divide="ignore", invalid="ignore")
def agree(spreads, num_steps: int) -> np.ndarray:
    """Whether many chains agree, ``[D]``.

    By nested R-hat of as many groups as four chains have halves, and by the spread of
    their means, which must not exceed what their autocorrelation explains.
    """
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
        from scipy.special import chdtri  # slow to import, and for many chains alone

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
    """Variance of the means of chains over that of the halves of a chain, ``[D]``."""
    first, second = np.split(s.means, 2)
    if len(first) < 2:
        return np.zeros(s.tau.shape)
    between = chain_means(s).var(axis=0, ddof=1)
    return between / (np.mean((first - second) ** 2, axis=0) / 4)


def chain_means(s: _host.Spread) -> np.ndarray:
    """``[C, D]``."""
    return np.mean(np.split(s.means, 2), axis=0)


def _mean_variance(s, num_steps) -> np.ndarray:
    """The variance of the mean of a chain, from its autocorrelation, ``[D]``."""
    return s.variances.mean(axis=0) * s.tau / num_steps


def of_angles(names, x, sd) -> list[str]:
    """Coordinates that cover many periods of 2 pi with the same shape in each."""
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
        f"{few(names[found])} cover many periods of 2 pi with the same shape in each: "
        "if they are angles, wrap them, or give the energy their sine and cosine"
    ]
