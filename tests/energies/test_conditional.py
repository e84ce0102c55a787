"""Energies of a point given a condition: many conditions at once, and training of p(x |
c)."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import finite_difference, standard_error

import ebmjax as eb
from ebmjax.objectives import noise_contrastive as nce
from ebmjax.objectives.conditional import ConditionalLikelihood
from ebmjax.objectives.score_matching import denoising, explicit, sliced
from ebmjax.sampling.loop import chain_keys

SLOPE = np.array([[1.0, -0.5], [0.3, 2.0]], np.float32)
NUM, CHAINS, STEPS = 50, 8, 1000


def mean_of(c):
    """E[x | c], [2]."""
    return jnp.stack([SLOPE[0, 0] * c + 1.0, SLOPE[1, 1] * jnp.sin(2 * c)])


def scale_of(c):
    """The standard deviation of x given c: over c in [-2, 2] it grows 55 times."""
    return jnp.exp(c)


def regression(x, c):
    """A normal with a mean and a scale that depend on c."""
    return 0.5 * jnp.sum(((x - mean_of(c)) / scale_of(c)) ** 2)


@functools.cache
def runs():
    """Warm-up and samples of fifty conditions, each its own; conditions, draws."""
    conditions = jnp.linspace(-2, 2, NUM)
    key_start, key_warm, key_run = jax.random.split(jax.random.key(1), 3)
    starts = 3 * jax.random.normal(key_start, (NUM, CHAINS, 2))
    tuned = eb.warm_up_each(key_warm, eb.mala, regression, conditions, starts)
    samples = eb.sample(
        key_run, tuned.kernel, tuned.position, STEPS, collect=eb.collect_stats
    )
    return conditions, tuned, samples


# --- the energy ---------------------------------------------------------------------


def test_an_energy_given_its_condition_is_a_value_with_the_condition_as_leaf():
    given = eb.condition(regression, 0.5)
    x = jnp.array([0.2, -0.3])
    assert float(given(x)) == float(regression(x, jnp.float32(0.5)))
    assert [float(leaf) for leaf in jax.tree.leaves(given)] == [0.5]
    params = jnp.float32(3.0)
    bound = eb.condition(
        partial(lambda p, x, c: p * regression(x, c), params), jnp.zeros(4)
    )
    assert sorted(np.shape(leaf) for leaf in jax.tree.leaves(bound)) == [(), (4,)]
    whole = eb.condition(lambda x, c: x * jnp.arange(3.0)[c], 2)
    assert jax.tree.leaves(whole)[0].dtype == jnp.int32 and float(whole(5.0)) == 10
    # another condition is no new program
    count = []
    step = jax.jit(lambda e, x: (count.append(1), e(x))[1])
    values = [float(step(eb.condition(regression, c), x)) for c in (0.1, 0.7, -2.0)]
    assert len(count) == 1 and len(set(values)) == 3


@pytest.mark.parametrize("bad", [None, "three", np.nan, {"a": [np.inf, 1.0]}])
def test_nonfinite_conditions_are_refused(bad):
    with pytest.raises((TypeError, ValueError), match="condition"):
        eb.condition(regression, bad)


def test_the_gradient_in_the_condition_equals_finite_differences():
    """Of the energy at a point; and of log Z(c) as a mean over exact samples, where it
    is known: log Z = 2 c + log 2 pi."""
    x, c = jnp.array([0.7, -0.4]), jnp.float32(0.6)
    grad = jax.grad(lambda e: e(x))(eb.condition(regression, c)).condition
    slope = finite_difference(lambda c: eb.condition(regression, c)(x), c, 1.0)
    assert abs(float(grad - slope)) < 1e-3 * abs(float(grad))
    z = jax.random.normal(jax.random.key(0), (20_000, 2))
    points = mean_of(c) + scale_of(c) * z
    of_c = jax.vmap(lambda x: jax.grad(lambda e: e(x))(eb.condition(regression, c)))
    slopes = -np.asarray(of_c(points).condition, np.float64)
    error = standard_error(slopes)
    assert abs(slopes.mean() - 2.0) < 4 * error
    assert abs(slopes.mean() - 1.0) > 20 * error  # a control


# --- many conditions ----------------------------------------------------------------


def test_each_condition_has_its_own_mean_within_standard_errors():
    """E[x | c] over fifty conditions against the truth; the control is that of the
    neighbouring condition."""
    conditions, _, samples = runs()
    found = eb.summary_each(samples, NUM)
    mean = np.array([s.columns["mean"] for s in found])
    error = np.array([s.columns["mcse_mean"] for s in found])
    truth = np.asarray(jax.vmap(mean_of)(conditions), np.float64)
    z = (mean - truth) / error
    assert np.abs(z).max() < 4.5
    assert abs((z**2).mean() - 1) < 5 * (2 / z.size) ** 0.5
    shifted = (mean - np.roll(truth, 1, axis=0)) / error
    assert (shifted**2).mean() > 4
    sd = np.array([s.columns["sd"] for s in found])
    error = np.array([s.columns["mcse_sd"] for s in found])
    z = (sd - np.asarray(scale_of(conditions))[:, None]) / error
    assert np.abs(z).max() < 5
    assert sum(bool(s.warnings) for s in found) <= 2


def test_each_condition_has_its_own_step_size():
    """The scales differ by a factor of 55, and the step sizes follow them."""
    conditions, tuned, _ = runs()
    size = np.asarray(tuned.step_size.matrix)  # [B, 2, 2]
    size = np.linalg.det(size) ** 0.5
    ratio = size / np.asarray(scale_of(conditions))
    assert size.max() / size.min() > 30 and ratio.max() / ratio.min() < 3
    assert tuned.kernel.num_chains == NUM * CHAINS
    assert tuned.acceptance_rate.shape[0] == NUM
    rates = tuned.acceptance_rate[:, -20:].mean(axis=1)
    assert np.all(abs(rates - 0.574) < 0.2)


def test_many_conditions_are_a_loop_over_them():
    """Warm-up of three conditions together and one by one; a control with another
    key."""
    conditions = jnp.array([-1.0, 0.0, 1.5])
    starts = jax.random.normal(jax.random.key(5), (3, 4, 2))
    key = jax.random.key(6)
    options = {"num_steps": 60, "covariance": None}
    together = eb.warm_up_each(key, eb.mala, regression, conditions, starts, **options)
    alone = [
        eb.warm_up(
            jax.random.fold_in(key, b),
            eb.mala,
            eb.condition(regression, conditions[b]),
            starts[b],
            **options,
        )
        for b in range(3)
    ]
    sizes = np.array([float(t.step_size) for t in alone])
    np.testing.assert_allclose(together.step_size, sizes, rtol=1e-3)
    where = np.concatenate([t.position for t in alone])
    np.testing.assert_allclose(together.position, where, rtol=1e-3, atol=1e-3)
    leaves = jax.tree.leaves(together.kernel)
    assert sorted(np.shape(x) for x in leaves) == [(12,), (12,)]
    assert np.ptp(sizes) > 0.3 * sizes.mean()


def test_parameters_shared_by_conditions_are_stored_once():
    """Parameters of the energy are not repeated for each chain."""
    params = jnp.arange(1.0, 4.0)
    energy = partial(lambda p, x, c: 0.5 * p[0] * jnp.sum((x - c) ** 2), params)
    starts = jnp.zeros((2, 3, 1)) + jnp.arange(3.0)[:, None]
    found = eb.warm_up_each(
        jax.random.key(0), eb.mala, energy, jnp.zeros(2), starts, num_steps=20
    )
    shapes = [np.shape(x) for x in jax.tree.leaves(found.kernel.kernel)]
    assert (3,) in shapes and (6, 3) not in shapes and (6,) in shapes


def test_draws_are_divided_by_condition():
    draws = np.arange(6 * 12 * 2.0).reshape(6, 12, 2)
    split = eb.by_condition(draws, 4)
    assert np.array_equal(split[:, 1], draws[:, 3:6])
    with pytest.raises(ValueError, match="B = 5"):
        eb.by_condition(draws, 5)


def test_bad_starts_of_many_conditions_are_named():
    starts = jnp.zeros((3, 4, 2)).at[1, 2, 0].set(30.0)
    wall = lambda x, c: jnp.where(jnp.max(x) < 10, regression(x, c), jnp.inf)
    with pytest.raises(ValueError, match="chain 2 of condition 1"):
        eb.warm_up_each(jax.random.key(0), eb.mala, wall, jnp.zeros(3), starts)
    with pytest.raises(
        ValueError, match="as many conditions as conditions has rows, 2"
    ):
        eb.warm_up_each(jax.random.key(0), eb.mala, wall, jnp.zeros(2), starts)
    with pytest.raises(ValueError, match=r"\[B, C, ...\]"):
        eb.warm_up_each(jax.random.key(0), eb.mala, wall, jnp.zeros(3), starts[:, 0, 0])


# --- training -----------------------------------------------------------------------

TRUE = {
    "slope": jnp.float32(1.5),
    "shift": jnp.float32(-0.5),
    "log_scale": jnp.float32(0.2),
    "growth": jnp.float32(0.6),
    "gauge": jnp.float32(0.0),
}


def model(params, x, c):
    """A linear regression whose noise grows with c; ``gauge`` adds a function of c."""
    scale = jnp.exp(params["log_scale"] + params["growth"] * c[0])
    z = (x[0] - params["slope"] * c[0] - params["shift"]) / scale
    return 0.5 * z**2 + params["gauge"] * c[0]


def data_of(key, num):
    key_c, key_x = jax.random.split(key)
    c = jax.random.uniform(key_c, (num, 1), minval=-1, maxval=1)
    x = sampled(key_x, TRUE, c)
    return eb.pairs(x, c)


def sampled(key, params, c):
    noise = jnp.exp(params["log_scale"] + params["growth"] * c)
    return (
        params["slope"] * c + params["shift"] + noise * jax.random.normal(key, c.shape)
    )


def minus_log(params, x, c):
    log_scale = params["log_scale"] + params["growth"] * c[0]
    return model(params, x, c) - params["gauge"] * c[0] + log_scale


def test_the_gradient_is_that_of_the_conditional_likelihood():
    """With chains that start at exact samples of p(x | c): each entry within standard
    errors of the closed form over 400 keys; what a function of c adds cancels
    exactly."""
    other = {**TRUE, "slope": jnp.float32(0.8), "growth": jnp.float32(0.1)}
    batch = data_of(jax.random.key(0), 64)
    objective = eb.conditional_likelihood(model, eb.mala, 2)

    def one(key):
        key_start, key_run = jax.random.split(key)
        start = sampled(key_start, other, batch.condition)
        chains = eb.Chains(start, jnp.float32(0.4))
        loss = lambda p: objective(p, key_run, batch, chains)[0]
        return jax.grad(loss)(other)

    def closed_form(params):
        mean = lambda p: jnp.mean(
            jax.vmap(partial(minus_log, p))(batch.point, batch.condition)
        )
        return jax.grad(mean)(params)

    found = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), 400))
    want, elsewhere = closed_form(other), closed_form(TRUE)
    assert np.abs(np.asarray(found["gauge"])).max() < 1e-5
    differs = []
    for name in ("slope", "shift", "log_scale", "growth"):
        x = np.asarray(found[name], np.float64)
        error = x.std() / len(x) ** 0.5
        assert abs(x.mean() - float(want[name])) < 4.5 * error, name
        assert error < 0.02
        differs.append(abs(x.mean() - float(elsewhere[name])) / error)
    assert max(differs) > 15  # a control: the gradient at other parameters


@functools.cache
def trained(name):
    """Parameters learned from 2000 pairs, from a start away from the truth."""
    data = data_of(jax.random.key(2), 2000)
    start = {**jax.tree.map(jnp.zeros_like, TRUE), "gauge": jnp.float32(0.0)}
    draw = lambda key, n: 1.5 * jax.random.normal(key, (n, 1))
    options = {"batch_size": 500, "num_updates": 300, "ema_decay": 0.98}
    chain_init = eb.from_data()
    if name == "maximum likelihood":
        objective = eb.conditional_likelihood(
            model, eb.mala, 10, acceptance_target=0.574
        )
        chain_init = eb.persistent_pairs(draw, 2000)
    elif name == "score matching":
        objective = eb.over_pairs(sliced, model)
    else:
        make = partial(nce.ranking, noise=nce.fitted_normal(data.point, widen=1.3))
        objective = eb.over_pairs(make, model)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 300))
    params = objective.init(jax.random.key(3), start, data)
    state = eb.init_state(jax.random.key(4), params, optimizer, chain_init, 0.5)
    found = eb.fit(
        jax.random.key(5), objective, optimizer, state, data, chain_init, **options
    )
    return data, objective.energy_params(found.state.ema)


@pytest.mark.parametrize("name", ["maximum likelihood", "score matching", "ranking"])
def test_pairs_train_to_the_truth(name):
    """Within standard errors of maximum likelihood times the estimator's own factor."""
    data, params = trained(name)
    of_all = lambda p: jnp.sum(
        jax.vmap(partial(minus_log, p))(data.point, data.condition)
    )
    names = ("slope", "shift", "log_scale", "growth")
    own = {k: TRUE[k] for k in names}
    hessian = jax.hessian(lambda p: of_all({**TRUE, **p}))(own)
    matrix = np.array([[float(hessian[a][b]) for b in names] for a in names])
    error = np.diag(np.linalg.inv(matrix)) ** 0.5
    found = np.array([float(params[k]) for k in names])
    truth = np.array([float(TRUE[k]) for k in names])
    factor = 1.5 if name == "maximum likelihood" else 3.0
    assert np.abs((found - truth) / error).max() < 4 * factor, (found, error)
    assert np.abs(truth / error).max() > 20  # where it began


