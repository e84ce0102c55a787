"""Minimum effective sample size per second and per gradient, warm-up included, against
BlackJAX and NumPyro.

The samplers are those of :mod:`benchmarks.samplers`, without tuning parameters.

warm: a second run of the same program with another key; cold: the first call,
compilation included.  A run has not converged, and does not count, if R-hat is above
1.05 in any coordinate, or if a mean or standard deviation is more than four standard
errors from the truth.  The truth is known, or that of 32 chains of BlackJAX's NUTS of
1000 + 1000 steps each, without chains that never moved.
"""

import statistics
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.posteriors import POSTERIORS, Posterior
from benchmarks.samplers import SAMPLERS, Run, blackjax_nuts
from ebmjax.diagnostics.convergence import ess_bulk, mcse_mean, mcse_sd, rhat

CONVERGED, FARTHEST = 1.05, 4.0  # R-hat; standard errors from the truth
TRUE_RUNS, TRUE_LENGTH, TRUE_RHAT = 8, 1000, 1.02  # for an unknown truth

FEW_PEERS = ("blackjax nuts", "blackjax nuts dense", "numpyro nuts")
RIVALS = {
    "ebmjax nuts": FEW_PEERS,
    "ebmjax hmc": (*FEW_PEERS, "blackjax chees", "blackjax chees best"),
}


class Moments(NamedTuple):
    """Of a posterior, each ``[D]``, with standard errors."""

    mean: Any
    mean_error: Any
    sd: Any
    sd_error: Any


def ratios(
    found: list[dict[str, Any]], ours: str, peers: tuple[str, ...], of: str = "ESS/s"
) -> dict[str, float]:
    """Ours over the best of the others, by posterior: infinite if only ours converged,
    zero if only ours did not; missing if none converged."""
    speed = {(row["posterior"], row["sampler"]): row[of] for row in found}
    names = dict.fromkeys(row["posterior"] for row in found)
    best = {name: max(speed[name, peer] for peer in peers) for name in names}
    return {
        name: speed[name, ours] / best[name] if best[name] else np.inf
        for name in names
        if best[name] or speed[name, ours]
    }


def rows(
    *, is_quick: bool, num_repeats: int = 3, names: tuple[str, ...] = ()
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """``(number, total, row)``, one row per posterior and sampler."""
    names = names or (("breast_cancer", "gaussian") if is_quick else tuple(POSTERIORS))
    total = len(names) * len(SAMPLERS)
    for i, name in enumerate(names):
        posterior = POSTERIORS[name]()
        truth = truth_of(posterior)
        runs = {sampler: make(posterior) for sampler, make in SAMPLERS.items()}
        cold = {sampler: _timed(run, 0) for sampler, run in runs.items()}
        warm: dict[str, list] = {sampler: [] for sampler in runs}
        for repeat in range(1, num_repeats + 1):  # in alternation
            for sampler, run in runs.items():
                warm[sampler].append(_timed(run, repeat))
        for j, sampler in enumerate(SAMPLERS):
            yield (
                i * len(SAMPLERS) + j + 1,
                total,
                _row(name, sampler, cold[sampler], warm[sampler], truth),
            )


def _row(name, sampler, cold, warm, truth) -> dict[str, Any]:
    judged = [convergence_metrics(run.draws, truth) for _, run in warm]
    sizes = [j["ESS"] if is_converged(j) else 0.0 for j in judged]
    seconds = [seconds for seconds, _ in warm]
    grads = [float(run.num_grads) for _, run in warm]
    return {
        "posterior": name,
        "sampler": sampler,
        "ESS/s": statistics.median(s / t for s, t in zip(sizes, seconds, strict=True)),
        "ESS/s cold": statistics.median(sizes) / cold[0],
        "ESS/gradient": statistics.median(
            s / g for s, g in zip(sizes, grads, strict=True)
        ),
        "ESS": statistics.median(sizes),
        **{
            what: statistics.median(j[what] for j in judged)
            for what in ("R-hat", "error of mean", "error of sd")
        },
        "seconds": statistics.median(seconds),
        "cold": cold[0],
        "each": {
            "seconds": seconds,
            **{what: [j[what] for j in judged] for what in judged[0]},
        },
    }


def convergence_metrics(draws: Any, truth: Moments) -> dict[str, float]:
    """Smallest bulk ESS, largest R-hat, largest errors of means and standard deviations
    in standard errors."""
    draws = jnp.asarray(draws, jnp.float32)
    found = moments(draws)

    def error(of: str) -> float:
        spread = np.hypot(getattr(found, f"{of}_error"), getattr(truth, f"{of}_error"))
        return _largest(np.abs(getattr(found, of) - getattr(truth, of)) / spread)

    return {
        "ESS": float(np.nan_to_num(np.min(ess_bulk(draws)))),
        "R-hat": _largest(rhat(draws)),
        "error of mean": error("mean"),
        "error of sd": error("sd"),
    }


def is_converged(judged: dict[str, float]) -> bool:
    return (
        judged["R-hat"] <= CONVERGED
        and max(judged["error of mean"], judged["error of sd"]) <= FARTHEST
    )


def moments(draws: Any) -> Moments:
    """Of draws ``[T, C, D]``."""
    found = (
        draws.mean(axis=(0, 1)),
        mcse_mean(draws),
        draws.std(axis=(0, 1)),
        mcse_sd(draws),
    )
    return Moments(*map(np.asarray, found))


def truth_of(posterior: Posterior) -> Moments:
    """The known truth, or that of long chains of BlackJAX, which must agree."""
    if posterior.mean is not None:
        return Moments(posterior.mean, 0.0, posterior.sd, 0.0)
    run = blackjax_nuts(posterior, length=TRUE_LENGTH)
    draws = np.concatenate(
        [np.asarray(run(jax.random.key(1000 + i)).draws) for i in range(TRUE_RUNS)],
        axis=1,
    )
    draws = draws[:, (np.ptp(draws, axis=0) > 0).all(axis=1)]
    worst = _largest(rhat(jnp.asarray(draws)))
    if worst > TRUE_RHAT:
        raise RuntimeError(
            f"the reference chains of BlackJAX have an R-hat of {worst:.3f}"
        )
    return moments(jnp.asarray(draws))


def _largest(values: Any) -> float:
    return float(np.max(np.nan_to_num(np.asarray(values), nan=np.inf)))


def _timed(run, seed) -> tuple[float, Run]:
    begin = time.perf_counter()
    found = jax.block_until_ready(run(jax.random.key(seed)))
    return time.perf_counter() - begin, found
