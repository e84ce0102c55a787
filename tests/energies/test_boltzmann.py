"""Bits: sums over all states against closed forms, kernels against their transition
matrices, contrastive divergence of a restricted Boltzmann machine against its exact
distribution."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import finite_difference
from scipy import special

import ebmjax as eb
from ebmjax import verify
from ebmjax.energies import boltzmann, enumeration
from ebmjax.objectives import Chains

V, H = 5, 3
WEIGHTS = 1.8 + 0.4 * np.random.default_rng(0).normal(size=(V, H)).astype(np.float32)
MODEL = boltzmann.RBM(  # all units on, or all off, with rare transitions
    jnp.asarray(WEIGHTS),
    jnp.asarray(-0.5 * WEIGHTS.sum(axis=1)),
    jnp.asarray(-0.5 * WEIGHTS.sum(axis=0)),
)
STATES = np.asarray(enumeration.states(V), np.float64)


def exact_block_gibbs(params, states):
    """P(v' | v) = sum_h p(h | v) p(v' | h), in float64, without the library."""
    w, b, c = (np.asarray(p, np.float64) for p in params)
    hidden = np.asarray(enumeration.states(len(c)), np.float64)
    up, down = special.expit(c + states @ w), special.expit(b + hidden @ w.T)
    given_v = np.prod(
        np.where(hidden[None] == 1, up[:, None], 1 - up[:, None]), axis=2
    )  # [2^V, 2^H]
    given_h = np.prod(
        np.where(states[None] == 1, down[:, None], 1 - down[:, None]), axis=2
    )
    return given_v @ given_h


# --- sums -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", [0.3, -0.8])
def test_the_ring_has_the_z_of_its_transfer_matrix(coupling):
    for num in (4, 9):
        energy = partial(boltzmann.boltzmann, boltzmann.ring(num, coupling))
        found = enumeration.log_z(energy, num)
        assert found == pytest.approx(boltzmann.ring_log_z(num, coupling), abs=1e-5)
    assert (
        abs(found - 9 * np.log(2 * np.cosh(coupling))) > 1e-6
    )  # the second eigenvalue counts


def test_log_z_of_a_million_states():
    """Independent bits: log Z = sum_i log(1 + e^b_i)."""
    b = np.linspace(-2, 2, 20)
    found = enumeration.log_z(lambda x: -jnp.asarray(b, jnp.float32) @ x, 20)
    assert found == pytest.approx(np.log1p(np.exp(b)).sum(), abs=1e-5)


def test_z_of_an_rbm_from_either_layer_and_from_both():
    both = boltzmann.RBM(MODEL.weights.T, MODEL.hidden, MODEL.visible)
    w, b, c = (np.asarray(p, np.float64) for p in MODEL)
    hidden = np.asarray(enumeration.states(H), np.float64)
    joint = STATES @ b + (hidden @ c)[:, None] + hidden @ (STATES @ w).T
    for found in (
        boltzmann.rbm_log_z(MODEL),
        boltzmann.rbm_log_z(both),
        enumeration.log_z(partial(boltzmann.rbm, MODEL), V),
    ):
        assert found == pytest.approx(special.logsumexp(joint), abs=1e-5)


def test_the_gradient_of_log_z_equals_finite_differences():
    found = enumeration.mean_gradient(boltzmann.rbm, MODEL, V)
    for name, i in (("weights", (2, 1)), ("visible", (3,)), ("hidden", (0,))):
        zero = jax.tree.map(jnp.zeros_like, MODEL)
        one = zero._replace(**{name: getattr(zero, name).at[i].set(1.0)})
        slope = finite_difference(boltzmann.rbm_log_z, MODEL, one)
        assert -getattr(found, name)[i] == pytest.approx(slope, abs=2e-4)


def test_exact_draws_have_the_probabilities(key):
    energy = partial(boltzmann.rbm, MODEL)
    x = np.asarray(enumeration.sampler(energy, V)(key, 100_000), int)
    counts = np.bincount(x @ 2 ** np.arange(V), minlength=2**V)
    p = enumeration.probabilities(energy, V)
    assert np.sum((counts - 1e5 * p) ** 2 / (1e5 * p)) < 2**V - 1 + 6 * np.sqrt(
        2 * (2**V - 1)
    )


def test_draws_of_twenty_four_bits_have_their_last_bit(key):
    """More states than float32 values between 0 and 1."""
    x = np.asarray(enumeration.sampler(lambda x: 0.0 * jnp.sum(x), 24)(key, 4000))
    assert (np.abs(x.mean(axis=0) - 0.5) < 5 * 0.5 / np.sqrt(4000)).all()


def test_log_likelihood_is_minus_the_cross_entropy():
    energy = partial(boltzmann.rbm, MODEL)
    p = enumeration.probabilities(energy, V)
    x = enumeration.states(V)[:8]
    assert enumeration.log_likelihood(energy, x) == pytest.approx(
        np.log(p[:8]).mean(), abs=1e-5
    )


# --- kernels ----------------------------------------------------------------------------------------------


def test_flip_has_detailed_balance():
    energy = partial(boltzmann.rbm, MODEL)
    sites, weights = jnp.arange(V), np.full(V, 1 / V)
    states = enumeration.states(V)
    verify.detailed_balance(eb.flip(energy), energy, states, sites, weights).require()
    other = partial(boltzmann.rbm, MODEL._replace(visible=MODEL.visible + 0.1))
    assert not verify.detailed_balance(
        eb.flip(energy), other, states, sites, weights
    ).is_passed


def test_block_gibbs_and_sweeps_are_invariant(key):
    """Counts of 2^V states after ten steps from exact draws, and after one step from
    one state."""
    energy, num = partial(boltzmann.rbm, MODEL), 40_000
    p = enumeration.probabilities(energy, V)
    matrix = exact_block_gibbs(MODEL, STATES)
    assert np.abs(p[:, None] * matrix - (p[:, None] * matrix).T).max() < 1e-7
    limit = 2**V - 1 + 6 * np.sqrt(2 * (2**V - 1))

    def misfit(kernel, start, num_steps, expected):
        states = eb.sample(key, kernel, start, num_steps, thin=num_steps).draws[0]
        counts = np.bincount(
            np.asarray(states, int) @ 2 ** np.arange(V), minlength=2**V
        )
        return np.sum(
            (counts - num * expected) ** 2 / np.maximum(num * expected, 1e-12)
        )

    exact = enumeration.sampler(energy, V)(jax.random.key(3), num)
    kernels = [eb.rbm_gibbs(MODEL), eb.gibbs(energy), eb.flip(energy)]
    for kernel in kernels:
        assert misfit(kernel, exact, 10, p) < limit
    corner = jnp.broadcast_to(enumeration.states(V)[6], (num, V))
    assert misfit(kernels[0], corner, 1, matrix[6]) < limit
    wrong = eb.rbm_gibbs(MODEL._replace(visible=1.1 * MODEL.visible))
    assert misfit(wrong, exact, 10, p) > 2 * limit


# --- contrastive divergence -------------------------------------------------------------------------------

NUM = 40_000
DATA = enumeration.sampler(
    partial(boltzmann.rbm, boltzmann.rbm_params(jax.random.key(2), V, H, 3.0)), V
)(jax.random.key(4), NUM)


def gradient(start, num_steps):
    loss = eb.maximum_likelihood(
        boltzmann.rbm, lambda energy, step_size: eb.rbm_gibbs(MODEL), num_steps
    )
    chains = Chains(start, jnp.float32(1.0))
    return jax.grad(lambda p: loss(p, jax.random.key(6), DATA, chains)[0])(MODEL)


def mean_energy_gradient(weights):
    """sum_v weight(v) grad E(v), in float64; [2^V] weights."""
    w, _, c = (np.asarray(p, np.float64) for p in MODEL)
    h = special.expit(c + STATES @ w)
    return (
        -np.einsum("s,si,sj->ij", weights, STATES, h),
        -weights @ STATES,
        -weights @ h,
    )


def test_the_gradient_with_exact_samples_is_the_exact_gradient():
    exact = enumeration.sampler(partial(boltzmann.rbm, MODEL), V)(
        jax.random.key(5), NUM
    )
    found = gradient(exact, 1)
    counts = (
        np.bincount(np.asarray(DATA, int) @ 2 ** np.arange(V), minlength=2**V) / NUM
    )
    of_model = enumeration.mean_gradient(boltzmann.rbm, MODEL, V)
    for a, data, model in zip(
        found, mean_energy_gradient(counts), of_model, strict=True
    ):
        assert np.abs(a - (data - model)).max() < 5 * 0.5 / np.sqrt(NUM)
    assert np.abs(found.visible - mean_energy_gradient(counts)[1]).max() > 0.1


def test_the_bias_of_cd_k_is_that_of_its_transition_matrix_and_shrinks():
    counts = (
        np.bincount(np.asarray(DATA, int) @ 2 ** np.arange(V), minlength=2**V) / NUM
    )
    p, matrix = (
        enumeration.probabilities(partial(boltzmann.rbm, MODEL), V),
        exact_block_gibbs(MODEL, STATES),
    )
    error, biases = 5 * 0.5 / np.sqrt(NUM), []
    for k in (1, 5, 20):
        after = counts @ np.linalg.matrix_power(matrix, k)
        of_data, expected = mean_energy_gradient(counts), mean_energy_gradient(after)
        for a, data, model in zip(gradient(DATA, k), of_data, expected, strict=True):
            assert np.abs(a - (data - model)).max() < error
        exact = mean_energy_gradient(p)
        biases.append(
            max(np.abs(a - b).max() for a, b in zip(expected, exact, strict=True))
        )
    assert biases[0] > 10 * error and biases[0] > 1.2 * biases[1] > 2.4 * biases[2]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: enumeration.log_z(jnp.sum, 30),
            ValueError,
            r"num_bits must be at most 24, got 30: 2\^30",
        ),
        (lambda: enumeration.states(0), ValueError, "num_bits must be at least 1"),
        (lambda: boltzmann.ring(2, 1.0), ValueError, "num must be at least 3"),
        (lambda: eb.flip(3), TypeError, "energy must be a function"),
        (lambda: eb.gibbs(None), TypeError, "energy must be a function, got None"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
