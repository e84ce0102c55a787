"""The training loop: it learns, it resumes exactly, and it does not diverge
silently."""

import signal
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import root_energy as energy
from helpers import tree_equal

import ebmjax as eb
from ebmjax import targets
from ebmjax.training.diagnosis import diagnose
from ebmjax.training.divergence import NO_ROLLBACK

TARGET = targets.gaussian([0.5, -1.0], [[1.0, 0.4], [0.4, 0.5]])
KEY = jax.random.key(3)
DATA = TARGET.sample(KEY, 2000)
START = {"root": jnp.eye(2), "mean": jnp.zeros(2)}
draw = lambda key, n: 2.0 * jax.random.normal(key, (n, 2))


def train(
    num_updates,
    state=None,
    *,
    loss=None,
    learning_rate=0.02,
    chain_init=None,
    energy=energy,
    params=START,
    **options,
):
    optimizer = optax.adam(learning_rate)
    chain_init = chain_init or eb.replay_buffer(draw, 1000, 0.01)
    loss = loss or eb.maximum_likelihood(energy, eb.mala, 10, acceptance_target=0.574)
    state = state or eb.init_state(KEY, params, optimizer, chain_init, 0.5)
    options = {"batch_size": 500, "rollback": NO_ROLLBACK, **options}
    return eb.fit(
        KEY,
        loss,
        optimizer,
        state,
        DATA,
        chain_init,
        num_updates=num_updates,
        **options,
    )


@pytest.mark.parametrize(
    "chain_init",
    [eb.from_data(), eb.replay_buffer(draw, 500), eb.replay_buffer(draw, 1000, 0.05)],
)
def test_maximum_likelihood_finds_the_mean_and_covariance_of_the_data(chain_init):
    state, metrics = train(600, chain_init=chain_init, ema_decay=0.98)
    root = state.ema["root"]
    covariance = np.linalg.inv(root.T @ root)
    assert np.abs(covariance - np.cov(DATA.T)).max() < 0.1
    assert np.abs(state.ema["mean"] - DATA.mean(axis=0)).max() < 0.1
    assert abs(metrics["acceptance_rate"][-50:].mean() - 0.574) < 0.05
    assert int(state.num_skipped) == 0 and len(metrics["loss"]) == 600


def test_resumed_is_not_stopped_bit_for_bit():
    whole, _ = train(60)
    half, _ = train(37)
    resumed, metrics = train(60, half)
    assert tree_equal(whole, resumed) and len(metrics["loss"]) == 23
    assert not tree_equal(whole, half)


def test_ctrl_c_returns_the_last_healthy_state_and_its_history():
    def stop(done, total, text):
        if done >= 75:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="stopped after update 25 of") as caught:
        train(150, progress=stop)
    state, history = caught.value.result
    assert int(state.step) == 25 == len(history["loss"])
    assert tree_equal(train(100, state)[0], train(100)[0])


def test_chunks_change_no_number():
    assert tree_equal(train(40, chunk=7)[0], train(40, chunk=40)[0])


def test_metrics_of_any_shape_and_type_keep_their_names():
    def loss(params, key, batch, chains):
        mean = jnp.mean(batch, 0)
        found = {
            "b": mean[0],
            "a": jnp.int32(7),
            "vector": mean,
            "number": mean[1],
            "is_flagged": mean[0] > 0,
        }
        return jnp.sum((params["mean"] - mean) ** 2), (chains, found)

    state, metrics = train(3, loss=loss, params={"mean": jnp.zeros(2)}, chunk=2)
    vector = metrics["vector"]
    assert vector.shape == (3, 2)
    assert np.array_equal(metrics["b"], vector[:, 0])
    assert np.array_equal(metrics["number"], vector[:, 1])
    assert np.array_equal(metrics["is_flagged"], vector[:, 0] > 0)
    assert metrics["a"].dtype == jnp.int32 and np.all(metrics["a"] == 7)


def test_an_update_that_is_not_finite_is_skipped_and_counted():
    calls = eb.maximum_likelihood(energy, eb.mala, 5)

    def sometimes_nan(params, key, batch, chains):
        value, aux = calls(params, key, batch, chains)
        return value * jnp.where(batch[0, 0] > 1.0, jnp.nan, 1.0), aux

    state, metrics = train(60, loss=sometimes_nan)
    skipped = metrics["is_skipped"].astype(bool)
    assert 0 < skipped.sum() == int(state.num_skipped) < 30
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))


def test_chains_that_are_not_finite_are_restarted_and_counted():
    chain_init = eb.replay_buffer(draw, 500)
    state = eb.init_state(KEY, START, optax.adam(0.02), chain_init, 0.5)
    state = state._replace(buffer=state.buffer.at[:7].set(jnp.nan))
    state, metrics = train(3, state, chain_init=chain_init)
    assert int(state.num_restarted) == 7 and np.isfinite(state.buffer).all()
    assert np.isfinite(metrics["loss"]).all() and int(state.num_skipped) == 0


def runaway(params, x):
    return params["slope"] * x[0] + 0.5 * jnp.sum((x / 100.0) ** 2)


def nothing_but_nan(params, key, batch, chains):
    return jnp.nan * jnp.sum(params["root"]), (chains, {})


