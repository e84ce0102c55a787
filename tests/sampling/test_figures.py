"""The figures of the notes, reproduced."""

import jax
import jax.numpy as jnp
import numpy as np

import ebmjax as eb
from ebmjax import targets


def test_figure_one_chains_from_far_away_find_both_modes_and_their_weights(key):
    """MH from N((0, 10), 0.25 I), far above both modes: weights 0.4 and 0.6 within five
    standard errors."""
    target = targets.figure_one()
    start = targets.figure_one_base().sample(key, 4000)
    samples = eb.sample(key, eb.random_walk(target.energy, 1.5), start, 400, thin=100)
    draws = np.asarray(samples.draws)
    assert np.asarray(start)[:, 1].mean() > 9
    left = (draws[-1, :, 0] < 0).mean()
    exact = (np.asarray(target.sample(key, 100_000))[:, 0] < 0).mean()
    assert abs(left - exact) < 5 * np.sqrt(exact * (1 - exact) / 4000)
    assert np.abs(draws[-1].mean(axis=0) - target.mean).max() < 5 * np.sqrt(
        target.covariance.max() / 4000
    )
    after_few = eb.sample(key, eb.random_walk(target.energy, 1.5), start, 3).draws[-1]
    assert after_few[:, 1].mean() > 3  # not converged yet: the test can fail


def test_figure_three_hmc_reaches_the_valley_and_its_other_end(key):
    """Start (-4, 5) on Rosenbrock, E = 606.  Steps until three of four chains have
    reached the valley (below a typical energy), and its other end (x1 > 2).  With the
    step size of HMC a walk needs tens of times more steps to the valley, and with any
    step size hundreds of times more steps along it."""
    target = targets.rosenbrock()
    typical = np.quantile(jax.vmap(target.energy)(target.sample(key, 10_000)), 0.9)
    start = jnp.tile(jnp.array([-4.0, 5.0]), (200, 1))

    def first_step(kernel, is_there, num_steps=1000):
        arrived = eb.sample(
            key, kernel, start, num_steps, collect=lambda state, _: is_there(state)
        ).draws
        share = np.maximum.accumulate(np.asarray(arrived)).mean(axis=1)
        return int(np.argmax(share > 0.75)) if share[-1] > 0.75 else num_steps

    in_valley = lambda state: state.energy < typical
    at_other_end = lambda state: state.position[:, 0] > 2
    hmc = eb.hmc(target.energy, 0.03, 80)
    assert first_step(hmc, in_valley) <= 10
    assert first_step(eb.random_walk(target.energy, 0.03), in_valley) >= 50
    assert first_step(hmc, at_other_end) <= 100
    for step_size in (0.2, 0.8, 1.6):
        assert first_step(eb.random_walk(target.energy, step_size), at_other_end) >= 500
