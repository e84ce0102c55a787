"""Combinations of kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import targets, verify
from ebmjax.verify.examples import tree_target

TARGET = targets.correlated_gaussian(2, 0.5)


def test_repeat_is_that_many_steps(key):
    kernel = eb.mala(TARGET.energy, 0.5)
    thrice = eb.repeat(kernel, 3)
    state, info = thrice.step(key, thrice.init(jnp.zeros(2)))
    one = kernel.init(jnp.zeros(2))
    rates = []
    for i in range(3):
        one, step_info = kernel.step(jax.random.fold_in(key, i), one)
        rates.append(step_info.acceptance_rate)
    assert np.allclose(state.position, one.position, atol=1e-6)
    assert np.isclose(info.acceptance_rate, np.mean(rates))


def test_cycle_takes_each_in_turn(key):
    walk, hmc = eb.random_walk(TARGET.energy, 0.5), eb.hmc(TARGET.energy, 0.3, 3)
    both = eb.cycle(walk, hmc)
    state = both.init(jnp.zeros(2))
    assert state.grad is not None
    key_walk, key_hmc = jax.random.split(key)
    first, _ = walk.step(key_walk, state)
    second, _ = hmc.step(key_hmc, first)
    assert np.array_equal(both.step(key, state)[0].position, second.position)


def test_a_walk_inside_a_cycle_keeps_the_gradient_true(key):
    both = eb.cycle(eb.random_walk(TARGET.energy, 0.5), eb.hmc(TARGET.energy, 0.3, 3))
    samples = eb.sample(key, both, TARGET.sample(key, 20), 15)
    state = samples.state
    assert np.allclose(
        state.grad, jax.vmap(jax.grad(TARGET.energy))(state.position), atol=1e-4
    )
    assert np.allclose(state.energy, jax.vmap(TARGET.energy)(state.position), atol=1e-4)


def test_mixture_takes_each_as_often_as_its_weight(key):
    still = eb.metropolis(TARGET.energy, lambda key, x: x, symmetric=True)
    away = eb.metropolis(
        lambda x: 0.0 * jnp.sum(x), lambda key, x: x + 1, symmetric=True
    )
    kernel = eb.mixture([still, away], [1.0, 3.0])
    samples = eb.sample(key, kernel, jnp.zeros((4000, 2)), 1)
    share = float((samples.draws[0, :, 0] > 0).mean())
    assert abs(share - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 4000)


def test_within_moves_one_part_and_a_wrong_conditional_is_rejected(key):
    target = tree_target()
    move = eb.within(target.energy, "values", lambda e: eb.mala(e, 0.5))
    start = target.sample(key, 50)
    end = eb.sample(key, move, start, 20, collect=eb.discard).state
    assert np.array_equal(end.position["log_scale"], start["log_scale"])
    assert not np.array_equal(end.position["values"], start["values"])
    assert np.allclose(end.energy, jax.vmap(target.energy)(end.position), atol=1e-3)
    wrong = eb.within(
        lambda x: target.energy(x) - x["log_scale"],
        "log_scale",
        lambda e: eb.random_walk(e, 0.7),
    )
    assert not verify.invariance(key, eb.cycle(move, wrong), target).is_passed


def test_within_refuses_a_kernel_that_would_lose_its_momentum(key):
    energy = lambda x: 0.5 * jnp.sum(x[0] ** 2)
    kernel = eb.within(energy, 0, lambda e: eb.underdamped_langevin(e, 0.5))
    with pytest.raises(TypeError, match="one that keeps a momentum would lose it"):
        eb.sample(key, kernel, (jnp.zeros((4, 2)),), 5)


def test_within_takes_tuples(key):
    energy = lambda x: 0.5 * jnp.sum(x[0] ** 2) + 0.5 * jnp.sum(x[1] ** 2)
    kernel = eb.cycle(
        eb.within(energy, 0, lambda e: eb.hmc(e, 0.3, 2)),
        eb.within(energy, 1, lambda e: eb.ula(e, 0.1)),
    )
    draws = eb.sample(key, kernel, (jnp.zeros((3, 2)), jnp.zeros((3, 1))), 5).draws
    assert draws[0].shape == (5, 3, 2) and draws[1].shape == (5, 3, 1)
