"""Score matching: closed forms on Gaussian energies, and limits that it shares with
other objectives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import flat, random_slopes
from helpers import gaussian_energy as energy

import ebmjax as eb
from ebmjax import targets
from ebmjax.energies import networks
from ebmjax.objectives import Chains, score_matching
from ebmjax.objectives._gradients import quadratic_form

NUM = 100_000
DATA = targets.gaussian([0.5, -1.0], [[1.0, 0.4], [0.4, 0.5]])
X = DATA.sample(jax.random.key(5), NUM)
MEAN, COVARIANCE = np.asarray(X).mean(axis=0), np.cov(np.asarray(X).T)
PRECISION = np.array([[1.5, 0.4], [0.4, 0.8]])
PARAMS = {
    "precision": jnp.asarray(PRECISION, jnp.float32),
    "mean": jnp.array([0.2, 0.3]),
}


def value(loss, key=None, params=PARAMS, batch=X):
    return float(
        jax.jit(loss)(params, jax.random.key(0) if key is None else key, batch, None)[0]
    )


def closed_form(precision, mean, noise=0.0):
    """tr(P^2 S_mu) / 2 - tr P, S_mu the second moment about mu, of data with noise."""
    shift = MEAN - mean
    second = COVARIANCE + noise**2 * np.eye(2) + np.outer(shift, shift)
    return 0.5 * np.trace(precision @ precision @ second) - np.trace(precision)


def test_explicit_is_its_closed_form():
    expected = closed_form(PRECISION, np.array([0.2, 0.3]))
    assert value(score_matching.explicit(energy)) == pytest.approx(expected, rel=1e-3)
    assert value(score_matching.explicit(energy)) != pytest.approx(
        expected + np.trace(PRECISION), rel=1e-1
    )


@pytest.mark.parametrize("projection", score_matching.PROJECTIONS)
@pytest.mark.parametrize("is_variance_reduced", [True, False])
def test_sliced_equals_explicit_in_expectation(projection, is_variance_reduced):
    loss = score_matching.sliced(
        energy, 2, projection=projection, is_variance_reduced=is_variance_reduced
    )
    _, (_, metrics) = jax.jit(loss)(PARAMS, jax.random.key(1), X, None)
    error = float(metrics["loss_spread"]) / np.sqrt(NUM)
    assert abs(value(loss) - value(score_matching.explicit(energy))) < 5 * error


def test_the_variance_of_the_trace_is_hutchinsons():
    """2 (|P|^2 - sum P_ii^2) with signs, 2 |P|^2 with normals: v^T P v at one point."""
    x, grad = jnp.zeros(2), jax.grad(partial(energy, PARAMS))
    for name, expected in (
        ("rademacher", 2 * (np.sum(PRECISION**2) - np.sum(np.diag(PRECISION) ** 2))),
        ("gaussian", 2 * np.sum(PRECISION**2)),
    ):
        v = jax.random.normal(jax.random.key(2), (NUM, 2))
        v = jnp.sign(v) if name == "rademacher" else v
        traces = np.asarray(
            jax.vmap(lambda v: quadratic_form(grad, x, v))(v), np.float64
        )
        fourth = ((traces - traces.mean()) ** 4).mean()
        error = np.sqrt(max(fourth - traces.var() ** 2, 0) / NUM)
        assert abs(traces.mean() - np.trace(PRECISION)) < 5 * traces.std() / np.sqrt(
            NUM
        )
        assert abs(traces.var() - expected) < 5 * error + 1e-4


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_denoising_is_explicit_on_smoothed_data_and_a_constant(noise):
    loss = score_matching.denoising(energy, noise)
    _, (_, metrics) = jax.jit(loss)(PARAMS, jax.random.key(1), X, None)
    expected = closed_form(PRECISION, np.array([0.2, 0.3]), noise) + 2 / (2 * noise**2)
    assert abs(value(loss) - expected) < 5 * float(metrics["loss_spread"]) / np.sqrt(
        NUM
    )
    assert abs(value(loss) - expected + 1 / noise**2) > 50 * float(
        metrics["loss_spread"]
    ) / np.sqrt(NUM)


def test_a_noise_and_its_negative_have_the_same_mean_and_less_variance():
    """|A xi - c|^2 / 2 with A = I / sigma - sigma P and c = P (x - mu): the mean is
    (tr A^T A + |c|^2) / 2, the variance tr (A^T A)^2 / 2 + |A^T c|^2, and the last term
    is absent with both signs."""
    noise, x = 0.3, jnp.array([4.0, -3.0])
    a = np.eye(2) / noise - noise * PRECISION
    c = PRECISION @ (np.asarray(x) - np.asarray(PARAMS["mean"]))
    mean = (np.sum(a**2) + c @ c) / 2
    variances = {True: np.sum((a.T @ a) ** 2) / 2}
    variances[False] = variances[True] + np.sum((a.T @ c) ** 2)
    keys = jax.random.split(jax.random.key(4), NUM)
    for is_antithetic, variance in variances.items():
        loss = score_matching.denoising(energy, noise, is_antithetic=is_antithetic)
        values = jax.jit(jax.vmap(lambda k, loss=loss: loss.of_point(PARAMS, k, x)))(
            keys
        )
        values = np.asarray(values, np.float64)
        assert abs(values.mean() - mean) < 5 * (variance / NUM) ** 0.5
        fourth = ((values - values.mean()) ** 4).mean()
        error = ((fourth - variance**2) / NUM) ** 0.5
        assert abs(values.var() - variance) < 5 * error
    assert variances[False] > 2 * variances[True]  # and the tests can tell them apart


def train(loss, params=PARAMS, num_updates=1500, key=0):
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, num_updates))
    chain_init = eb.from_data()
    state = eb.init_state(jax.random.key(key), params, optimizer, chain_init, 1.0)
    state, _ = eb.fit(
        jax.random.key(key),
        loss,
        optimizer,
        state,
        X,
        chain_init,
        num_updates=num_updates,
        batch_size=2000,
        chunk=500,
    )
    return state.ema


STARTING = [
    PARAMS,
    {"precision": jnp.eye(2), "mean": jnp.zeros(2)},
    {"precision": 4 * jnp.eye(2), "mean": jnp.ones(2)},
]


@pytest.mark.parametrize(
    ("loss", "noise"),
    [
        (score_matching.explicit(energy), 0.0),
        (score_matching.sliced(energy), 0.0),
        (score_matching.denoising(energy, 0.5), 0.5),
    ],
)
def test_the_optimum_is_the_mean_and_the_precision_from_three_starts(loss, noise):
    expected = np.linalg.inv(COVARIANCE + noise**2 * np.eye(2))
    for params in STARTING:
        found = train(loss, params)
        symmetric = 0.5 * (found["precision"] + found["precision"].T)
        assert np.abs(found["mean"] - MEAN).max() < 0.05
        assert np.abs(symmetric / expected - 1).max() < 0.1
    if noise:
        assert np.abs(symmetric - np.linalg.inv(COVARIANCE)).max() > 0.3


def test_the_gradient_equals_finite_differences():
    network = networks.MLP((8,), confinement=2.0)
    params = network.init(jax.random.key(0), jnp.zeros(2))
    for loss in (
        score_matching.explicit(network.apply),
        score_matching.sliced(network.apply),
        score_matching.denoising(network.apply, 0.4),
    ):
        of = jax.jit(lambda p, loss=loss: loss(p, jax.random.key(3), X[:200], None)[0])
        slope, exact = random_slopes(of, params)
        assert np.isclose(slope, exact, rtol=2e-2, atol=1e-3)


def test_one_small_langevin_step_of_contrastive_divergence_is_score_matching():
    """The gradient of CD-1 by ULA is eps^2 / 2 grad J_explicit + O(eps^4) (Hyvarinen
    2007), on average over its noise."""
    network = networks.MLP((16,), confinement=2.0)
    params = network.init(jax.random.key(0), jnp.zeros(2))
    points = X[:20_000]
    explicit = score_matching.explicit(network.apply)
    expected = flat(
        jax.grad(lambda p: explicit(p, jax.random.key(0), points, None)[0])(params)
    )
    loss = eb.maximum_likelihood(network.apply, eb.ula, 1)
    slope = jax.jit(
        lambda key, eps: flat(
            jax.grad(loss, has_aux=True)(params, key, points, Chains(points, eps))[0]
        )
    )
    errors = []
    for eps in (0.6, 0.2):
        keys = jax.random.split(jax.random.key(4), 60)
        slopes = jnp.stack([slope(key, jnp.float32(eps)) for key in keys])
        errors.append(
            jnp.linalg.norm(slopes.mean(axis=0) / (eps**2 / 2) - expected)
            / jnp.linalg.norm(expected)
        )
    assert errors[1] < 0.05 and errors[1] < errors[0] / 2


def test_multi_scale_learns_each_level():
    """A noise-conditional Gaussian energy a(sigma) |x - m|^2 / 2: a = 1 / (S + sigma^2)
    on isotropic data."""
    data = 0.8 * jax.random.normal(jax.random.key(6), (20_000, 2))
    levels = jnp.array([0.2, 1.0])
    conditional = lambda p, x, noise: (
        0.5 * jnp.exp(p[(noise > 0.5).astype(int)]) * jnp.sum(x**2)
    )
    loss = score_matching.multi_scale(conditional, levels)
    optimizer, chain_init = optax.adam(0.02), eb.from_data()
    state = eb.init_state(jax.random.key(0), jnp.zeros(2), optimizer, chain_init, 1.0)
    state, _ = eb.fit(
        jax.random.key(0),
        loss,
        optimizer,
        state,
        data,
        chain_init,
        num_updates=800,
        batch_size=1000,
        chunk=200,
    )
    assert np.allclose(np.exp(state.ema), 1 / (0.64 + levels**2), rtol=0.06)


def test_each_level_counts_alike():
    """With score zero, sigma^2 J is D / 2 in expectation at every level."""
    flat = lambda p, x, noise: 0.0 * p * jnp.sum(x)
    points = 1e-3 * X
    for level in (0.1, 1.0, 10.0):
        loss = score_matching.multi_scale(flat, jnp.array([level]))
        value, (_, metrics) = jax.jit(loss)(
            jnp.float32(0.0), jax.random.key(0), points, None
        )
        assert abs(value - 1.0) < 5 * metrics["loss_spread"] / np.sqrt(NUM)


def test_trees_and_images_are_points():
    tree = {"a": X[:10], "b": X[:10, :1]}
    of_tree = lambda p, x: p * (jnp.sum(x["a"] ** 2) + jnp.sum(x["b"] ** 4))
    for loss in (
        score_matching.explicit(of_tree),
        score_matching.sliced(of_tree),
        score_matching.denoising(of_tree, 0.1),
    ):
        assert np.isfinite(value(loss, params=jnp.float32(0.5), batch=tree))
    exact = -np.mean(
        [
            6 * 0.5 * 0 + 2 * 2 * 0.5 + 12 * 0.5 * b**2
            for b in np.asarray(tree["b"])[:, 0]
        ]
    )
    speed = np.mean(
        [
            0.5 * (np.sum(a**2) + (2 * b**3) ** 2)
            for a, b in zip(
                np.asarray(tree["a"]), np.asarray(tree["b"])[:, 0], strict=True
            )
        ]
    )
    assert value(
        score_matching.explicit(of_tree), params=jnp.float32(0.5), batch=tree
    ) == pytest.approx(speed + exact, rel=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: score_matching.denoising(energy, 0.0),
            "noise must be finite and above 0",
        ),
        (
            lambda: score_matching.sliced(energy, 0),
            "num_projections must be at least 1",
        ),
        (
            lambda: score_matching.sliced(energy, projection="sphere"),
            "projection must be one of rademacher, gaussian, got 'sphere'",
        ),
        (
            lambda: score_matching.multi_scale(energy, [0.1, -1.0]),
            "levels must be finite and above 0",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
