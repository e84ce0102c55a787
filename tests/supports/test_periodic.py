"""Periodic coordinates: wrapped states, warm-up across the end of a range, circular tables."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import ebmjax as eb
from ebmjax import constrain, supports, verify
from ebmjax.adaptation.charts import Chart
from ebmjax.adaptation.warmup import adapt
from ebmjax.targets import Target


def von_mises(mu, kappa, x):
    return -kappa * jnp.sum(jnp.cos(x - mu))


def energy_of(mu, kappa, period=2 * np.pi):
    """The von Mises density, of an angle in units of which the period is a turn."""
    turn = period / (2 * np.pi)
    inner = lambda mu, x: von_mises(mu, kappa, x / turn)
    inner = jax.tree_util.Partial(inner, jnp.float32(mu))
    return constrain(inner, supports.periodic(period))


def circular_sd(kappa):
    return np.sqrt(-2 * np.log(special.i1(kappa) / special.i0(kappa)))


# --- states ---------------------------------------------------------------------------


def test_coordinates_stay_in_their_range_after_any_number_of_turns(key):
    energy = energy_of(0.0, 0.1)
    kernel, start = eb.random_walk(energy, 3.0), jnp.zeros((4, 1))
    found = eb.sample(key, kernel, start, 2000)
    assert np.abs(found.state.position).max() <= np.pi + 1e-6
    assert np.abs(found.draws).max() <= np.pi + 1e-6
    chains = eb.parallel(kernel)
    run = eb.run(eb.chain_keys(key, 4), chains, chains.init(start), 500)
    assert np.abs(run.state.position).max() <= np.pi + 1e-6
    # the control: the energy without its support wanders
    free = eb.random_walk(energy.energy, 3.0)
    assert np.abs(eb.sample(key, free, start, 2000).draws).max() > 20


def test_a_wrapped_state_keeps_its_energy_and_gradient(key):
    energy = energy_of(1.0, 2.0)
    state = eb.sample(key, eb.mala(energy, 1.0), jnp.zeros((4, 1)), 200).state
    again = jax.vmap(jax.value_and_grad(energy))(state.position)
    np.testing.assert_allclose(state.energy, again[0], atol=2e-5)
    np.testing.assert_allclose(state.grad, again[1], atol=2e-5)


def torus_target(kappa):
    """Two independent angles about pi, by exact draws."""

    def sample(key, n):
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        return jnp.asarray(rng.vonmises(np.pi, kappa, (n, 2)), jnp.float32)

    energy = energy_of(np.pi, kappa)
    one = sample(jax.random.key(0), 100_000)
    return Target("torus", energy, sample, np.zeros(2), np.cov(np.asarray(one).T), 0.0)


@pytest.mark.parametrize(
    "make",
    [partial(eb.nuts, max_depth=6), partial(eb.hmc, num_steps=3)],
    ids=["nuts", "hmc"],
)
def test_the_density_on_a_torus_is_invariant(key, make):
    target = torus_target(0.5)
    verify.invariance(
        key, make(target.energy, 0.9), target, num_chains=20_000
    ).require()
    shifted = target._replace(energy=energy_of(np.pi - 0.3, 0.5))
    found = verify.invariance(key, make(shifted.energy, 0.9), target, num_chains=20_000)
    assert not found.is_passed


def test_a_trajectory_around_a_circle_ends_after_half_a_turn(key):
    """A nearly free rotor never turns back: without the criterion trees are full."""
    energy, start = energy_of(0.0, 0.01), jnp.zeros((8, 1))
    kernel = eb.nuts(energy, 0.3)
    found = eb.sample(key, kernel, start, 200, collect=eb.collect_stats)
    grads = np.asarray(found.draws.info.num_grads)
    # half a turn takes 10 steps at unit speed, and a tree has at most twice as many
    assert np.median(grads) < 40
    free = eb.nuts(energy.energy, 0.3)
    found = eb.sample(key, free, start, 20, collect=eb.collect_stats)
    assert np.median(found.draws.info.num_grads) > 500


# --- warm-up --------------------------------------------------------------------------


@functools.cache
def compiled_warm_up():
    def scales(energy, key, start):
        found = adapt(
            key, eb.mala, energy, start, num_steps=500, target=0.57, covariance="dense"
        )
        return jnp.linalg.norm(found.step_size.matrix, axis=1)

    return jax.jit(scales)


@pytest.mark.parametrize("num_chains", [1, 8])
def test_the_mass_does_not_depend_on_the_ends_of_the_range(key, num_chains):
    """Two angles, kappa 20 and 1: their scales are 1 to 4 whether the mean is 0 or pi."""
    ratios = []
    for mu in (0.0, np.pi):
        inner = partial(_two_angles, jnp.float32(mu))
        energy = constrain(inner, supports.periodic())
        start = jnp.full((num_chains, 2), mu) + 0.3 * jax.random.normal(
            key, (num_chains, 2)
        )
        scales = compiled_warm_up()(energy, key, energy_free(energy, start))
        ratios.append(float(scales[1] / scales[0]))
    expected = circular_sd(1.0) / circular_sd(20.0)
    for ratio in ratios:
        assert expected / 1.9 < ratio < expected * 1.9, ratios


def _two_angles(mu, x):
    return -20 * jnp.cos(x[0] - mu) - jnp.cos(x[1] - mu)


def energy_free(energy, x):
    return jax.vmap(energy.free)(x)


def test_a_chart_is_continuous_around_the_chains(key):
    energy = constrain(jnp.sum, {"a": supports.periodic(4.0), "b": None})
    point = {"a": jnp.zeros(2), "b": jnp.zeros(1)}
    chart = Chart.of(energy, point)
    x = np.array([[1.9, -0.2, 7.0], [-1.9, 0.2, 9.0], [1.7, 0.0, -8.0]])
    chart = chart.add(jnp.asarray(x), jnp.ones(3)).renewed()
    flat = np.asarray(chart.flat(jnp.asarray(x)))
    np.testing.assert_array_equal(flat[:, 2], np.float32(x[:, 2]))
    assert np.ptp(flat[:, 0]) < 0.41 and np.ptp(flat[:, 1]) < 0.41
    assert Chart.of(constrain(jnp.sum, None), point) is None


def test_angles_in_degrees_and_bonded_angles_from_the_defaults(key):
    """A rigid pair: a - b is von Mises(50) about 180 degrees, a about -170."""

    def inner(x):
        a, b = jnp.deg2rad(x)
        return -3 * jnp.cos(a - jnp.deg2rad(-170.0)) + 50 * jnp.cos(a - b)

    energy = constrain(inner, supports.periodic(360))
    start = jax.random.uniform(key, (8, 2), minval=-180, maxval=180)
    tuned = eb.warm_up(key, eb.hmc, energy, start, num_steps=300)
    samples = eb.sample(
        jax.random.key(1), tuned.kernel, tuned.position, 600, collect=eb.collect_stats
    )
    x = np.deg2rad(np.asarray(samples.draws.position, np.float64))
    about = lambda k: special.i1(k) / special.i0(k)
    parts = {
        "first": (np.cos(x[..., 0] - np.deg2rad(-170)), about(3.0)),
        "bond": (-np.cos(x[..., 0] - x[..., 1]), about(50.0)),
        "sine": (np.sin(x[..., 0] - x[..., 1]), 0.0),
    }
    table = eb.summary({name: v for name, (v, _) in parts.items()})
    expected = np.array([parts[name][1] for name in table.names])
    z = (table.columns["mean"] - expected) / table.columns["mcse_mean"]
    assert np.abs(z).max() < 4.5
    of_angles = eb.summary(samples)
    assert of_angles.warnings == []
    np.testing.assert_allclose(of_angles.columns["mean"], [-170, 10], atol=4)
    sd = np.rad2deg(circular_sd(3.0))
    np.testing.assert_allclose(of_angles.columns["sd"][0], sd, rtol=0.1)


# --- tables ---------------------------------------------------------------------------


def draws_about(mu, kappa, shape=(500, 4, 150), seed=0):
    x = np.random.default_rng(seed).vonmises(mu, kappa, shape)
    return x.astype(np.float32)


@pytest.mark.parametrize("kappa", [0.7, 5.0])
def test_circular_means_and_deviations_have_their_standard_errors(kappa):
    """150 independent angles about pi: errors in units of theirs have deviation 1."""
    x = draws_about(np.pi, kappa)
    table = eb.summary(x, support=supports.periodic(low=0.0)).columns
    z_mean = (table["mean"] - np.pi) / table["mcse_mean"]
    z_sd = (table["sd"] - circular_sd(kappa)) / table["mcse_sd"]
    for z in (z_mean, z_sd):
        assert abs(z.mean()) < 4 / np.sqrt(150)
        assert 0.8 < z.std() < 1.2
    assert (table["rhat"] < 1.02).all() and (table["ess_bulk"] > 1000).all()
    width = 2 * special.ndtri(0.95) * circular_sd(5.0)
    if kappa == 5.0:
        np.testing.assert_allclose(table["95%"] - table["5%"], width, rtol=0.15)
    linear = eb.summary(draws_about(np.pi, kappa)).columns  # the control
    assert (np.abs(linear["mean"] - np.pi) / linear["mcse_mean"] > 10).all()


def test_means_lie_in_the_range_of_the_support():
    for low in (0.0, -np.pi, 10.0):
        support = supports.periodic(low=low)
        mean = eb.summary(draws_about(3.0, 9.0), support=support).columns["mean"]
        turns = (mean - 3) / (2 * np.pi)
        assert (mean >= low).all() and (mean < low + 2 * np.pi).all()
        np.testing.assert_allclose(turns, np.round(turns), atol=0.02)


def test_rhat_of_chains_at_other_angles_and_across_the_end_of_the_range():
    x = draws_about(np.pi, 20.0, (400, 4, 1))
    support = supports.periodic()
    assert eb.summary(x, support=support).warnings == []
    x[:, :2] = draws_about(0.5, 20.0, (400, 2, 1), seed=1)
    found = eb.summary(x, support=support)
    assert found.columns["rhat"][0] > 1.5 and found.warnings
    spread = draws_about(0.0, 20.0, (400, 4, 1))
    spread[:, :2] = draws_about(0.0, 1.0, (400, 2, 1), seed=2)
    assert eb.summary(spread, support=support).columns["rhat"][0] > 1.1


def test_linear_coordinates_beside_circular_ones_are_as_before():
    x = {
        "a": draws_about(np.pi, 5.0, (300, 4)),
        "b": np.float32(np.random.default_rng(3).normal(size=(300, 4, 2))),
    }
    both = eb.summary(x, support={"a": supports.periodic(), "b": None})
    alone = eb.summary({"b": x["b"]})
    for name, values in alone.columns.items():
        np.testing.assert_array_equal(both.columns[name][1:], values)
    with pytest.raises(TypeError, match="draws must have the structure"):
        eb.summary(x, support={"a": supports.periodic()})


# --- check ----------------------------------------------------------------------------


def test_check_accepts_a_periodic_energy_without_growth(key):
    inner = lambda x: -2 * jnp.cos(x["angle"]) + 0.5 * x["shift"] ** 2
    point = {"angle": jnp.float32(3.0), "shift": jnp.float32(1.0)}
    energy = constrain(inner, {"angle": supports.periodic(), "shift": None})
    assert eb.check(energy, point, key).is_healthy
    free = constrain(inner, None)
    assert not eb.check(free, point, key).is_healthy
    flat = constrain(lambda x: -jnp.cos(x["angle"]) + 0 * x["shift"], energy.support)
    assert not eb.check(flat, point, key).is_healthy
