"""Improved contrastive divergence: its two terms in closed form on a Gaussian, and the
entropy by nearest neighbours."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bounded, finite_differences, standard_error
from helpers import isotropic_energy as energy

import ebmjax as eb
from ebmjax.objectives.improved import entropy, improved_contrastive
from ebmjax.objectives.likelihood import Chains

DIM, NUM, STEP = 4, 1000, 0.6
EPS = STEP**2 / 2
LAMBDA, MU = 1.3, 0.4  # of the energy
START, SPREAD = (
    -0.5,
    0.8,
)  # mean and variance of the chains before they run, in each coordinate
PARAMS = jnp.array([LAMBDA, MU])


def gradients(num_steps, num_through, num_keys=30, **options):
    """Of the loss with the sampler's terms less that without, ``[K, 2]``, over keys."""
    full = improved_contrastive(
        energy, eb.ula, num_steps, num_through=num_through, **options
    )
    plain = improved_contrastive(
        energy, eb.ula, num_steps, num_through=num_through, sampler_weight=0.0
    )

    def one(key):
        start = START + SPREAD**0.5 * jax.random.normal(
            jax.random.fold_in(key, 1), (NUM, DIM)
        )
        chains = Chains(start, jnp.float32(STEP))
        of = lambda loss: jax.grad(lambda p: loss(p, key, start, chains)[0])(PARAMS)
        return of(full) - of(plain)

    keys = jax.random.split(jax.random.key(7), num_keys)
    return np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(keys), np.float64)


def closed_form(num_steps, num_through, entropy_weight=1.0):
    """d/dtheta of E_{sg theta}[E(x(theta))] - w H, with
    x(theta) = mu + A (x - mu) + sqrt(2 eps) xi, A = 1 - eps lambda, in the last steps:
    mean mu + A^j (m - mu), variance A^2j v + 2 eps sum A^2i."""

    def law(lam, mu, mean, variance, j):
        a = 1 - EPS * lam
        noise = 2 * EPS * sum(a ** (2 * i) for i in range(j))
        return mu + a**j * (mean - mu), a ** (2 * j) * variance + noise

    mean, variance = law(LAMBDA, MU, START, SPREAD, num_steps - num_through)

    def value(params):
        m, v = law(*params, mean, variance, num_through)
        pull = 0.5 * LAMBDA * ((m - MU) ** 2 + v)
        return DIM * (pull - entropy_weight * 0.5 * jnp.log(2 * jnp.pi * jnp.e * v))

    with jax.enable_x64(True):
        return np.asarray(jax.grad(value)(jnp.array([LAMBDA, MU])))


def check_terms(num_steps, num_through):
    found = gradients(num_steps, num_through)
    error = 5 * standard_error(found)
    expected = closed_form(num_steps, num_through)
    assert (np.abs(found.mean(axis=0) - expected) < error).all()
    without_entropy, wrong_sign = (
        closed_form(num_steps, num_through, w) for w in (0.0, -1.0)
    )
    for other in (
        without_entropy,
        wrong_sign,
        -expected,
        closed_form(num_steps, 4 - num_through),
    ):
        assert (np.abs(found.mean(axis=0) - other) > error).any()


def test_the_gradient_through_one_of_three_steps_equals_its_closed_form():
    check_terms(3, 1)


def test_the_gradient_through_three_steps_is_its_closed_form():
    check_terms(3, 3)


def test_without_its_sampler_terms_it_is_contrastive_divergence(key):
    start = jax.random.normal(key, (50, DIM))
    chains = Chains(start, jnp.float32(STEP))
    found, expected = (
        jax.jit(jax.value_and_grad(loss, has_aux=True))(
            PARAMS, key, start + 0.3, chains
        )
        for loss in (
            improved_contrastive(
                energy, eb.ula, 4, num_through=2, sampler_weight=0.0, regularisation=0.1
            ),
            eb.maximum_likelihood(energy, eb.ula, 4, regularisation=0.1),
        )
    )
    assert np.allclose(found[0][0], expected[0][0], rtol=1e-5) and np.allclose(
        found[1], expected[1], rtol=1e-5
    )
    assert np.allclose(found[0][1][0].position, expected[0][1][0].position, atol=1e-6)


