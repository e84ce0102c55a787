"""Stein discrepancies: closed forms between Gaussians, the best critic, and
training."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import standard_error, z_score

import ebmjax as eb
from ebmjax import targets
from ebmjax.objectives import learned_stein as learned
from ebmjax.objectives import score_matching, stein

TARGET = targets.gaussian([0.5, -0.5], [[1.0, 0.3], [0.3, 0.6]])
X = TARGET.sample(jax.random.key(5), 4000)
KEY = jax.random.key(0)


def energy(params, x):
    """1/2 x^T R^T R x - b^T x."""
    root, b = params
    return 0.5 * jnp.sum((root @ x) ** 2) - b @ x


def moments(params):
    root, b = (np.asarray(p, np.float64) for p in params)
    covariance = np.linalg.inv(root.T @ root)
    return covariance @ b, covariance


def train(
    loss, params, *, num_updates=600, learning_rate=0.03, batch_size=500, momentum=0.0
):
    schedule = optax.cosine_decay_schedule(learning_rate, num_updates)
    optimizer, chain_init = optax.adam(schedule, b1=momentum), eb.from_data()
    state = eb.init_state(KEY, params, optimizer, chain_init, 1.0)
    options = {
        "num_updates": num_updates,
        "batch_size": batch_size,
        "ema_decay": 0.98,
        "chunk": 200,
    }
    return eb.fit(KEY, loss, optimizer, state, X, chain_init, **options)


# --- kernel -------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_points_far_from_the_origin_keep_their_digits(kernel):
    def of(offset):
        moved = lambda x: TARGET.energy(x - offset)
        return float(
            stein.discrepancy(
                moved, jnp.round(X[:300] * 256) / 256 + offset, 0.5, kernel=kernel
            )
        )

    assert of(1024.0) == pytest.approx(of(0.0), abs=1e-3)


@pytest.mark.parametrize(("dim", "width"), [(1, 0.7), (3, 1.5)])
def test_between_shifted_gaussians_it_is_the_closed_form(dim, width, key):
    """|m|^2 (1 + 2/h^2)^(-D/2), by the U-statistic; the V-statistic adds the
    diagonal."""
    shift = jnp.linspace(0.3, 0.8, dim)
    x = shift + jax.random.normal(key, (80, 400, dim))
    normal = lambda _, x: 0.5 * jnp.sum(x**2)
    values = {}
    for is_unbiased in (True, False):
        loss = stein.kernel_stein(normal, width, is_unbiased=is_unbiased)
        values[is_unbiased] = np.asarray(
            jax.vmap(lambda x, loss=loss: loss(None, KEY, x, None)[0])(x)
        )
    expected = float(shift @ shift) * (1 + 2 / width**2) ** (-dim / 2)
    error = standard_error(values[True])
    assert abs(values[True].mean() - expected) < 5 * error and error < 0.06 * expected
    diagonal = np.asarray(jnp.sum(x**2, axis=2)).mean() + dim / width**2
    assert values[False].mean() == pytest.approx(
        (399 * values[True].mean() + diagonal) / 400, rel=1e-4
    )


def test_kernels_have_their_values_at_one_width():
    for name, expected in (("rbf", np.exp(-0.5)), ("imq", 2**-0.5)):
        assert stein.KERNELS[name](9.0, 3.0) == pytest.approx(expected)


@pytest.mark.parametrize("kernel", stein.KERNELS)
def test_the_pair_values_are_the_definition(kernel):
    """Each term by automatic differentiation of the kernel itself, in float64."""
    with jax.enable_x64(True):
        params = (jnp.array([[1.0, 0.2], [0.0, 1.4]]), jnp.array([0.3, -0.2]))
        x = jnp.asarray(X[:4], jnp.float64)
        s = lambda x: -jax.grad(partial(energy, params))(x)
        k = lambda x, y: stein.KERNELS[kernel](jnp.sum((x - y) ** 2), 0.9)
        found = stein.pair_values(
            partial(energy, params), x, lambda t: stein.KERNELS[kernel](t, 0.9)
        )
        for i, a in enumerate(x):
            for j, b in enumerate(x):
                mixed = jnp.trace(jax.jacfwd(jax.grad(k, 0), 1)(a, b))
                expected = (
                    s(a) @ s(b) * k(a, b)
                    + s(a) @ jax.grad(k, 1)(a, b)
                    + s(b) @ jax.grad(k, 0)(a, b)
                )
                assert float(found[i, j]) == pytest.approx(
                    float(expected + mixed), abs=1e-10
                )


@pytest.mark.parametrize("kernel", stein.KERNELS)
def test_the_discrepancy_is_zero_on_average_only_at_the_truth(kernel, key):
    x = TARGET.sample(key, 12_000).reshape(30, 400, 2)
    value = jax.jit(
        lambda e, x: stein.discrepancy(e, x, kernel=kernel), static_argnums=0
    )
    at_truth = np.array([value(TARGET.energy, x) for x in x])
    assert abs(z_score(at_truth)) < 5
    off = np.array([value(eb.temper(TARGET.energy, 1.3), x) for x in x])
    assert z_score(off) > 6


def test_the_gradient_equals_finite_differences():
    with jax.enable_x64(True):
        x, h = jnp.asarray(X[:50], jnp.float64), 1e-5
        value = lambda b: stein.kernel_stein(energy, 1.0)(
            (jnp.eye(2), b), KEY, x, None
        )[0]
        slope = jax.grad(value)(jnp.zeros(2))
        e = jnp.array([h, 0.0])
        assert float(slope[0]) == pytest.approx(
            float((value(e) - value(-e)) / (2 * h)), abs=1e-8
        )


def test_the_width_is_the_median_distance_and_keeps_gradients_finite():
    x = X[:101]
    distances = np.sqrt(
        ((np.asarray(x)[:, None] - np.asarray(x)[None]) ** 2).sum(axis=2)
    )
    expected = np.median(distances[~np.eye(101, dtype=bool)])
    assert float(stein.median_distance(x)) == pytest.approx(expected, rel=1e-4)
    doubled = jnp.concatenate([x, x])
    grads = jax.grad(lambda p: stein.kernel_stein(energy)(p, KEY, doubled, None)[0])
    assert all(jnp.isfinite(g).all() for g in grads((jnp.eye(2), jnp.zeros(2))))


@pytest.mark.parametrize("start", [1.0, 2.0, 0.6])
def test_training_finds_mean_and_covariance(start):
    state, _ = train(
        stein.kernel_stein(energy, 1.5), (start * jnp.eye(2), jnp.zeros(2))
    )
    mean, covariance = moments(state.ema)
    assert np.abs(mean - X.mean(axis=0)).max() < 0.1
    assert np.abs(covariance - np.cov(X.T)).max() < 0.15


# --- critic -------------------------------------------------------------------------


def affine_critic(params, x):
    return params["matrix"] @ x + params["shift"]


def standardised(x):
    """Points whose mean and covariance are exactly those of the target: then affine
    scores are exact."""
    x = np.asarray(x, np.float64)
    white = (x - x.mean(axis=0)) @ np.linalg.inv(
        np.linalg.cholesky(np.cov(x.T, bias=True))
    ).T
    return jnp.asarray(TARGET.mean + white @ np.linalg.cholesky(TARGET.covariance).T)


@pytest.mark.parametrize("penalty", [0.5, 2.0])
def test_the_best_critic_is_the_difference_of_the_scores(penalty):
    """f* = (s - grad log p) / (2 lambda); the discrepancy there is
    E|s - grad log p|^2 / (4 lambda)."""
    with jax.enable_x64(True):
        x = standardised(X[:500])
        root, b = jnp.array([[1.2, 0.3], [0.0, 0.9]]), jnp.array([0.2, 0.1])
        precision = jnp.asarray(np.linalg.inv(TARGET.covariance))
        best = {
            "matrix": (precision - root.T @ root) / (2 * penalty),
            "shift": (b - precision @ jnp.asarray(TARGET.mean)) / (2 * penalty),
        }
        loss = learned.learned_stein(energy, affine_critic, penalty)
        params = learned.Players((root, b), best)
        grads, (_, metrics) = jax.grad(loss, has_aux=True)(params, KEY, x, None)
        assert (
            max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads.other)) < 1e-10
        )
        gap = jax.vmap(partial(affine_critic, best))(x) * 2 * penalty
        fisher = float(jnp.mean(jnp.sum(gap**2, axis=1)))
        assert float(metrics["stein_discrepancy"]) == pytest.approx(
            fisher / (4 * penalty), rel=1e-9
        )
        # the gradient for the energy is that of explicit score matching over 2 lambda
        explicit = score_matching.explicit(energy)
        expected = jax.grad(lambda p: explicit(p, KEY, x, None)[0])(params.energy)
        for a, b in zip(grads.energy, expected, strict=True):
            assert np.allclose(a, b / (2 * penalty), atol=1e-9)
        worse = params._replace(other={**best, "shift": best["shift"] + 0.1})
        grads = jax.grad(lambda p: loss(p, KEY, x, None)[0])(worse)
        assert float(jnp.abs(grads.other["shift"]).max()) > 0.01


def test_signs_have_the_trace_as_mean():
    params = learned.Players(
        (jnp.eye(2), jnp.zeros(2)),
        {"matrix": jnp.array([[1.0, 0.7], [0.4, -2.0]]), "shift": jnp.zeros(2)},
    )
    exact = learned.learned_stein(energy, affine_critic)(params, KEY, X, None)[1][1][
        "stein_discrepancy"
    ]
    some = learned.learned_stein(energy, affine_critic, num_projections=3)
    found = np.array(
        [
            some(params, jax.random.key(i), X, None)[1][1]["stein_discrepancy"]
            for i in range(10)
        ]
    )
    error = np.sqrt((0.7 + 0.4) ** 2 / (3 * len(X) * 10))
    assert abs(found.mean() - float(exact)) < 5 * error + 1e-5
    assert found.std() > 0


@pytest.mark.parametrize("start", [1.0, 2.0, 0.6])
def test_energy_and_critic_find_mean_and_covariance(start):
    critic = {"matrix": jnp.zeros((2, 2)), "shift": jnp.zeros(2)}
    params = learned.Players((start * jnp.eye(2), jnp.zeros(2)), critic)
    state, metrics = train(
        learned.learned_stein(energy, affine_critic), params, num_updates=1000
    )
    mean, covariance = moments(state.ema.energy)
    assert np.abs(mean - X.mean(axis=0)).max() < 0.1
    assert np.abs(covariance - np.cov(X.T)).max() < 0.15
    assert abs(metrics["stein_discrepancy"][-50:].mean()) < 0.05


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: stein.kernel_stein(3), TypeError, "energy must be a function"),
        (
            lambda: stein.kernel_stein(energy, -1.0),
            ValueError,
            "width must be finite and above 0",
        ),
        (
            lambda: stein.kernel_stein(energy, kernel="box"),
            ValueError,
            "kernel must be one of rbf, imq",
        ),
        (
            lambda: stein.kernel_stein(energy)(
                (jnp.eye(2), jnp.zeros(2)), KEY, X[:1], None
            ),
            ValueError,
            "batch must hold at least two points",
        ),
        (
            lambda: learned.learned_stein(energy, None),
            TypeError,
            "critic must be a function, got None",
        ),
        (
            lambda: learned.learned_stein(energy, affine_critic, 0.0),
            ValueError,
            "penalty must be finite",
        ),
        (
            lambda: learned.learned_stein(energy, affine_critic)(
                jnp.eye(2), KEY, X, None
            ),
            TypeError,
            r"learned_stein trains Players\(energy, critic\)",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