def test_persistent_chains_stay_with_their_condition(key):
    """Chain i is the chain of row i of the data; of a row drawn twice the first
    stays."""
    chains = eb.persistent_pairs(lambda key, n: jnp.zeros((n, 1)), 6)
    buffer = jnp.arange(6.0)[:, None]
    data = eb.pairs(jnp.ones((6, 1)), 10.0 * jnp.arange(6.0)[:, None])
    batch = jax.tree.map(lambda x: x[jnp.array([4, 1, 4, 0])], data)
    position, slots = chains.draw(key, buffer, batch, 3)
    assert position[:, 0].tolist() == [4, 1, 4] and slots.tolist() == [4, 1, 4]
    after = chains.update(buffer, slots, position + jnp.array([[0.1], [0.2], [0.3]]))
    np.testing.assert_allclose(after[:, 0], [0, 1.2, 2, 3, 4.1, 5], rtol=1e-6)
    with pytest.raises(ValueError, match="one a point of the batch, 4"):
        chains.draw(key, buffer, batch, 5)
    with pytest.raises(TypeError, match="Pairs"):
        chains.draw(key, buffer, data.point, 2)


def test_chains_near_the_data_begin_near_their_own_point(key):
    """At the beginning, at a restart, and where a chain was lost."""
    points = 100.0 * jnp.arange(6.0)[:, None]
    data = eb.pairs(points, jnp.zeros((6, 1)))
    batch = jax.tree.map(lambda x: x[jnp.array([4, 1, 5])], data)
    chains = eb.persistent_pairs(eb.near_data(points, 0.5), 6, 1.0)
    buffer = chains.init(key)
    gap = buffer - points
    assert (jnp.abs(gap) < 5).all() and jnp.std(gap) > 0.1
    position, _ = chains.draw(key, buffer + 7.0, batch, 3)
    assert (jnp.abs(position - batch.point) < 5).all()
    assert (jnp.abs(chains.reset(key, batch, 2) - batch.point[:2]) < 5).all()
    with pytest.raises(ValueError, match="of the num_points points, 7, got 6"):
        eb.persistent_pairs(eb.near_data(points, 0.5), 7)


