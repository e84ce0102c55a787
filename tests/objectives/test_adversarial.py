"""Adversarial training: the bound on log Z, exact gradients of energy and sampler, and
their equilibrium."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import z_score

import ebmjax as eb
from ebmjax import targets
from ebmjax.objectives import adversarial as adv
from ebmjax.objectives.base import Players

TARGET = targets.gaussian([0.5, -0.5], [[1.0, 0.3], [0.3, 0.6]])
X = TARGET.sample(jax.random.key(5), 4000)
KEY = jax.random.key(1)
LOSS = adv.adversarial(lambda p, x: energy(p, x), adv.affine)


def energy(params, x):
    root, mean = params
    return 0.5 * jnp.sum((root @ (x - mean)) ** 2)


def matching(root, mean):
    """The affine sampler of exp(-E)."""
    lower = np.linalg.cholesky(
        np.linalg.inv(np.asarray(root, np.float64).T @ np.asarray(root))
    )
    return adv.Affine(mean, jnp.log(jnp.diag(jnp.asarray(lower))), jnp.asarray(lower))


def test_affine_draws_have_their_mean_covariance_and_density(key):
    params = adv.Affine(
        jnp.array([1.0, -2.0]),
        jnp.array([0.3, -0.4]),
        jnp.array([[9.0, 9.0], [0.5, 9.0]]),
    )
    x, log_q = adv.affine(params, key, 50_000)
    covariance = np.asarray(params.root @ params.root.T)
    assert np.abs(x.mean(axis=0) - params.mean).max() < 5 * np.sqrt(
        covariance.max() / 50_000
    )
    assert np.abs(np.cov(x.T) - covariance).max() < 5 * np.sqrt(
        2
    ) * covariance.max() / np.sqrt(50_000)
    like = targets.gaussian(np.asarray(params.mean), covariance)
    assert np.allclose(log_q, -jax.vmap(like.energy)(x) - like.log_z, atol=1e-4)
    forward = lambda p, z: (p.mean + p.root @ z, jnp.sum(p.log_diagonal))
    y, log_r = adv.through_map(forward, 2)(params, key, 50_000)
    assert np.allclose(x, y, atol=1e-5) and np.allclose(log_q, log_r, atol=1e-5)


def test_the_bound_is_log_z_where_the_sampler_is_the_model_and_less_elsewhere():
    root, mean = jnp.array([[1.2, 0.3], [0.0, 0.9]]), jnp.array([0.2, 0.1])
    log_z = np.log(2 * np.pi) - float(jnp.linalg.slogdet(root)[1])
    best = matching(root, mean)
    _, (_, metrics) = LOSS(Players((root, mean), best), KEY, X, None)
    assert float(metrics["log_z_bound"]) == pytest.approx(log_z, abs=1e-5)
    assert float(metrics["log_weight_spread"]) < 1e-5
    wide = best._replace(log_diagonal=best.log_diagonal + 0.3)
    _, (_, metrics) = LOSS(Players((root, mean), wide), KEY, X, None)
    divergence = (
        np.exp(0.6) - 1 - 0.6
    )  # KL(q || p) of a scale e^0.3 in two dimensions, but for the shear
    assert log_z - float(metrics["log_z_bound"]) > 0.5 * divergence


def test_the_gradients_are_their_closed_forms_and_each_player_has_its_own():
    """For the energy equation 9 with the draws of the sampler; for the sampler that of
    E_q[E] - H(q)."""
    root, mean = jnp.array([[1.2, 0.3], [0.0, 0.9]]), jnp.array([0.2, 0.1])
    q = adv.Affine(
        jnp.array([0.4, 0.0]), jnp.array([0.1, -0.2]), 0.3 * jnp.ones((2, 2))
    )
    batch = jnp.tile(X, (10, 1))
    grads = jax.grad(lambda p: LOSS(p, KEY, batch, None)[0])(Players((root, mean), q))
    precision, lower = np.asarray(root.T @ root), np.asarray(q.root)
    error = 5 * 2.5 / np.sqrt(len(batch))
    wants_mean = precision @ (np.asarray(q.mean) - np.asarray(mean))
    assert np.abs(grads.other.mean - wants_mean).max() < error
    slope = np.diag(precision @ lower) * np.diag(lower) - 1  # the -1 is the entropy's
    assert np.abs(grads.other.log_diagonal - slope).max() < error
    of_mean = -precision @ (np.asarray(X).mean(axis=0) - np.asarray(q.mean))
    assert np.abs(grads.energy[1] - of_mean).max() < error
    assert (
        np.abs(slope + 1 - grads.other.log_diagonal).min() > 10 * error
    )  # without its entropy it is not


@pytest.mark.parametrize("start", [1.0, 2.0, 0.6])
def test_energy_and_sampler_find_mean_and_covariance(start):
    params = Players((start * jnp.eye(2), jnp.zeros(2)), adv.affine_params(2))
    optimizer, chain_init = (
        optax.adam(optax.cosine_decay_schedule(0.03, 800), b1=0.0),
        eb.from_data(),
    )
    state = eb.init_state(KEY, params, optimizer, chain_init, 1.0)
    options = {"num_updates": 800, "batch_size": 500, "ema_decay": 0.98, "chunk": 200}
    state, metrics = eb.fit(KEY, LOSS, optimizer, state, X, chain_init, **options)
    root, mean = state.ema.energy
    covariance = np.linalg.inv(root.T @ root)
    for m, c in (
        (mean, covariance),
        (state.ema.other.mean, state.ema.other.root @ state.ema.other.root.T),
    ):
        assert np.abs(m - X.mean(axis=0)).max() < 0.1
        assert np.abs(c - np.cov(X.T)).max() < 0.15
    assert metrics["log_weight_spread"][-50:].mean() < 0.2


def test_without_its_entropy_the_sampler_collapses():
    def silent(params, key, num):
        x, log_q = adv.affine(params, key, num)
        return x, jax.lax.stop_gradient(log_q)

    loss, params = (
        adv.adversarial(energy, silent),
        Players((jnp.eye(2), jnp.zeros(2)), adv.affine_params(2)),
    )
    step = jax.jit(jax.grad(lambda p, k: loss(p, k, X[:500], None)[0]))
    for i in range(60):
        grads = step(params, jax.random.fold_in(KEY, i))
        params = params._replace(
            other=jax.tree.map(lambda p, g: p - 0.1 * g, params.other, grads.other)
        )
    assert float(jnp.exp(params.other.log_diagonal).max()) < 0.4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(adv.adversarial, energy, 3), "generate must be a function"),
        (partial(adv.through_map, None, 2), "forward must be a function, got None"),
        (
            lambda: LOSS(jnp.eye(2), KEY, X, None),
            r"adversarial trains Players\(energy, sampler\)",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_a_mixture_of_normals_has_its_density_and_draws_from_it(key):
    """The log density against that of its normals, the moments of the draws; one normal
    is the affine map."""
    params = adv.mixture_params(key, 2, num=3)
    params = params._replace(
        log_diagonal=jnp.log(jnp.array([[0.3, 0.5], [0.7, 0.4], [0.5, 0.5]]))
    )
    params = params._replace(below=0.2 * jnp.ones((3, 2, 2)))
    x, log_q = adv.mixture(params, key, 30_000)
    roots = np.stack(
        [np.asarray(adv.Affine(*[leaf[i] for leaf in params]).root) for i in range(3)]
    )
    normals = [
        targets.gaussian(np.asarray(m), r @ r.T)
        for m, r in zip(params.mean, roots, strict=True)
    ]
    log_density = lambda x: (
        jax.nn.logsumexp(jnp.stack([-n.energy(x) - n.log_z for n in normals]))
        - jnp.log(3)
    )
    assert np.allclose(log_q[:50], jax.vmap(log_density)(x[:50]), atol=1e-4)
    assert np.abs(x.mean(axis=0) - params.mean.mean(axis=0)).max() < 5 * 1.5 / np.sqrt(
        30_000
    )
    second = np.mean(
        [
            np.outer(m, m) + r @ r.T
            for m, r in zip(np.asarray(params.mean), roots, strict=True)
        ],
        axis=0,
    )
    assert np.abs(np.asarray(x.T @ x) / 30_000 - second).max() < 5 * 3 / np.sqrt(30_000)
    one = jax.tree.map(lambda leaf: leaf[:1], params)
    same = adv.affine(
        jax.tree.map(lambda leaf: leaf[0], params), jax.random.split(key)[0], 100
    )
    assert all(
        np.allclose(a, b, atol=1e-5)
        for a, b in zip(adv.mixture(one, key, 100), same, strict=True)
    )


def test_the_gradient_penalty_is_half_the_squared_slope_at_the_data():
    root, mean = jnp.array([[1.2, 0.3], [0.0, 0.9]]), jnp.array([0.2, 0.1])
    params = Players((root, mean), adv.affine_params(2))
    damped = adv.adversarial(
        lambda p, x: energy(p, x), adv.affine, gradient_penalty=0.7
    )
    slope = np.asarray(X - mean) @ np.asarray(root.T @ root)
    added = damped(params, KEY, X, None)[0] - LOSS(params, KEY, X, None)[0]
    assert float(added) == pytest.approx(0.35 * (slope**2).sum(axis=1).mean(), rel=1e-4)


@pytest.mark.parametrize("num", [3, 7])
def test_fewer_draws_than_normals_have_the_mean_of_the_mixture(num):
    """Two normals at -3 and two at 3: the mean of any number of draws is 0 on
    average."""
    params = adv.mixture_params(jax.random.key(0), 1, num=4)
    params = params._replace(mean=jnp.array([[-3.0], [-3.0], [3.0], [3.0]]))
    draws = jax.vmap(lambda key: adv.mixture(params, key, num)[0])(
        jax.random.split(jax.random.key(1), 4000)
    )
    means = np.asarray(draws).mean(axis=(1, 2))
    assert abs(z_score(means)) < 5
