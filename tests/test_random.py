"""The generator: known answers, JAX's own hash, and the distribution of its numbers."""

import time

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import stats

from ebmjax import _random as noise
from ebmjax._inlined import inlined

FULL = 0xFFFFFFFF
KNOWN = [  # key, counter, words: kat_vectors of Random123, threefry 2x32, 20 rounds
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((FULL, FULL), (FULL, FULL), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("key", "counter", "words"), KNOWN)
def test_threefry_has_its_published_answers(key, counter, words):
    as_words = lambda pair: tuple(jnp.uint32(x) for x in pair)
    assert (
        tuple(int(x) for x in noise.threefry(as_words(key), as_words(counter))) == words
    )


def test_threefry_equals_jax_bit_for_bit(key):
    words, count = jax.random.key_data(key), jax.random.bits(key, (1000,))
    ours = jnp.concatenate(
        noise.threefry((words[0], words[1]), (count[:500], count[500:]))
    )
    assert np.array_equal(ours, threefry_2x32(words, count))
    for data in (0, 1, 12345, 2**32 - 1):
        for k in (key, words):
            same = noise.fold_in(k, np.uint32(data)) == jax.random.fold_in(
                k, np.uint32(data)
            )
            assert np.all(same)
    for i, folded in enumerate(noise.fold_in_each(key, 3)):
        assert folded == jax.random.fold_in(key, i)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 31])
