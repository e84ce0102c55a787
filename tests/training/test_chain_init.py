"""Chain initialisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb

draw = lambda key, n: 100.0 + jax.random.normal(key, (n, 2))
BATCH = jnp.arange(6.0).reshape(3, 2)


def test_from_data_starts_at_the_batch_and_stores_nothing(key):
    chain_init = eb.from_data()
    chains, slots = chain_init.draw(key, chain_init.init(key), BATCH, 5)
    assert np.array_equal(chains, BATCH[jnp.array([0, 1, 2, 0, 1])]) and slots is None
    assert chain_init.update(None, None, chains) is None


def test_from_noise_draws_new_starts_each_time(key):
    chain_init = eb.from_noise(draw)
    one, _ = chain_init.draw(key, None, BATCH, 4)
    two, _ = chain_init.draw(jax.random.fold_in(key, 1), None, BATCH, 4)
    assert (one > 90).all() and not np.array_equal(one, two)


def test_a_buffer_returns_stored_chains_from_distinct_slots(key):
    chain_init = eb.replay_buffer(draw, 10)
    buffer = chain_init.init(key)
    chains, slots = chain_init.draw(key, buffer, BATCH, 6)
    assert len(set(slots.tolist())) == 6 and np.array_equal(chains, buffer[slots])
    buffer = chain_init.update(buffer, slots, chains - 1000.0)
    assert ((buffer < 0).all(axis=1)).sum() == 6 and (buffer[slots] < 0).all()


def test_restarts_have_their_probability(key):
    chain_init = eb.replay_buffer(draw, 20_000, 0.1)
    buffer = jnp.zeros((20_000, 2))
    chains, _ = chain_init.draw(key, buffer, BATCH, 20_000)
    share = float((chains[:, 0] > 50).mean())
    assert abs(share - 0.1) < 5 * np.sqrt(0.09 / 20_000)


def test_the_age_of_a_chain_in_the_buffer_is_geometric(key):
    """With B of N slots an update and restarts of probability p, ages in turns are
    geometric(p)."""
    size, num_chains, p = 4000, 1000, 0.2
    chain_init = eb.replay_buffer(lambda key, n: jnp.zeros((n, 1)), size, p)

    def update(buffer, key):
        chains, slots = chain_init.draw(key, buffer, None, num_chains)
        return chain_init.update(buffer, slots, chains + 1.0), None

    buffer, _ = jax.lax.scan(update, chain_init.init(key), jax.random.split(key, 300))
    ages = np.asarray(buffer)[:, 0]
    for a in (1, 2, 3, 5):
        expected = p * (1 - p) ** (a - 1)
        assert abs((ages == a).mean() - expected) < 5 * np.sqrt(expected / size)


def test_draws_near_the_data_are_rows_with_noise_of_this_size(key):
    """Rows are far apart and uniform, 5 standard errors; noise is normal of its size in
    every leaf, and there is none by default."""
    places = 100.0 * jnp.arange(8.0).reshape(4, 2)
    data = {"a": 100.0 * jnp.arange(4.0), "b": places[:, 1], "c": places}
    n = 20_000
    draws = jax.tree.map(np.asarray, eb.near_data(data, 0.5)(key, n))
    row = np.round(draws["a"] / 100).astype(int)
    share = np.bincount(row, minlength=4) / n
    assert abs(share - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / n)
    noise = [draws["a"] - np.asarray(data["a"])[row]]
    noise += [draws["b"] - np.asarray(data["b"])[row]]
    noise += list((draws["c"] - np.asarray(data["c"])[row]).T)
    for xi in noise:
        assert abs(xi.mean()) < 5 * 0.5 / np.sqrt(n)
        assert abs(xi.std() - 0.5) < 5 * 0.5 / np.sqrt(2 * n)
    between = np.corrcoef(noise) - np.eye(4)
    assert abs(between).max() < 5 / np.sqrt(n)
    exact = eb.near_data(data)(key, 50)
    assert np.isin(np.asarray(exact["a"]), np.asarray(data["a"])).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: eb.replay_buffer(draw, 0), "size must be at least 1"),
        (
            lambda: eb.replay_buffer(draw, 5, 1.5),
            r"restart_probability must lie in \[0, 1\], got 1.5",
        ),
        (
            lambda: eb.replay_buffer(draw, 5).draw(
                jax.random.key(0), jnp.zeros((5, 2)), BATCH, 6
            ),
            "num_chains must be at most the buffer's size, 5, got 6",
        ),
        (lambda: eb.near_data(BATCH, -1.0), "noise must be .* got -1.0"),
        (lambda: eb.near_data(BATCH[:0]), "data must "),
        (lambda: eb.near_data(BATCH.at[0, 0].set(jnp.nan)), "data"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("size", "num_chains"), [(10, 4), (12, 3), (7, 7)])
def test_all_slots_of_a_buffer_are_drawn_equally_often(key, size, num_chains):
    chain_init, num = eb.replay_buffer(draw, size), 4000
    buffer = chain_init.init(key)
    take = jax.jit(jax.vmap(lambda k: chain_init.draw(k, buffer, BATCH, num_chains)[1]))
    slots = np.sort(take(jax.random.split(key, num)), axis=1)
    assert (np.diff(slots, axis=1) > 0).all()  # none twice
    share, expected = (
        np.bincount(slots.ravel(), minlength=size) / num,
        num_chains / size,
    )
    assert np.abs(share - expected).max() <= 5 * np.sqrt(
        expected * (1 - expected) / num
    )
