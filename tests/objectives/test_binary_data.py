"""Pseudo-likelihood and ratio matching: exact expectations by a sum over all states,
and independent bits."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import finite_difference

import ebmjax as eb
from ebmjax.energies import boltzmann, enumeration
from ebmjax.objectives import binary_data

N = 7
LOSSES = {
    "pseudo_likelihood": binary_data.pseudo_likelihood,
    "ratio_matching": binary_data.ratio_matching,
}


def truth(seed=0):
    rng = np.random.default_rng(seed)
    couplings = 0.4 * rng.normal(size=(N, N))
    return boltzmann.Boltzmann(
        jnp.asarray(couplings + couplings.T), jnp.asarray(0.4 * rng.normal(size=N))
    )


def population(loss, params, model, key=None):
    """The expected objective under ``model``, by the sum over all states."""
    states = enumeration.states(N).astype(jnp.float64)
    p = jnp.asarray(enumeration.probabilities(partial(boltzmann.boltzmann, model), N))
    of_state = lambda x: loss(params, jax.random.key(0), x[None], None)[0]
    return jnp.sum(p * jax.vmap(of_state)(states))


@pytest.mark.parametrize("name", LOSSES)
def test_the_truth_is_a_stationary_point_and_a_minimum(name):
    loss = LOSSES[name](boltzmann.boltzmann)
    with jax.enable_x64(True):
        model = truth()
        slope = jax.grad(lambda p: population(loss, p, model))
        assert (
            max(float(jnp.abs(g).max()) for g in slope(model)) < 1e-6
        )  # states' energies come in float32
        wrong = model._replace(fields=model.fields + 0.2)
        assert max(float(jnp.abs(g).max()) for g in slope(wrong)) > 1e-2
        least = population(loss, model, model)
        for seed in range(3):
            near = jax.tree.map(lambda a, b: a + 0.3 * b, model, truth(seed + 1))
            assert population(loss, near, model) > least + 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_independent_bits_have_a_closed_form(name, key):
    """Sums of cross entropies, the likelihood; or of p (1 - q)^2 + (1 - p) q^2."""
    b = jnp.linspace(-1.0, 2.0, N)
    x = jax.random.bernoulli(key, 0.4, (500, N)).astype(jnp.float32)
    value, (_, metrics) = LOSSES[name](lambda b, x: -b @ x)(b, key, x, None)
    p, q = (
        np.asarray(x, np.float64).mean(axis=0),
        1 / (1 + np.exp(-np.asarray(b, np.float64))),
    )
    wants = {
        "pseudo_likelihood": -np.sum(p * np.log(q) + (1 - p) * np.log(1 - q)),
        "ratio_matching": np.sum(p * (1 - q) ** 2 + (1 - p) * q**2),
    }[name]
    assert value == pytest.approx(wants, rel=1e-5)
    assert 0 < metrics["share_right"] < 1
    if name == "pseudo_likelihood":
        assert -value == pytest.approx(
            enumeration.log_likelihood(lambda x: -b @ x, x), abs=1e-4
        )


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_equals_finite_differences(name):
    with jax.enable_x64(True):
        loss, model = LOSSES[name](boltzmann.boltzmann), truth()
        x = enumeration.states(N)[5:60:7].astype(jnp.float64)
        value = lambda p: loss(p, jax.random.key(0), x, None)[0]
        exact = jax.grad(value)(model).couplings[1, 4]
        zero = jax.tree.map(jnp.zeros_like, model)
        one = zero._replace(couplings=zero.couplings.at[1, 4].set(1.0))
        slope = finite_difference(value, model, one, 1e-5)
        assert float(exact) == pytest.approx(float(slope), abs=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_a_few_sites_are_right_in_the_mean(name, key):
    model = jax.tree.map(jnp.float32, truth())
    x = enumeration.states(N)[jnp.arange(20_000) % 128]
    whole, _ = LOSSES[name](boltzmann.boltzmann)(model, key, x, None)
    some, (_, metrics) = LOSSES[name](boltzmann.boltzmann, 2)(model, key, x, None)
    error = float(metrics["loss_spread"]) / np.sqrt(len(x))
    assert abs(float(some - whole)) < 5 * error and error < 0.02 * float(whole)


@pytest.mark.parametrize("name", LOSSES)
def test_training_finds_the_coupling_of_a_ring(name):
    x = enumeration.sampler(partial(boltzmann.boltzmann, boltzmann.ring(8, 0.5)), 8)(
        jax.random.key(1), 20_000
    )
    energy = lambda j, x: j * boltzmann.boltzmann(boltzmann.ring(8, 1.0), x)
    optimizer, chain_init = (
        optax.adam(optax.cosine_decay_schedule(0.05, 200)),
        eb.from_data(),
    )
    for start in (0.0, 1.5):
        state = eb.init_state(
            jax.random.key(0), jnp.float32(start), optimizer, chain_init, 1.0
        )
        options = {"num_updates": 200, "batch_size": 1000, "ema_decay": 0.9}
        state, _ = eb.fit(
            jax.random.key(2),
            LOSSES[name](energy),
            optimizer,
            state,
            x,
            chain_init,
            **options,
        )
        assert float(state.ema) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: binary_data.ratio_matching(2), TypeError, "energy must be a function"),
        (
            lambda: binary_data.pseudo_likelihood(boltzmann.boltzmann, 0),
            ValueError,
            "num_sites must be at least 1",
        ),
        (
            lambda: binary_data.pseudo_likelihood(boltzmann.boltzmann, 9)(
                truth(), jax.random.key(0), jnp.zeros((3, N)), None
            ),
            ValueError,
            "num_sites must be at most the number of bits, 7, got 9",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
