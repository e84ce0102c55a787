"""Step sizes that tune themselves."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import targets, verify

TARGET = targets.gaussian(np.zeros(5), np.diag(np.linspace(0.5, 2.0, 5)))
MAKERS = {
    "random_walk": (eb.random_walk, 0.234),
    "mala": (eb.mala, 0.574),
    "hmc": (partial(eb.hmc, num_steps=5, jitter=True), 0.651),  # a fixed length resonates: not monotone
}


@pytest.mark.parametrize("name", MAKERS)
def test_it_finds_the_acceptance_that_was_asked_for(name, key):
    make, target = MAKERS[name]
    start = TARGET.sample(key, 256)
    for guess in (1e-3, 0.3, 30.0):
        tuned = eb.tune_step_size(
            key, make, TARGET.energy, start, target=target, step_size=guess, num_steps=200
        )
        samples = eb.sample(key, make(TARGET.energy, tuned.step_size), start, 200, collect=eb.nothing)
        assert abs(samples.acceptance_rate.mean() - target) < 0.05


def test_far_tails_are_survived(key):
    start = 300.0 + jnp.zeros((64, 5))
    tuned = eb.tune_step_size(key, eb.mala, TARGET.energy, start, target=0.574, num_steps=600)
    assert np.abs(np.asarray(tuned.position).mean(axis=0)).max() < 2.0
    assert 0.5 < float(tuned.step_size) < 2.5


def test_the_tuned_kernel_is_invariant(key):
    tuned = eb.tune_step_size(key, eb.mala, TARGET.energy, TARGET.sample(key, 64), target=0.574)
    verify.invariance(key, eb.mala(TARGET.energy, tuned.step_size), TARGET, num_chains=5000).require()


def test_a_failed_warm_up_says_so(key):
    stuck = lambda energy, step_size: eb.random_walk(energy, 1e6 + 0 * step_size)
    with pytest.warns(RuntimeWarning, match="acceptance ended at 0.00 where 0.23 was wanted"):
        eb.tune_step_size(key, stuck, TARGET.energy, TARGET.sample(key, 8), target=0.234)


def test_bad_input(key):
    tune = partial(eb.tune_step_size, key, eb.mala, TARGET.energy)
    start = TARGET.sample(key, 4)
    for positions, options, message in (
        (start, {"target": 1.5}, r"target must lie in \(0, 1\), got 1.5"),
        (start, {"target": 0.5, "step_size": -1.0}, "step_size must be finite and above 0"),
        (start, {"target": 0.5, "num_steps": 3}, "num_steps must be at least 20"),
        (start.at[0, 0].set(jnp.nan), {"target": 0.5}, "positions must be finite"),
        (start + 1e30, {"target": 0.5}, "the energy is not finite where the chains start"),
    ):
        with pytest.raises(ValueError, match=message):
            tune(positions, **options)
