"""Energies of points and labels: gradients against log Z in closed form, and a mixture
whose Bayes rule is known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import flat, z_score

import ebmjax as eb
from ebmjax.energies import networks
from ebmjax.evaluation import classification
from ebmjax.objectives import Chains, batches, conditional_chains, joint
from ebmjax.objectives.batches import Labelled
from ebmjax.objectives.likelihood import overall

SHARES = np.array([0.2, 0.5, 0.3])
MEANS = np.array([[0.0, 1.0], [2.0, -0.5], [-1.5, -1.0]])
WIDTHS = np.array([0.6, 1.0, 0.8])
TRUTH = {
    "constant": jnp.asarray(
        -np.log(SHARES) + 2 * np.log(WIDTHS) + np.log(2 * np.pi), jnp.float32
    ),
    "mean": jnp.asarray(MEANS, jnp.float32),
    "log_precision": jnp.asarray(-2 * np.log(WIDTHS), jnp.float32),
}
ELSEWHERE = {
    "constant": jnp.array([0.1, 0.4, -0.2]),
    "mean": jnp.asarray(MEANS + 0.3, jnp.float32),
    "log_precision": jnp.array([0.3, 0.5, -0.2]),
}
NUM, NUM_BATCHES = 5000, 25


def energies(params, x):
    squares = jnp.sum((x - params["mean"]) ** 2, axis=-1)
    return params["constant"] + 0.5 * jnp.exp(params["log_precision"]) * squares


def log_z_of_classes(params):
    return -params["constant"] - params["log_precision"] + jnp.log(2 * jnp.pi)


def draw(key, num, params=TRUTH, shares=None):
    """Points and labels of the model: normals of its classes, in proportion to their Z
    or to ``shares``."""
    key_label, key_point = jax.random.split(key)
    logits = log_z_of_classes(params) if shares is None else jnp.log(shares)
    labels = jax.random.categorical(key_label, logits, shape=(num,))
    noise = jax.random.normal(key_point, (num, 2))
    points = (
        params["mean"][labels]
        + noise * jnp.exp(-0.5 * params["log_precision"][labels])[:, None]
    )
    return Labelled(points, jax.nn.one_hot(labels, 3))


def log_likelihood_gradient(params, batch, is_joint):
    """Of E_y(x) + log Z or + log Z_y, by hand: no chains."""

    def minus_log_likelihood(params):
        of_label = jnp.sum(
            batch.label * jax.vmap(partial(energies, params))(batch.point), axis=1
        )
        log_z = log_z_of_classes(params)
        return jnp.mean(of_label) + (
            jax.nn.logsumexp(log_z) if is_joint else batch.label.mean(0) @ log_z
        )

    return jax.grad(minus_log_likelihood)(params)


def gaps(loss, params, *, is_joint, shares=None):
    """Gradient less that of the likelihood, over many batches with chains that are
    exact draws, in standard errors."""

    def one(key):
        key_batch, key_chains, key_loss = jax.random.split(key, 3)
        batch = draw(key_batch, NUM)
        chains = draw(key_chains, NUM, params, shares)
        chains = Chains(chains.point if is_joint else chains, jnp.float32(0.3))
        grads, _ = jax.grad(loss, has_aux=True)(params, key_loss, batch, chains)
        expected = log_likelihood_gradient(params, batch, is_joint)
        return flat(grads) - flat(expected)

    rows = np.asarray(
        jax.lax.map(jax.jit(one), jax.random.split(jax.random.key(7), NUM_BATCHES)),
        np.float64,
    )
    return np.abs(z_score(rows))


def test_the_joint_gradient_is_that_of_the_likelihood_of_points_and_labels():
    loss = joint.joint(energies, eb.mala, 1)  # MALA keeps exact draws exact
    for params in (TRUTH, ELSEWHERE):
        assert gaps(loss, params, is_joint=True).max() < 6
    half = joint.joint(energies, eb.mala, 1, generative_weight=0.5)
    assert gaps(half, ELSEWHERE, is_joint=True).max() > 20


def test_the_class_conditional_gradient_is_that_of_the_likelihood_given_labels(
    monkeypatch,
):
    """For any number of chains of a class; with plain means only where the shares of
    the chains are those of the points."""
    loss = joint.class_conditional(energies, eb.mala, 1)
    for params in (TRUTH, ELSEWHERE):
        for shares in (SHARES, np.ones(3) / 3):
            assert gaps(loss, params, is_joint=False, shares=shares).max() < 6
    monkeypatch.setattr(joint, "by_class", overall)
    loss = joint.class_conditional(energies, eb.mala, 1)
    assert gaps(loss, ELSEWHERE, is_joint=False, shares=np.ones(3) / 3).max() > 20


def test_constants_of_classes_have_no_gradient_where_a_class_has_no_chain_or_too_few():
    chains = draw(jax.random.key(3), 60, shares=np.array([0.9, 0.1, 1e-9]))
    assert not chains.label[:, 2].any() and chains.label[:, 1].any()
    loss = jax.jit(
        jax.grad(joint.class_conditional(energies, eb.mala, 3), has_aux=True)
    )
    batch = draw(jax.random.key(4), 500)
    grads, _ = loss(
        ELSEWHERE, jax.random.key(5), batch, Chains(chains, jnp.float32(0.3))
    )
    assert (
        np.abs(grads["constant"]).max() < 1e-5
        and np.abs(grads["mean"][:2]).min() > 1e-3
    )


def test_at_the_truth_the_losses_of_the_classifier_are_those_of_bayes_and_log_z_is_0():
    data = draw(jax.random.key(1), 100_000)
    assert float(jax.nn.logsumexp(log_z_of_classes(TRUTH))) == pytest.approx(
        0, abs=1e-5
    )
    density = SHARES * np.exp(
        -0.5 * ((np.asarray(data.point)[:, None] - MEANS) ** 2).sum(-1) / WIDTHS**2
    )
    density /= 2 * np.pi * WIDTHS**2
    bayes = density / density.sum(axis=1, keepdims=True)
    assert np.allclose(joint.predict(energies, TRUTH, data.point), bayes, atol=1e-4)
    x = data.point[:100]
    assert np.allclose(
        jax.vmap(partial(joint.marginal(energies), TRUTH))(x),
        -np.log(density.sum(axis=1))[:100],
        atol=1e-3,
    )
    loss = jax.jit(joint.joint(energies, eb.mala, 1))
    _, (_, metrics) = loss(
        TRUTH, jax.random.key(2), data, Chains(data.point, jnp.float32(0.3))
    )
    entropy = -np.log(bayes[np.asarray(data.label) > 0]).mean()
    assert float(metrics["cross_entropy"]) == pytest.approx(entropy, rel=1e-3)
    assert float(metrics["accuracy"]) == pytest.approx(
        bayes.max(axis=1).mean(), abs=5 * 0.5 / np.sqrt(100_000)
    )
    _, (_, worse) = loss(
        ELSEWHERE, jax.random.key(2), data, Chains(data.point, jnp.float32(0.3))
    )
    assert float(worse["cross_entropy"]) > entropy + 0.02


def test_chains_keep_their_labels_and_move_their_points():
    chains = draw(jax.random.key(3), 50)
    loss = joint.class_conditional(energies, eb.ula, 5)
    _, (end, _) = jax.jit(loss)(
        TRUTH, jax.random.key(4), chains, Chains(chains, jnp.float32(0.3))
    )
    assert (np.asarray(end.position.label) == np.asarray(chains.label)).all()
    assert (np.asarray(end.position.point) != np.asarray(chains.point)).all()


def test_noise_is_added_to_the_points_alone():
    """In the loop, to points at zero: their energy |x|^2 / 2 is D sigma^2 / 2, their
    label stays certain; and chains that start at the data start at those with noise."""
    num, noise = 20_000, 0.7
    batch, optimizer = (
        Labelled(jnp.zeros((num, 2)), jnp.eye(2)[jnp.zeros(num, int)]),
        optax.sgd(0.0),
    )
    still = lambda energy, step_size: eb.metropolis(
        energy, lambda key, x: x, symmetric=True
    )
    loss = joint.joint(
        lambda p, x: p * 0.5 * jnp.sum(x**2) + jnp.array([0.0, 50.0]), still, 1
    )
    chain_init = conditional_chains.of_points(eb.from_data())
    state = eb.init_state(jax.random.key(0), jnp.float32(1.0), optimizer, chain_init)
    options = {"num_updates": 1, "batch_size": num, "data_noise": noise, "chunk": 1}
    _, metrics = eb.fit(
        jax.random.key(1), loss, optimizer, state, batch, chain_init, **options
    )
    assert abs(metrics["energy_data"][0] - noise**2) < 5 * noise**2 / np.sqrt(num)
    assert metrics["energy_model"][0] == pytest.approx(
        metrics["energy_data"][0], rel=1e-5
    )
    assert abs(metrics["cross_entropy"][0]) < 1e-6


@pytest.mark.parametrize("name", ["joint", "class_conditional"])
def test_the_gradient_with_fixed_chains_equals_finite_differences(name):
    network = networks.MLP((8,), confinement=2.0, num_outputs=3)
    params = network.init(jax.random.key(0), jnp.zeros(2))
    batch, start = draw(jax.random.key(1), 100), draw(jax.random.key(2), 100)
    start = start._replace(
        point=2 * start.point
    )  # away from the data, so that the gradient is not small
    loss = getattr(joint, name)(network.apply, eb.mala, 3)
    start = Chains(start.point if name == "joint" else start, jnp.float32(0.3))
    grads, (end, _) = jax.jit(jax.grad(loss, has_aux=True))(
        params, jax.random.key(3), batch, start
    )

    def held(params):
        of = jax.vmap(partial(network.apply, params))
        if name == "class_conditional":
            of_label = lambda at: (
                at.label.T
                @ jnp.sum(at.label * of(at.point), axis=1)
                / at.label.sum(axis=0)
            )
            return batch.label.mean(axis=0) @ (of_label(batch) - of_label(end.position))
        minus_log_sum = lambda e: jnp.mean(-jnp.log(jnp.sum(jnp.exp(-e), axis=1)))
        generative = minus_log_sum(of(batch.point)) - minus_log_sum(of(end.position))
        return (
            generative
            + jnp.mean(jnp.sum(batch.label * of(batch.point), 1))
            - minus_log_sum(of(batch.point))
        )

    direction = jax.tree.map(
        lambda w: jax.random.normal(jax.random.key(w.size), w.shape), params
    )
    shifted = [
        jax.tree.map(lambda w, d, s=s: w + s * 1e-2 * d, params, direction)
        for s in (1, -1)
    ]
    held = jax.jit(held)
    slope = (held(shifted[0]) - held(shifted[1])) / 2e-2
    exact = float(optax.tree.vdot(grads, direction))
    assert np.isclose(slope, exact, rtol=1e-2, atol=1e-3) and abs(exact) > 0.02


def test_a_network_learns_bayes_rule_is_calibrated_and_detects_other_inputs():
    data = draw(jax.random.key(1), 8000)
    network = networks.MLP((64, 64), confinement=3.0, num_outputs=3)
    params = network.init(jax.random.key(0), jnp.zeros(2))
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, 600))
    chain_init = conditional_chains.of_points(
        eb.replay_buffer(lambda key, n: 2 * jax.random.normal(key, (n, 2)), 512)
    )
    state = eb.init_state(jax.random.key(0), params, optimizer, chain_init, 0.5)
    loss = joint.joint(network.apply, eb.mala, 10, acceptance_target=0.574)
    options = {"num_updates": 600, "batch_size": 256, "num_chains": 256, "chunk": 300}
    state, _ = eb.fit(
        jax.random.key(1), loss, optimizer, state, data, chain_init, **options
    )

    test = draw(jax.random.key(9), 4000)
    labels = np.asarray(test.label).argmax(axis=1)
    found = np.asarray(joint.predict(network.apply, state.ema, test.point))
    bayes = np.asarray(joint.predict(energies, TRUTH, test.point))
    assert np.abs(found - bayes).mean() < 0.04
    assert classification.calibration_error(found, labels) < 0.04
    energy = partial(joint.marginal(network.apply), state.ema)
    outside = jnp.array([4.0, 4.0]) + 0.5 * jax.random.normal(
        jax.random.key(8), (1000, 2)
    )
    scores = [classification.density_score(energy, x) for x in (test.point, outside)]
    assert classification.auroc(*scores) > 0.97
    fresh = partial(joint.marginal(network.apply), params)
    truth = partial(joint.marginal(energies), TRUTH)
    at = [np.asarray(jax.vmap(f)(test.point)) for f in (energy, fresh, truth)]
    assert np.corrcoef(at[0], at[2])[0, 1] > 0.97 > np.corrcoef(at[1], at[2])[0, 1]


def test_fresh_chains_have_the_shares_of_the_data():
    both = conditional_chains.with_labels(
        lambda key, n: jax.random.normal(key, (n, 2)), SHARES
    )
    found = np.asarray(both(jax.random.key(0), 20_000).label).mean(axis=0)
    assert (np.abs(found - SHARES) < 5 * np.sqrt(SHARES * (1 - SHARES) / 20_000)).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: batches.labelled(np.zeros((3, 2), np.float32), [0, 1]),
            "labels must be 3 whole numbers",
        ),
        (
            lambda: batches.labelled(np.zeros((2, 2), np.float32), [0.0, 1.0]),
            "labels must be 2 whole numbers",
        ),
        (
            lambda: batches.labelled(np.zeros((2, 2), np.float32), [0, 3], 3),
            r"labels must lie in \[0, 3\)",
        ),
        (
            lambda: batches.labelled(np.zeros((2, 2), np.float32), [-1, 0]),
            "labels must lie in",
        ),
        (
            lambda: conditional_chains.with_labels(lambda key, n: None, [0.5, 0.6]),
            "shares must be .* got",
        ),
        (
            lambda: joint.joint(energies, eb.mala, 1, generative_weight=-1.0),
            "generative_weight must",
        ),
        (
            lambda: joint.joint(energies, eb.mala, 1)(
                TRUTH, jax.random.key(0), jnp.zeros((2, 2)), None
            ),
            "be Labelled",
        ),
        (
            lambda: joint.joint(lambda p, x: jnp.zeros(4), eb.mala, 1)(
                TRUTH,
                jax.random.key(0),
                draw(jax.random.key(0), 5),
                Chains(jnp.zeros((5, 2)), jnp.float32(0.1)),
            ),
            r"one energy a class, \[3\], got shape \(4,\)",
        ),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises((ValueError, TypeError), match=says):
        call()
