"""Bad input: one clear error that names the argument, what it got and what it wants.

For kernels and chains; tests of files, training and the command line have further rows.
"""

import re
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import counted

import ebmjax as eb
from ebmjax import _validation as checks
from ebmjax.objectives import (
    energy_discrepancy,
    noise_contrastive,
    score_matching,
    stein,
)
from ebmjax.tempering.annealed_langevin import annealed_langevin

ENERGY = lambda x: 0.5 * jnp.sum(x**2)
KEY = jax.random.key(0)
START = jnp.zeros((3, 2))
KERNEL = eb.mala(ENERGY, 0.5)
sample = partial(eb.sample, KEY, KERNEL, START, 10)


ADAM = optax.adam(1e-2)


def run(num_steps, **options):
    return eb.run(KEY, KERNEL, KERNEL.init(START[0]), num_steps, **options)


def fit(chain_init=None, optimizer=ADAM, **options):
    loss = eb.maximum_likelihood(lambda params, x: params * ENERGY(x), eb.mala, 2)
    chain_init, data = chain_init or eb.from_data(), jax.random.normal(KEY, (20, 2))
    state = eb.init_state(KEY, jnp.ones(()), optimizer, chain_init, 0.3)
    options = {"num_updates": 2, "batch_size": 4, "rollback": eb.NO_ROLLBACK, **options}
    return eb.fit(KEY, loss, optimizer, state, data, chain_init, **options)


def nan_start():
    return START.at[1, 0].set(jnp.nan)


