"""Bounds on the log-likelihood, against a density with known log Z."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import standard_error

import ebmjax as eb
from ebmjax import evaluation, targets
from ebmjax.evaluation.likelihood import log_likelihood
from ebmjax.evaluation.log_z import bracket_log_z
from ebmjax.tempering.bases import gaussian
from ebmjax.tempering.bennett import LogZ

KEY = jax.random.key(20261125)
TARGET = targets.double_well(3, 2.0)


@functools.cache
def bracket():
    x = TARGET.sample(jax.random.key(1), 400)
    return bracket_log_z(KEY, TARGET.energy, x, num_levels=100, num_chains=400)


def test_bounds_hold_log_z_and_the_estimate_is_within_its_error():
    found = bracket().log_z
    assert found.lower < TARGET.log_z < found.upper
    assert found.width < 0.3
    assert abs(found.log_z - TARGET.log_z) < 4.5 * found.standard_error
    assert found.standard_error < 0.02
    assert not found.lower < TARGET.log_z + 0.3 < found.upper


def test_log_likelihood_turns_the_bounds_around():
    x = TARGET.sample(jax.random.key(2), 500)
    found = log_likelihood(TARGET.energy, x, bracket().log_z)
    exact = log_likelihood(TARGET.energy, x, TARGET.log_z)
    assert found.lower < exact.mean < found.upper
    energies = np.asarray(jax.vmap(TARGET.energy)(x), np.float64)
    assert exact.mean == pytest.approx(-energies.mean() - TARGET.log_z, abs=1e-5)
    assert exact.lower == exact.upper == exact.mean
    error = standard_error(energies)
    assert found.standard_error == pytest.approx(error)


def test_bits_per_dimension_in_units_of_the_data():
    """A standard normal of two coordinates, of data that are twice as wide."""
    energy = lambda x: 0.5 * jnp.sum(x**2)
    known = LogZ(np.log(2 * np.pi), 0.0, np.log(2 * np.pi) - 0.1, 2.0, 0.99)
    found = log_likelihood(energy, jnp.zeros((4, 2)), known, log_scale=2 * np.log(2))
    nats = -np.log(2 * np.pi) - 2 * np.log(2)
    assert found.mean == pytest.approx(nats)
    assert found.upper == pytest.approx(nats + 0.1)
    low, high = found.bits_per_dim
    assert low == pytest.approx(-(nats + 0.1) / (2 * np.log(2)))
    assert high > low


def test_both_are_functions_of_the_package():
    assert evaluation.log_likelihood is eb.log_likelihood is log_likelihood
    assert evaluation.bracket_log_z is bracket_log_z


def test_without_samples_there_is_no_upper_bound():
    base = gaussian(jnp.zeros(3), 1.5)
    schedule = bracket().schedule
    found = bracket_log_z(
        KEY, TARGET.energy, base=base, schedule=schedule, num_chains=400
    )
    assert found.reverse is None
    assert found.log_z.upper == np.inf
    assert found.log_z.lower < TARGET.log_z


def test_bad_input_is_named():
    x = jnp.zeros((40, 3))
    run = lambda *x, **options: bracket_log_z(KEY, TARGET.energy, *x, **options)
    bad = {
        "positions must have at least 32 rows": lambda: run(x[:31]),
        "num_chains must be at least 32": lambda: run(x, num_chains=31),
        "confidence must lie in": lambda: run(x, confidence=1.5),
        "schedule must be a Schedule": lambda: run(x, schedule=np.ones(3)),
        "base must be a Base": lambda: run(x, base=TARGET.energy),
        "runs from the host": lambda: jax.jit(run)(x),
        "log_z must be a number or a LogZ": lambda: log_likelihood(
            TARGET.energy, x, bracket()
        ),
        "log_z must be finite": lambda: log_likelihood(TARGET.energy, x, np.nan),
        "log_scale must be finite": lambda: log_likelihood(
            TARGET.energy, x, 0.0, log_scale=np.inf
        ),
    }
    for message, call in bad.items():
        with pytest.raises((TypeError, ValueError), match=message):
            call()
    with pytest.raises(ValueError, match="base or positions must be given"):
        bracket_log_z(KEY, TARGET.energy)
    with pytest.raises(ValueError, match="energy must be finite at the points"):
        log_likelihood(lambda x: jnp.sum(1 / x), jnp.zeros((3, 2)), 0.0)
    with pytest.raises(ValueError, match="x must not be empty"):
        log_likelihood(TARGET.energy, jnp.zeros((0, 3)), 0.0)
