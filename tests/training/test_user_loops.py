"""Own loops: a tracker, gradient accumulation, mixed precision, ensembles; shifts of
images."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ebmjax as eb
from ebmjax.objectives.batches import points_of
from ebmjax.training.augmentation import shifted_chains, shifts

DATA = jax.random.normal(jax.random.key(0), (256, 2)) + 1.0
NETWORK = eb.MLP((16,), confinement=3.0)
PARAMS = NETWORK.init(jax.random.key(1), DATA[0])


def quadratic(params, key, batch, chains):
    """A loss without chains, whose gradient is that of a mean over the batch."""
    return 0.5 * jnp.mean(jnp.sum((batch - params) ** 2, axis=-1)), (chains, {})


def draw(key, n):
    return jax.random.normal(key, (n, 2))


# --- a tracker ----------------------------------------------------------------------


def test_a_tracker_gets_plain_dictionaries_a_row_an_update(key):
    rows, chunks = [], []
    state = eb.init_state(key, jnp.zeros(2), optax.sgd(0.1))
    found = eb.fit(
        key,
        quadratic,
        optax.sgd(0.1),
        state,
        DATA,
        num_updates=60,
        batch_size=32,
        log=rows.append,
        on_chunk=lambda state, metrics: chunks.append(int(state.step)),
    )
    assert [row["step"] for row in rows] == list(range(1, 61))
    assert chunks == [25, 50, 60]
    assert all(type(v) is float for row in rows for n, v in row.items() if n != "step")
    np.testing.assert_allclose([r["loss"] for r in rows], found.history["loss"])
    with pytest.raises(TypeError, match="log must be a function"):
        eb.fit(
            key,
            quadratic,
            optax.sgd(0.1),
            state,
            DATA,
            num_updates=60,
            batch_size=32,
            log="run",
        )


# --- gradient accumulation ----------------------------------------------------------


def test_accumulated_gradients_are_those_of_one_large_batch(key):
    """Four batches of 64 by optax.MultiSteps, and one of 256: the same parameters; a
    control without accumulation moves after each."""
    few = optax.MultiSteps(optax.adam(0.1), 4)
    step = eb.train_step(quadratic, few, num_chains=1)
    state = eb.init_state(key, jnp.zeros(2), few)
    for i, batch in enumerate(DATA.reshape(4, 64, 2)):
        state, _ = step(key, state, batch)
        is_at_rest = bool((state.params == 0).all())
        assert is_at_rest == (i < 3)
    whole = eb.train_step(quadratic, optax.adam(0.1), num_chains=1)
    large, _ = whole(key, eb.init_state(key, jnp.zeros(2), optax.adam(0.1)), DATA)
    np.testing.assert_allclose(state.params, large.params, rtol=1e-5)
    first, _ = whole(key, eb.init_state(key, jnp.zeros(2), optax.adam(0.1)), DATA[:64])
    assert not bool((first.params == 0).any())


# --- mixed precision ----------------------------------------------------------------


@functools.cache
def trained(dtype):
    network = eb.MLP((32, 32), confinement=3.0, dtype=dtype)
    objective = eb.maximum_likelihood(
        network.apply, eb.mala, 5, acceptance_target=0.574
    )
    chains = eb.replay_buffer(draw, 128)
    params = network.init(jax.random.key(1), DATA[0])
    state = eb.init_state(jax.random.key(2), params, optax.adam(2e-3), chains, 0.5)
    found = eb.fit(
        jax.random.key(3),
        objective,
        optax.adam(2e-3),
        state,
        DATA,
        chains,
        num_updates=100,
        batch_size=128,
    )
    return network, found


def test_a_network_in_bfloat16_has_float32_chains_energies_and_parameters():
    network, found = trained(jnp.bfloat16)
    leaves = jax.tree.leaves((found.state.params, found.state.ema, found.state.buffer))
    assert {x.dtype for x in leaves} == {jnp.dtype("float32")}
    energy = partial(network.apply, found.state.params)
    kernel = eb.mala(energy, 0.5)
    state = kernel.init(DATA[0])
    assert {x.dtype for x in jax.tree.leaves(state)} == {jnp.dtype("float32")}
    text = str(jax.make_jaxpr(energy)(DATA[0]))
    assert text.count("bf16") > 5
    wide = eb.MLP((32, 32), confinement=3.0)
    assert "bf16" not in str(
        jax.make_jaxpr(partial(wide.apply, found.state.params))(DATA[0])
    )


def test_rounding_in_bfloat16_is_far_below_a_nat_and_training_is_the_same():
    """The energies of one set of parameters in both precisions; the tail is exact."""
    network, found = trained(jnp.bfloat16)
    wide, other = trained(None)
    params = found.state.params
    of = lambda n, x: np.asarray(jax.vmap(partial(n.apply, params))(x), np.float64)
    error = of(network, DATA) - of(wide, DATA)
    assert 0 < np.abs(error).max() < 0.05
    far = 1e4 * jnp.ones((1, 2))
    tail = 1e8 / 9.0
    assert abs(of(network, far) - of(wide, far))[0] < 1e-3 * tail
    last = [np.mean(f.history["energy_data"][-30:]) for f in (found, other)]
    gap = [
        np.mean((f.history["energy_data"] - f.history["energy_model"])[-30:])
        for f in (found, other)
    ]
    assert abs(gap[0] - gap[1]) < 0.1 and np.isfinite(last).all()


# --- several networks ---------------------------------------------------------------


def test_an_ensemble_is_one_vmap_and_equals_its_members(key):
    """Three networks in one program, each with its own chains, step size and key."""
    objective = eb.maximum_likelihood(
        NETWORK.apply, eb.mala, 3, acceptance_target=0.574
    )
    adam, chains = optax.adam(1e-3), eb.replay_buffer(draw, 64)
    step = eb.train_step(objective, adam, chains, num_chains=32)

    def member(key):
        key_params, key_chains = jax.random.split(key)
        params = NETWORK.init(key_params, DATA[0])
        return eb.init_state(key_chains, params, adam, chains, 0.5)

    keys = jax.random.split(key, 3)
    states = jax.vmap(member)(keys)
    update = jax.jit(jax.vmap(step, in_axes=(0, 0, None)))
    after, metrics = update(keys, states, DATA[:64])
    alone, own = jax.jit(step)(keys[1], member(keys[1]), DATA[:64])
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(a[1], b, rtol=1e-3, atol=2e-5)
    assert metrics["loss"].shape == (3,)
    assert abs(float(metrics["loss"][1] - own["loss"])) < 1e-3
    energies = lambda params, x: jnp.mean(jax.vmap(NETWORK.apply, (0, None))(params, x))
    ensemble = jax.tree_util.Partial(energies, after.params)
    of_all = jax.vmap(NETWORK.apply, (0, None))(after.params, DATA[0])
    of = [float(energy) for energy in of_all]
    assert abs(float(ensemble(DATA[0])) - np.mean(of)) < 1e-4
    assert np.ptp(of) > 1e-3
    assert eb.mala(ensemble, 0.5).init(DATA[0]).grad.shape == (2,)


# --- shifts of images ---------------------------------------------------------------


def test_shifts_are_equally_likely_and_move_whole_images(key):
    """One bright pixel in the middle of 5x5: each of nine places within standard
    errors; colours stay together."""
    num = 9000
    images = jnp.zeros((num, 5, 5, 2)).at[:, 2, 2].set(jnp.array([1.0, 2.0]))
    found = np.asarray(shifts(1)(key, images))
    counts = (found[..., 0] == 1).sum(axis=0)
    assert counts.sum() == num and counts[1:4, 1:4].sum() == num
    error = (num / 9 * 8 / 9) ** 0.5
    assert np.abs(counts[1:4, 1:4] - num / 9).max() < 4 * error
    assert np.array_equal(found[..., 1], 2 * found[..., 0])
    bright = jnp.broadcast_to(jnp.arange(5.0)[None, :, None], (4, 5, 5))
    assert float(shifts(2)(key, bright).max()) == 4  # the edge comes in, not zeros
    assert float(shifts(2)(key, bright + 1).min()) >= 1
    with pytest.raises(ValueError, match="images"):
        shifts(1)(key, jnp.zeros((4, 5)))
    with pytest.raises(ValueError, match="at least 1"):
        shifts(0)


def test_a_share_of_the_chains_is_shifted_before_they_run(key):
    num = 2000
    image = jnp.zeros((6, 6)).at[3, 3].set(1.0)
    fresh = lambda key, n: jnp.broadcast_to(image, (n, 6, 6))
    chains = shifted_chains(eb.replay_buffer(fresh, num), 1, 0.25)
    buffer = chains.init(key)
    found, slots = chains.draw(key, buffer, None, num)
    is_moved = (points_of(found) != image).any(axis=(1, 2)).mean()
    want = 0.25 * 8 / 9
    assert abs(float(is_moved) - want) < 4 * (want * (1 - want) / num) ** 0.5
    assert np.array_equal(chains.update(buffer, slots, found)[slots], found)
    with pytest.raises(ValueError, match="probability"):
        shifted_chains(eb.from_data(), 1, 1.5)


def test_the_batches_of_fit_are_augmented_and_their_labels_are_not(key):
    """Each batch is shifted before the noise; the loss sees it."""

    def seen(params, key, batch, chains):
        places = jnp.argmax(batch.point.reshape(len(batch.point), -1), axis=1)
        spread = jnp.std(places.astype(jnp.float32))
        return params**2, (chains, {"spread": spread, "label": jnp.mean(batch.label)})

    images = jnp.zeros((50, 6, 6)).at[:, 3, 3].set(1.0)
    data = eb.labelled(images, np.arange(50) % 5)
    state = eb.init_state(key, jnp.float32(1.0), optax.sgd(0.1))
    run = lambda **more: eb.fit(
        key, seen, optax.sgd(0.1), state, data, num_updates=5, batch_size=40, **more
    )
    plain, shifted = run(), run(augment=shifts(2))
    assert plain.history["spread"].max() == 0 and shifted.history["spread"].min() > 4
    assert np.array_equal(plain.history["label"], shifted.history["label"])


def test_pictures_in_colour_of_any_size_train_with_shifts(tmp_path):
    """Bytes [N, 3, H, W] of 20x13 from a file: convolutions of sensible width, shifted
    batches and chains, samples in the layout of the run."""
    from ebmjax.experiments import data, experiment

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 3, 20, 13), np.uint8)
    np.save(tmp_path / "mine.npy", images)
    dataset = data.load(str(tmp_path / "mine.npy"))
    assert dataset.x.shape == (60, 20, 13, 3) and dataset.is_image
    assert 0 <= dataset.x.min() and dataset.x.max() <= 1
    config = experiment.preset(
        dataset,
        network="conv",
        shift=2,
        num_updates=2,
        chain_steps=1,
        num_chains=4,
        buffer_size=8,
        batch_size=4,
    )
    assert config.features == (32, 64, 128, 256)
    run = experiment.build(config, dataset)
    assert 2e5 < run.num_params < 2e6
    state, history = run.fit(run.init())
    assert np.isfinite(history["loss"]).all()
    assert state.buffer.shape == (8, 20, 13, 3)
    plain = data.load("two_moons")
    with pytest.raises(experiment.RunError, match="shift is of images"):
        experiment.build(experiment.preset(plain, shift=1), plain)
