"""p-values: uniform where the samples agree, small where they do not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ebmjax.evaluation import two_sample

KEY = jax.random.key(20261125)
NUM, DIM, REPEATS = 60, 2, 400
BAND = 4 * np.sqrt(0.05 * 0.95 / REPEATS)


def normal(x):
    return 0.5 * jnp.sum(x**2)


def mmd(key, x, y):
    return two_sample.mmd(key, x, y, num_permutations=99)


def stein(key, x, y):
    return two_sample.kernel_stein(key, normal, y, num_bootstrap=99)


def classifier(key, x, y):
    return two_sample.classifier(
        key, x, y, num_features=8, num_updates=60, num_permutations=99
    )


TESTS = {"mmd": mmd, "kernel_stein": stein, "classifier": classifier}
MOVED = {"mmd": 0.7, "kernel_stein": 0.4, "classifier": 1.0}


def p_values(name, shift):
    return np.asarray(program(name)(jax.random.split(KEY, REPEATS), shift), np.float64)


@functools.cache
def program(name):
    def one(key, shift):
        key_x, key_y, key_test = jax.random.split(key, 3)
        x = jax.random.normal(key_x, (NUM, DIM))
        y = shift + jax.random.normal(key_y, (NUM, DIM))
        return TESTS[name](key_test, x, y).p_value

    return jax.jit(
        lambda keys, shift: jax.lax.map(
            lambda key: one(key, shift), keys, batch_size=50
        )
    )


@pytest.mark.parametrize("name", TESTS)
def test_p_values_are_uniform_under_the_null_and_small_otherwise(name):
    null = p_values(name, 0.0)
    assert abs((null <= 0.05).mean() - 0.05) < BAND
    assert stats.kstest(null, "uniform").pvalue > 1e-3
    moved = p_values(name, MOVED[name])
    assert (moved <= 0.05).mean() > 0.8
    assert stats.kstest(moved, "uniform").pvalue < 1e-6


def test_mmd_is_that_of_its_kernel_means():
    """N(0, I) and N(m, I): E k = (1 + 2 / h^2)^(-D/2) exp(-|m|^2 / (2 (h^2 + 2)))."""
    x = jax.random.normal(KEY, (2000, DIM))
    y = 1.0 + jax.random.normal(jax.random.key(1), (2000, DIM))
    found = two_sample.mmd(KEY, x, y, width=1.5, num_permutations=1)
    scale = (1 + 2 / 1.5**2) ** (-DIM / 2)
    expected = 2 * scale * (1 - np.exp(-DIM / (2 * (1.5**2 + 2))))
    assert float(found.statistic) == pytest.approx(expected, abs=0.02)
    assert float(found.statistic) > 10 * 0.02


def test_chains_need_signs_that_persist():
    """Correlated draws of the target: rejected as if independent, not with a < 1/2."""

    def one(key, flip_probability):
        key_chain, key_test = jax.random.split(key)
        noise = jax.random.normal(key_chain, (200, 1)) * jnp.sqrt(1 - 0.8**2)
        step = lambda x, n: (0.8 * x + n, 0.8 * x + n)
        _, x = jax.lax.scan(step, jnp.zeros(1), noise)
        return two_sample.kernel_stein(
            key_test,
            normal,
            x,
            flip_probability=flip_probability,
            num_bootstrap=99,
        ).p_value

    keys = jax.random.split(KEY, 100)
    program = jax.jit(
        lambda a: jax.lax.map(lambda key: one(key, a), keys, batch_size=50)
    )
    shares = [float((program(jnp.float32(a)) <= 0.05).mean()) for a in (0.5, 0.05)]
    assert shares[0] > 0.3 > 0.15 > shares[1]


def test_a_statistic_that_is_not_a_number_has_no_p_value():
    """It would be below every permutation, and the p-value the smallest."""
    x = 1 + jnp.abs(jax.random.normal(KEY, (20, 2)))
    with pytest.warns(UserWarning, match="no p-value"):
        found = two_sample.kernel_stein(KEY, lambda x: jnp.sum(jnp.sqrt(-x)), x)
    assert np.isnan(found.p_value)
    with pytest.warns(UserWarning, match="no p-value"):
        assert np.isnan(two_sample.mmd(KEY, 1e22 * x, x).p_value)
    assert np.isfinite(two_sample.mmd(KEY, x, x + 1).p_value)


def test_samples_that_are_equal_have_a_p_value_of_one():
    """All permutations are equal, up to rounding."""
    x = jnp.ones((23, 2))
    assert two_sample.mmd(KEY, x, x).p_value == 1
    assert two_sample.mmd(KEY, x, 0 * x).p_value < 0.05


def test_bad_input_is_named():
    x = jnp.zeros((20, 2))
    with pytest.raises(ValueError, match="x must have at least 8 points, got 3"):
        two_sample.mmd(KEY, x[:3], x)
    with pytest.raises(ValueError, match="points of one shape, got .2,. and .1,."):
        two_sample.classifier(KEY, x, x[:, :1])
    with pytest.raises(ValueError, match="y must be finite"):
        two_sample.mmd(KEY, x, x.at[3].set(jnp.nan))
    with pytest.raises(ValueError, match="kernel must be one of"):
        two_sample.kernel_stein(KEY, normal, x, kernel="cubic")
    with pytest.raises(ValueError, match="flip_probability"):
        two_sample.kernel_stein(KEY, normal, x, flip_probability=0.0)
    with pytest.raises(ValueError, match="width"):
        two_sample.mmd(KEY, x, x, width=-1.0)