def test_the_gradient_through_the_chains_equals_finite_differences():
    """f(theta) = E_{sg theta}[E(x(theta))] - w H(x(theta)), from the chains that two
    nearby parameters give."""
    with jax.enable_x64(True):
        params, key, w = jnp.array([LAMBDA, MU]), jax.random.key(3), 0.7
        start = jax.random.normal(jax.random.key(4), (20, DIM))
        chains = Chains(start, jnp.asarray(STEP))
        loss = partial(improved_contrastive, energy, eb.ula, 3)
        of = lambda p, **options: loss(entropy_weight=w, **options)(
            p, key, start, chains
        )

        @jax.jit
        def f(p):
            x = of(p, num_through=3)[1][0].position
            return jnp.mean(jax.vmap(partial(energy, params))(x)) - w * entropy(x)

        slopes = finite_differences(f, params)
        grad = lambda **options: jax.jit(jax.grad(lambda p: of(p, **options)[0]))(
            params
        )
        found = grad(num_through=3) - grad(num_through=3, sampler_weight=0.0)
        assert np.allclose(found, slopes, rtol=1e-6)
        through_one = grad(num_through=1) - grad(num_through=1, sampler_weight=0.0)
        assert not np.allclose(through_one, slopes, rtol=1e-2)


def test_the_entropy_of_a_normal_is_half_log_det_2_pi_e_sigma(key):
    root = np.array([[1.0, 0.0], [0.7, 0.5]])
    x = jax.random.normal(key, (2000, 2)) @ root.T
    expected = 0.5 * np.log(np.linalg.det(2 * np.pi * np.e * root @ root.T))
    assert (
        abs(entropy(x) - expected) < 0.12
    )  # its standard deviation is about 1.2 / sqrt(2000) = 0.027
    assert entropy(3 * x) - entropy(x) == pytest.approx(2 * np.log(3), abs=1e-4)
    assert entropy({"a": x[:, 0], "b": x[:, 1:]}) == pytest.approx(
        float(entropy(x)), abs=1e-5
    )


def test_points_that_are_not_counted_are_no_neighbours(key):
    x = jax.random.normal(key, (100, 2))
    is_counted = jnp.arange(100) < 60
    value, slope = jax.value_and_grad(entropy)(x, is_counted)
    assert (
        value == pytest.approx(float(entropy(x[:60])), abs=1e-5)
        and not slope[60:].any()
    )
    assert value != pytest.approx(float(entropy(x)), abs=1e-3)


def test_nonfinite_chains_are_left_out_and_returned_as_nan(key):
    loss = improved_contrastive(bounded(energy), eb.ula, 2)
    start = jax.random.normal(key, (20, DIM)).at[19, 0].set(100.0)
    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, (chains, metrics)), grads = run(
        PARAMS, key, start[:3], Chains(start, jnp.float32(0.3))
    )
    (whole, _), its_grads = run(
        PARAMS, key, start[:3], Chains(start[:19], jnp.float32(0.3))
    )
    assert value == pytest.approx(float(whole), rel=1e-4) and np.isfinite(
        metrics["entropy"]
    )
    assert np.allclose(grads, its_grads, rtol=1e-4, atol=1e-5)
    assert (
        np.isnan(chains.position[19]).all() and np.isfinite(chains.position[:19]).all()
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            partial(improved_contrastive, 3, eb.ula, 5),
            TypeError,
            "energy must be a function",
        ),
        (
            partial(improved_contrastive, energy, None, 5),
            TypeError,
            "make_kernel must be a function",
        ),
        (
            partial(improved_contrastive, energy, eb.ula, 5, num_through=6),
            ValueError,
            "num_through must be at most num_steps, 5, got 6",
        ),
        (
            partial(improved_contrastive, energy, eb.ula, 5, entropy_weight=-1.0),
            ValueError,
            "entropy_weight must be finite and at least 0",
        ),
        (
            partial(entropy, jnp.ones((1, 2))),
            ValueError,
            "points must be at least two, got 1",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
