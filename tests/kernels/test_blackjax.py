"""Conversion of kernels to and from BlackJAX, each verified."""

from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import targets, verify
from ebmjax.kernels import blackjax as adapters

blackjax = pytest.importorskip("blackjax")

TARGET = targets.correlated_gaussian()
UNIT = {"step_size": 0.45, "inverse_mass_matrix": jnp.ones(2)}
log_density = lambda x: -TARGET.energy(x)
THEIRS = {
    "hmc": lambda: blackjax.hmc(log_density, **UNIT, num_integration_steps=5),
    "nuts": lambda: blackjax.nuts(log_density, **UNIT, max_num_doublings=4),
    "random_walk": lambda: blackjax.additive_step_random_walk(log_density, blackjax.mcmc.random_walk.normal(0.9 * jnp.ones(2))),
}  # fmt: skip


@pytest.mark.parametrize("name", THEIRS)
def test_a_blackjax_kernel_in_a_cycle_with_ours_is_invariant(name, key):
    kernel = eb.cycle(
        eb.hmc(TARGET.energy, 0.45, 3),
        adapters.from_blackjax(THEIRS[name](), TARGET.energy),
    )
    verify.invariance(key, kernel, TARGET, num_steps=5).require()


def test_a_blackjax_kernel_of_another_density_is_rejected(key):
    warm = blackjax.hmc(
        lambda x: -TARGET.energy(x) / 1.2, **UNIT, num_integration_steps=5
    )
    kernel = eb.cycle(
        eb.hmc(TARGET.energy, 0.45, 3), adapters.from_blackjax(warm, TARGET.energy)
    )
    assert not verify.invariance(key, kernel, TARGET, num_steps=5).is_passed


def test_a_blackjax_state_with_an_old_gradient_is_rejected(key):
    """``from_blackjax`` avoids this: a BlackJAX state kept while another kernel
    moves."""
    algorithm = THEIRS["hmc"]()
    walk = eb.random_walk(TARGET.energy, 0.9)

    def step(key, states):
        ours, theirs = states
        key_ours, key_theirs = jax.random.split(key)
        ours, _ = walk.step(key_ours, ours)
        theirs = theirs._replace(
            position=ours.position
        )  # its gradient and log density are out of date
        theirs, info = algorithm.step(key_theirs, theirs)
        return (walk.init(theirs.position), theirs), info

    def carried(k, position):
        states = walk.init(position), algorithm.init(position)
        return jax.lax.scan(
            lambda s, i: (step(jax.random.fold_in(k, i), s)[0], None),
            states,
            jnp.arange(5),
        )[0][0]

    stale = eb.Kernel(
        walk.init, lambda k, x: k, lambda k, s: (carried(k, s.position), None)
    )
    assert not verify.invariance(key, stale, TARGET, num_steps=2).is_passed
    fresh = eb.cycle(walk, adapters.from_blackjax(algorithm, TARGET.energy))
    verify.invariance(key, fresh, TARGET, num_steps=10).require()


def test_a_blackjax_kernel_runs_in_sample_with_an_info(key):
    start = TARGET.sample(key, 4)
    for name in THEIRS:
        kernel = adapters.from_blackjax(THEIRS[name](), TARGET.energy)
        samples = eb.sample(key, kernel, start, 40, collect=eb.collect_stats)
        position, energy, info = samples.draws
        np.testing.assert_allclose(
            energy, jax.vmap(jax.vmap(TARGET.energy))(position), rtol=1e-4, atol=1e-4
        )
        is_moved = np.any(
            np.diff(position, axis=0, prepend=np.asarray(start)[None]) != 0, axis=2
        )
        assert (info.is_accepted == is_moved).all()
        assert ((0 <= info.acceptance_rate) & (info.acceptance_rate <= 1.001)).all()
        assert (
            np.any(info.hamiltonian)
            == (name != "random_walk")
            == np.any(info.num_grads)
        )


def test_divergences_of_blackjax_are_counted(key):
    far = blackjax.hmc(log_density, 30.0, jnp.ones(2), num_integration_steps=5)
    kernel = adapters.from_blackjax(far, TARGET.energy)
    with pytest.warns(RuntimeWarning, match="never moved"):
        samples = eb.sample(
            key, kernel, TARGET.sample(key, 4), 30, collect=eb.collect_stats
        )
    assert "steps diverged" in str(eb.summary(samples))


