"""Tests at a stated false-alarm rate (Gandy & Scott 2020, arXiv:2001.06465, Alg. 3).

In a test of fixed size a small alpha misses biases and a large one raises false
alarms.  A test in rounds avoids this.  With k rounds at total rate alpha, let beta =
alpha / k and gamma = beta^(1/k).  A round with p < beta fails, one with p >= beta +
gamma passes, and any other is repeated with more chains and beta divided by gamma.  A
correct kernel reaches round i with probability at most gamma^(i-1) and fails there with
beta / gamma^(i-1): k beta = alpha in all.
"""

import inspect
from collections.abc import Callable

import jax

from ebmjax import _validation as checks
from ebmjax.base import Key
from ebmjax.verify.report import Report

NUM_ROUNDS = 5
GROWTH = 4


def sequential(
    test: Callable[..., Report],
    key: Key,
    *,
    num_chains: int = 20_000,
    alpha: float = 1e-5,
    num_rounds: int = NUM_ROUNDS,
    growth: int = GROWTH,
) -> Report:
    """Run ``test(key, num_chains=, alpha=)`` until its verdict is clear.

    Args:
      test: a test with its kernel bound: ``partial(rank, kernel=..., target=...)``.
      key: one key.
      num_chains: of the first round; ``growth`` times as many in the later ones.
      alpha: the false-alarm rate of the whole, in (0, 1).
      num_rounds: k.

    Returns:
      The report of the last round; ``history`` has the results of the earlier ones.
    """
    key = checks.key(key)
    checks.function(test, "test")
    checks.count(num_rounds, "num_rounds")
    checks.count(growth, "growth")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie in (0, 1), got {alpha}")
    options = {"num_rounds": 1} if _takes_rounds(test) else {}
    beta = alpha / num_rounds
    gamma = beta ** (1 / num_rounds)
    history: tuple[str, ...] = ()
    for i in range(num_rounds):
        size = num_chains if i == 0 else growth * num_chains
        report = test(
            jax.random.fold_in(key, i), num_chains=size, alpha=beta, **options
        )
        is_last = i + 1 == num_rounds
        report = report._replace(doubt=0.0 if is_last else beta + gamma)
        if report.untested or report.verdict != "INCONCLUSIVE":
            break
        worst = report.worst
        history += (
            f"round {i + 1}: INCONCLUSIVE, p = {report.p_value:.2g} ({worst.name})",
        )
        beta /= gamma
    round_of = f"round {i + 1} of at most {num_rounds}"
    return report._replace(
        settings=f"{report.settings}, {round_of}, total false-alarm rate {alpha:g}",
        history=history,
    )


def _takes_rounds(test) -> bool:
    try:
        return "num_rounds" in inspect.signature(test).parameters
    except (TypeError, ValueError):
        return False
