"""Properties of the design, each with a negative control."""

import ast
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tree_equal

import ebmjax as eb
from ebmjax import targets, verify
from ebmjax.verify.examples import ring

ROOT = Path(__file__).parent.parent
QUADRATIC = targets.correlated_gaussian(3, 0.6)


def test_metropolis_has_detailed_balance_and_without_its_ratio_has_not():
    ring().require()
    assert not ring(with_ratio=False).is_passed


def test_ula_has_its_own_law_and_not_that_of_its_target(key):
    precisions, step_size = np.array([0.5, 1.0, 3.0]), 0.8
    energy = lambda x: 0.5 * jnp.sum(precisions * x**2)
    law = verify.ula_law(precisions, step_size)
    assert np.allclose(
        np.diag(law.covariance), 1 / (precisions * (1 - step_size**2 * precisions / 4))
    )
    verify.invariance(key, eb.ula(energy, step_size), law).require()
    exact = targets.gaussian(np.zeros(3), np.diag(1 / precisions))
    assert not verify.invariance(key, eb.ula(energy, step_size), exact).is_passed


def test_mala_is_hmc_with_one_step_bit_for_bit(key):
    for step_size in (
        0.4,
        np.array([0.2, 0.5, 0.9], np.float32),
        eb.Dense(0.3 * np.eye(3, dtype=np.float32)),
    ):
        start = QUADRATIC.sample(key, 5)
        one = eb.sample(key, eb.mala(QUADRATIC.energy, step_size), start, 50)
        other = eb.sample(key, eb.hmc(QUADRATIC.energy, step_size, 1), start, 50)
        assert tree_equal(one.draws, other.draws)
    assert not tree_equal(
        one.draws, eb.sample(key, eb.hmc(QUADRATIC.energy, 0.3, 2), start, 50).draws
    )


@pytest.mark.parametrize(
    ("coefficients", "order"), [(eb.leapfrog, 2), (eb.mclachlan, 2), (eb.yoshida, 4)]
)
def test_integrators_reverse_keep_volume_and_have_their_order(coefficients, order):
    point = np.array([0.5, 1.0, -0.3])
    energy = targets.double_well(3).energy
    verify.integrator(energy, point, coefficients=coefficients, order=order).require()
    wrong = verify.integrator(energy, point, coefficients=coefficients, order=order + 1)
    assert not wrong.is_passed


def test_full_kicks_are_of_order_one_and_rejected():
    def full_kicks(x, n, step_size, num_steps):  # symplectic Euler
        grad = jax.grad(targets.double_well(3).energy)
        for _ in range(num_steps):
            n = n - step_size * grad(x)
            x = x + step_size * n
        return x, n

    report = verify.integrator(
        targets.double_well(3).energy, np.array([0.5, 1.0, -0.3]), flow=full_kicks
    )
    failed = {f.name for f in report.findings if f.p_value == 0}
    assert "order" in failed and "volume, |det J - 1|" not in failed


def test_parallel_equals_a_loop_over_chains(key):
    kernel = eb.hmc(QUADRATIC.energy, 0.3, 4)
    start = QUADRATIC.sample(key, 6)
    together = eb.sample(key, kernel, start, 40).draws
    keys = eb.chain_keys(key, 6)
    for c in range(6):
        one = eb.parallel(kernel)
        state = jax.jit(one.init)(start[c : c + 1])
        _, alone, _ = jax.jit(lambda k, s, one=one: eb.run(k, one, s, 40))(
            keys[c : c + 1], state
        )
        assert np.allclose(together[:, c], alone[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        partial(eb.random_walk, step_size=0.7),
        partial(eb.hmc, step_size=0.3, num_steps=4),
    ],
)
def test_1000_steps_equal_600_and_then_400_bit_for_bit(key, make):
    kernel, start = make(QUADRATIC.energy), QUADRATIC.sample(key, 7)
    whole = eb.sample(key, kernel, start, 1000)
    first = eb.sample(key, kernel, start, 600)
    second = eb.sample(key, kernel, first.state, 400, start=first.num_steps)
    assert tree_equal(whole.draws, jnp.concatenate([first.draws, second.draws]))
    assert tree_equal(whole.state, second.state)
    with pytest.raises(ValueError, match="give start=600 to go on, or another key"):
        eb.sample(key, kernel, first.state, 400)
    with pytest.raises(ValueError, match="key was used for the run that ended"):
        eb.sample(key, kernel, first.state.position, 400)
    other = eb.sample(jax.random.fold_in(key, 1), kernel, first.state, 400)
    assert not tree_equal(second.draws, other.draws)


def test_chunks_and_thinning_change_no_number(key):
    kernel, start = eb.mala(QUADRATIC.energy, 0.5), QUADRATIC.sample(key, 4)
    whole = eb.sample(key, kernel, start, 120, num_warmup=30)
    pieces = eb.sample(key, kernel, start, 120, num_warmup=30, thin=4, num_chunks=7)
    assert tree_equal(whole.draws[3::4], pieces.draws)
    assert np.allclose(whole.acceptance_rate, pieces.acceptance_rate, atol=1e-6)