def test_chains_run_at_the_conditions_of_the_batch(key):
    """Exact: after many steps from one place they are where their conditions are; more
    chains than points go through the batch again."""
    batch = eb.pairs(jnp.zeros((3, 1)), jnp.array([[-40.0], [0.0], [40.0]]))
    energy = lambda params, x, c: 0.5 * params * jnp.sum((x - c) ** 2)
    objective = eb.conditional_likelihood(energy, eb.mala, 200)
    chains = eb.Chains(jnp.zeros((6, 1)), jnp.float32(1.2))
    _, (after, metrics) = objective(jnp.float32(1.0), key, batch, chains)
    assert np.abs(after.position[:, 0] - np.tile([-40, 0, 40], 2)).max() < 6
    assert float(metrics["acceptance_rate"]) > 0.3


def test_noise_of_training_is_on_points_alone(key):
    from ebmjax.objectives.batches import noisy

    data = data_of(key, 8)
    after = noisy(key, data, 0.5)
    assert np.array_equal(after.condition, data.condition)
    assert np.array_equal(after.row, data.row)
    assert not np.array_equal(after.point, data.point)


def test_the_divergence_monitor_of_pairs_uses_points_alone(key):
    """Conditions and rows of the data set neither its extent nor its dimension."""
    data = eb.pairs(0.5 * jnp.ones((90, 2)), 1e3 * jnp.ones((90, 3)))
    monitor = eb.DivergenceMonitor(data)
    assert (monitor.extent, monitor.dim) == (0.5, 2)


