"""Values: numbers are leaves and compile nothing, structure is compared and printed."""

import dataclasses
import functools
import gc
import pickle
import resource
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import compilations

import ebmjax as eb
from ebmjax import verify
from ebmjax._value import Function, Static
from ebmjax._value.printing import show
from ebmjax.base import evaluate
from ebmjax.io import checkpoint
from ebmjax.kernels.barker import barker
from ebmjax.kernels.flip import flip
from ebmjax.kernels.gaussian_prior import elliptical_slice, pcn
from ebmjax.kernels.gibbs import gibbs
from ebmjax.spaces import BITS

KEY = jax.random.key(3)
SCALES = jnp.array([0.5, 2.0])
START = jnp.ones((4, 2))


def quadratic(x):
    return 0.5 * jnp.sum((x / SCALES) ** 2)


def network(params, x):
    return 0.5 * jnp.sum(jnp.tanh(params["w"] @ x + params["b"]) ** 2) + 0.1 * x @ x


def params_of(seed):
    key_w, key_b = jax.random.split(jax.random.key(seed))
    w, b = jax.random.normal(key_w, (3, 2)), jax.random.normal(key_b, (3,))
    return {"w": w, "b": b}


def energy_of(seed):
    return functools.partial(network, params_of(seed))


KERNELS = {
    "random_walk": eb.random_walk(quadratic, 0.5),
    "random_walk, covariance": eb.random_walk(quadratic, 0.5, covariance=np.eye(2)),
    "mala": eb.mala(energy_of(0), 0.5),
    "ula": eb.ula(quadratic, jnp.array([0.1, 0.2])),
    "hmc": eb.hmc(quadratic, 0.3, 5, integrator=eb.mclachlan, step_jitter=0.2),
    "hmc, traced length": eb.hmc(quadratic, 0.3, jnp.int32(4)),
    "nuts": eb.nuts(eb.temper(quadratic, 2.0), 0.5),
    "underdamped": eb.underdamped_langevin(quadratic, 0.3, friction=2.0),
    "barker": barker(quadratic, 0.7),
    "pcn": pcn(quadratic, 0.4, scale=eb.Dense(np.array([[1.0, 0.0], [0.5, 1.0]]))),
    "elliptical_slice": elliptical_slice(quadratic, scale=2.0),
    "flip": flip(quadratic),
    "gibbs": gibbs(quadratic),
    "cycle": eb.cycle(eb.random_walk(quadratic, 0.5), eb.mala(quadratic, 0.3)),
    "mixture": eb.mixture([eb.random_walk(quadratic, 0.5), eb.mala(quadratic, 0.3)]),
    "repeat": eb.repeat(eb.mala(quadratic, 0.3), 3),
    "within": eb.within(lambda x: quadratic(x["a"]), "a", lambda e: eb.mala(e, 0.1)),
    "parallel": eb.parallel(eb.mala(quadratic, 0.3)),
    "stack": eb.stack([eb.mala(quadratic, h) for h in (0.1, 0.2)]),
    "user": eb.Kernel(lambda x: evaluate(quadratic, x), lambda k, s: k, lambda n, s: s),
}


@pytest.mark.parametrize("name", KERNELS)
def test_flatten_and_unflatten_give_the_kernel(name):
    kernel = KERNELS[name]
    leaves, treedef = jax.tree.flatten(kernel)
    again = jax.tree.unflatten(treedef, leaves)
    assert again == kernel and hash(again) == hash(kernel)
    assert all(isinstance(x, jax.Array | np.ndarray | np.generic) for x in leaves)
    doubled = jax.tree.map(lambda x: 2 * x, kernel)
    if leaves:
        assert doubled != kernel and hash(doubled) == hash(kernel)


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_prints_its_fields_on_one_line(name):
    text = repr(KERNELS[name])
    assert "\n" not in text and " at 0x" not in text
    assert type(KERNELS[name]).__name__.removeprefix("_Function") in text


def test_what_is_printed_can_be_pasted_back():
    scope = {**vars(eb), "quadratic": quadratic, "array": np.array}
    for name in ("random_walk", "hmc", "ula", "cycle", "mixture", "repeat"):
        assert eval(repr(KERNELS[name]), scope) == KERNELS[name], name


