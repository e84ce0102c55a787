"""Running statistics agree with the formulas for all draws, in constant memory."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tree_equal

import ebmjax as eb
from ebmjax import targets
from ebmjax.diagnostics import convergence, streaming
from ebmjax.diagnostics._two_float import Count, TwoFloat

TARGET = targets.correlated_gaussian(3, 0.6)
KERNEL = eb.mala(TARGET.energy, 0.6)
START = TARGET.sample(jax.random.key(3), 8)


def fed(reducer, values):
    """A statistic of given values ``[T, C, ...]`` in place of positions."""
    values = jax.tree.map(jnp.asarray, values)
    state = lambda x: eb.State(x, None)
    carry = reducer.init(state(jax.tree.map(lambda x: x[0], values)), None)
    return jax.lax.scan(
        lambda c, x: (reducer.update(c, state(x), None), None), carry, values
    )[0]


@functools.cache
def both():
    """The reduced statistic and the draws of the same run."""
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
    expected = convergence.nested_rhat(draws.astype(np.float32), 2)
    np.testing.assert_allclose(found.nested_rhat(2), expected, rtol=1e-5)


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
    """Over 400 runs of an autoregression, each draw worth an eleventh; without the
    autocorrelation it does not."""
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


def test_100_steps_equal_60_and_then_40_bit_for_bit(key):
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
    draws = jnp.asarray(draws, jnp.bfloat16)
    found = fed(streaming.covariance(), draws)
    exact = np.asarray(draws, np.float64).reshape(-1, 2)
    np.testing.assert_allclose(found.covariance, np.cov(exact.T), atol=1e-4)


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


def test_two_calls_with_equal_arguments_give_equal_reducers_and_one_program():
    traces = []

    def scaled(factor, state, info):
        return factor * state.position

    values = jnp.ones((10, 2, 1))
    make = lambda factor: streaming.together(
        m=streaming.moments(functools.partial(scaled, factor)),
        b=streaming.batch_means(num_batches=8),
    )
    assert streaming.moments() == streaming.moments()
    assert hash(make(jnp.float32(2))) == hash(make(jnp.float32(3)))
    assert make(jnp.float32(2)) == make(jnp.float32(2)) != make(jnp.float32(3))
    assert streaming.batch_means() != streaming.batch_means(num_batches=8)
    mean_of = jax.jit(lambda r, v: (traces.append(1), fed(r, v)["m"].mean)[1])
    means = [float(mean_of(make(jnp.float32(f)), values)[0]) for f in (2, 3)]
    assert means == [2, 3] and len(traces) == 1


@pytest.mark.parametrize("name", ["moments", "covariance", "batch_means"])
def test_results_are_pickled(name):
    found = fed(getattr(streaming, name)(), RECENT)
    assert tree_equal(pickle.loads(pickle.dumps(found)), found)


MANY = 10**10
RECENT = np.asarray(5 + jax.random.normal(jax.random.key(8), (2**14, 2, 1)))


def after_many(number, variance=1.0):
    """Moments of so many draws of mean zero, as a run would have left them."""
    pair = lambda x: TwoFloat(jnp.full((2, 1), x, jnp.float32), jnp.zeros((2, 1)))
    count = Count(jnp.int32(number >> 30), jnp.int32(number % 2**30))
    return streaming.Moments(
        count, jnp.zeros((2, 1)), pair(0.0), pair(float(number) * variance)
    )


def going_on(reducer, carry, values):
    state = lambda x: eb.State(x, None)
    step = lambda c, x: (reducer.update(c, state(x), None), None)
    return jax.jit(lambda c, v: jax.lax.scan(step, c, v)[0])(carry, jnp.asarray(values))


def test_sums_are_right_after_ten_billion_steps():
    """16,384 draws about 5 after 10^10 about 0: they move mean and variance by 1e-5 of
    them, and a sum in float32, the control, not at all."""
    found = going_on(streaming.moments(), after_many(MANY), RECENT)
    n, recent = len(RECENT), RECENT.astype(np.float64)
    assert found.num_steps == MANY + n and found.num_steps.dtype == np.int64
    means, squares = (
        recent.mean(axis=0),
        ((recent - recent.mean(axis=0)) ** 2).sum(axis=0),
    )
    np.testing.assert_allclose(found.means, means * n / (MANY + n), rtol=1e-5)
    added = squares + means**2 * MANY * n / (MANY + n)
    total = np.asarray(found.squares.high, np.float64) + np.asarray(
        found.squares.low, np.float64
    )
    np.testing.assert_allclose(total - np.float32(MANY), added, rtol=1e-5)
    naive = np.float32(MANY)
    for square in (recent[:, 0, 0] ** 2).astype(np.float32):
        naive = np.float32(naive + square)
    assert (
        abs(naive - np.float32(MANY) - (recent[:, 0, 0] ** 2).sum()) > 0.1 * added.min()
    )


def test_a_count_exceeds_int32():
    start = Count(jnp.int32(1), jnp.int32(2**30 - 3))
    end = jax.lax.fori_loop(0, 10, lambda i, c: c.plus_one(), start)
    assert end.value() == 2**31 + 7
    assert [
        int(k) for k in range(40) if Count(jnp.int32(2), jnp.int32(0)).is_power(k)
    ] == [31]
    assert Count(jnp.int32(0), jnp.int32(2**20)).is_power(20)
    assert not Count(jnp.int32(1), jnp.int32(2**20)).is_power(20)


ADVERSARIAL = {
    "grows": lambda t: 1.001**t,
    "falls": lambda t: 1e6 * 0.99**t,
    "large beside its changes": lambda t: 1e6 + (t % 7),
    "one far away first": lambda t: np.where(t == 0, 1e7, np.sin(t)),
    "one far away late": lambda t: np.where(t == 9000, 1e7, np.sin(t)),
    "alternates": lambda t: (-1.0) ** t * 1e4 + 1e-2 * np.sin(t),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_sequences(name):
    values = ADVERSARIAL[name](np.arange(10_000.0)).astype(np.float32)
    values = np.stack([values, values[::-1]], axis=1)[:, :, None]  # [T, 2, 1]
    exact, scale = values.astype(np.float64), np.abs(values).max()
    found = fed(streaming.moments(), values)
    np.testing.assert_allclose(found.variances, exact.var(axis=0, ddof=1), rtol=2e-6)
    np.testing.assert_allclose(found.means, exact.mean(axis=0), atol=1e-8 * scale)
    both = fed(streaming.covariance(), values)
    np.testing.assert_allclose(
        both.covariance, exact.reshape(-1).var(ddof=1), rtol=1e-5
    )


def test_batches_longer_than_int32():
    """Four batches of 2^31 draws are full: the next draw begins the third of 2^32."""
    m = after_many(2**33)
    sums = (
        jnp.asarray([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1)
        * 2.0**31
        * jnp.ones((4, 2, 1))
    )
    state = streaming.BatchMeans(
        m,
        jnp.int32(31),
        jnp.int32(4),
        Count.zero(),
        TwoFloat(sums, jnp.zeros_like(sums)),
    )
    found = going_on(streaming.batch_means(num_batches=4), state, RECENT[:100])
    assert found.size == 2.0**32 and found.place == 2 and found.filled.value() == 100
    means = np.asarray(found.batches.high)[:, 0, 0] / 2.0**32
    np.testing.assert_allclose(means[:2], [1.5, 3.5])
    np.testing.assert_allclose(means[2] * 2.0**32, RECENT[:100, 0, 0].sum(), rtol=1e-5)
    assert found.num_steps == 2**33 + 100
    np.testing.assert_allclose(
        found.ess, 2 * 2**33 / (2**32 * np.var([1.5, 3.5] * 2, ddof=1)), rtol=1e-4
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
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