def test_objectives_over_pairs_are_means_given_each_condition(key):
    """Each point's own objective, built by hand; and what is no mean is refused."""
    data = data_of(key, 5)
    objective = eb.over_pairs(explicit, model)
    value = objective(TRUE, key, data, None)[0]
    by_hand = [
        explicit(lambda p, x, c=c: model(p, x, c))(TRUE, key, x[None], None)[0]
        for x, c in zip(data.point, data.condition, strict=True)
    ]
    np.testing.assert_allclose(float(value), np.mean(by_hand), rtol=1e-5)
    assert eb.over_pairs(partial(denoising, noise=0.1), model).adds_noise
    assert not objective.adds_noise
    binary = eb.over_pairs(
        partial(nce.binary, noise=nce.fitted_normal(data.point)), model
    )
    params = binary.init(key, TRUE, data)
    assert float(params.log_z) == 0 and binary.energy_params(params) == TRUE
    with pytest.raises(TypeError, match="mean over points"):
        eb.over_pairs(
            lambda e: eb.maximum_likelihood(e, eb.mala, 2), lambda p, x, c: 0.0
        )


def test_labels_become_one_hot_rows_and_pairs_are_checked():
    found = eb.pairs(np.zeros((4, 2), np.float32), np.array([2, 0, 1, 2]))
    assert np.array_equal(found.condition, np.eye(3)[[2, 0, 1, 2]])
    assert found.row.tolist() == [0, 1, 2, 3]
    for conditions, text in (
        (np.zeros(3, np.float32), "one a point, 4"),
        (np.array([0, -1, 1, 1]), "at least 0"),
        (np.full((4, 1), np.nan, np.float32), "finite"),
    ):
        with pytest.raises(ValueError, match=text):
            eb.pairs(np.zeros((4, 2), np.float32), conditions)


