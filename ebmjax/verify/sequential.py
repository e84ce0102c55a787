"""Tests at a stated rate of false alarms (Gandy & Scott 2020, section 3).

A single test must choose: a small alpha misses, a large one cries wolf.  In rounds it need not.  With k
rounds at total rate alpha, let beta = alpha / k and gamma = beta^(1/k).  A round with p <= beta fails, one
with p > beta + gamma passes, and what lies between is tried again with more chains and beta divided by gamma.
A correct kernel reaches round i with probability at most gamma^(i-1) and fails there with beta / gamma^(i-1):
k beta = alpha in all.
"""

from collections.abc import Callable

import jax

from ebmjax import _validation as checks
from ebmjax.base import Key
from ebmjax.verify.report import Report


def sequential(
    test: Callable[..., Report],
    key: Key,
    *,
    num_chains: int = 20_000,
    alpha: float = 1e-5,
    num_rounds: int = 5,
    growth: int = 4,
) -> Report:
    """Run ``test(key, num_chains=, alpha=)`` until it is clear; the report of the last round.

    Args:
      test: a function of this module with its kernel bound, ``partial(invariance, kernel=..., target=...)``.
      key: one key.
      num_chains: of the first round; ``growth`` times as many in the later ones.
      alpha: the rate of false alarms of the whole.
      num_rounds: k.
    """
    key = checks.key(key)
    checks.function(test, "test")
    checks.count(num_rounds, "num_rounds")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie in (0, 1), got {alpha}")
    beta = alpha / num_rounds
    gamma = beta ** (1 / num_rounds)
    for i in range(num_rounds):
        size = num_chains if i == 0 else growth * num_chains
        report = test(jax.random.fold_in(key, i), num_chains=size, alpha=beta)
        if report.p_value <= beta or report.p_value > beta + gamma:
            break
        beta /= gamma
    return report._replace(
        settings=f"{report.settings}, round {i + 1} of at most {num_rounds}"
    )