class Pair(NamedTuple):
    first: Any
    second: Any


def test_containers_are_printed_as_python_writes_them():
    for item in ([1, "a"], (1,), (1, [2.5, ()]), {"a": [1], "b": (2, 3)}):
        assert show(item) == repr(item)
    found = show([quadratic, Pair(np.float32(1.5), [1])])
    assert found == "[quadratic, Pair(first=1.5, second=[1])]"


def test_replace_checks_and_keeps_the_rest():
    kernel = KERNELS["hmc"]
    other = dataclasses.replace(kernel, step_size=0.2)
    assert float(other.step_size) == pytest.approx(0.2)
    assert other.integrator == kernel.integrator and other != kernel
    with pytest.raises(ValueError, match="step_size must be finite and above 0"):
        dataclasses.replace(kernel, step_size=-0.2)


def test_equal_construction_is_equal_and_another_structure_is_not():
    assert eb.mala(quadratic, 0.5) == eb.mala(quadratic, jnp.float32(0.5))
    assert eb.mala(energy_of(1), 0.5) == eb.mala(energy_of(1), 0.5)
    assert eb.mala(energy_of(1), 0.5) != eb.mala(energy_of(2), 0.5)
    assert hash(eb.mala(energy_of(1), 0.5)) == hash(eb.mala(energy_of(2), 0.1))
    assert eb.hmc(quadratic, 0.1, 5) != eb.hmc(quadratic, 0.1, 6)
    assert eb.mala(quadratic, 0.5) != eb.ula(quadratic, 0.5)


def test_a_kernel_is_pickled_and_saved(tmp_path):
    kernel = eb.mala(energy_of(1), 0.5)
    assert pickle.loads(pickle.dumps(kernel)) == kernel
    checkpoint.save(tmp_path / "kernel.npz", kernel)
    like = eb.mala(energy_of(2), 0.1)
    assert checkpoint.load(tmp_path / "kernel.npz", like) == kernel


def test_the_energy_of_a_kernel_has_its_name():
    energy = eb.mala(quadratic, 0.5).energy
    assert energy.__name__ == energy.__qualname__ == "quadratic"
    assert not hasattr(Function(functools.partial(quadratic)), "keywords")


def test_arrays_and_floats_of_a_partial_are_leaves():
    """Arrays and floats are leaves; whole numbers, strings and functions are not."""
    f = lambda a, n, name, x, *, scale: scale * a[:n] @ x
    bound = Function(functools.partial(f, jnp.ones(3), 2, "name", scale=2.0))
    assert [np.size(x) for x in jax.tree.leaves(bound)] == [3, 1]
    assert float(bound(jnp.ones(2))) == 4.0
    half = jax.tree.map(lambda x: 0.5 * x, bound)
    assert float(half(jnp.ones(2))) == 1.0
    nested = Function(functools.partial(functools.partial(f, jnp.ones(3)), 2))
    assert len(jax.tree.leaves(nested)) == 1
    assert Function(jax.tree_util.Partial(f, jnp.ones(3))) is not None


def test_methods_of_equal_objects_are_one_structure_and_others_are_not():
    small, same, large = (eb.MLP((n,)) for n in (8, 8, 16))
    assert Static(small.apply) == Static(same.apply) != Static(large.apply)


class Unhashable:
    __hash__ = None

    def __call__(self, x):
        return quadratic(x)


def test_an_energy_without_a_hash_is_structure_by_identity():
    energy = Unhashable()
    first, again = eb.mala(energy, 0.1), eb.mala(energy, 0.2)
    structure = jax.tree.structure
    assert structure(first) == structure(again)
    assert structure(first) != structure(eb.mala(Unhashable(), 0.1))
    assert eb.sample(KEY, first, START, 5).draws.shape == (5, 4, 2)


# --- a new number compiles nothing --------------------------------------------------


