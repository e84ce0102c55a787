"""Barker's proposal, preconditioned Crank-Nicolson and elliptical slice sampling, from
exact draws of a known posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import targets, verify
from ebmjax.kernels.barker import Barker, barker
from ebmjax.kernels.gaussian_prior import elliptical_slice, pcn

PRIOR_ROOT = np.array([[1.0, 0.0], [0.6, 1.2]])
PRIOR_MEAN, DATUM, NOISE = np.array([0.5, -1.0]), np.array([1.0, 1.0]), 0.8
PRECISION = np.linalg.inv(PRIOR_ROOT @ PRIOR_ROOT.T)
COVARIANCE = np.linalg.inv(PRECISION + np.eye(2) / NOISE**2)
MEAN = COVARIANCE @ (PRECISION @ PRIOR_MEAN + DATUM / NOISE**2)
TARGET = targets.gaussian(MEAN, COVARIANCE)
PRIOR = {"mean": PRIOR_MEAN.astype(np.float32), "scale": eb.Dense(PRIOR_ROOT)}


def likelihood(x):
    return 0.5 * jnp.sum((x - DATUM) ** 2) / NOISE**2


@pytest.mark.parametrize(
    "kernel",
    [pcn(likelihood, 0.6, **PRIOR), elliptical_slice(likelihood, **PRIOR)],
    ids=["pcn", "elliptical_slice"],
)
def test_the_posterior_is_invariant(key, kernel):
    verify.invariance(key, kernel, TARGET).require()
    shifted = targets.gaussian(MEAN + 0.2, COVARIANCE)
    assert not verify.invariance(key, kernel, shifted).is_passed


@pytest.mark.parametrize(
    "kernel",
    [pcn(likelihood, 0.6, **PRIOR), elliptical_slice(likelihood, **PRIOR)],
    ids=["pcn", "elliptical_slice"],
)
def test_the_kernels_are_reversible(key, kernel):
    verify.rank(key, kernel, TARGET).require()


def test_the_energy_of_the_posterior_is_prior_and_likelihood():
    kernel = pcn(likelihood, 0.6, **PRIOR)
    x = np.array([0.3, 2.0], np.float32)
    centred = np.asarray(x) - PRIOR_MEAN
    prior = 0.5 * centred @ PRECISION @ centred
    expected = prior + float(likelihood(x))
    assert float(kernel.energy(x)) == pytest.approx(expected, rel=1e-5)
    plain = pcn(likelihood, 0.6, mean=1.0, scale=2.0)
    assert float(plain.energy(x)) == pytest.approx(
        np.sum((x - 1.0) ** 2) / 8 + float(likelihood(x)), rel=1e-5
    )


def test_pcn_accepts_everything_without_a_likelihood(key):
    kernel = pcn(lambda x: 0.0 * jnp.sum(x), 0.5, **PRIOR)
    found = eb.sample(key, kernel, jnp.zeros((8, 2)), 200)
    assert found.acceptance_rate.min() > 0.999


def test_the_acceptance_of_pcn_does_not_fall_with_the_dimension(key):
    rates = []
    for dim in (2, 200):
        kernel = pcn(lambda x: 0.5 * (x[0] - 1.0) ** 2, 0.5)
        start = jax.random.normal(key, (64, dim))
        rates.append(eb.sample(key, kernel, start, 100).acceptance_rate.mean())
    assert abs(rates[0] - rates[1]) < 0.05  # standard errors about 0.005


def test_barker_on_a_target_with_steep_boundaries(key):
    target = targets.banana(3)
    verify.invariance(key, barker(target.energy, 1.2), target).require()
    verify.rank(key, barker(target.energy, 1.2), target).require()
    wrong = eb.unadjusted(target.energy, Barker(target.energy, 1.2))
    assert not verify.invariance(key, wrong, target).is_passed


def test_the_sign_of_barker_follows_the_gradient(key):
    """P(b z < 0) = 1 / (1 + exp(-|z| g)) for a gradient g > 0."""
    proposal = Barker(lambda x: 3.0 * jnp.sum(x), 0.5)
    kernel = eb.metropolis(lambda x: 3.0 * jnp.sum(x), proposal)
    state = kernel.init(jnp.zeros(20_000))
    shapes = jax.ShapeDtypeStruct((20_000,), jnp.float32)
    new, _ = proposal.propose(proposal.draw(key, shapes), state)
    v = np.asarray(new.position)
    expected = 1 / (1 + np.exp(-np.abs(v) * 3.0))
    assert abs((v < 0).mean() - expected.mean()) < 4 * 0.5 / 20_000**0.5


def test_barker_keeps_accepting_where_mala_stops(key):
    """With a step three times too large for the narrow one of two scales."""
    energy = lambda x: 0.5 * jnp.sum((x / jnp.array([0.05, 1.0])) ** 2)
    start = jnp.zeros((64, 2))
    ours, mala = (
        eb.sample(key, make(energy, 0.4), start, 300).acceptance_rate.mean()
        for make in (barker, eb.mala)
    )
    assert ours > 3 * mala


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pcn(likelihood, 1.5), "beta must lie in"),
        (lambda: pcn(likelihood, 0.0), "beta must be finite and above 0"),
        (lambda: pcn(likelihood, 0.5, scale=-1.0), "scale must be finite and above 0"),
        (lambda: barker(likelihood, 0.0), "step_size must be finite and above 0"),
        (lambda: barker(likelihood, eb.Dense(np.eye(2))), "scalar or diagonal"),
    ],
)
def test_bad_numbers_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
