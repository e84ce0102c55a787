"""Annealed Langevin sampling: the distribution at each level, the rules for the levels,
and the noise-conditional network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import random_slopes
from scipy import stats

import ebmjax as eb
from ebmjax.energies import networks
from ebmjax.objectives import score_matching
from ebmjax.tempering.annealed_langevin import (
    annealed_langevin,
    largest_distance,
    noise_levels,
    ratio_of_levels,
    step_for,
)

MEAN, SCALE = 1.5, 0.7
LEVELS, STEP, NUM_STEPS, NUM = [2.0, 1.0, 0.3], 0.6, 4, 100_000


def gaussian(x, noise):
    return 0.5 * (x - MEAN) ** 2 / (SCALE**2 + noise**2)


def law(levels, mean, variance, step=lambda noise: STEP * noise, num_steps=NUM_STEPS):
    for noise in levels:
        for _ in range(num_steps):
            shrinks = 1 - step(noise) ** 2 / (2 * (SCALE**2 + noise**2))
            mean, variance = (
                MEAN + shrinks * (mean - MEAN),
                shrinks**2 * variance + step(noise) ** 2,
            )
    return mean, variance


def is_law(x, mean, variance):
    x = np.asarray(x, np.float64)
    is_mean = abs(x.mean() - mean) < 5 * np.sqrt(variance / len(x))
    return is_mean and abs(x.var() - variance) < 5 * variance * np.sqrt(2 / len(x))


def test_each_level_is_its_linear_recursion():
    start = LEVELS[0] * jax.random.normal(jax.random.key(1), (NUM,))
    for levels in (LEVELS[:1], LEVELS[:2], LEVELS):
        call = jax.jit(
            lambda key, x, to=levels: annealed_langevin(
                key, gaussian, x, to, STEP, NUM_STEPS
            )
        )
        ends = call(jax.random.key(2), start)
        assert is_law(ends, *law(levels, 0.0, LEVELS[0] ** 2))
        assert not is_law(
            ends, *law(levels, 0.0, LEVELS[0] ** 2, step=lambda noise: STEP)
        )
        assert not is_law(ends, *law([*levels, 0.2], 0.0, LEVELS[0] ** 2))


def test_levels_draw_noise_of_their_own():
    """On a flat energy the variance of the draws is the sum of the variances of all
    steps."""
    call = jax.jit(
        lambda key: annealed_langevin(
            key, lambda x, noise: 0 * x, jnp.zeros(NUM), LEVELS, 1.0, 2
        )
    )
    ends = np.asarray(call(jax.random.key(0)), np.float64)
    expected = 2 * np.sum(np.square(LEVELS))
    assert abs(ends.var() - expected) < 5 * expected * np.sqrt(2 / NUM)
    same = 2 * np.sum(LEVELS) ** 2  # the same noise at each level
    assert abs(ends.var() - same) > 50 * expected * np.sqrt(2 / NUM)


def test_neighbouring_levels_overlap_by_one_half():
    """If the upper end is out of reach the rule is linear,
    gamma = sqrt(2D) / (sqrt(2D) - 3).  The norms of noise, chi distributed, overlap by
    one half up to the error of the normal approximation."""
    for dim in (200, 3072):
        ratio = ratio_of_levels(dim)
        assert ratio == pytest.approx(
            np.sqrt(2 * dim) / (np.sqrt(2 * dim) - 3), abs=1e-6
        )
        low, high = np.sqrt(dim) - 3 / np.sqrt(2), np.sqrt(dim) + 3 / np.sqrt(2)
        norm = stats.chi(dim)
        assert norm.cdf(ratio * high) - norm.cdf(ratio * low) == pytest.approx(
            0.5, abs=0.03
        )
        assert norm.cdf(ratio**2 * high) - norm.cdf(ratio**2 * low) < 0.1


def test_the_ladder_falls_by_one_ratio_from_the_largest_distance_to_the_smallest():
    data = np.random.default_rng(0).normal(size=(50, 64))
    pairs = np.linalg.norm(data[:, None] - data[None], axis=2)
    assert largest_distance(data) == pytest.approx(pairs.max())
    levels = noise_levels(data, 0.01)
    assert levels[0] == pytest.approx(pairs.max()) and levels[-1] == pytest.approx(0.01)
    ratios = levels[:-1] / levels[1:]
    assert np.ptp(ratios) < 1e-9 and 0.9 * ratio_of_levels(64) < ratios[
        0
    ] <= ratio_of_levels(64)
    assert noise_levels(np.eye(2), 0.1, largest=0.8) == pytest.approx(
        [0.8, 0.4, 0.2, 0.1]
    )


def test_the_step_leaves_the_variance_that_the_next_level_expects():
    """Around one point, by the recursion; any other step leaves a larger difference."""

    def miss(step, variance, num_steps):
        for _ in range(num_steps):
            variance = (1 - step**2 / 2) ** 2 * variance + step**2
        return abs(variance - 1)

    for ratio, num_steps in ((1.04, 5), (1.5, 10), (2.0, 3)):
        step = step_for([ratio**2, ratio, 1.0], num_steps)
        at, less, more = (miss(step * f, ratio**2, num_steps) for f in (1, 0.95, 1.05))
        assert at < less and at < more and at < ratio**2 - 1


def test_a_noise_conditional_network_of_zero_weights_is_a_gaussian_of_the_right_size():
    network = networks.NoiseConditional((8,), center=MEAN, spread=SCALE)
    params = network.init(jax.random.key(0), jnp.zeros(3), 1.0)
    zero = jax.tree.map(jnp.zeros_like, params)
    x = jnp.array([0.3, -1.0, 2.0])
    for noise in (0.1, 3.0):
        expected = 0.5 * np.sum((np.asarray(x) - MEAN) ** 2) / (SCALE**2 + noise**2)
        assert float(network.apply(zero, x, noise)) == pytest.approx(expected, rel=1e-5)
        assert float(network.apply(params, x, noise)) != pytest.approx(
            expected, rel=1e-3
        )
        last = zero["params"]["Dense_2"] | {"bias": jnp.ones(1)}
        one = {"params": zero["params"] | {"Dense_2": last}}
        ratio = np.hypot(SCALE, noise) / noise
        found = float(network.apply(one, x, noise))
        assert found == pytest.approx(expected + ratio, rel=1e-5)
    with pytest.raises(AssertionError):  # the network depends on the level
        a, b = (
            jax.grad(network.apply, argnums=1)(params, 0 * x + MEAN, noise)
            for noise in (0.5, 1.0)
        )
        np.testing.assert_allclose(a, b, rtol=1e-2)


def test_multi_scale_and_the_network_learn_every_level_and_the_sampler_returns_the_data():
    """Data N(m, s^2): the score at each level is -(x - m) / (s^2 + sigma^2), within 15
    %; chains end with the moments of the recursion for that score."""
    data = MEAN + SCALE * jax.random.normal(jax.random.key(3), (4000, 1))
    levels = noise_levels(data, 0.2)
    network = networks.NoiseConditional(
        (32,), spread=1.0
    )  # neither the center nor the spread of the data
    params = network.init(jax.random.key(4), data[0], 1.0)
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, 1500))
    loss, chain_init = score_matching.multi_scale(network.apply, levels), eb.from_data()
    state = eb.init_state(jax.random.key(0), params, optimizer, chain_init, 1.0)
    options = {"num_updates": 1500, "batch_size": 256, "chunk": 500}
    state, _ = eb.fit(
        jax.random.key(1), loss, optimizer, state, data, chain_init, **options
    )

    score = jax.jit(
        jax.vmap(
            jax.grad(lambda x, noise: -network.apply(state.ema, x, noise)), (0, None)
        )
    )
    for noise in (levels[0], levels[len(levels) // 2], levels[-1]):
        width = np.sqrt(SCALE**2 + noise**2)
        x = MEAN + width * np.linspace(-2, 2, 41, dtype=np.float32)[:, None]
        miss = width * np.asarray(score(x, noise)) + (x - MEAN) / width
        assert np.sqrt(np.mean(miss**2)) < 0.15
        fresh = jax.vmap(jax.grad(lambda x, n=noise: -network.apply(params, x, n)))(x)
        assert (
            np.sqrt(np.mean((width * np.asarray(fresh) + (x - MEAN) / width) ** 2))
            > 0.3
        )

    energy = lambda x, noise: network.apply(state.ema, x, noise)
    start = levels[0] * jax.random.normal(jax.random.key(5), (4000, 1))
    step = step_for(levels, 20)
    call = jax.jit(lambda key, x: annealed_langevin(key, energy, x, levels, step, 20))
    ends = np.asarray(call(jax.random.key(6), start))
    mean, variance = law(levels, 0.0, levels[0] ** 2, lambda noise: step * noise, 20)
    assert abs(ends.mean() - mean) < 0.1 and ends.std() == pytest.approx(
        np.sqrt(variance), rel=0.1
    )
    assert np.sqrt(variance) < 0.25 * levels[0]


def test_the_gradient_of_multi_scale_equals_finite_differences():
    network = networks.NoiseConditional((8,))
    params = network.init(jax.random.key(0), jnp.zeros(2), 1.0)
    x = jax.random.normal(jax.random.key(1), (100, 2))
    loss = score_matching.multi_scale(network.apply, LEVELS)
    of = jax.jit(lambda p: loss(p, jax.random.key(3), x, None)[0])
    slope, exact = random_slopes(of, params)
    assert np.isclose(slope, exact, rtol=2e-2, atol=1e-3) and not np.isclose(
        slope, 0, atol=0.05
    )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: annealed_langevin(
                jax.random.key(0), gaussian, jnp.zeros(3), [1.0, 2.0], 0.1, 2
            ),
            "levels must",
        ),
        (
            lambda: annealed_langevin(
                jax.random.key(0), gaussian, jnp.zeros(3), [1.0, -2.0], 0.1, 2
            ),
            "levels must",
        ),
        (
            lambda: annealed_langevin(
                jax.random.key(0), gaussian, jnp.zeros(3), [1.0], 0.0, 2
            ),
            "step_size must",
        ),
        (
            lambda: annealed_langevin(
                jax.random.key(0), gaussian, jnp.zeros(3), [1.0], 0.1, 0
            ),
            "num_steps must",
        ),
        (
            lambda: noise_levels(np.eye(2), 9.0),
            "smallest must be below the largest noise, 1.41",
        ),
        (lambda: noise_levels(np.full((2, 2), np.nan), 0.1), "data must be finite"),
        (lambda: step_for([1.0], 3), "levels must be at least two"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