def test_a_sweep_of_step_sizes_and_parameters_compiles_once_in_flat_memory():
    def sweep(i):
        kernel = eb.mala(energy_of(i), 0.05 + 0.01 * i)
        return eb.sample(jax.random.key(i), kernel, START, 20).draws

    jax.block_until_ready([sweep(0), sweep(1)])
    gc.collect()
    arrays, memory = len(jax.live_arrays()), resource.getrusage(0).ru_maxrss
    with compilations() as count:
        for i in range(2, 52):
            sweep(i)
    gc.collect()
    assert count[0] == 0
    assert len(jax.live_arrays()) <= arrays + 2
    assert resource.getrusage(0).ru_maxrss - memory < 10_000  # kB
    with compilations() as count:  # the counter counts
        eb.sample(KEY, eb.mala(energy_of(0), 0.1), START[:3], 20)
    assert count[0] > 0


def test_run_compiles_nothing_for_other_numbers():
    """Step size, covariance, temperature, a traced number of steps, friction."""

    def run(i):
        tempered = eb.temper(energy_of(i), 1.0 + i)
        variances = np.array([1.0, 2.0 + i])
        kernel = eb.cycle(
            eb.hmc(tempered, 0.1 + i / 10, jnp.int32(1 + i), covariance=variances),
            eb.random_walk(tempered, 0.3 + i / 10, covariance=np.eye(2) * (1 + i)),
        )
        kernel = eb.parallel(kernel)
        keys = eb.chain_keys(jax.random.key(i), 4)
        return eb.run(keys, kernel, kernel.init(START), 10).draws

    run(0)
    with compilations() as count:
        draws = [run(i) for i in (1, 2, 3)]
    assert count[0] == 0 and not np.array_equal(draws[0], draws[1])


@pytest.mark.parametrize("make", [eb.nuts, eb.hmc], ids=["nuts", "hmc"])
def test_warm_up_compiles_nothing_for_other_numbers(make):
    def tune(i):
        start = 0.1 * i + START
        options = {"num_steps": 60, "target": 0.6 + i / 50, "step_size": 0.5 + i / 10}
        return eb.warm_up(jax.random.key(i), make, energy_of(i), start, **options)

    tune(0)
    with compilations() as count:
        tuned = tune(1)
    assert count[0] == 0 and tuned.position.shape == START.shape


def test_fit_compiles_nothing_for_other_numbers():
    """Learning rate, schedule, clipping, regularisation, noise, data and parameters."""

    @chex.assert_max_traces(n=3)  # the loss: its shapes, and its gradient
    def traced(params, x):
        return network(params, x)

    def train(i):
        rate = optax.linear_schedule(1e-3 * i, 1e-4 * i, 50)
        adam = optax.chain(optax.clip_by_global_norm(0.5 * i), optax.adam(rate))
        objective = eb.maximum_likelihood(
            network, eb.mala, 3, regularisation=0.1 * i, temperature=1.0 * i
        )
        data = i * jax.random.normal(jax.random.key(i), (64, 2))
        state = eb.init_state(KEY, params_of(i), adam, step_size=0.1 * i)
        options = {
            "num_updates": 6,
            "batch_size": 16,
            "data_noise": 0.1 * i,
            "chunk": 3,
        }
        options |= {"ema_decay": 1 - 0.1 / i}
        return eb.fit(jax.random.key(i), objective, adam, state, data, **options)

    train(1)
    with compilations() as count:
        found = train(2)
    assert count[0] == 0 and int(found.state.step) == 6
    assert traced is not None


# --- one kernel per chain -----------------------------------------------------------


def test_a_stack_of_kernels_equals_a_loop_over_them():
    sizes = (0.1, 0.3, 0.9)
    kernels = [eb.mala(eb.temper(energy_of(0), 1 + h), h) for h in sizes]
    start = jnp.ones((3, 2))
    together = eb.sample(KEY, eb.stack(kernels), start, 30).draws
    for c, kernel in enumerate(kernels):
        alone = eb.sample(KEY, kernel, start, 30).draws[:, c]
        assert np.allclose(together[:, c], alone, atol=1e-5)
    assert not np.allclose(together[:, 0], together[:, 1])
    stacked = eb.stacked(jax.vmap(lambda h: eb.mala(energy_of(0), h))(jnp.array(sizes)))
    assert stacked.num_chains == 3


def test_parameters_shared_by_kernels_are_stored_once():
    params = params_of(0)
    energy = functools.partial(network, params)
    kernel = eb.stack([eb.mala(energy, h) for h in (0.1, 0.2)])
    assert kernel.is_stacked.count(True) == 1
    assert kernel.kernel.energy.numbers[0] is params["b"]