BAD = {
    # keys
    "seed for key": (lambda: eb.sample(0, KERNEL, START, 10), TypeError, "key must be a PRNG key, got 0 (int); pass jax.random.key(0)"),
    "None for key": (lambda: eb.sample(None, KERNEL, START, 10), TypeError, "key must be a PRNG key, got None"),
    "many keys": (lambda: eb.sample(jax.random.split(KEY, 3), KERNEL, START, 10), ValueError, "key must be one key, got 3 keys"),
    # positions
    "int positions": (lambda: eb.sample(KEY, KERNEL, START.astype(int), 10), TypeError, "positions must be floating, got int32 of shape (3, 2); use .astype('float32')"),
    "python int": (lambda: eb.sample(KEY, KERNEL, 1, 10), TypeError, "positions must be floating, got 1 (int)"),
    "bool positions": (lambda: eb.sample(KEY, KERNEL, START > 0, 10), TypeError, "positions must be floating, got bool"),
    "complex positions": (lambda: eb.sample(KEY, KERNEL, START + 1j, 10), TypeError, "positions must be floating, got complex64"),
    "string": (lambda: eb.sample(KEY, KERNEL, "0", 10), TypeError, "positions must be floating, got '0' (str)"),
    "key as positions": (lambda: eb.sample(KEY, KERNEL, jax.random.split(KEY), 10), TypeError, "positions must be floating, got key<fry>"),
    "empty position": (lambda: eb.sample(KEY, KERNEL, jnp.zeros((3, 0)), 10), ValueError, "positions must not be empty, got shape (3, 0)"),
    "no chains": (lambda: eb.sample(KEY, KERNEL, jnp.zeros((0, 2)), 10), ValueError, "positions must not be empty"),
    "no tree": (lambda: eb.sample(KEY, KERNEL, {}, 10), TypeError, "positions must be an array or a tree of arrays, got dict"),
    "NaN start": (lambda: eb.sample(KEY, KERNEL, nan_start(), 10), ValueError, "positions must be finite, got 1 NaN or infinite values in rows 1"),
    "NaN leaf": (lambda: eb.sample(KEY, KERNEL, {"a": nan_start()}, 10), ValueError, "positions['a'] must be finite"),
    "scalar position": (lambda: eb.sample(KEY, KERNEL, jnp.float32(1.0), 10), ValueError, "must have a leading chain axis [C, ...]"),
    "uneven chains": (lambda: eb.sample(KEY, KERNEL, (START, START[:2]), 10), ValueError, "the same number of chains in every leaf"),
    "huge start": (lambda: eb.sample(KEY, KERNEL, START + 1e30, 10), ValueError, "energy must be finite where a chain starts, got inf at chain 0"),
    # energies
    "infinite start energy": (lambda: eb.sample(KEY, eb.random_walk(lambda x: jnp.where(x[0] > -1, jnp.inf, 0.0), 0.1), START, 10), ValueError, "energy must be finite where a chain starts, got inf at chain 0 (3 of 3 chains)"),
    "energy always NaN": (lambda: eb.sample(KEY, eb.random_walk(lambda x: jnp.log(-1 - x[0] ** 2), 0.1), START, 10), ValueError, "energy must be finite where a chain starts, got nan"),
    "vector energy": (lambda: eb.sample(KEY, eb.mala(lambda x: x**2, 0.5), START, 10), TypeError, "energy must return a scalar for one point, got shape (2,); sum over the coordinates, or vmap"),
    "energy of shape (1,)": (lambda: eb.sample(KEY, eb.mala(lambda x: jnp.sum(x**2)[None], 0.5), START, 10), TypeError, "got shape (1,); use .squeeze()"),
    "int energy": (lambda: eb.sample(KEY, eb.random_walk(lambda x: jnp.int32(0), 0.5), START, 10), TypeError, "energy must return a floating scalar, got dtype int32"),
    "energy of None": (lambda: eb.sample(KEY, eb.random_walk(lambda x: None, 0.5), START, 10), TypeError, "energy must return one floating scalar, got None"),
    "energy with aux": (lambda: eb.sample(KEY, eb.random_walk(lambda x: (ENERGY(x), 0), 0.5), START, 10), TypeError, "got tuple; return the energy alone"),
    "no function": (lambda: eb.mala(3.0, 0.5), TypeError, "energy must be a function, got 3.0 (float)"),
    # step sizes
    **{
        f"{make.__name__}, step size {value!r}": (partial(make, ENERGY, value), error, expected)
        for make in (eb.random_walk, eb.mala, eb.ula, eb.underdamped_langevin, partial(eb.hmc, num_steps=3))
        if hasattr(make, "__name__") or not setattr(make, "__name__", "hmc")
        for value, error, expected in (
            (-0.1, ValueError, "step_size must be finite and above 0, got -0.1"),
            (0.0, ValueError, "step_size must be finite and above 0, got 0.0"),
            (float("nan"), ValueError, "step_size must be finite and above 0, got nan"),
            ("0.1", TypeError, "step_size must be a number or an array of numbers, got '0.1' (str)"),
            (None, TypeError, "step_size must be a number or an array"),
        )
    },
    "step size of a wrong shape": (lambda: eb.sample(KEY, eb.mala(ENERGY, np.ones(3)), START, 10), ValueError, "step_size of shape (3,) does not broadcast to a position of shape (2,)"),
    "singular step": (lambda: eb.mala(ENERGY, eb.Dense(np.array([[1.0, -1.0], [-1.0, 1.0]]))), ValueError, "step_size as a matrix must be finite and of full rank, got rank 1 of 2"),
    "matrix that is not marked": (lambda: eb.sample(KEY, eb.mala(ENERGY, np.ones((2, 2))), START, 10), ValueError, "does not broadcast to a position of shape (2,); write a matrix as Dense(matrix)"),
    # counts
    "no leapfrog steps": (lambda: eb.hmc(ENERGY, 0.1, 0), ValueError, "num_steps must be at least 1, got 0"),
    "negative leapfrog steps": (lambda: eb.hmc(ENERGY, 0.1, -2), ValueError, "num_steps must be at least 1, got -2"),
    "5.5 leapfrog steps": (lambda: eb.hmc(ENERGY, 0.1, 5.5), TypeError, "num_steps must be a whole number, got 5.5 (float)"),
    "no draws": (lambda: eb.sample(KEY, KERNEL, START, 0), ValueError, "num_steps must be at least 1, got 0"),
    "minus one draw": (lambda: eb.sample(KEY, KERNEL, START, -1), ValueError, "num_steps must be at least 1, got -1"),
    "True draws": (lambda: eb.sample(KEY, KERNEL, START, True), TypeError, "num_steps must be a whole number, got a bool"),
    "thin that does not divide": (lambda: sample(thin=3), ValueError, "num_steps must be a multiple of thin, got 10 and thin 3"),
    # masses and covariances
    "covariance of wrong size": (lambda: eb.sample(KEY, eb.hmc(ENERGY, 0.1, 2, covariance=np.ones(3)), START, 10), ValueError, "step_size of shape (3,) does not broadcast"),
    "covariance not positive definite": (lambda: eb.hmc(ENERGY, 0.1, 2, covariance=np.array([[1.0, 2.0], [2.0, 1.0]])), ValueError, "covariance must be positive definite, got smallest eigenvalue -1"),
    "negative covariance": (lambda: eb.hmc(ENERGY, 0.1, 2, covariance=np.array([1.0, -1.0])), ValueError, "covariance must be finite and above 0, got -1.0"),
    "zero covariance": (lambda: eb.hmc(ENERGY, 0.1, 2, covariance=np.array([1.0, 0.0])), ValueError, "covariance must be finite and above 0, got 0.0"),
    "asymmetric covariance": (lambda: eb.hmc(ENERGY, 0.1, 2, covariance=np.array([[1.0, 0.5], [0.0, 1.0]])), ValueError, "covariance must be symmetric, got a difference of 0.5"),
    "covariance of three axes": (lambda: eb.hmc(ENERGY, 0.1, 2, covariance=np.ones((2, 2, 2))), ValueError, "covariance must be a vector [D] or a matrix [D, D], got shape (2, 2, 2)"),
    "scalar covariance": (lambda: eb.hmc(ENERGY, 0.1, 2, covariance=2.0), ValueError, "covariance must be a vector [D] or a matrix [D, D], got shape ()"),
    "covariance beside a diagonal step": (lambda: eb.hmc(ENERGY, np.ones(2), 2, covariance=np.ones(2)), ValueError, "step_size must be a scalar when covariance is given, got shape (2,)"),
    # integrators
    "asymmetric integrator": (lambda: eb.hmc(ENERGY, 0.1, 2, integrator=(0.3, 1.0, 0.7)), ValueError, "integrator must be kick, drift, ..., kick and read the same both ways"),
    "integrator of two": (lambda: eb.hmc(ENERGY, 0.1, 2, integrator=(0.5, 0.5, 0.5)), ValueError, "kicks and drifts that sum to one"),
    # proposals
    "proposal without a ratio": (lambda: eb.metropolis(ENERGY, lambda k, x: x), TypeError, "metropolis needs log_q(to=, given=) or symmetric=True for its proposal, got neither"),
    "proposal with both": (lambda: eb.metropolis(ENERGY, lambda k, x: x, log_q=lambda to, given: 0.0, symmetric=True), TypeError, "got both"),
    "proposal of another shape": (lambda: eb.sample(KEY, eb.metropolis(ENERGY, lambda k, x: jnp.ones(3), symmetric=True), START, 10), TypeError, "proposal changed position from float32 of shape (2,) to float32 of shape (3,)"),
    "proposal of another tree": (lambda: eb.sample(KEY, eb.metropolis(ENERGY, lambda k, x: (x, x), symmetric=True), START, 10), TypeError, "proposal must return a tree like the position"),
    # states and kernels
    "state of another kernel": (lambda: eb.sample(KEY, KERNEL, eb.sample(jax.random.key(9), eb.random_walk(ENERGY, 0.5), START, 5).state, 10), TypeError, "positions is the state of another kernel; pass its position, state.position"),
    "no kernel": (lambda: eb.sample(KEY, ENERGY, START, 10), TypeError, "kernel must be a Kernel, of this library or from_blackjax; got function"),
    "temperature zero": (lambda: eb.temper(ENERGY, 0.0), ValueError, "temperature must be finite and above 0, got 0.0"),
    "friction": (lambda: eb.underdamped_langevin(ENERGY, 0.1, friction=-1.0), ValueError, "friction must be finite and above 0"),
    "empty cycle": (lambda: eb.cycle(), ValueError, "at least one kernel is needed, got none"),
    "cycle of functions": (lambda: eb.cycle(ENERGY), TypeError, "kernels must be Kernels, got function"),
    "weights": (lambda: eb.mixture([KERNEL, KERNEL], [1.0]), ValueError, "weights must be one a kernel, got shape (1,) for 2 kernels"),
    # further bad inputs
    "no chunks": (lambda: sample(num_chunks=0), ValueError, "num_chunks must be at least 1, got 0"),
    "steps beyond the keys": (lambda: sample(start=2**31 - 5), ValueError, "start and the steps must end at 2147483647 or before"),
    "progress of 3": (lambda: sample(progress=3), TypeError, "progress must be True, False or a function (done, total, text), got 3"),
    "checkpoint of 3": (lambda: sample(checkpoint=3), TypeError, "checkpoint must be a path, got 3 (int)"),
    "parallel kernel": (lambda: eb.sample(KEY, eb.parallel(KERNEL), START, 10), TypeError, "kernel must be a kernel of one chain"),
    "state of one chain": (lambda: eb.sample(KEY, KERNEL, KERNEL.init(START[0]), 10), ValueError, "must have a leading chain axis [C, ...]"),
    "run, thin that does not divide": (lambda: run(10, thin=3), ValueError, "num_steps must be a multiple of thin, got 10 and thin 3"),
    "run, no steps": (lambda: run(0), ValueError, "num_steps must be at least 1, got 0"),
    "run, no block": (lambda: run(10, block=0), ValueError, "block must be at least 1, got 0"),
    "run, a seed": (lambda: eb.run(0, KERNEL, KERNEL.init(START[0]), 5), TypeError, "key must be a PRNG key, got 0 (int)"),
    "run, a position": (lambda: eb.run(KEY, KERNEL, START[0], 5), TypeError, "state must be a State, of kernel.init(position)"),
    "no chain keys": (lambda: eb.chain_keys(KEY, 0), ValueError, "num_chains must be at least 1, got 0"),
    "half a chain key": (lambda: eb.chain_keys(KEY, 2.5), TypeError, "num_chains must be a whole number, got 2.5"),
    "product of nothing": (lambda: eb.product(), ValueError, "at least one energy is needed, got none"),
    "repeat of an energy": (lambda: eb.repeat(ENERGY, 2), TypeError, "kernels must be Kernels, got function"),
    "log_q that is a vector": (lambda: eb.sample(KEY, eb.metropolis(ENERGY, lambda k, x: x + 1, log_q=lambda to, given: to), START, 5), TypeError, "log_q must return a scalar, got shape (2,); sum over the coordinates"),
    "warm-up of no steps": (lambda: eb.warm_up(KEY, eb.nuts, ENERGY, START, num_steps=0), ValueError, "num_steps must be at least 20, got 0"),
    "warm-up with a covariance": (lambda: eb.warm_up(KEY, eb.nuts, ENERGY, START, covariance=np.ones(2)), ValueError, "covariance must be 'auto', 'dense', 'diagonal' or None"),
    "warm-up of a length half given": (lambda: eb.warm_up(KEY, partial(eb.hmc, jitter=True), ENERGY, START), ValueError, "jitter draws from 1..num_steps and needs a number"),
    "warm-up to a word": (lambda: eb.warm_up(KEY, eb.nuts, ENERGY, START, target="high"), TypeError, "target must be a number"),
    "half a bit": (lambda: eb.sample(KEY, eb.gibbs(ENERGY), START + 0.5, 5), ValueError, "positions must be bits, each 0 or 1, got 0.5 at [0, 0]"),
    "annealed from NaN": (lambda: annealed_langevin(KEY, lambda x, s: ENERGY(x), nan_start(), [1.0, 0.1], 0.1, 2), ValueError, "positions must be finite"),
    "noise of one point": (lambda: noise_contrastive.fitted_normal(np.ones((1, 2))), ValueError, "data must be at least two points [N, D]"),
    "noise of one point, again and again": (lambda: noise_contrastive.fitted_normal(np.ones((5, 2))), ValueError, "data must vary"),
    "no noise": (lambda: noise_contrastive.binary(ENERGY, None), TypeError, "noise must be a Noise, of fitted_normal(data) or your own; got None"),
    "labels of nothing": (lambda: eb.labelled(np.zeros((0, 2), np.float32), np.zeros(0, int)), ValueError, "labels must be some whole numbers"),
    "acceptance of 2": (lambda: eb.maximum_likelihood(ENERGY, eb.mala, 1, acceptance_target=2.0), ValueError, "acceptance_target must lie in (0, 1), got 2.0"),
    # training
    "chunk of none": (lambda: fit(chunk=0), ValueError, "chunk must be at least 1, got 0"),
    "chains of none": (lambda: fit(num_chains=0), ValueError, "num_chains must be at least 1, got 0"),
    "gap of NaN": (lambda: fit(max_gap=float("nan")), ValueError, "max_gap must be finite and above 0, got nan"),
    "remedy of 3": (lambda: fit(rollback=3), TypeError, "rollback must be a RollbackPolicy, of ebmjax.training.divergence; got 3 (int)"),
    "state of None": (lambda: eb.fit(KEY, None, ADAM, None, START, eb.from_data(), num_updates=1, batch_size=1), TypeError, "state must be a TrainState, of init_state; got None"),
    "no optimiser": (lambda: eb.init_state(KEY, jnp.ones(2), None, eb.from_data(), 0.1), TypeError, "optimizer must be an optax.GradientTransformation, got None"),
    "no starts": (lambda: eb.init_state(KEY, jnp.ones(2), ADAM, None, 0.1), TypeError, "chain_init must be a ChainInit, of ebmjax.training.chain_init; got None"),
    "a seed for a state": (lambda: eb.init_state(0, jnp.ones(2), ADAM, eb.from_data(), 0.1), TypeError, "key must be a PRNG key, got 0 (int)"),
    "whole parameters": (lambda: eb.init_state(KEY, jnp.ones(2, int), ADAM, eb.from_data(), 0.1), TypeError, "params must be a floating array, got int32"),
    "NaN parameters": (lambda: eb.init_state(KEY, jnp.nan * START, ADAM, eb.from_data(), 0.1), ValueError, "params must be finite"),
    "a buffer of other points": (lambda: fit(chain_init=eb.replay_buffer(lambda k, n: jnp.ones((n, 3)), 8)), ValueError, "chains must be points like the data, of shape (2,), got (3,)"),
    "too few fresh chains": (lambda: fit(chain_init=eb.from_noise(lambda k, n: jnp.ones((3, 2)))), ValueError, "chain_init must give 4 chains, got 3"),
    "whole fresh chains": (lambda: fit(chain_init=eb.from_noise(lambda k, n: jnp.ones((n, 2), int))), TypeError, "chains of chain_init must be floating, got int32"),
    "a learning rate of NaN": (lambda: fit(optimizer=optax.sgd(float("nan"))), eb.TrainingDiverged, "100% of the updates had a gradient, loss or step that was not finite"),
    "within no part": (lambda: eb.sample(KEY, eb.within(lambda x: ENERGY(x["a"]), "b", lambda e: eb.mala(e, 0.1)), {"a": START}, 10), TypeError, "part 'b' is not among ['a']"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()


def test_the_same_call_without_the_fault_works():
    assert sample().draws.shape == (10, 3, 2)


def test_raw_keys_are_wrapped_and_give_the_same_numbers():
    raw = eb.sample(jax.random.PRNGKey(0), KERNEL, START, 10).draws
    numpy = eb.sample(np.asarray(jax.random.PRNGKey(0)), KERNEL, START, 10).draws
    typed = eb.sample(KEY, KERNEL, START, 10).draws
    assert np.array_equal(raw, typed) and np.array_equal(numpy, typed)


@pytest.mark.parametrize(
    ("value", "error"),
    [(True, TypeError), (1.0, TypeError), (-1, ValueError), (2**32, ValueError)],
)
def test_seeds(value, error):
    with pytest.raises(error, match="seed must"):
        checks.seed(value)


def test_a_warning_points_at_the_line_of_the_caller():
    with pytest.warns(UserWarning, match="direct") as caught:
        checks.warn("direct")
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="becomes float32") as caught:
        eb.sample(KEY, KERNEL, np.zeros((3, 2)), 10)
    assert caught[0].filename == __file__


def test_float64_positions_warn_once_that_they_become_float32():
    with pytest.warns(UserWarning, match="positions is float64 and becomes float32"):
        draws = eb.sample(KEY, KERNEL, np.zeros((3, 2)), 10).draws
    assert draws.dtype == jnp.float32


def test_frozen_chains_are_named():
    with pytest.warns(
        RuntimeWarning, match=r"3 of 3 chains never moved in 10 steps \(chain 0, 1, 2\)"
    ):
        eb.sample(KEY, eb.mala(ENERGY, 1e6), START, 10)


def test_an_energy_that_is_nan_elsewhere_is_counted():
    kernel = eb.random_walk(lambda x: jnp.where(x[0] > 0.5, jnp.nan, ENERGY(x)), 1.0)
    with pytest.warns(
        RuntimeWarning,
        match="proposals had an energy or a ratio of NaN or minus infinity",
    ):
        samples = eb.sample(KEY, kernel, START, 200)
    assert samples.num_nonfinite.sum() > 0 and (samples.draws[..., 0] <= 0.5).all()


def test_an_energy_of_minus_infinity_is_rejected_and_counted():
    kernel = eb.random_walk(lambda x: jnp.where(x[0] > 0.5, -jnp.inf, ENERGY(x)), 1.0)
    with pytest.warns(RuntimeWarning, match="minus infinity"):
        samples = eb.sample(KEY, kernel, START, 200)
    assert (samples.draws[..., 0] <= 0.5).all()


def test_plus_infinity_is_rejected_and_not_counted(recwarn):
    kernel = eb.random_walk(lambda x: jnp.where(x[0] < 0, jnp.inf, jnp.sum(x)), 1.0)
    samples = eb.sample(KEY, kernel, START + 1.0, 200)
    assert not [
        w for w in recwarn if "never moved" in str(w.message) or "NaN" in str(w.message)
    ]
    assert samples.num_nonfinite.sum() == 0


def test_step_size_as_a_number_or_an_array_compiles_the_same_program():
    energy, traces = counted(ENERGY)
    step = jax.jit(
        lambda h, key, x: (
            eb.mala(energy, h).step(key, eb.mala(energy, h).init(x))[0].position
        )
    )
    step(0.5, KEY, jnp.ones(2))
    first = len(traces)
    step(0.25, KEY, jnp.ones(2))
    assert len(traces) == first


def test_bfloat16_positions_keep_the_accept_in_float32():
    state = KERNEL.init(jnp.ones(2, jnp.bfloat16))
    state, info = KERNEL.step(KEY, state)
    assert (
        state.position.dtype == jnp.bfloat16 and info.energy_error.dtype == jnp.float32
    )


def test_one_point_without_a_chain_axis_raises(key):
    energy = lambda x: 0.5 * jnp.sum((x - 3.0) ** 2)
    for call in (
        lambda x: eb.sample(key, eb.hmc(energy, 0.3, 5), x, 5),
        lambda x: eb.warm_up(key, eb.mala, energy, x, num_steps=20),
    ):
        with pytest.warns(
            UserWarning,
            match=r"positions of shape \(2,\) are 2 chains of one number each",
        ):
            call(jnp.zeros(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        eb.sample(key, eb.hmc(energy, 0.3, 5), jnp.zeros((1, 2)), 5)
        eb.sample(
            key, eb.hmc(lambda x: 0.5 * x**2, 0.3, 5), jnp.zeros(2), 5
        )  # valid numbers


def test_functions_of_the_host_raise_inside_jit(key):
    kernel = eb.mala(lambda x: 0.5 * jnp.sum(x**2), 0.3)
    with pytest.raises(
        TypeError, match=r"sample runs from the host .* inside jit use run\("
    ):
        jax.jit(lambda x: eb.sample(key, kernel, x, 5))(jnp.zeros((4, 2)))
    with pytest.raises(
        TypeError, match=r"warm_up runs from the host .* inside jit use adapt\("
    ):
        jax.jit(lambda x: eb.warm_up(key, eb.mala, kernel, x))(jnp.zeros((4, 2)))


def test_a_run_that_is_finished_warns(key):
    optimizer = optax.adam(0.1)
    loss = score_matching.sliced(lambda p, x: 0.5 * p * jnp.sum(x**2))
    state = eb.init_state(key, jnp.float32(1.0), optimizer)
    fit = lambda state: eb.fit(
        key, loss, optimizer, state, jnp.ones((20, 2)), num_updates=5, batch_size=10
    )
    state, _ = fit(state)
    with pytest.warns(
        UserWarning,
        match="num_updates is the number in all, 5, and the state has seen 5",
    ):
        fit(state)


NOT_SCALAR = lambda p, x: p * x**2


@pytest.mark.parametrize(
    "loss",
    [
        score_matching.sliced(NOT_SCALAR),
        score_matching.denoising(NOT_SCALAR, 0.1),
        energy_discrepancy.energy_discrepancy(NOT_SCALAR, 0.5),
        noise_contrastive.conditional(NOT_SCALAR, 0.3),
        stein.kernel_stein(NOT_SCALAR, 1.0),
    ],
)
def test_objectives_refuse_an_energy_that_is_no_scalar(loss, key):
    with pytest.raises(
        TypeError, match=r"energy must return a scalar for one point, got shape \(2,\)"
    ):
        loss(jnp.float32(1.0), key, jnp.ones((4, 2)), None)
