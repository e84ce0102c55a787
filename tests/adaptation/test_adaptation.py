"""Step sizes that tune themselves."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import targets

TARGET = targets.gaussian(np.zeros(5), np.diag(np.linspace(0.5, 2.0, 5)))
MAKERS = {
    "random_walk": (eb.random_walk, 0.234),
    "mala": (eb.mala, 0.574),
    "hmc": (
        partial(eb.hmc, num_steps=5, jitter=True),
        0.651,
    ),  # a fixed length resonates: not monotone
}


@pytest.mark.parametrize("name", MAKERS)
def test_adaptation_finds_the_target_acceptance_rate(name, key):
    make, target = MAKERS[name]
    start = TARGET.sample(key, 256)

    @jax.jit
    def rate(step_size):
        chains = eb.parallel(make(TARGET.energy, step_size))
        info = eb.run(
            eb.chain_keys(key, 256), chains, chains.init(start), 200, collect=eb.discard
        )[2]
        return info.acceptance_rate.mean()

    for guess in (1e-3, 0.3, 30.0):
        tuned = eb.tune_step_size(
            key,
            make,
            TARGET.energy,
            start,
            target=target,
            step_size=guess,
            num_steps=200,
        )
        assert abs(rate(tuned.step_size) - target) < 0.05


def test_starts_in_far_tails(key):
    start = 300.0 + jnp.zeros((64, 5))
    tuned = eb.tune_step_size(
        key, eb.mala, TARGET.energy, start, target=0.574, num_steps=600
    )
    assert np.abs(np.asarray(tuned.position).mean(axis=0)).max() < 2.0
    assert 0.5 < float(tuned.step_size) < 2.5