def test_a_ladder_of_temperatures_has_its_variances():
    temperatures = jnp.array([1.0, 4.0, 16.0])
    make = lambda t: eb.mala(eb.temper(quadratic, t), 0.5 * jnp.sqrt(t))
    kernels = jax.vmap(make)(jnp.repeat(temperatures, 64))
    found = eb.sample(
        KEY, eb.stacked(kernels), jnp.zeros((192, 2)), 300, num_warmup=100
    )
    draws = np.asarray(found.draws)[::5].reshape(60, 3, 64, 2)
    variances = draws.var(axis=(0, 2)) / SCALES**2
    assert np.allclose(variances, temperatures[:, None], rtol=0.1)  # se below 0.03


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: eb.stack([eb.mala(quadratic, 0.1), eb.ula(quadratic, 0.1)]),
            ValueError,
            "kernels must differ in their numbers alone",
        ),
        (
            lambda: eb.stacked(eb.mala(quadratic, 0.1)),
            ValueError,
            "one leading axis",
        ),
        (
            lambda: eb.sample(KEY, KERNELS["stack"], START, 5),
            ValueError,
            "positions must be one a kernel of the stack, 2, got 4",
        ),
        (
            lambda: eb.sample(KEY, KERNELS["parallel"], START, 5),
            TypeError,
            "kernel of one chain",
        ),
    ],
)
def test_bad_stacks_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- draw sees shapes ---------------------------------------------------------------


def walk(reads):
    """A symmetric walk; its scale depends on x where ``reads`` is true."""

    def draw(key, x):
        xi = jax.random.normal(key, x.shape)
        return xi * (1 + jnp.abs(x)) if reads else xi

    def propose(xi, state):
        new = evaluate(quadratic, state.position + xi)
        return new, jnp.zeros_like(state.energy)

    return eb.metropolis(quadratic, eb.Proposal(draw, propose))


def test_a_draw_that_reads_values_raises_everywhere():
    kernel = walk(True)
    state = kernel.init(jnp.ones(2))
    message = "draw gets the shapes of a position"
    with pytest.raises(TypeError, match=message):
        eb.sample(KEY, kernel, START, 10)
    with pytest.raises(TypeError, match=message):
        eb.run(KEY, kernel, state, 10)
    with pytest.raises(TypeError, match=message):
        kernel.step(KEY, state)
    target = eb.targets.gaussian(np.zeros(2), np.diag(np.square(SCALES)))
    with pytest.raises(TypeError, match=message):
        verify.invariance(KEY, kernel, target, num_chains=1000)
    assert eb.sample(KEY, walk(False), START, 10).draws.shape == (10, 4, 2)


# --- properties of kernels ----------------------------------------------------------


def test_promises_are_fields():
    assert eb.mala(quadratic, 0.1).acceptance_target == 0.574
    assert eb.mala(quadratic, 0.1).needs_grad and KERNELS["mala"].is_reversible
    assert not KERNELS["random_walk"].needs_grad and not KERNELS["user"].needs_grad
    assert not KERNELS["user"].rejects_nonfinite
    assert KERNELS["cycle"].rejects_nonfinite and not KERNELS["cycle"].is_reversible
    assert KERNELS["gibbs"].state_space == BITS
    user = KERNELS["user"].replace(rejects_nonfinite=True, acceptance_target=0.3)
    assert user.rejects_nonfinite and user.acceptance_target == 0.3
    mixed = eb.cycle(KERNELS["random_walk"], KERNELS["user"])
    assert not mixed.rejects_nonfinite
    with pytest.raises(TypeError, match="one state space"):
        eb.cycle(KERNELS["gibbs"], KERNELS["random_walk"])


def test_a_kernel_with_automatic_length_names_warm_up():
    kernel = eb.hmc(quadratic, 0.1, "auto", integrator=eb.mclachlan)
    assert kernel.init(jnp.ones(2)).grad is not None
    with pytest.raises(TypeError, match="is learned by warm_up"):
        kernel.step(KEY, kernel.init(jnp.ones(2)))
    with pytest.raises(ValueError, match="num_steps must be one of auto"):
        eb.hmc(quadratic, 0.1, "free")
