"""Programs of any number of steps, which ``warm_up`` and ``sample`` share on a CPU."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compilations
from jax.sharding import Mesh

import ebmjax as eb
from ebmjax import targets
from ebmjax.adaptation.stepped import NewKernel, stepped
from ebmjax.adaptation.tuning import _compiled
from ebmjax.sampling import _any_length, _chunk_programs
from ebmjax.sampling.initialization import begin
from ebmjax.sampling.loop import chain_keys

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="on a CPU alone")
KEY = jax.random.key(3)
SCALES = np.array([0.5, 1.0, 3.0], np.float32)


def energy(x):
    return 0.5 * jnp.sum((x / SCALES) ** 2) + 0.1 * jnp.sum(x**4)


def start(num_chains):
    return jax.random.normal(jax.random.key(8), (num_chains, 3))


def both(kernel, num_steps, collect=_any_length.POSITIONS, num_chains=6):
    """A chunk of ours, and of the program of a fixed number of steps."""
    keys, sizes = chain_keys(KEY, num_chains), {"num_steps": num_steps, "thin": 1}
    states = (begin(kernel, start(num_chains), None) for _ in range(2))
    return [
        program(kernel, collect, keys, state, 5, None, **sizes)
        for program, state in zip(
            (_any_length.Chunks(), _chunk_programs.chunk), states, strict=True
        )
    ]


def test_a_run_of_nuts_is_bit_for_bit_that_of_a_program_of_its_length(monkeypatch):
    kernel = eb.nuts(energy, 0.4, max_depth=6)
    for most in (1024, 7):  # all steps in one call, or in pieces with a rest
        monkeypatch.setattr(_any_length, "MOST_STEPS", most)
        ours, fixed = both(kernel, 30)
        assert np.array_equal(ours.draws, fixed.draws)
        for x, y in zip(*map(jax.tree.leaves, (ours.state, fixed.state)), strict=True):
            assert np.array_equal(x, y)
        for name, x, y in zip(ours.info._fields, ours.info, fixed.info, strict=True):
            assert np.allclose(x, y, rtol=1e-5), name


@pytest.mark.parametrize(
    "kernel",
    [
        eb.nuts(energy, 0.4, max_depth=5),
        eb.hmc(energy, 0.3, np.int32(5), step_jitter=0.3),
    ],
    ids=["nuts", "hmc"],
)
def test_records_of_steps_are_those_of_a_program_of_their_number(kernel, monkeypatch):
    monkeypatch.setattr(_any_length, "MOST_STEPS", 5)
    ours, fixed = both(kernel, 12, _any_length.STATS)
    assert jax.tree.structure(ours.draws) == jax.tree.structure(fixed.draws)
    for x, y in zip(*map(jax.tree.leaves, (ours.draws, fixed.draws)), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        assert np.allclose(x, y, rtol=1e-4, atol=1e-4)


def test_a_run_of_hmc_is_that_of_a_program_of_its_length_up_to_rounding():
    kernel = eb.hmc(energy, 0.3, np.int32(5), step_jitter=0.3)
    ours, fixed = both(kernel, 30)
    assert np.allclose(ours.draws, fixed.draws, atol=1e-3)
    assert ours.state.momentum is None
    assert np.allclose(ours.info.acceptance_rate, fixed.info.acceptance_rate, rtol=1e-4)


@pytest.mark.parametrize("make", [eb.nuts, eb.hmc], ids=["nuts", "hmc"])
def test_a_warm_up_from_the_host_is_that_of_one_program(make):
    # up to rounding, which grows from step to step: the first steps, step by step
    make = eb.adaptation.warmup.with_length(make)
    function = eb._value.as_function(energy)
    numbers = np.float32(0.7), np.float32(1.0), 24, "auto"
    found, whole = (
        run(KEY, make, function, start(16), *numbers) for run in (stepped, _compiled)
    )
    rates = found.acceptance_rate, whole.acceptance_rate
    assert np.allclose(*(rate[:8] for rate in rates), atol=1e-3)
    assert np.allclose(rates[0].mean(), rates[1].mean(), atol=0.05)
    matrices = (x.step_size.matrix for x in (found, whole))
    assert np.allclose(*map(np.asarray, matrices), rtol=0.3, atol=0.05)
    assert abs(int(found.num_grads) / int(whole.num_grads) - 1) < 0.3


def test_parameters_of_an_energy_are_not_copied_at_each_step():
    params = jnp.arange(1.0, 4.0)
    function = eb._value.as_function(
        partial(lambda p, x: jnp.sum((x / p) ** 2), params)
    )
    make = jax.jit(lambda of, size: NewKernel.of(eb.nuts(of, size), of))
    new = make(function, jnp.float32(0.3))
    assert len(new.leaves) == 1
    kernel = new.kernel(function)
    assert kernel == eb.nuts(function, 0.3)
    assert any(leaf is params for leaf in jax.tree.leaves(kernel))


@pytest.mark.parametrize("make", [eb.nuts, eb.hmc], ids=["nuts", "hmc"])
def test_warm_up_and_runs_of_any_length_compile_their_steps_once(make):
    def run(num_tuning, num_steps, **options):
        tuned = eb.warm_up(KEY, make, energy, start(5), num_steps=num_tuning)
        key = jax.random.key(num_steps)
        return eb.sample(key, tuned.kernel, tuned.position, num_steps, **options)

    run(50, 20)
    with compilations() as count:
        for sizes in ((77, 33), (20, 1500)):
            run(*sizes)
        run(50, 9, num_warmup=4)
    assert count[0] == 0


def test_it_is_used_for_trajectories_alone():
    position = _any_length.POSITIONS
    takes = lambda kernel, collect=position, thin=1: _any_length.takes(
        kernel, collect, thin, start(4)
    )
    nuts = eb.nuts(energy, 0.4)
    assert takes(nuts) and takes(eb.reject_nonfinite(eb.nuts(energy, 0.4)))
    assert takes(eb.hmc(energy, 0.3, np.int32(5)))
    assert takes(eb.hmc(energy, 0.3, 5, step_jitter=0.3))
    assert not takes(eb.hmc(energy, 0.3, 5))
    assert not _any_length.takes(nuts, position, 1, jnp.ones((400, 300)))
    assert not takes(eb.mala(energy, 0.3))
    assert not takes(nuts, thin=2)
    assert takes(nuts, eb._value.as_function(eb.collect_stats))
    assert not takes(nuts, eb._value.as_function(lambda state, info: state.energy))


def test_draws_on_a_mesh_are_those_of_one_device():
    mesh = Mesh(np.array(jax.devices()[:1]), ("chains",))
    kernel = eb.nuts(energy, 0.4, max_depth=5)
    one, divided = (
        eb.sample(KEY, kernel, start(6), 20, devices=devices)
        for devices in (None, mesh)
    )
    assert np.array_equal(one.draws, divided.draws)


def test_constrained_values_are_stored():
    target = eb.constrain(lambda x: x - jnp.log(x), eb.supports.positive())
    kernel = eb.nuts(target, 0.8, max_depth=5)
    samples = eb.sample(KEY, kernel, jnp.ones(400), 60)
    assert np.all(samples.draws > 0)
    late = np.asarray(samples.draws)[20:].ravel()
    assert abs(late.mean() - 2.0) < 6 * np.sqrt(2.0 / (400 * 10))


@pytest.mark.parametrize("num_pieces", [1, 3])
def test_nuts_as_sample_runs_it_is_invariant(num_pieces, monkeypatch):
    """Chains that start at exact samples stay there, of a mean, and of a square."""
    most = 1024 if num_pieces == 1 else 3
    monkeypatch.setattr(_any_length, "MOST_STEPS", most)
    target = targets.gaussian([1.0, -2.0], [[1.0, 0.4], [0.4, 0.5]])
    kernel = eb.nuts(target.energy, 0.7, max_depth=5)
    x = target.sample(jax.random.key(11), 4000)
    found = eb.sample(jax.random.key(12), kernel, x, 8).draws[-1]
    for statistic in (lambda x: x, lambda x: x**2):
        new, old = (np.asarray(statistic(y), np.float64) for y in (found, x))
        error = np.sqrt(new.var(axis=0) / 4000 + old.var(axis=0) / 4000)
        assert np.all(np.abs(new.mean(axis=0) - old.mean(axis=0)) < 5 * error)


def test_make_kernel_may_make_functions_and_use_the_type_of_the_step_size():
    function = partial(lambda p, x: jnp.sum((x / p) ** 2), jnp.arange(1.0, 4.0))
    make = lambda energy, size: eb.nuts(lambda x: energy(x), size.astype(jnp.float32))
    tuned = eb.tune_step_size(KEY, make, function, start(5), num_steps=40)
    assert 0.6 < tuned.acceptance_rate[20:].mean() < 0.98


def test_a_kernel_of_tuned_length_can_be_differentiated():
    tuned = eb.warm_up(KEY, eb.hmc, energy, start(16), num_steps=40)
    assert isinstance(tuned.kernel.num_steps, int)

    def loss(x, kernel):
        return jnp.sum(eb.run(KEY, kernel, kernel.init(x), 3).state.position ** 2)

    slope = jax.jit(jax.grad(loss))(jnp.ones(3), tuned.kernel)
    assert np.all(np.isfinite(slope))


def test_a_large_record_is_left_to_programs_of_a_fixed_length():
    assert _any_length.fits(jnp.ones((256, 100)), 256)
    assert not _any_length.fits(jnp.ones((10, 100_000)), 10)
