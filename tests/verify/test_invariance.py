"""Every kernel keeps the distribution of six targets from exact draws; wrong ones do
not."""

import jax
import pytest

from ebmjax.verify import suite

CASES, CONTROLS = suite.verification_cases(), suite.controls()


@pytest.mark.parametrize("name", CASES)
def test_verification_case(name):
    key = jax.random.fold_in(jax.random.key(1), list(CASES).index(name))
    CASES[name](key, num_chains=20_000, alpha=1e-5).require()


@pytest.mark.parametrize("name", CONTROLS)
def test_negative_control_is_rejected(name):
    report = CONTROLS[name](jax.random.key(2), num_chains=60_000, alpha=1e-5)
    assert report.is_failed
    assert "FAILED" in str(report) and report.suggestion in str(report)


def test_every_kernel_is_verified_on_at_least_four_targets():
    for kernel in suite.KERNELS:
        assert sum(name.startswith(f"{kernel} on ") for name in CASES) >= 4
