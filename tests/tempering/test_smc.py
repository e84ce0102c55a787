"""Sequential Monte Carlo: resampling, levels, and log Z against exact ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import flips, standard_error

import ebmjax as eb
from ebmjax.base import Info, Kernel, State
from ebmjax.energies import boltzmann, enumeration
from ebmjax.kernels.gibbs import gibbs
from ebmjax.tempering.bases import bits, gaussian, uniform_box
from ebmjax.tempering.particles import scales_of
from ebmjax.tempering.paths import geometric
from ebmjax.tempering.resampling import next_level, systematic
from ebmjax.tempering.smc import sequential_monte_carlo

KEY = jax.random.key(20261125)
RBM = boltzmann.rbm_params(jax.random.key(1), 8, 4, 2.0)
MODEL = functools.partial(boltzmann.rbm, RBM)
PATH = geometric(bits(jnp.full(8, 0.5)), MODEL)


@functools.cache
def of_bits():
    return sequential_monte_carlo(
        KEY, PATH, flips, num_particles=500, num_steps=2, num_repeats=40
    )


def test_log_z_and_its_error_over_repeats():
    found, truth = of_bits(), boltzmann.rbm_log_z(RBM)
    assert found.standard_error < 0.02
    assert abs(found.log_z - truth) < 4.5 * found.standard_error
    assert abs(found.log_z - truth - 0.1) > 4.5 * found.standard_error


def test_particles_follow_the_target():
    """Mean bits of all repeats against enumeration; the base has 1/2 everywhere."""
    states = np.asarray(enumeration.states(8), np.float64)
    expected = enumeration.probabilities(MODEL, 8) @ states
    x = np.asarray(of_bits().positions)
    assert x.shape == (40 * 500 * 3, 8)  # the starts and two transitions of each
    x = x.reshape(40, -1, 8).mean(axis=1)
    error = standard_error(x)
    assert (np.abs(x.mean(axis=0) - expected) < 4.5 * error).all()
    assert (np.abs(expected - 0.5) > 4.5 * error).any()


def test_all_states_of_the_transitions_are_particles():
    """The starts of a level and the states after each transition, which differ."""
    x = np.asarray(of_bits().positions).reshape(40, 3, 500, 8)
    assert (x[:, 1:] != x[:, :1]).any(axis=(0, 2, 3)).all()
    moved = (x[:, 1:] != x[:, :-1]).any(axis=-1).mean(axis=(0, 2))
    assert (moved > 0.5).all()


def test_each_level_keeps_its_effective_sample_size():
    x = PATH.base.sample(KEY, 2000)
    log_w, beta = next_level(PATH, x, jnp.float32(0.0), jnp.float32(0.5))
    w = np.exp(np.asarray(log_w, np.float64))
    assert w.sum() ** 2 / (w**2).sum() == pytest.approx(1000, rel=1e-3)
    assert 0 < beta < 1
    log_w, beta = next_level(PATH, x, jnp.float32(0.0), jnp.float32(0.01))
    assert beta == 1
    betas = of_bits().betas
    assert (betas[0], betas[-1]) == (0, 1)
    assert (np.diff(betas) > 0).all()
    assert len(betas) == of_bits().num_levels + 1


def test_systematic_resampling_has_floor_or_ceil_children_and_their_mean():
    log_w = jnp.log(jnp.array([0.05, 0.4, 0.15, 0.31, 0.09]))
    keys = jax.random.split(KEY, 20_000)
    rows = np.asarray(jax.vmap(lambda key: systematic(key, log_w))(keys))
    counts = np.stack([(rows == i).sum(axis=1) for i in range(5)], axis=1)
    expected = 5 * np.exp(np.asarray(log_w))
    assert (counts >= np.floor(expected)).all() and (counts <= np.ceil(expected)).all()
    assert (np.abs(counts.mean(axis=0) - expected) < 5 * 0.5 / np.sqrt(20_000)).all()
    few = np.asarray(jax.vmap(lambda key: systematic(key, log_w, 2))(keys))
    counts = np.stack([(few == i).sum(axis=1) for i in range(5)], axis=1)
    assert (counts.sum(axis=1) == 2).all()
    expected = 2 * np.exp(np.asarray(log_w))
    assert (np.abs(counts.mean(axis=0) - expected) < 5 * 0.5 / np.sqrt(20_000)).all()
    dead = systematic(KEY, jnp.array([-jnp.inf, 0.0, -jnp.inf]))
    assert (np.asarray(dead) == 1).all()


def test_with_a_kernel_that_stays_it_is_importance_sampling():
    """Particles are resampled draws of the base; Z is right, in expectation."""

    def stays(energy, step_size):
        def move(noise, state):
            one, zero = jnp.ones_like(state.energy), jnp.zeros_like(state.energy)
            return state, Info(one, one > 0, zero, jnp.int32(0), zero)

        return Kernel(lambda x: State(x, energy(x)), lambda key, x: key, move)

    path = geometric(gaussian(jnp.zeros(1)), lambda x: 2 * jnp.sum(x**2))
    found = sequential_monte_carlo(
        KEY, path, stays, num_particles=1000, num_repeats=20, ess=0.8
    )
    assert found.num_levels > 1
    truth = 0.5 * np.log(np.pi / 2)
    assert abs(found.log_z - truth) < 4.5 * found.standard_error
    assert found.standard_error < 0.02


def test_the_step_size_follows_the_target():
    """From a guess that is 100 times too small; at acceptance .8 in the end."""
    path = geometric(gaussian(jnp.zeros(5), 30.0), lambda x: jnp.sum((x - 2) ** 2))
    found = sequential_monte_carlo(KEY, path, eb.mala, 0.1, num_repeats=20)
    assert 5 < found.step_sizes[0] / found.step_sizes[-1] < 200
    assert found.acceptance_rate[-1] == pytest.approx(0.8, abs=0.1)
    truth = 2.5 * np.log(np.pi)
    assert abs(found.log_z - truth) < 4.5 * found.standard_error


def test_scales_are_the_weighted_deviations_over_their_geometric_mean():
    x = {"a": jax.random.normal(KEY, (500, 2)) * jnp.array([1.0, 30.0])}
    x["b"] = jax.random.normal(jax.random.key(1), (500,)) * 0.1 + 7.0
    log_w = jax.random.normal(jax.random.key(2), (500,))
    w = np.exp(np.asarray(log_w, np.float64))
    flat = np.column_stack([np.asarray(x["a"], np.float64), x["b"]])
    expected = np.sqrt(np.cov(flat.T, aweights=w, ddof=0).diagonal())
    expected /= np.exp(np.log(expected).mean())
    found = scales_of(x, log_w)
    assert np.allclose(np.append(found["a"], found["b"]), expected, rtol=1e-3)
    assert not np.allclose(
        np.append(found["a"], found["b"]), flat.std(axis=0), rtol=0.05
    )
    ratio = np.asarray(found["a"][1] / found["a"][0])
    for constant in (0.0, 1.0, 7.3, -1e-4):  # no scale, whatever is rounded
        fixed = scales_of({**x, "b": jnp.full(500, constant)}, log_w)
        assert fixed["b"] == 1
        assert np.allclose(fixed["a"], [ratio**-0.5, ratio**0.5], 1e-3)


def test_steps_in_the_ratio_of_the_scales_are_longer_and_log_z_is_right():
    scales = jnp.array([0.05, 5.0])
    energy = lambda x: 0.5 * jnp.sum((x / scales) ** 2)
    path = geometric(gaussian(jnp.zeros(2), jnp.array([1.0, 8.0])), energy)
    options = {"num_particles": 100, "num_steps": 5, "num_repeats": 24}
    run = functools.partial(sequential_monte_carlo, KEY, path, eb.mala, **options)
    found, one = run(covariance="diagonal"), run()
    truth = np.log(2 * np.pi * 0.05 * 5.0)
    assert abs(found.log_z - truth) < 4.5 * found.standard_error < 0.5
    assert found.step_sizes[-1] > 3 * one.step_sizes[-1]


def test_bad_input_is_named():
    run = functools.partial(sequential_monte_carlo, KEY, num_particles=50)
    base = gaussian(jnp.zeros(1))
    far = geometric(base, lambda x: 1e4 * jnp.sum((x - 9) ** 2))
    with pytest.raises(ValueError, match="no particle has a weight left"):
        run(geometric(base, lambda x: jnp.sum(x) + jnp.inf), eb.mala)
    with pytest.raises(ValueError, match="is not finished in max_levels = 2"):
        run(far, eb.mala, max_levels=2)
    stuck = lambda energy, size: eb.random_walk(energy, 1e3)
    with pytest.warns(UserWarning, match="particles hardly move"):
        run(geometric(base, lambda x: jnp.sum(8 * x**2)), stuck)
    box = geometric(uniform_box(-jnp.ones(1), jnp.ones(1)), lambda x: jnp.sum(x**2))
    with pytest.raises(ValueError, match="base must have the support of the target"):
        run(box, eb.mala, 0.5)
    with pytest.raises(ValueError, match="energy must not be NaN along the path"):
        run(geometric(base, lambda x: jnp.where(x[0] > 1, jnp.nan, x[0] ** 2)), eb.mala)
    with pytest.raises(TypeError, match="make_kernel.* must return a Kernel"):
        run(far, lambda energy, size: (energy, size))
    with pytest.raises(ValueError, match="covariance must be None for a kernel of"):
        run(PATH, lambda energy, size: gibbs(energy), covariance="diagonal")
    bad = (
        {"ess": 1.0},
        {"num_particles": 1},
        {"step_size": 0.0},
        {"covariance": "dense"},
    )
    for options in bad:
        with pytest.raises(ValueError, match=next(iter(options))):
            sequential_monte_carlo(KEY, far, eb.mala, **options)
    with pytest.raises(ValueError, match="path must start from a base"):
        run(geometric(lambda x: jnp.sum(x**2), lambda x: jnp.sum(x**4)), eb.mala)
