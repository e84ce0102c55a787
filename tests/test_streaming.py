"""Running statistics are the formulas of the whole, in memory that does not grow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import targets
from ebmjax.diagnostics import convergence, streaming

TARGET = targets.correlated_gaussian(3, 0.6)
KERNEL = eb.mala(TARGET.energy, 0.6)
START = TARGET.sample(jax.random.key(3), 8)


def tree_equal(a, b):
    return all(
        np.array_equal(x, y)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def fed(reducer, values):
    """A statistic of given values ``[T, C, ...]``, which stand in for positions."""
    values = jax.tree.map(jnp.asarray, values)
    state = lambda x: eb.State(x, None)
    carry = reducer.init(state(jax.tree.map(lambda x: x[0], values)), None)
    return jax.lax.scan(
        lambda c, x: (reducer.update(c, state(x), None), None), carry, values
    )[0]


@functools.cache
def both():
    """What is reduced, and the draws, of the same run."""
    key = jax.random.key(1)
    reducer = streaming.together(
        m=streaming.moments(),
        c=streaming.covariance(),
        b=streaming.batch_means(num_batches=16),
    )
    draws = np.asarray(
        eb.sample(key, KERNEL, START, 777, num_warmup=10).draws, np.float64
    )
    return eb.sample(
        key, KERNEL, START, 777, num_warmup=10, collect=reducer
    ).draws, draws


def test_moments_are_those_of_the_draws():
    found, draws = both()[0]["m"], both()[1]
    pooled = draws.reshape(-1, 3)
    assert found.num_steps == 777
    np.testing.assert_allclose(found.means, draws.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.variances, draws.var(axis=0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(found.mean, pooled.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.variance, pooled.var(axis=0, ddof=1), rtol=1e-5)
    within, between = (
        draws.var(axis=0, ddof=1).mean(axis=0),
        draws.mean(axis=0).var(axis=0, ddof=1),
    )
    np.testing.assert_allclose(
        found.rhat, np.sqrt(776 / 777 + between / within), rtol=1e-5
    )
    wants = convergence.nested_rhat(draws.astype(np.float32), 2)
    np.testing.assert_allclose(found.nested_rhat(2), wants, rtol=1e-5)


def test_covariance_is_that_of_the_draws():
    found, draws = both()[0]["c"], both()[1].reshape(-1, 3)
    np.testing.assert_allclose(found.mean, draws.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.covariance, np.cov(draws.T), rtol=1e-5, atol=1e-6)


def test_batch_means_are_by_their_definition():
    """777 steps, 16 batches: the size doubles to 64, and 12 are full."""
    found, draws = both()[0]["b"], both()[1]
    assert found.size == 64
    batches = draws[: 12 * 64].reshape(12, 64, 8, 3).mean(axis=1)
    error = np.sqrt(64 * batches.reshape(-1, 3).var(axis=0, ddof=1) / (777 * 8))
    np.testing.assert_allclose(found.mcse_mean, error, rtol=1e-4)
    variance = draws.reshape(-1, 3).var(axis=0, ddof=1)
    np.testing.assert_allclose(found.ess, variance / error**2, rtol=1e-4)
    np.testing.assert_allclose(found.mean, draws.mean(axis=(0, 1)), atol=1e-5)


@pytest.mark.parametrize("num_steps", [5, 8, 9, 16, 17, 31, 32, 33])
def test_batches_join_wherever_the_run_ends(num_steps):
    values = np.asarray(jax.random.normal(jax.random.key(4), (num_steps, 3, 2)))
    found = fed(streaming.batch_means(num_batches=8), values)
    size = int(found.size)
    assert size * 8 >= num_steps and (size == 1 or size * 4 < num_steps)
    full = (
        values[: num_steps // size * size]
        .reshape(-1, size, 3, 2)
        .mean(axis=1)
        .reshape(-1, 2)
    )
    error = np.sqrt(size * full.var(axis=0, ddof=1) / (num_steps * 3))
    np.testing.assert_allclose(found.mcse_mean, error, rtol=1e-4)


def test_the_standard_error_of_batch_means_covers():
    """Over 400 runs of an autoregression, each draw worth an eleventh; without the autocorrelation it does not."""
    rho = 5 / 6
    noise = jax.random.normal(jax.random.key(5), (4000, 400, 4))
    step = lambda x, n: ((x := rho * x + np.sqrt(1 - rho**2) * n), x)
    draws = jax.lax.scan(step, noise[0], noise)[1]
    found = jax.vmap(functools.partial(fed, streaming.batch_means()), in_axes=1)(draws)
    z = np.asarray(jax.vmap(lambda b: b.mean / b.mcse_mean)(found))
    spread_error = 1 / np.sqrt(2 * len(z))
    assert abs(z.std() - 1) < 5 * spread_error
    naive = np.asarray(
        draws.mean(axis=(0, 2)) / draws.std(axis=(0, 2)) * np.sqrt(16_000)
    )
    assert naive.std() > 1 + 5 * spread_error
    ess = np.asarray(jax.vmap(lambda b: b.ess)(found)).mean()
    assert abs(ess / (16_000 * (1 - rho) / (1 + rho)) - 1) < 0.1


def test_100_are_60_and_then_40_bit_for_bit(key):
    reducer = streaming.together(
        m=streaming.moments(),
        c=streaming.covariance(),
        b=streaming.batch_means(num_batches=8),
    )
    whole = eb.sample(key, KERNEL, START, 100, thin=2, collect=reducer)
    chunks = eb.sample(key, KERNEL, START, 100, thin=2, collect=reducer, num_chunks=3)
    first = eb.sample(key, KERNEL, START, 60, thin=2, collect=reducer)
    rest = eb.sample(
        key,
        KERNEL,
        first.state,
        40,
        thin=2,
        start=60,
        collect=reducer.continued(first.draws),
    )
    assert tree_equal(whole.draws, rest.draws) and tree_equal(whole.draws, chunks.draws)
    assert tree_equal(whole.state, rest.state)
    other = eb.sample(key, KERNEL, first.state, 40, thin=2, start=60, collect=reducer)
    assert not tree_equal(whole.draws, other.draws)


def test_memory_does_not_grow_with_the_number_of_steps(key):
    def peak(num_steps, collect):
        program = jax.jit(
            lambda k, s: eb.run(k, eb.parallel(KERNEL), s, num_steps, collect=collect)
        )
        state = eb.parallel(KERNEL).init(START)
        found = program.lower(eb.chain_keys(key, 8), state).compile().memory_analysis()
        return found.temp_size_in_bytes + found.output_size_in_bytes

    everything = streaming.together(
        m=streaming.moments(), c=streaming.covariance(), b=streaming.batch_means()
    )
    assert peak(1_024_000, everything) <= 1.01 * peak(1024, everything)
    assert peak(102_400, eb.position_of) > 10 * peak(1024, eb.position_of)


def test_no_digits_are_lost_far_from_zero():
    values = 1e5 + np.asarray(jax.random.normal(jax.random.key(6), (2000, 4, 2)))
    values = values.astype(np.float32)
    exact = values.astype(np.float64).reshape(-1, 2)
    assert np.allclose(
        fed(streaming.moments(), values).variance, exact.var(axis=0, ddof=1), rtol=1e-4
    )
    assert np.allclose(
        fed(streaming.covariance(), values).covariance, np.cov(exact.T), atol=1e-4
    )
    found = fed(streaming.batch_means(), values)
    whole = fed(streaming.batch_means(), (values - np.float32(1e5)))
    np.testing.assert_allclose(found.ess, whole.ess, rtol=1e-3)


def test_chains_that_disagree_and_chains_that_stand_still():
    values = np.asarray(jax.random.normal(jax.random.key(7), (500, 4, 1)))
    assert fed(streaming.moments(), values).rhat < 1.02
    apart = values + 3.0 * np.arange(4)[:, None]
    assert fed(streaming.moments(), apart).rhat > 2
    assert (
        fed(streaming.batch_means(), apart).ess
        < 30
        < 1000
        < fed(streaming.batch_means(), values).ess
    )
    assert fed(streaming.batch_means(), np.ones((500, 4, 1), np.float32)).ess == 0


def test_sums_of_narrow_positions_are_wide(key):
    draws = np.asarray(jax.random.normal(key, (2000, 4, 2)))
    found = fed(streaming.covariance(), jnp.asarray(draws, jnp.bfloat16))
    assert np.allclose(found.covariance, np.cov(draws.reshape(-1, 2).T), atol=0.02)


def test_a_tree_and_a_function_of_it(key):
    energy = lambda x: 0.5 * jnp.sum(x["a"] ** 2) + 0.5 * jnp.sum(x["b"] ** 2)
    start = {"a": jnp.zeros((4, 2)), "b": jnp.zeros((4, 2, 3))}
    kernel = eb.random_walk(energy, 0.7)
    energies = lambda state, info: state.energy
    reducer = streaming.together(
        x=streaming.moments(), e=streaming.batch_means(energies)
    )
    found = eb.sample(key, kernel, start, 300, collect=reducer).draws
    draws = eb.sample(key, kernel, start, 300, collect=eb.collect_stats).draws
    np.testing.assert_allclose(
        found["x"].mean["b"], draws.position["b"].mean(axis=(0, 1)), atol=1e-5
    )
    assert found["x"].variance["a"].shape == (2,)
    np.testing.assert_allclose(found["e"].mean, draws.energy.mean(), rtol=1e-5)


def test_a_statistic_is_compiled_once(key):
    assert streaming.moments() == streaming.moments()
    assert streaming.together(a=streaming.moments()) == streaming.together(
        a=streaming.moments()
    )


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: streaming.moments(3), TypeError, "value_fn must be a function"),
        (
            lambda: streaming.batch_means(num_batches=7),
            ValueError,
            "num_batches must be even, got 7",
        ),
        (
            lambda: streaming.batch_means(num_batches=2),
            ValueError,
            "num_batches must be at least 4",
        ),
        (
            lambda: fed(
                streaming.moments(lambda s, i: s.position > 0), jnp.ones((4, 2))
            ),
            TypeError,
            "value_fn must return floating arrays",
        ),
    ],
)
def test_mistakes(make, error, message):
    with pytest.raises(error, match=message):
        make()
