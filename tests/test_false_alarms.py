"""False alarms are measured: over fresh keys, p-values of right kernels are uniform, for every statistic.

python tests/test_false_alarms.py     prints the table
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
CASES = {
    "invariance, mala on a Gaussian": (
        verify.invariance,
        eb.mala(TARGET.energy, 0.7),
        TARGET,
    ),
    "invariance, random walk on the funnel": (
        verify.invariance,
        eb.random_walk(HEAVY.energy, 0.5),
        HEAVY,
    ),
    "rank, hmc on a Gaussian": (verify.rank, eb.hmc(TARGET.energy, 0.5, 3), TARGET),
}


def band(rate):
    """Where a share of NUM_KEYS falls at 99.9 %, if the rate is true."""
    return (
        stats.binom.ppf([(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], NUM_KEYS, rate)
        / NUM_KEYS
    )


def p_values(name):
    """``{statistic: p-values [NUM_KEYS]}``."""
    test, kernel, target = CASES[name]
    found: dict[str, list[float]] = {}
    for i in range(NUM_KEYS):
        report = test(
            jax.random.key(1000 + i), kernel, target, num_chains=2000, num_steps=5
        )
        for finding in report.findings:
            if not finding.name.startswith("chains that"):
                found.setdefault(finding.name, []).append(finding.p_value)
    return {n: np.array(p) for n, p in found.items()}


@pytest.mark.parametrize("name", CASES)
def test_p_values_of_right_kernels_are_uniform(name):
    for statistic, p in p_values(name).items():
        for rate in RATES:
            low, high = band(rate)
            assert low <= (p < rate).mean() <= high, (
                f"{statistic}: P(p < {rate}) = {(p < rate).mean()}"
            )


def test_a_test_that_cries_wolf_would_be_noticed():
    """The bands can fail: p-values of half their size."""
    p = np.random.default_rng(0).uniform(size=NUM_KEYS) / 2
    low, high = band(0.05)
    assert not low <= (p < 0.05).mean() <= high


if __name__ == "__main__":
    print("| test | statistics | P(p < .05) | P(p < .01) |\n|---|---|---|---|")
    for name in CASES:
        found = p_values(name)
        shares = [[(p < rate).mean() for p in found.values()] for rate in RATES]
        cells = [f"{min(s):.3f} to {max(s):.3f}, mean {np.mean(s):.3f}" for s in shares]
        print(f"| {name} | {len(found)} | {cells[0]} | {cells[1]} |", flush=True)
    print(f"\n{NUM_KEYS} keys; 99.9 % bands {band(0.05)} and {band(0.01)}")