# --- networks -----------------------------------------------------------------------


def test_a_network_takes_labels_and_one_hot_rows_alike(key):
    network = eb.ConditionalMLP((8,), num_classes=3, confinement=2.0)
    x = jnp.array([0.3, -1.0])
    params = network.init(key, x, 1)
    of_label = [float(network.apply(params, x, c)) for c in range(3)]
    of_row = [float(network.apply(params, x, jnp.eye(3)[c])) for c in range(3)]
    assert of_label == of_row and len(set(of_label)) == 3
    with pytest.raises(ValueError, match="a class below 3"):
        network.apply(params, x, jnp.zeros(2))
    image = eb.ConditionalConv((4, 4, 8), num_classes=3)
    params = image.init(key, jnp.zeros((8, 8)), 0)
    shape = image.apply(params, jnp.ones((8, 8)), 2).shape
    assert shape == () and isinstance(
        eb.conditional_likelihood(image.apply, eb.mala, 1), ConditionalLikelihood
    )


def test_a_conditional_network_is_its_equation(key):
    network = eb.ConditionalMLP((3,), confinement=2.0, condition_width=2)
    x, c = jnp.array([0.3, -1.0]), jnp.array([0.5])
    params = network.init(key, x, c)
    condition, layer, shift, last = (
        params["params"][n] for n in ("condition", "Dense_0", "shift_0", "Dense_1")
    )
    e = jax.nn.swish(c @ condition["kernel"] + condition["bias"])
    (v,) = shift.values()  # no bias: the layer has one
    h = jax.nn.swish(x @ layer["kernel"] + layer["bias"] + e @ v)
    expected = h @ last["kernel"] + last["bias"] + x @ x / 8
    assert np.allclose(network.apply(params, x, c), expected, rtol=1e-5)


def test_kernels_of_conditions_share_their_parameters():
    from ebmjax.kernels.conditional import conditioned

    params = jnp.ones(1000)
    energy = partial(lambda p, x, c: 0.5 * p[0] * jnp.sum((x - c) ** 2), params)
    kernel = conditioned(lambda e: eb.mala(e, 0.5), energy, jnp.zeros((7, 2)))
    shapes = sorted(np.shape(x) for x in jax.tree.leaves(kernel))
    assert shapes == [(), (7, 2), (1000,)] and kernel.num_chains == 7
    keys = chain_keys(jax.random.key(0), 7)
    state = kernel.init(jnp.zeros((7, 2)))
    assert eb.run(keys, kernel, state, 3).draws.shape == (3, 7, 2)
    with pytest.raises(TypeError, match="its condition is a leaf"):
        conditioned(lambda e: eb.mala(lambda x: e(x), 0.5), energy, jnp.zeros((7, 2)))