def test_bits_are_the_first_words_of_all_blocks_and_then_the_second(key, size):
    words = jax.random.key_data(key)
    low = np.arange((size + 1) // 2, dtype=np.uint32)
    blocks = noise.threefry((words[0], words[1]), (np.uint32(0), low))
    assert np.array_equal(noise.bits(key, size), np.concatenate(blocks)[:size])


@pytest.mark.parametrize(
    "make", [lambda key: key, jax.random.key_data], ids=["typed", "raw"]
)
def test_split_and_inlined_keys_give_the_numbers_of_jax(key, make):
    key = make(key)
    assert np.all(noise.split(key, 5) == jax.random.split(key, 5))
    assert noise.split(key).dtype == key.dtype
    draws = {
        "normal": lambda k: jax.random.normal(k, (3, 5)),
        "uniform": jax.random.uniform,
        "randint": lambda k: jax.random.randint(k, (11,), 0, 1000),
        "bernoulli": lambda k: jax.random.bernoulli(k, 0.3, (9,)),
        "logistic": lambda k: jax.random.logistic(k, (4,)),
        "exponential": lambda k: jax.random.exponential(k, (3,)),
        "categorical": lambda k: jax.random.categorical(k, jnp.arange(5.0)),
        "permutation": lambda k: jax.random.permutation(k, 50),
        "choice": lambda k: jax.random.choice(k, 50, (7,)),
        "bfloat16": lambda k: jax.random.normal(k, (5,), jnp.bfloat16),
        "gamma": lambda k: jax.random.gamma(k, 2.5, (3,)),  # splits its key
    }
    for name, draw in draws.items():
        same = jax.vmap(lambda k, draw=draw: draw(inlined(k)))
        keys = noise.split(key, 3)
        assert np.array_equal(jax.vmap(draw)(keys), same(keys)), name
    assert not np.array_equal(draws["uniform"](key), jax.random.uniform(keys[0]))


def test_other_generators_keep_their_own_numbers():
    key = jax.random.key(3, impl="rbg")
    assert np.all(noise.split(key, 3) == jax.random.split(key, 3))
    assert inlined(key) is key


@pytest.mark.parametrize("num", [1, 2, 3])
def test_several_keys_are_refused_as_jax_does(key, num):
    keys = jax.random.split(key, num)
    for of_one in (
        noise.split,
        lambda keys: noise.fold_in(keys, 0),
        lambda keys: jax.random.uniform(inlined(keys)),
        lambda keys: noise.normal(keys, (3,), jnp.float32),
    ):
        with pytest.raises(ValueError, match="a single key"):
            of_one(keys)


def test_inlined_keys_draw_arrays_of_symbolic_shape(key):
    (n,) = jax.export.symbolic_shape("n")
    draw = jax.jit(lambda key, x: jax.random.uniform(inlined(key), x.shape))
    exported = jax.export.export(draw)(key, jax.ShapeDtypeStruct((n,), jnp.float32))
    found = exported.call(key, jnp.zeros(5))
    assert np.array_equal(found, jax.random.uniform(key, (5,)))


def test_an_odd_number_of_coordinates_costs_what_an_even_one_does():
    """Ten times as much, where XLA fuses a slice of the words into the hash; a factor
    below three is not seen."""
    keys = jax.random.split(jax.random.key(0), 2**14)
    draw = jax.jit(
        lambda keys, num: jax.vmap(lambda k: noise.normal(k, (num,), jnp.float32))(
            keys
        ),
        static_argnums=1,
    )

    def seconds(num):
        found = []
        for _ in range(16):  # the first compiles
            begin = time.process_time()
            jax.block_until_ready(draw(keys, num))
            found.append((time.process_time() - begin) / num)
        return np.median(found[1:])

    assert seconds(5) < 3 * seconds(6)


def test_numbers_are_the_inverse_of_the_normal_distribution():
    """Over all magnitudes of u, the far tail included, against float64."""
    k = np.unique(
        np.concatenate(
            [np.arange(64), np.logspace(0, np.log10(2**31 - 1), 20_000)]
        ).astype(np.uint32)
    )
    u = (k.astype(np.float32).astype(np.float64) + 0.5) / 2**31
    exact = stats.norm.isf(u / 2)
    for sign in (0, 1):
        found = np.asarray(noise.normal_of(jnp.asarray(2 * k + sign)), np.float64)
        assert np.isfinite(found).all()
        error = np.abs(found * (1, -1)[sign] - exact)
        assert (
            error[exact < 5.3].max() < 4e-6
        )  # eight units in the last place of float32
        assert error.max() < 2.5e-3  # where the polynomial is extrapolated


@pytest.mark.parametrize("num", [1, 2, 7])
def test_normal_numbers_over_chains_are_normal_and_independent(key, num):
    n = 2**18
    x = jax.jit(jax.vmap(lambda k: noise.normal(k, (num,), jnp.float32)))(
        jax.random.split(key, n)
    )
    x = np.asarray(x, np.float64)
    for column in x.T:
        assert stats.kstest(column, "norm").pvalue > 1e-6
        for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
            assert abs((column**power).mean() - moment) < 5 * np.sqrt(variance / n)
    for f in (lambda x: x, np.square, np.abs):
        off = np.corrcoef(f(x).T.reshape(num, n)) - np.eye(num)
        assert np.abs(off).max() < 5.5 / np.sqrt(n)
    assert stats.kstest(1.05 * x[:, 0], "norm").pvalue < 1e-6  # the control


def test_the_accept_noise_is_exponential_and_independent_of_the_proposal(key):
    n = 2**18
    keys = jax.random.split(key, n)
    e = np.asarray(jax.jit(jax.vmap(noise.accept_noise))(keys), np.float64)
    x = np.asarray(
        jax.vmap(lambda k: noise.normal(k, (3,), jnp.float32))(keys), np.float64
    )
    assert stats.kstest(e, "expon").pvalue > 1e-6 and e.min() >= 0
    for f in (x, x**2):
        assert np.abs(np.corrcoef(e, f.T)[0, 1:]).max() < 5 / np.sqrt(n)


def test_keys_of_other_kinds_and_other_dtypes(key):
    rbg = jax.random.key(1, impl="rbg")
    assert np.array_equal(
        noise.normal(rbg, (5,), jnp.float32), jax.random.normal(rbg, (5,))
    )
    assert noise.accept_noise(rbg) > 0 and noise.fold_in(rbg, 3) == jax.random.fold_in(
        rbg, 3
    )
    assert noise.normal(key, (3, 2), jnp.bfloat16).dtype == jnp.bfloat16
    assert noise.normal(key, (), jnp.float32).shape == ()
    with jax.enable_x64(True):
        assert noise.normal(key, (3,), jnp.float64).dtype == jnp.float64
    raw = jax.random.key_data(key)
    assert np.array_equal(
        noise.normal(raw, (5,), jnp.float32), noise.normal(key, (5,), jnp.float32)
    )
