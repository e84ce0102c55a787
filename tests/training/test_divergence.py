"""The divergence monitor: each kind of divergence is reported, roll-backs, and the
temperature of training."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import counted, tree_equal
from helpers import root_energy as energy

import ebmjax as eb
from ebmjax import targets
from ebmjax.experiments import data, experiment
from ebmjax.training.diagnosis import diagnose
from ebmjax.training.divergence import NO_ROLLBACK, RollbackPolicy

KEY = jax.random.key(7)
TARGET = targets.gaussian([0.5, -1.0], [[1.0, 0.4], [0.4, 0.5]])
DATA = TARGET.sample(KEY, 2000)
START = {"root": jnp.eye(2), "mean": jnp.zeros(2)}
draw = lambda key, n: 2.0 * jax.random.normal(key, (n, 2))

HEALTHY = {
    "is_skipped": np.zeros(25),
    "grad_norm": np.ones(25),
    "acceptance_rate": np.full(25, 0.5),
    "step_size": np.full(25, 0.1),
    "chain_extent": np.full(25, 3.0),
    "energy_spread": np.full(25, 2.0),
    "energy_data": np.zeros(25),
    "energy_model": np.zeros(25),
    "drift": np.full(25, 0.1),
}


def train(optimizer, state=None, *, num_updates=700, temperature=1.0, **options):
    chain_init = eb.replay_buffer(draw, 500, 0.02)
    loss = eb.maximum_likelihood(
        energy, eb.mala, 10, temperature=temperature, acceptance_target=0.574
    )
    state = state or eb.init_state(KEY, START, optimizer, chain_init, 0.5)
    options = {
        "batch_size": 250,
        "num_updates": num_updates,
        "ema_decay": 0.98,
        **options,
    }
    return eb.fit(KEY, loss, optimizer, state, DATA, chain_init, **options)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"is_skipped": np.ones(25)}, "100% of the updates"),
        ({"grad_norm": np.full(25, 1e9)}, "the gradient of the loss has norm 1e"),
        ({"energy_model": np.full(25, -2e4)}, "the energies of data and model are 2e"),
        (
            {"energy_model": np.full(25, -200.0)},
            "the energies of data and model are 200 apart (limit 120)",
        ),
        ({"energy_model": np.full(25, 60.0)}, "no longer follow the energy"),
        (
            {"energy_model": np.full(25, 60.0), "energy_spread": np.full(25, 400.0)},
            "no longer follow the energy",
        ),
        ({"acceptance_rate": np.zeros(25)}, "the chains froze"),
        ({"chain_extent": np.full(25, 1e3)}, "confinement"),
        (
            {"drift": np.full(25, 1e3)},
            "the gradient of the energy exploded: a Langevin step drifts by 1e",
        ),
    ],
)
def test_each_kind_of_divergence_has_its_message(changed, message):
    assert diagnose(HEALTHY, 3.0, 2) is None
    said = diagnose({**HEALTHY, **changed}, 3.0, 2)
    assert said is not None and message in said


def test_a_single_nan_hides_no_divergence():
    for name, value in (("acceptance_rate", 0.0), ("chain_extent", 1e9)):
        values = np.full(25, value)
        values[7] = np.nan
        assert diagnose({**HEALTHY, name: values}, 3.0, 2) is not None


@pytest.mark.parametrize("chunk", [1, 25])
def test_a_few_skipped_updates_in_short_chunks_are_no_divergence(chunk):
    def rarely_nan(params, key, batch, chains):
        value = jnp.where(
            jax.random.bernoulli(key, 0.15),
            jnp.nan,
            jnp.mean(jax.vmap(partial(energy, params))(batch)),
        )
        return value, (chains, {})

    optimizer = optax.sgd(1e-3)
    options = {
        "num_updates": 60,
        "batch_size": 50,
        "rollback": NO_ROLLBACK,
        "chunk": chunk,
    }
    state, _ = eb.fit(
        KEY,
        rarely_nan,
        optimizer,
        eb.init_state(KEY, START, optimizer),
        DATA,
        **options,
    )
    assert 2 < int(state.num_skipped) < 25


def test_a_run_shorter_than_the_memory_is_judged_by_its_own_updates():
    def mostly_nan(params, key, batch, chains):
        value = jnp.mean(jax.vmap(partial(energy, params))(batch))
        return jnp.where(jax.random.bernoulli(key, 0.7), jnp.nan, value), (chains, {})

    optimizer = optax.sgd(1e-3)
    state = eb.init_state(KEY, START, optimizer)
    options = {"num_updates": 10, "batch_size": 50, "rollback": NO_ROLLBACK}
    with pytest.raises(eb.TrainingDiverged, match="of the updates had a gradient"):
        eb.fit(KEY, mostly_nan, optimizer, state, DATA, **options)


HUGE = optax.sgd(
    optax.piecewise_constant_schedule(0.3, {60: 100.0})
)  # first healthy, then far too fast


@pytest.mark.filterwarnings("ignore:training diverged")  # again, before it recovers
def test_a_run_that_diverges_rolls_back_and_reaches_its_target():
    with pytest.warns(
        UserWarning,
        match="back to update .* times the learning rate .1 of 6 roll-backs",
    ):
        state, metrics = train(HUGE, rollback=RollbackPolicy(6))
    assert 1 <= int(state.num_rollbacks) <= 6
    assert float(state.lr_scale) == pytest.approx(0.3 ** int(state.num_rollbacks))
    covariance = np.linalg.inv(state.ema["root"].T @ state.ema["root"])
    assert np.abs(covariance - np.cov(DATA.T)).max() < 0.15
    assert np.abs(state.ema["mean"] - DATA.mean(axis=0)).max() < 0.15
    assert (
        len(metrics["loss"]) == 700 and np.isfinite(metrics["loss"]).all()
    )  # no update twice, none missing
    with pytest.raises(
        eb.TrainingDiverged, match="training diverged between updates"
    ) as error:
        train(HUGE, rollback=NO_ROLLBACK)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(error.value.state.params))


@pytest.mark.filterwarnings("ignore:training diverged")
def test_the_number_of_roll_backs_is_bounded():
    hopeless = RollbackPolicy(3, learning_rate_factor=1.0)
    with pytest.raises(eb.TrainingDiverged, match="after 3 roll-backs") as error:
        train(HUGE, rollback=hopeless)
    assert int(error.value.state.num_rollbacks) == 3


@pytest.mark.filterwarnings("ignore:training diverged")
def test_training_resumes_bit_for_bit_from_the_state_of_on_chunk():
    """A run that is killed just before a roll-back repeats it."""
    seen = []
    whole, _ = train(
        HUGE,
        num_updates=200,
        rollback=RollbackPolicy(6),
        on_chunk=lambda s, m: seen.append(s),
    )
    assert [int(s.step) for s in seen] == list(range(25, 201, 25))
    before = [s for s in seen if int(s.num_rollbacks) == 0]
    assert before and int(whole.num_rollbacks) > 0
    resumed, _ = train(HUGE, before[-1], num_updates=200, rollback=RollbackPolicy(6))
    assert tree_equal(whole, resumed)


def test_the_distance_of_a_roll_back_does_not_depend_on_chunks():
    """With chunks of five the energy has already diverged before it is detected."""
    with pytest.warns(UserWarning, match="training diverged") as reported:
        train(HUGE, num_updates=100, rollback=RollbackPolicy(6), chunk=5)
    seen, back = map(
        int,
        re.search(
            r"between updates (\d+) and .* to update (\d+)", str(reported[0].message)
        ).groups(),
    )
    assert seen >= 60 and 25 <= seen - back < 35


def test_another_learning_rate_or_step_size_compiles_nothing():
    chain_init, optimizer = eb.replay_buffer(draw, 500), optax.adam(0.01)
    loss = eb.maximum_likelihood(energy, eb.mala, 3)
    counted_loss, traces = counted(loss)
    step = jax.jit(eb.train_step(counted_loss, optimizer, chain_init, num_chains=100))
    state = eb.init_state(KEY, START, optimizer, chain_init, 0.5)
    once, _ = step(KEY, state, DATA[:100])
    slow, _ = step(
        KEY,
        state._replace(lr_scale=jnp.float32(0.25), step_size=jnp.float32(0.5)),
        DATA[:100],
    )
    other, _ = step(KEY, state._replace(step_size=jnp.float32(0.1)), DATA[:100])
    assert len(traces) == 1
    moved = jax.tree.map(lambda a, b: a - b, once.params, START)
    less = jax.tree.map(lambda a, b: a - b, slow.params, START)
    assert all(
        np.allclose(0.25 * a, b, atol=1e-7)
        for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(less), strict=True)
    )
    assert float(other.step_size) == pytest.approx(0.1) and not tree_equal(
        once.buffer, other.buffer
    )


def test_training_at_a_temperature_learns_the_tempered_density():
    """Chains on E / T learn exp(-E / T): its covariance is that of the data, and that
    of exp(-E) is 1/T as wide."""
    state, metrics = train(optax.adam(0.02), temperature=0.25)
    covariance = np.linalg.inv(state.ema["root"].T @ state.ema["root"])  # of exp(-E)
    assert np.abs(0.25 * covariance - np.cov(DATA.T)).max() < 0.1
    assert np.abs(covariance - np.cov(DATA.T)).max() > 0.5
    assert (metrics["temperature"] == 0.25).all()


def test_separate_noise_is_a_step_size_and_a_temperature():
    """x - alpha grad E + sigma xi in one step, and its law on a Gaussian."""
    alpha, sigma, precision = 0.3, 0.2, 1.7
    step_size, temperature = eb.separate_noise(alpha, sigma)
    energy = lambda x: 0.5 * precision * jnp.sum(x**2)
    kernel = eb.ula(eb.temper(energy, temperature), step_size)
    x, xi = jnp.array([0.8]), jnp.array([1.3])
    state, _ = kernel.move(xi, kernel.init(x))
    assert np.allclose(
        state.position, x - alpha * precision * x + sigma * xi, atol=1e-6
    )


def test_a_run_stores_its_temperature():
    dataset = data.load("two_moons", num_points=300)
    config = experiment.preset(dataset, features=(8,), temperature=0.5)
    run = experiment.build(config, dataset)
    state, x = run.init(), jnp.ones(2)
    assert np.isclose(run.trained(state)(x), run.energy(state.ema, x) / 0.5)
    with pytest.raises(
        experiment.RunError, match="nce learns at temperature 1, got 0.5"
    ):
        experiment.build(
            experiment.preset(dataset, objective="nce", temperature=0.5), dataset
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            partial(train, HUGE, rollback=RollbackPolicy(-1)),
            "rollback.max_rollbacks must be at least 0, got -1",
        ),
        (
            partial(train, HUGE, rollback=RollbackPolicy(1, 0.0)),
            r"rollback.learning_rate_factor must lie in \(0, 1\]",
        ),
        (
            partial(train, HUGE, temperature=0.0),
            "temperature must be finite and above 0",
        ),
        (partial(eb.separate_noise, 1.0, -1.0), "sigma must be finite and above 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