def test_a_divergent_step_with_an_acceptance_rate_is_a_divergence(key):
    """A divergent NUTS step has the rate of the points before the divergence."""

    class Theirs(NamedTuple):
        acceptance_rate: float = 0.5
        is_divergent: bool = True

    theirs = SimpleNamespace(
        init=lambda x: eb.State(x, None), step=lambda key, state: (state, Theirs())
    )
    kernel = adapters.from_blackjax(theirs, TARGET.energy)
    _, info = kernel.step(key, kernel.init(jnp.ones(2)))
    assert (
        info.energy_error > 1e30
        and info.acceptance_rate == 0.5
        and not info.is_accepted
    )


def test_one_step_equals_the_step_of_blackjax(key):
    """The same key gives the same step."""
    algorithm, x = THEIRS["nuts"](), jnp.array([0.3, 0.8])
    kernel = adapters.from_blackjax(algorithm, TARGET.energy)
    expected, _ = algorithm.step(jax.random.split(key)[1], algorithm.init(x))
    found, _ = kernel.step(key, kernel.init(x))
    np.testing.assert_allclose(found.position, expected.position, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "is_right"), [(partial(eb.hmc, num_steps=5), True), (eb.ula, False)]
)
def test_a_kernel_as_a_blackjax_algorithm_is_verified_or_rejected(make, is_right, key):
    algorithm = adapters.to_blackjax(make(TARGET.energy, 0.45))
    assert isinstance(algorithm, blackjax.base.SamplingAlgorithm)
    assert verify.invariance(key, algorithm, TARGET).is_passed == is_right


def test_a_kernel_runs_in_the_loop_of_blackjax(key):
    algorithm = adapters.to_blackjax(eb.hmc(lambda x: 0.5 * jnp.sum(x**2), 0.5, 5))
    _, (states, infos) = blackjax.util.run_inference_algorithm(
        rng_key=key,
        inference_algorithm=algorithm,
        num_steps=2000,
        initial_position=jnp.ones(2),
    )
    assert states.position.shape == (2000, 2) and infos.acceptance_rate.shape == (2000,)
    value, error = eb.expectation(lambda x: x**2, states.position[:, None])
    assert (np.abs(value - 1) < 5 * error).all()


def test_a_rate_that_underflows_is_no_divergence():
    state = eb.State(jnp.zeros(2), jnp.float32(0.0))
    info = adapters._info(
        SimpleNamespace(acceptance_rate=0.0, is_divergent=False), state, state
    )
    assert np.isfinite(info.energy_error)
    info = adapters._info(
        SimpleNamespace(acceptance_rate=0.0, is_divergent=True), state, state
    )
    assert info.energy_error > 1e30


def test_bad_input():
    with pytest.raises(TypeError, match="kernel must be a Kernel, got 3"):
        adapters.to_blackjax(3)
    with pytest.raises(TypeError, match="algorithm must have init and step"):
        adapters.from_blackjax(lambda x: x, TARGET.energy)


def test_positions_that_differ_in_one_bit_have_different_keys():
    """Among them x and -x."""
    one = np.float32(1.37).view(np.uint32)
    bits = np.array([one, *(one ^ np.uint32(1 << i) for i in range(32))], np.uint32)
    keys = jax.vmap(adapters._hash)(jnp.asarray(bits.view(np.float32)))
    assert len(np.unique(jax.random.key_data(keys), axis=0)) == 33


def test_parts_of_a_state_that_init_draws_persist(key):
    """Without such a part nothing is kept."""

    class Point(NamedTuple):
        position: jax.Array
        logdensity: float = 0.0

    class Moving(NamedTuple):
        position: jax.Array
        momentum: jax.Array

    grow = lambda key, s: (s._replace(momentum=s.momentum + 1.0), SimpleNamespace())
    draw = lambda position, rng_key: Moving(position, jax.random.normal(rng_key, (2,)))
    kernel = adapters.from_blackjax(
        SimpleNamespace(init=draw, step=grow), TARGET.energy
    )
    first = kernel.init(jnp.ones(2))
    second, _ = kernel.step(key, first)
    grown = second.momentum["momentum"] - first.momentum["momentum"]
    assert np.allclose(grown, 1.0, atol=1e-6)
    plain = SimpleNamespace(init=lambda position, rng_key: Point(position), step=grow)
    start = adapters.from_blackjax(plain, TARGET.energy).init(jnp.ones(2))
    assert start.momentum is None