def test_random_numbers_of_a_chain_do_not_depend_on_how_many_run(key):
    kernel, start = eb.random_walk(QUADRATIC.energy, 0.7), QUADRATIC.sample(key, 8)
    few, many = (eb.sample(key, kernel, start[:n], 50).draws for n in (3, 8))
    assert tree_equal(few, many[:, :3])


def test_temper_multiplies_the_variance(key):
    hot = targets.gaussian(QUADRATIC.mean, 2.5 * QUADRATIC.covariance)
    kernel = eb.mala(eb.temper(QUADRATIC.energy, 2.5), 0.6)
    verify.invariance(key, kernel, hot).require()
    assert not verify.invariance(key, kernel, QUADRATIC).is_passed


def test_one_state_and_one_info_for_all_kernels(key):
    energy = QUADRATIC.energy
    kernels = [eb.random_walk(energy, 0.5), eb.hmc(energy, 0.3, 2), eb.ula(energy, 0.1)]
    kernels += [
        eb.underdamped_langevin(energy, 0.1),
        eb.cycle(*kernels[:2]),
        eb.repeat(kernels[1], 2),
    ]
    for kernel in kernels:
        state, info = kernel.step(key, kernel.init(jnp.zeros(3)))
        assert isinstance(state, eb.State) and isinstance(info, eb.Info)
        assert all(x.shape == () for x in info)


def count(jaxpr, primitive):
    """How often a primitive runs in a program, loops counted."""
    total = 0
    for eqn in jaxpr.eqns:
        times = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
        total += eqn.primitive.name == primitive
        for value in eqn.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    total += times * count(inner, primitive)
    return total


@pytest.mark.parametrize(
    ("make", "num_energies", "num_grads"),
    [
        (partial(eb.random_walk, step_size=0.5), 1, 0),
        (partial(eb.mala, step_size=0.5), 1, 1),
        (partial(eb.ula, step_size=0.5), 1, 1),
        (partial(eb.underdamped_langevin, step_size=0.5), 1, 1),
        (partial(eb.hmc, step_size=0.5, num_steps=7), 7, 7),
        (partial(eb.hmc, step_size=0.5, num_steps=3, integrator=eb.mclachlan), 6, 6),
    ],
)
def test_cost_of_a_step_counted_in_its_program(key, make, num_energies, num_grads):
    energy = lambda x: jnp.sum(jnp.cos(x))  # its gradient is a sine
    kernel = make(energy)
    state = kernel.init(jnp.ones(2))
    program = jax.make_jaxpr(kernel.move)(kernel.draw(key, state.position), state).jaxpr
    assert (count(program, "cos"), count(program, "sin")) == (num_energies, num_grads)


LAYERS = [  # a file imports from its own layer and from lower ones; the longest name counts
    {
        "base",
        "spaces",
        "_compilation_cache",
        "_inlined",
        "_jaxpr",
        "_random",
        "_table",
        "_tree",
        "_validation",
        "_value",
    },
    {"energies", "supports", "targets", "io", "sampling.devices", "sampling.progress"},
    {"kernels"},
    {"sampling", "fused"},
    {
        "adaptation",
        "diagnostics",
        "objectives",
        "plotting",
        "tempering",
        "training.chain_init",
        "verify",
    },
    {"training", "evaluation", "io.arviz"},
    {"experiments"},
    {"cli", "__init__", "__main__"},
]


def layer_of(module):
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        for i, names in enumerate(LAYERS):
            if ".".join(parts[:length]) in names:
                return i
    raise AssertionError(f"{module} is in no layer")


def test_each_file_imports_only_from_its_own_layer_and_lower_ones():
    for path in ROOT.glob("ebmjax/**/*.py"):
        parts = path.relative_to(ROOT / "ebmjax").with_suffix("").parts
        here = layer_of(".".join(parts))
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom):
                continue
            if not (node.module or "").startswith("ebmjax"):
                continue
            base = node.module.split(".")[1:]
            for alias in node.names:
                other = ".".join([*base, alias.name])
                assert layer_of(other) <= here, f"{path} imports {other} from above"


def test_only_networks_and_flows_import_flax():
    files = [p for p in ROOT.glob("ebmjax/**/*.py") if "import flax" in p.read_text()]
    assert sorted(p.name for p in files) == [
        "auxiliary_networks.py",
        "conditional_networks.py",
        "flows.py",
        "networks.py",
        "spectral.py",
    ]


@pytest.mark.parametrize(
    "module", ["ebmjax", "ebmjax.targets", "ebmjax.verify", "ebmjax.objectives"]
)
def test_kernels_import_neither_flax_nor_matplotlib_nor_arviz(module):
    program = f"import {module}, sys; sys.exit(any(m in sys.modules for m in ('flax', 'matplotlib', 'arviz')))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