RUNAWAY = {"energy": runaway, "params": {"slope": jnp.float32(0.05)}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": nothing_but_nan}, "100% of the updates had a gradient, loss or step"),
        ({**RUNAWAY, "learning_rate": 1e3, "max_gap": 1e3}, "apart"),
        ({**RUNAWAY, "learning_rate": 1e-6}, "use a network with a confinement term"),
        (
            {"loss": eb.maximum_likelihood(energy, eb.mala, 3), "stuck": True},
            "the chains froze, acceptance 0.0000",
        ),
    ],
)
def test_divergence_raises_with_the_metrics_it_saw(options, message):
    options = dict(options)
    state = None
    if options.pop("stuck", False):
        chain_init = eb.replay_buffer(draw, 1000, 0.01)
        state = eb.init_state(KEY, START, optax.adam(0.02), chain_init, 1e4)
    with pytest.raises(eb.TrainingDiverged, match=message) as error:
        train(2000, state, **options)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(error.value.state.params))


def test_healthy_training_is_not_stopped():
    train(30, max_gap=50.0)


def test_ema_is_the_moving_average():
    state, _ = train(3, ema_decay=0.5, chunk=1)
    ema = START
    for n in (1, 2, 3):
        params, decay = (
            train(n, ema_decay=0.5, chunk=1)[0].params,
            min(0.5, n / (9 + n)),
        )
        ema = jax.tree.map(lambda e, p, d=decay: d * e + (1 - d) * p, ema, params)
    for a, b in zip(jax.tree.leaves(state.ema), jax.tree.leaves(ema), strict=True):
        assert np.allclose(a, b, atol=1e-6)


def test_progress_reports_energies_acceptance_and_gradient():
    reported = []
    train(50, progress=lambda done, total, text: reported.append((done, total, text)))
    assert [t[0] for t in reported] == [25, 50] and reported[0][1] == 50
    for word in ("E data", "E model", "acceptance", "|grad|"):
        assert word in reported[0][2]


def test_pytree_data():
    data = {"a": DATA, "b": DATA[:, :1]}
    energy = lambda params, x: (
        params["w"] * (jnp.sum(x["a"] ** 2) + jnp.sum(x["b"] ** 2))
    )
    chain_init = eb.from_data()
    optimizer = optax.sgd(0.01)
    state = eb.init_state(KEY, {"w": jnp.float32(0.5)}, optimizer, chain_init, 0.5)
    loss = eb.maximum_likelihood(energy, eb.mala, 3)
    state, metrics = eb.fit(
        KEY,
        loss,
        optimizer,
        state,
        data,
        chain_init,
        num_updates=4,
        batch_size=100,
        data_noise=0.1,
    )
    assert np.isfinite(metrics["loss"]).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"batch_size": 3000},
            ValueError,
            "batch_size must be at most the number of points, 2000, got 3000",
        ),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"data_noise": -1.0}, ValueError, "data_noise must be finite and at least 0"),
        ({"ema_decay": 1.0}, ValueError, r"ema_decay must lie in \[0, 1\)"),
        (
            {"num_chains": 2000},
            ValueError,
            "num_chains must be at most the buffer's size, 1000, got 2000",
        ),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        train(2, **options)


def test_bad_data():
    chain_init, optimizer = eb.from_data(), optax.sgd(0.1)
    state = eb.init_state(KEY, START, optimizer, chain_init, 0.5)
    loss = eb.maximum_likelihood(energy, eb.mala, 2)
    fit = partial(
        eb.fit,
        KEY,
        loss,
        optimizer,
        state,
        chain_init=chain_init,
        num_updates=1,
        batch_size=10,
    )
    for data, error, message in (
        (
            DATA.at[5].set(jnp.nan),
            ValueError,
            r"data must be finite, got 2 NaN or infinite values in rows 5",
        ),
        ((DATA > 0).astype(jnp.uint8), TypeError, "data must be floating, got uint8"),
        (jnp.zeros((0, 2)), ValueError, "data must not be empty"),
    ):
        with pytest.raises(error, match=message):
            fit(data)
    with pytest.raises(ValueError, match="step_size must be finite and above 0"):
        eb.init_state(KEY, START, optimizer, chain_init, 0.0)


def test_every_update_sees_another_batch():

    def watch(params, key, batch, chains):
        return jnp.sum(params["mean"] ** 2), (chains, {"batch_mean": jnp.mean(batch)})

    _, metrics = train(10, loss=watch)
    means = metrics["batch_mean"]
    assert len(np.unique(means)) == 10


def test_chains_that_lag_behind_the_energy_are_named():
    """An energy that sharpens faster than its chains move: they are far above the data,
    by a finite gap."""
    metrics = {
        "is_skipped": np.zeros(25),
        "acceptance_rate": np.full(25, 0.4),
        "step_size": np.full(25, 0.1),
    }
    metrics |= {
        "chain_extent": np.full(25, 3.0),
        "energy_spread": np.full(25, 2.0),
        "energy_data": np.zeros(25),
    }
    assert diagnose({**metrics, "energy_model": np.full(25, 12.0)}, 3.0, 2) is None
    assert (
        diagnose({**metrics, "energy_model": np.full(25, -100.0)}, 3.0, 2) is None
    )  # chains lag below at the start
    assert "no longer follow the energy" in diagnose(
        {**metrics, "energy_model": np.full(25, 60.0)}, 3.0, 2
    )
