"""The flow against determinants and quadrature, and flow contrastive estimation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import finite_differences, standard_error
from helpers import natural_energy as energy

import ebmjax as eb
from ebmjax import targets
from ebmjax.energies import flows
from ebmjax.objectives import noise_contrastive as nce
from ebmjax.objectives.base import Players
from ebmjax.objectives.flow_contrastive import flow_contrastive

TARGET = targets.gaussian([0.5], [[0.7]])
X = TARGET.sample(jax.random.key(5), 20_000)


def a_flow(shape=(2,), num_couplings=4, size=0.3):
    """A flow with parameters far from the initial ones."""
    flow = flows.Flow(shape, (16,), num_couplings)
    params = flow.init(jax.random.key(0), jnp.zeros(shape))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [
        x + size * jax.random.normal(k, x.shape, x.dtype)
        for k, x in zip(keys, leaves, strict=True)
    ]
    return flow, jax.tree.unflatten(tree, moved)


def test_a_fresh_flow_is_a_standard_normal(key):
    flow, params = a_flow((3,), size=0.0)
    x = jax.random.normal(key, (5, 3))
    expected = -0.5 * jnp.sum(x**2, axis=1) - 1.5 * np.log(2 * np.pi)
    assert np.allclose(jax.vmap(partial(flow.apply, params))(x), expected, atol=1e-5)


def test_the_maps_are_inverse_and_their_determinants_those_of_the_jacobian():
    with jax.enable_x64(True):
        flow, params = a_flow((3,))
        forward = lambda z: flow.apply(params, z, method="forward")
        inverse = lambda x: flow.apply(params, x, method="inverse")
        for z in jax.random.normal(jax.random.key(2), (4, 3)):
            x, log_det = forward(z)
            back, log_back = inverse(x)
            exact = jnp.linalg.slogdet(jax.jacfwd(lambda z: forward(z)[0])(z))[1]
            assert np.allclose(back, z, atol=1e-9) and abs(log_det + log_back) < 1e-9
            assert abs(log_det - exact) < 1e-9 and abs(exact) > 1e-2
            log_q = -0.5 * z @ z - 1.5 * np.log(2 * np.pi) - exact
            assert abs(flow.apply(params, x) - log_q) < 1e-9


def test_every_coordinate_moves_with_every_other():
    flow, params = a_flow((4,))
    z = jax.random.normal(jax.random.key(2), (4,))
    assert (
        jnp.abs(jax.jacfwd(lambda z: flow.apply(params, z, method="forward")[0])(z))
        > 1e-6
    ).all()


def test_the_density_is_normalised_and_that_of_the_draws(key):
    flow, params = a_flow(size=0.2)
    draws = np.asarray(flows.sample(flow, params, key, 40_000), np.float64)
    side = np.linspace(-18, 18, 601)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    q = np.exp(
        np.asarray(
            jax.vmap(partial(flow.apply, params))(jnp.asarray(grid, jnp.float32)),
            np.float64,
        )
    )
    cell = (side[1] - side[0]) ** 2
    assert q.sum() * cell == pytest.approx(1.0, abs=1e-4)
    for f in (
        lambda x: x[:, 0],
        lambda x: x[:, 1] ** 2,
        lambda x: np.sin(x[:, 0] * x[:, 1]),
    ):
        error = standard_error(f(draws))
        assert abs(f(draws).mean() - (q * f(grid)).sum() * cell) < 5 * error
    energy = flows.energy_of(flow, params, 1.7)
    weights = np.exp(
        -np.asarray(jax.vmap(energy)(jnp.asarray(grid, jnp.float32)), np.float64)
    )
    assert np.log(weights.sum() * cell) == pytest.approx(1.7, abs=1e-4)


def test_points_keep_their_shape_and_one_coordinate_has_an_affine_map(key):
    flow, params = a_flow((2, 3))
    assert flows.sample(flow, params, key, 5).shape == (5, 2, 3)
    assert flow.apply(params, jnp.ones((2, 3))).shape == ()
    flow, params = a_flow((1,))
    assert set(params["params"]) == {"log_scale", "shift"}


# --- flow contrastive estimation ----------------------------------------------------


def draw(flow, key, num):
    return flow[0] + jnp.exp(flow[1]) * jax.random.normal(key, (num, 1))


def log_prob(flow, x):
    return (
        -0.5 * jnp.sum((x - flow[0]) ** 2) * jnp.exp(-2 * flow[1])
        - flow[1]
        - 0.5 * jnp.log(2 * jnp.pi)
    )


A, B = 1 / 0.7, 0.5 / 0.7
TRUTH = Players(
    nce.with_log_z(jnp.array([A, B]), B**2 / (2 * A) + 0.5 * np.log(2 * np.pi / A)),
    jnp.array([0.5, 0.5 * np.log(0.7)]),
)


def test_at_the_truth_the_loss_is_2_log_2_and_stationary(key):
    run = jax.jit(
        jax.value_and_grad(flow_contrastive(energy, draw, log_prob), has_aux=True)
    )
    (value, (_, metrics)), grads = run(TRUTH, key, X, None)
    assert value == pytest.approx(2 * np.log(2), abs=1e-5)
    assert metrics["log_z"] == TRUTH.energy.log_z
    scale = 5 / np.sqrt(len(X))  # the features of either side have deviations below 1
    assert max(jnp.abs(x).max() for x in jax.tree.leaves(grads)) < scale
    moved = TRUTH._replace(other=TRUTH.other + jnp.array([0.4, 0.3]))
    (value, _), grads = run(moved, key, X, None)
    assert value < 2 * np.log(2) - 0.01
    assert (
        jnp.abs(grads.other).min() > scale
    )  # the energy already matches the data and stays
    assert max(jnp.abs(x).max() for x in jax.tree.leaves(grads.energy)) < scale


def test_gradients_of_energy_and_flow_equal_finite_differences():
    """Of -V for the energy and log Z; of V, through the draws, and of the likelihood
    for the flow."""
    with jax.enable_x64(True):
        x, key = jnp.asarray(np.asarray(X[:60], np.float64)), jax.random.key(3)
        params = Players(
            nce.Normalised(jnp.array([1.2, 0.3]), jnp.asarray(0.4)),
            jnp.array([0.2, -0.3]),
        )

        def minus_v(v):
            log_p = lambda x: -energy(v[:2], x) - v[2]
            y = draw(v[3:], key, len(x))
            total = lambda x: jnp.logaddexp(log_p(x), log_prob(v[3:], x))
            of_data, of_draws = (
                lambda x: log_p(x) - total(x),
                lambda x: log_prob(v[3:], x) - total(x),
            )
            return -jnp.mean(jax.vmap(of_data)(x)) - jnp.mean(jax.vmap(of_draws)(y))

        likelihood = lambda v: jnp.mean(jax.vmap(partial(log_prob, v[3:]))(x))
        flat = jnp.array([1.2, 0.3, 0.4, 0.2, -0.3])
        game, fit = (
            finite_differences(jax.jit(f), flat) for f in (minus_v, likelihood)
        )
        for weight in (0.0, 0.6):
            loss = flow_contrastive(energy, draw, log_prob, likelihood_weight=weight)
            (value, _), grads = jax.value_and_grad(loss, has_aux=True)(
                params, key, x, None
            )
            found = np.array([*grads.energy.energy, grads.energy.log_z, *grads.other])
            assert value == pytest.approx(float(minus_v(flat)), rel=1e-12)
            assert np.allclose(
                found,
                [*game[:3], *(-game[3:] - weight * fit[3:])],
                rtol=1e-6,
                atol=1e-8,
            )
        assert not np.allclose(found[3:], game[3:], rtol=0.1)


def test_training_with_a_normalising_flow(key):
    flow, params = a_flow()
    x = jax.random.normal(key, (32, 2))
    network = eb.MLP((8,), confinement=2.0)
    players = Players(nce.with_log_z(network.init(key, x[0])), params)
    loss = flow_contrastive(network.apply, partial(flows.sample, flow), flow.apply)
    grads = jax.jit(jax.grad(lambda p: loss(p, key, x, None)[0]))(players)
    assert all(
        np.isfinite(g).all() and jnp.abs(g).max() > 0
        for g in jax.tree.leaves(grads.other)
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            partial(flow_contrastive, energy, draw, 3),
            TypeError,
            "log_prob must be a function",
        ),
        (
            partial(flow_contrastive, energy, draw, log_prob, likelihood_weight=-1.0),
            ValueError,
            "likelihood_weight must be finite and at least 0",
        ),
        (
            lambda: flow_contrastive(energy, draw, log_prob)(
                jnp.ones(2), jax.random.key(0), X, None
            ),
            TypeError,
            r"trains Players\(with_log_z\(energy\), flow\), got float32",
        ),
        (partial(flows.energy_of, 3, None), TypeError, "flow must be a Flow, got 3"),
        (
            lambda: flows.sample(*a_flow(), jax.random.key(0), 0),
            ValueError,
            "num must be at least 1",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
