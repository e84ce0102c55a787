"""Measured false alarms: over new keys, correct kernels fail at the stated rate.

    python tests/verify/test_false_alarms.py     prints the tables

One round: P(p < alpha) <= alpha for the Bonferroni-adjusted p-value of a report, and
for every single statistic.  In all: P(FAILED) <= alpha for the sequential test.
"""

import jax
import numpy as np
import pytest
from scipy import stats

import ebmjax as eb
from ebmjax import targets, verify

NUM_KEYS, RATES, COVERAGE = 400, (0.05, 0.01), 0.999
TARGET = targets.correlated_gaussian(2, 0.5)
HEAVY = targets.funnel(3)
SMALL = {"num_chains": 2000, "num_steps": (2, 10)}
CASES = {
    "invariance, MALA on a Gaussian": (
        verify.invariance,
        eb.mala(TARGET.energy, 0.7),
        TARGET,
        {**SMALL, "num_rounds": 1},
    ),
    "invariance, random walk on the funnel": (
        verify.invariance,
        eb.random_walk(HEAVY.energy, 0.5),
        HEAVY,
        {**SMALL, "num_rounds": 1},
    ),
    "rank, HMC on a Gaussian": (
        verify.rank,
        eb.hmc(TARGET.energy, 0.5, 3),
        TARGET,
        {"num_chains": 2000, "num_steps": 5},
    ),
}


def at_most(rate, num=NUM_KEYS):
    """The share of keys that a test of this rate exceeds once in a thousand."""
    return stats.binom.ppf(COVERAGE, num, rate) / num


def reports(name, num_keys=NUM_KEYS, **more):
    test, kernel, target, options = CASES[name]
    for i in range(num_keys):
        yield test(jax.random.key(1000 + i), kernel, target, **{**options, **more})


def p_values(name, num_keys=NUM_KEYS):
    """``{statistic: p-values}``, and the adjusted p-values of the reports."""
    found: dict[str, list[float]] = {}
    adjusted = []
    for report in reports(name, num_keys):
        adjusted.append(report.p_value)
        for finding in report.findings:
            if finding.is_statistical:
                label = finding.name.split(" (")[0].split(" = ")[0]
                found.setdefault(label, []).append(finding.p_value)
    return {n: np.array(p) for n, p in found.items()}, np.array(adjusted)


@pytest.mark.parametrize("name", CASES)
def test_right_kernels_fail_at_most_at_the_stated_rate(name):
    num = 100
    single, adjusted = p_values(name, num)
    for rate in RATES:
        assert (adjusted < rate).mean() <= at_most(rate, num)
        for statistic, p in single.items():
            share = (p < rate).mean()
            assert share <= at_most(rate, len(p)) + 0.02, f"{statistic}: {share}"
    shares = [(p < 0.2).mean() for p in single.values()]
    assert np.mean(shares) > 0.08  # and the tests do reject


def test_too_many_false_alarms_are_detected():
    """The bounds can fail: p-values of half their size."""
    p = np.random.default_rng(0).uniform(size=NUM_KEYS) / 2
    assert (p < 0.05).mean() > at_most(0.05)


def total_rate(alpha, num_keys=NUM_KEYS):
    """The share of keys at which the sequential test, all rounds, says FAILED."""
    name = next(iter(CASES))
    found = reports(name, num_keys, num_rounds=3, alpha=alpha, num_chains=1000)
    return np.mean([report.is_failed for report in found])


if __name__ == "__main__":
    print(
        "| test | statistics | P(adjusted p < .05) | P(< .01) | single p < .05, mean |"
    )
    print("|---|---|---|---|---|")
    for name in CASES:
        single, adjusted = p_values(name)
        shares = [f"{(adjusted < rate).mean():.3f}" for rate in RATES]
        mean = np.mean([(p < 0.05).mean() for p in single.values()])
        top = max(single, key=lambda n: (single[n] < 0.05).mean())
        most = (single[top] < 0.05).mean()
        print(
            f"| {name} | {len(single)} | {shares[0]} | {shares[1]} | {mean:.3f}, "
            f"largest {most:.3f} ({top}) |",
            flush=True,
        )
    print(f"\n{NUM_KEYS} keys; sequential, alpha .05: FAILED {total_rate(0.05):.3f}")
