"""Faults from public bug reports of samplers, tested on this library."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import targets, verify
from ebmjax.energies import boltzmann, lattice
from ebmjax.energies.local import of_one_hot
from ebmjax.energies.pairwise import pairwise
from ebmjax.kernels.flip import flip
from ebmjax.kernels.gibbs import gibbs
from ebmjax.sampling import recompiled
from ebmjax.sampling.initialization import random_positions
from ebmjax.sampling.loop import run

KEY = jax.random.key(7)


@pytest.mark.parametrize("num", [1, 2, 5])
def test_flip_has_no_period_on_a_flat_energy(num):
    """Every second draw has the mean 1/2 of bits and half of the states of odd
    number."""
    kernel = flip(lambda x: 0.0 * jnp.sum(x))
    found = eb.sample(KEY, kernel, jnp.zeros((64, num)), 400, thin=2, num_warmup=50)
    draws = np.asarray(found.draws)
    error = 0.5 / (64 * 400 / 2 / (4 * (num + 1))) ** 0.5  # of correlated draws
    assert abs(draws.mean() - 0.5) < 4 * error
    assert abs((draws.sum(axis=-1) % 2).mean() - 0.5) < 4 * error


def test_spins_are_refused_by_a_kernel_of_bits():
    energy = lambda x: jnp.sum(x["s"]) + 0.5 * jnp.sum(x["y"] ** 2)
    sweep = eb.cycle(
        eb.within(energy, "s", gibbs),
        eb.within(energy, "y", lambda e: eb.random_walk(e, 1.0)),
    )
    spins = {"s": jnp.array([[-1.0, 1.0]] * 4), "y": jnp.zeros((4, 2))}
    with pytest.raises(ValueError, match="energy must be finite where a chain starts"):
        eb.sample(KEY, sweep, spins, 10)
    bits = {**spins, "s": jnp.array([[0.0, 1.0]] * 4)}
    draws = eb.sample(KEY, sweep, bits, 10).draws["s"]
    assert set(np.unique(draws)) <= {0.0, 1.0}


def test_a_kernel_of_real_numbers_does_not_leave_the_bits():
    model = boltzmann.ring(6, 0.5)
    named = functools.partial(boltzmann.boltzmann, model)
    with pytest.raises(
        TypeError, match="kernel of real points, and its energy is of b"
    ):
        eb.hmc(named, 0.3, 5)
    energy = lambda x: boltzmann.boltzmann(model, x)
    bits = jnp.zeros((4, 6))
    with pytest.warns(RuntimeWarning, match="4 of 4 chains never moved"):
        found = eb.sample(KEY, eb.hmc(energy, 0.3, 5), bits, 30)
    assert set(np.unique(found.draws)) <= {0.0, 1.0}
    params = boltzmann.rbm_params(KEY, 4, 3)
    assert boltzmann.rbm(params, jnp.full(4, 0.5)) == jnp.inf


@pytest.mark.parametrize("make", [eb.mala, functools.partial(eb.hmc, num_steps=5)])
def test_positions_in_bfloat16_have_their_own_energy(make):
    """The energy that is kept is that of the position that is kept, and the variance of
    a standard normal is 1: 1.09 to 1.13 without the rounding."""
    energy = lambda x: 0.5 * jnp.sum(jnp.square(x.astype(jnp.float32)))
    start = jax.random.normal(KEY, (512, 16)).astype(jnp.bfloat16)
    collect = lambda state, info: (state.position, state.energy)
    found = eb.sample(KEY, make(energy, 0.4), start, 200, collect=collect, thin=10)
    x, energies = (np.asarray(d.astype(jnp.float32)) for d in found.draws)
    assert np.abs(energies - 0.5 * np.sum(x**2, axis=-1)).max() < 1e-3
    error = (2 / (512 * 16 * 2)) ** 0.5  # of about two independent draws a chain
    assert abs(x[5:].var() - 1) < 4 * error


def test_nuts_keeps_a_target_with_steps_of_a_thousand_nats():
    """Weights on a grid of plateaus, every second of them 1000 nats higher: the end of
    a trajectory must not depend on its initial point."""

    def energy(x):
        shape = 0.5 * x[0] ** 2
        return shape + 1000.0 * (jnp.floor(2 * x[0]) % 2 == 1)

    grid = np.linspace(-5, 5, 200_001)
    density = np.exp(-0.5 * grid**2) * (np.floor(2 * grid) % 2 == 0)
    cdf = np.cumsum(density) / density.sum()
    uniform = np.asarray(jax.random.uniform(KEY, (20_000,)))
    start = jnp.asarray(np.interp(uniform, cdf, grid), jnp.float32)[:, None]
    kernel = eb.parallel(eb.nuts(energy, 0.4, max_depth=5))
    end = run(eb.chain_keys(KEY, 20_000), kernel, kernel.init(start), 5).state
    x = np.asarray(end.position)[:, 0]
    assert (np.floor(2 * x) % 2 == 0).all() and (x != start[:, 0]).any()
    for statistic in (lambda x: x, np.square, np.abs):
        change = statistic(x) - statistic(np.asarray(start)[:, 0])
        assert abs(change.mean()) < 5 * change.std() / 20_000**0.5


def test_log_q_by_position_and_a_kernel_in_the_place_of_a_list():
    energy = lambda x: 0.5 * jnp.sum(x**2)
    q = lambda key, x: x + jax.random.normal(key, x.shape)
    with pytest.raises(
        TypeError, match=r"log_q must be a function log_q\(to=, given=\)"
    ):
        eb.metropolis(energy, q, log_q=lambda a, b: 0.0)
    kernel = eb.mala(energy, 0.5)
    with pytest.raises(TypeError, match=r"mixture takes a list of kernels"):
        eb.mixture(kernel, kernel)


def test_unadjusted_takes_a_function():
    """A contraction with the stationary distribution N(0, 1)."""
    target = targets.gaussian(np.zeros(2), np.eye(2))
    right = lambda key, x: 0.6 * x + 0.8 * jax.random.normal(key, x.shape)
    wrong = lambda key, x: 0.6 * x + 0.9 * jax.random.normal(key, x.shape)
    verify.invariance(KEY, eb.unadjusted(target.energy, right), target).require()
    report = verify.invariance(KEY, eb.unadjusted(target.energy, wrong), target)
    assert not report.is_passed


def test_batch_statistics_modules_and_counts_are_no_parameters():
    adam = __import__("optax").adam(1e-3)
    stats = {"params": {"w": jnp.ones(2)}, "batch_stats": {"mean": jnp.ones(2)}}
    with pytest.raises(ValueError, match="batch_stats, which are statistics"):
        eb.init_state(KEY, stats, adam)
    with pytest.raises(TypeError, match="eqx.partition"):
        eb.init_state(KEY, {"w": jnp.ones(2), "act": jnp.tanh}, adam)
    with pytest.raises(TypeError, match="keys and counts are not learned"):
        eb.init_state(KEY, {"w": jnp.ones(2), "count": jnp.int32(3)}, adam)


def test_the_average_of_bfloat16_parameters_moves():
    optax = pytest.importorskip("optax")
    params = {"w": jnp.zeros(2, jnp.bfloat16)}
    loss = lambda p, key, batch, chains: (jnp.sum((p["w"] - 1.0) ** 2), (chains, {}))
    sgd = optax.sgd(0.1)
    state = eb.init_state(KEY, params, sgd)
    data = jnp.ones((8, 1))
    options = {"num_updates": 300, "batch_size": 4, "ema_decay": 0.99}
    found = eb.fit(KEY, loss, sgd, state, data, **options).state
    assert found.ema["w"].dtype == jnp.float32
    assert np.allclose(found.ema["w"], 1.0, atol=0.06)  # 1 - 0.99^300


def test_a_fresh_state_may_be_donated():
    optax = pytest.importorskip("optax")
    adam = optax.adam(1e-2)
    loss = lambda p, key, batch, chains: (jnp.sum(p["w"] ** 2), (chains, {}))
    step = eb.train_step(loss, adam, num_chains=4)
    donated = jax.jit(step, donate_argnums=1)
    state = eb.init_state(KEY, {"w": jnp.ones(2)}, adam)
    state, _ = donated(KEY, state, jnp.ones((4, 1)))
    assert int(state.step) == 1


@pytest.mark.parametrize("name", ["reduce_on_plateau", "polyak_sgd"])
def test_optimisers_that_need_the_loss_get_it(name):
    optax = pytest.importorskip("optax")
    optimizer = {
        "reduce_on_plateau": lambda: optax.chain(
            optax.adam(1e-2), optax.contrib.reduce_on_plateau(patience=2)
        ),
        "polyak_sgd": lambda: optax.polyak_sgd(max_learning_rate=0.1),
    }[name]()
    loss = lambda p, key, batch, chains: (jnp.sum(p["w"] ** 2), (chains, {}))
    state = eb.init_state(KEY, {"w": jnp.ones(2)}, optimizer)
    options = {"num_updates": 100, "batch_size": 4}
    found = eb.fit(KEY, loss, optimizer, state, jnp.ones((8, 1)), **options)
    assert found.history["loss"][-1] < 0.5 * found.history["loss"][0]


def test_optimisers_that_cannot_work_are_refused_by_name():
    optax = pytest.importorskip("optax")
    with pytest.raises(TypeError, match="lbfgs and line searches"):
        eb.init_state(KEY, {"w": jnp.ones(2)}, optax.lbfgs())
    with pytest.raises(TypeError, match="must not be optax.lookahead"):
        slow = optax.lookahead(optax.sgd(0.1), 5, 0.5)
        eb.init_state(KEY, {"w": jnp.ones(2)}, slow)
    with pytest.raises(TypeError, match="must not be optax.lookahead"):
        chained = optax.chain(optax.clip(1.0), slow)
        eb.init_state(KEY, {"w": jnp.ones(2)}, chained)
    with pytest.raises(TypeError, match="needs obj_fn, the loss as a function"):
        eb.init_state(KEY, {"w": jnp.ones(2)}, optax.contrib.sophia(0.1))
    with pytest.raises(TypeError, match="must be an optax.GradientTransformation"):
        eb.init_state(KEY, {"w": jnp.ones(2)}, 0.1)


def test_the_divergence_monitor_in_a_user_loop():
    """60 healthy updates, then energies that diverge: the monitor returns a state that
    was healthy for 25 updates, with smaller steps; healthy metrics change nothing."""
    optax = pytest.importorskip("optax")
    sgd = optax.sgd(0.1)
    state = eb.init_state(KEY, {"w": jnp.zeros(2)}, sgd, step_size=0.3)
    monitor = eb.DivergenceMonitor(jnp.ones((8, 2)))
    healthy = {"loss": 0.0, "grad_norm": 1.0, "chain_extent": 1.0, "is_skipped": False}
    healthy |= {"energy_data": 1.0, "energy_model": 1.0, "energy_spread": 1.0}
    healthy |= {"acceptance_rate": 0.6, "step_size": 0.3}
    for i in range(100):
        new = state._replace(step=jnp.int32(i + 1), params={"w": jnp.full(2, i + 1.0)})
        state = monitor(new, healthy)
        assert state.params["w"][0] == i + 1
    with pytest.warns(UserWarning, match="back to update 75 with 0.3 times"):
        for i in range(100, 125):
            new = state._replace(step=jnp.int32(i + 1))
            state = monitor(new, {**healthy, "energy_data": 1745.0})
    assert int(state.step) == 75 and float(state.params["w"][0]) == 75.0
    assert float(state.lr_scale) == pytest.approx(0.3)
    assert float(state.step_size) == pytest.approx(0.21)


def test_random_starts_without_a_finite_energy_are_drawn_again():
    """Half of the box has no finite energy; an error if no point has one."""
    half = lambda x: jnp.where(x[0] > 0, 0.5 * jnp.sum(x**2), jnp.inf)
    x, num_redrawn = random_positions(KEY, half, 64, 2)
    assert (x[:, 0] > 0).all() and 30 < num_redrawn < 110  # 64, and its square root
    assert abs(float(x[:, 1].mean())) < 0.6 and float(jnp.abs(x).max()) < 2
    with pytest.raises(ValueError, match="for 4 of 4 chains; give positions"):
        random_positions(KEY, lambda x: jnp.inf * jnp.sum(x**2), 4, 2)


def test_a_key_is_used_again_by_a_part_of_the_chains_or_in_another_dtype():
    """Bits of few chains may be equal by chance, and are no reason."""
    kernel = eb.hmc(lambda x: 0.5 * jnp.sum(x**2), 0.5, 3)
    ends = eb.sample(KEY, kernel, jnp.ones((8, 2)), 20).draws[-1]
    for start in (ends[:3], np.asarray(ends), np.asarray(ends, np.float64)):
        with pytest.raises(ValueError, match="key was used for the run that ended at"):
            eb.sample(KEY, kernel, start, 20)
    bits = flip(lambda x: 0.0 * jnp.sum(x))
    ends = eb.sample(KEY, bits, jnp.zeros((4, 3)), 20).draws[-1]
    eb.sample(KEY, bits, ends[:1], 20)


def test_chains_from_elsewhere_with_the_same_key_that_meet_are_reported():
    """One warning; none for other keys, for the same start in another number of chains,
    and before they have met."""
    kernel = eb.hmc(lambda x: 0.5 * jnp.sum(x**2), 0.5, 3)
    key, other = jax.random.split(jax.random.fold_in(KEY, 1))
    start = jnp.ones((4, 2))
    eb.sample(key, kernel, start, 200)
    eb.sample(key, kernel, start[:2], 200)
    eb.sample(other, kernel, start + 1, 200)
    eb.sample(key, kernel, start + 1, 2)
    eb.sample(key, kernel, start + 2, 2)
    with pytest.warns(RuntimeWarning, match="the same noise has brought them together"):
        eb.sample(key, kernel, start + 1, 200)


def test_functions_made_in_a_loop_are_reported_and_partials_are_not(monkeypatch):
    """Once, at the last of three; one function used again is one."""
    monkeypatch.setattr(recompiled, "MANY", 3)
    make = lambda data: lambda x: jnp.mean((x - data) ** 2)
    kernels = [eb.mala(make(jnp.ones(2) * i), 0.3) for i in range(5)]
    for kernel in [kernels[0]] * 4:
        recompiled.warn_of_many("sample", kernel)
    recompiled.warn_of_many("sample", kernels[1])
    inside = eb.cycle(eb.mala(eb.temper(kernels[2].energy, 2.0), 0.3))
    with pytest.warns(RuntimeWarning, match="given 3 functions made by the same code"):
        recompiled.warn_of_many("sample", inside)
    recompiled.warn_of_many("sample", kernels[3])
    of_data = lambda data, x: jnp.mean((x - data) ** 2)
    for i in range(5):
        energy = jax.tree_util.Partial(of_data, jnp.ones(2) * i)
        recompiled.warn_of_many("sample", eb.mala(energy, 0.3))
    assert recompiled.functions(eb.hmc(of_data, 0.1, 3)) == [of_data]
    assert recompiled.functions((eb.position_of, eb.ising(0.1))) == []


def test_the_sixteenth_function_is_reported_by_sample_warm_up_and_fit():
    optax = pytest.importorskip("optax")
    make = lambda: lambda x: 0.5 * jnp.sum(x**2)
    loss_of = lambda: lambda p, key, batch, chains: (jnp.sum(p**2), (chains, {}))
    start, adam = jnp.ones((4, 1)), optax.adam(0.1)
    state = eb.init_state(KEY, jnp.ones(2), adam)
    kept = []
    for made in (make, make, loss_of):
        recompiled._seen.clear()
        for _ in range(15):
            kept.append(made())
            recompiled.warn_of_many("", kept[-1])
        with pytest.warns(RuntimeWarning, match=r"16 functions .*Partial"):
            if made is loss_of:
                options = {"num_updates": 2, "batch_size": 2}
                eb.fit(KEY, made(), adam, state, start, **options)
            elif len(kept) < 20:
                eb.sample(KEY, eb.random_walk(made(), 1.0), start, 5)
            else:
                eb.warm_up(KEY, eb.random_walk, made(), start, num_steps=400)
    recompiled._seen.clear()


def test_samples_and_all_draws_are_no_positions():
    """``[T, C, D]`` would be T chains of points ``[C, D]``; ``[T, C]`` of one number too.
    Other positions of that shape are."""
    kernel = eb.random_walk(lambda x: 0.5 * jnp.sum(x**2), 1.0)
    found = eb.sample(KEY, kernel, jnp.zeros((4, 2)), 6)
    with pytest.raises(ValueError, match=r"positions are the draws \[T, C, ...\]"):
        eb.sample(jax.random.key(1), kernel, found.draws, 6)
    with pytest.raises(TypeError, match="positions is Samples: give its state"):
        eb.sample(jax.random.key(1), kernel, found, 6)
    eb.sample(jax.random.key(1), kernel, found.draws[:5], 6)
    eb.sample(jax.random.key(1), kernel, found.draws[-1], 6)


DISCRETE = {
    "ising": (lattice.ising(0.4), jnp.ones((2, 4, 4))),
    "potts": (lattice.potts(3, 0.4), jnp.ones((2, 4, 4))),
    "pairwise": (pairwise(1.0 - np.eye(3)), jnp.ones((2, 3))),
    "one-hot": (of_one_hot(lambda z: jnp.sum(z[..., 0]), 3), jnp.ones((2, 3))),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_an_energy_of_discrete_states_is_infinite_elsewhere(name):
    """Inside a function it cannot name its space, and a kernel of real points must not
    leave it silently."""
    energy, start = DISCRETE[name]
    kernel = eb.random_walk(lambda x: energy(x), 0.3)
    assert np.isfinite(energy(start[0])) and energy(start[0] + 0.3) == jnp.inf
    with pytest.warns(RuntimeWarning, match="2 of 2 chains never moved"):
        assert (eb.sample(KEY, kernel, start, 20).draws == 1).all()
    for made in (eb.product(lambda x: jnp.sum(x), energy), eb.confine(energy, 2.0)):
        with pytest.raises(TypeError, match="kernel of real points, and its energy is"):
            eb.random_walk(made, 0.3)
        assert gibbs(made).state_space == energy.state_space


def test_a_product_is_of_one_state_space():
    with pytest.raises(TypeError, match=r"one space, got levels\(3\) and spins"):
        eb.product(DISCRETE["ising"][0], DISCRETE["potts"][0])
