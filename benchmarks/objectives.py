"""All objectives on the same data and network, at their defaults: exact log-likelihood by quadrature.

Over seeds: the mean and the spread of the log-likelihood of new points, the time of training, compilation
included, and the share of runs that diverged.
"""

import statistics
import time
from collections.abc import Iterator
from typing import Any

import jax

from ebmjax import data, experiment, report
from ebmjax.methods import METHODS
from ebmjax.training import TrainingDiverged

SETS = ("eight_gaussians", "two_moons", "checkerboard", "spirals")
SMALL_NOISE = {"denoising": {"noise": 0.05}}


def rows(
    *, is_quick: bool, num_seeds: int = 5, sets: tuple[str, ...] = SETS
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """``(number, total, row)``, a row an objective and data set."""
    sets = ("two_moons",) if is_quick else sets
    total = len(sets) * len(METHODS)
    number = 0
    for name in sets:
        for objective in METHODS:
            number += 1
            likelihoods, times, diverged = [], [], 0
            for seed in range(num_seeds):
                dataset = data.load(name, seed=seed)
                choices = {"seed": seed, **SMALL_NOISE.get(objective, {})}
                run = experiment.build(experiment.preset(dataset, objective=objective, **choices), dataset)
                begin = time.perf_counter()
                try:
                    state, _ = run.fit(run.init())
                except TrainingDiverged:
                    diverged += 1
                    continue
                jax.block_until_ready(state)
                times.append(time.perf_counter() - begin)
                likelihoods.append(report.log_likelihood(run, state))
            yield (
                number,
                total,
                {
                    "data": name,
                    "objective": objective,
                    "log-likelihood": statistics.mean(likelihoods) if likelihoods else None,
                    "spread": statistics.stdev(likelihoods) if len(likelihoods) > 1 else None,
                    "each": likelihoods,
                    "seconds": statistics.median(times) if times else None,
                    "num_seeds": num_seeds,
                    "num_diverged": diverged,
                    "num_updates": run.config.num_updates,
                },
            )
