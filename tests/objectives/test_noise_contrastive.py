"""Noise contrastive estimation: log Z of a Gaussian, a Newton solution, and limits that
it shares with other objectives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import natural_energy as energy
from scipy import optimize

import ebmjax as eb
from ebmjax import targets
from ebmjax.objectives import noise_contrastive as nce

TARGET = targets.gaussian([0.5], [[0.7]])
X = TARGET.sample(jax.random.key(5), 20_000)
NOISE = nce.fitted_normal(X, widen=1.5)


def log_z_of(a, b):
    return b**2 / (2 * a) + 0.5 * np.log(2 * np.pi / a)


def test_fitted_normal_is_normalised_and_has_its_width(key):
    x = np.asarray(NOISE.sample(key, 100_000))
    assert abs(x.std() / (1.5 * np.asarray(X).std()) - 1) < 0.02
    grid = jnp.linspace(-12, 12, 4001)[:, None]
    assert np.exp(jax.vmap(NOISE.log_prob)(grid)).sum() * (24 / 4000) == pytest.approx(
        1.0, abs=1e-3
    )


def test_at_the_truth_with_the_noise_of_the_data_the_loss_is_2_log_2(key):
    own = nce.Noise(TARGET.sample, lambda x: -TARGET.energy(x) - TARGET.log_z)
    params = nce.with_log_z(
        jnp.array([1 / 0.7, 0.5 / 0.7]), log_z_of(1 / 0.7, 0.5 / 0.7)
    )
    value, (_, metrics) = nce.binary(energy, own)(params, key, X, None)
    assert value == pytest.approx(2 * np.log(2), abs=1e-4)
    value, _ = nce.ranking(energy, own, 9)(params.energy, key, X, None)
    assert value == pytest.approx(np.log(10), abs=1e-4)
    assert metrics["log_z"] == params.log_z


@pytest.mark.parametrize("ratio", [1, 4])
def test_training_finds_the_newton_solution_of_the_logistic_regression(ratio):
    """On fixed draws the loss is a convex logistic regression with offset
    -log q - log nu; solved twice."""
    key, batch = jax.random.key(1), X[:4000]
    loss = nce.binary(energy, NOISE, ratio)
    value = jax.jit(lambda w: loss(nce.Normalised(w[:2], w[2]), key, batch, None)[0])
    slope = jax.jit(jax.grad(value))
    found = [
        optimize.minimize(
            lambda w: float(value(jnp.asarray(w, jnp.float32))),
            np.array(start),
            jac=lambda w: np.asarray(slope(jnp.asarray(w, jnp.float32)), np.float64),
            method="BFGS",
        ).x
        for start in ([1.0, 0.0, 0.0], [3.0, -1.0, 1.0], [0.3, 1.0, -1.0])
    ]
    y = np.asarray(NOISE.sample(key, ratio * len(batch)), np.float64)[:, 0]
    x = np.concatenate([np.asarray(batch, np.float64)[:, 0], y])
    label = np.concatenate([np.ones(len(batch)), np.zeros(len(y))])
    log_q = np.asarray(
        jax.vmap(NOISE.log_prob)(jnp.asarray(x[:, None], jnp.float32)), np.float64
    )
    features = np.stack([-0.5 * x**2, x, -np.ones_like(x)], axis=1)
    w = np.array([1.0, 0.0, 0.0])
    for _ in range(30):  # Newton
        p = 1 / (1 + np.exp(-(features @ w - log_q - np.log(ratio))))
        hessian = (features * (p * (1 - p))[:, None]).T @ features
        w = w + np.linalg.solve(hessian, features.T @ (label - p))
    assert np.abs(np.array(found) - w).max() < 5e-3
    assert abs(w[2] - log_z_of(1 / 0.7, 0.5 / 0.7)) < 0.1


def train(loss, params, num_updates=1500):
    optimizer, chain_init = (
        optax.adam(optax.cosine_decay_schedule(0.03, num_updates)),
        eb.from_data(),
    )
    state = eb.init_state(jax.random.key(0), params, optimizer, chain_init, 1.0)
    options = {"num_updates": num_updates, "batch_size": 1000, "chunk": 500}
    return eb.fit(jax.random.key(0), loss, optimizer, state, X, chain_init, **options)[
        0
    ].ema


@pytest.mark.parametrize("start", [(1.0, 0.0), (3.0, -1.0), (0.3, 1.0)])
def test_training_finds_precision_mean_and_log_z(start):
    mean, variance = float(X.mean()), float(X.var())
    a, b = 1 / variance, mean / variance
    found = train(nce.binary(energy, NOISE, 2), nce.with_log_z(jnp.array(start)))
    assert np.allclose(found.energy, [a, b], atol=0.08)
    assert abs(float(found.log_z) - log_z_of(*np.asarray(found.energy))) < 0.03
    assert np.allclose(
        train(nce.ranking(energy, NOISE), jnp.array(start)), [a, b], atol=0.08
    )


def test_conditional_with_small_noise_is_score_matching():
    """L = log 2 + eps^2 / 4 J_explicit + O(eps^4); by Gauss and Hermite, in float64."""
    with jax.enable_x64(True):
        nodes, weights = np.polynomial.hermite_e.hermegauss(60)
        weights = weights / weights.sum()
        a, b, s, m = 1.3, 0.4, 0.8, 0.5
        x, xi = np.meshgrid(m + s * nodes, nodes, indexing="ij")
        both = np.outer(weights, weights)
        e = lambda x: 0.5 * a * x**2 - b * x
        explicit = 0.5 * np.sum(weights * (a * (m + s * nodes) - b) ** 2) - a
        slopes = []
        for eps in (0.1, 0.05):
            value = np.sum(both * np.log1p(np.exp(e(x) - e(x + eps * xi))))
            slopes.append((value - np.log(2)) / (eps**2 / 4))
        assert abs(slopes[1] - explicit) < 5e-3 and abs(slopes[1] - explicit) < abs(
            slopes[0] - explicit
        )
    params, key = jnp.array([1.3, 0.4]), jax.random.key(2)
    mirrored = jnp.concatenate([X, X])
    value, _ = nce.conditional(energy, 0.05)(params, key, mirrored, None)
    points = np.asarray(mirrored + 0.05 * eb.base.normal_like(key, mirrored))
    expected = np.mean(np.log1p(np.exp(e(np.asarray(mirrored)) - e(points))))
    assert value == pytest.approx(expected, rel=1e-5)


def test_with_much_noise_the_gradient_is_that_of_maximum_likelihood(key):
    params = jnp.array([1.0, 0.2])
    a, b = 1.0, 0.2
    loss = nce.binary(energy, NOISE, 400)
    grads = jax.grad(
        lambda p: loss(
            nce.Normalised(p, jnp.float32(log_z_of(a, b))), key, X[:5000], None
        )[0]
    )(params)
    x = np.asarray(X[:5000], np.float64)[:, 0]
    exact = [0.5 * np.mean(x**2) - 0.5 * (1 / a + (b / a) ** 2), -x.mean() + b / a]
    assert np.allclose(grads, exact, atol=0.02)
    assert not np.allclose(grads, -np.array(exact), atol=0.02)


def test_other_libraries_distributions_are_noise(key):
    class Numpyro:
        def sample(self, key, shape):
            return jax.random.normal(key, (*shape, 3))

        def log_prob(self, x):
            return -0.5 * x**2 - 0.5 * jnp.log(2 * jnp.pi)

    class Distrax(Numpyro):
        def sample(self, *, seed, sample_shape):
            return super().sample(seed, sample_shape)

    for kind in (Numpyro, Distrax):
        noise = nce.from_distribution(kind())
        assert noise.sample(key, 5).shape == (5, 3)
        assert np.isclose(noise.log_prob(jnp.zeros(3)), -1.5 * np.log(2 * np.pi))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nce.binary(energy, NOISE, 0), ValueError, "ratio must be at least 1"),
        (
            lambda: nce.binary(energy, NOISE)(jnp.ones(2), jax.random.key(0), X, None),
            TypeError,
            r"binary trains with_log_z\(params\)",
        ),
        (
            lambda: nce.conditional(energy, -1.0),
            ValueError,
            "noise must be finite and above 0",
        ),
        (
            lambda: nce.ranking(energy, NOISE, 2.5),
            TypeError,
            "num_noise must be a whole number",
        ),
        (
            lambda: nce.fitted_normal(jnp.array([[jnp.nan], [1.0]])),
            ValueError,
            "data must be finite",
        ),
        (
            lambda: nce.from_distribution(3),
            TypeError,
            "distribution.sample must be a function",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_conditional_learns_the_shape(key):
    found = train(partial(nce.conditional, energy)(0.5), jnp.array([1.0, 0.0]))
    variance = float(X.var())
    assert np.allclose(found, [1 / variance, float(X.mean()) / variance], atol=0.12)
