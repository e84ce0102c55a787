"""A number of the user's is never compiled into a program: the functions beside `run`,
`sample`, `warm_up` and `fit` (``test_values.py``)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import call, compilations
from test_values import energy_of

import ebmjax as eb
from ebmjax.tempering.ais import annealed_importance_sampling
from ebmjax.tempering.bases import gaussian
from ebmjax.tempering.parallel_tempering import parallel_tempering
from ebmjax.tempering.paths import geometric
from ebmjax.tempering.smc import sequential_monte_carlo

KEY = jax.random.key(20261126)
START = jnp.ones((4, 2))


def power(exponent, x):
    return jnp.sum(x**exponent)


def expectation(i):
    function = functools.partial(power, 1.0 + i)
    draws = jax.random.normal(jax.random.key(i), (50, 4, 2)) ** 2
    return eb.expectation(function, draws).value


def expectation_by_weights(i):
    draws = jax.random.normal(jax.random.key(i), (50, 4, 2)) ** 2
    weights = jnp.exp(-draws.sum(-1) / (10 + i))
    return eb.expectation(functools.partial(power, 1.0 + i), draws, weights).value


def step_size(i):
    options = {"num_steps": 40, "target": 0.5 + i / 20, "step_size": 0.2 + i / 10}
    return eb.tune_step_size(
        jax.random.key(i), eb.mala, energy_of(i), START, **options
    ).step_size


def path(i):
    base = gaussian(0.1 * i * jnp.ones(2), jnp.array([1.0, 2.0 + i]))
    return geometric(base, energy_of(i))


def ais(i):
    betas, sizes = np.linspace(0, 1, 6) ** (1 + i / 10), np.full(6, 0.1 + i / 10)
    return annealed_importance_sampling(
        jax.random.key(i), path(i), eb.mala, betas, sizes, num_chains=8
    ).log_weights


def smc(i):
    options = {"num_particles": 16, "num_steps": 2, "ess": 0.5 + i / 20}
    options["target_acceptance"] = 0.6 + i / 20
    return sequential_monte_carlo(
        jax.random.key(i), path(i), eb.mala, 0.1 + i / 10, **options
    ).log_z


def tempering(i):
    options = {"num_ladders": 2, "num_replicas": 3, "num_adapt": 20}
    options["target_acceptance"] = 0.6 + i / 20
    return parallel_tempering(
        jax.random.key(i), path(i), eb.mala, 20, 0.1 + i / 10, **options
    ).log_z


CALLS = (expectation, expectation_by_weights, step_size, ais, smc, tempering)


@pytest.mark.parametrize("f", CALLS, ids=lambda f: f.__name__)
@pytest.mark.filterwarnings("ignore")  # of runs this short
def test_other_numbers_compile_nothing(f):
    first = np.asarray(f(1))
    with compilations() as count:
        second = np.asarray(f(2))
    assert count[0] == 0
    assert not np.array_equal(first, second)


ENERGY = """
import jax, jax.numpy as jnp
def energy(x):
    return 0.5 * jnp.sum(((x - 1) / jnp.array([1.0, 3.0])) ** 2)
"""


@pytest.mark.filterwarnings("ignore")
def test_the_command_line_compiles_nothing_for_other_numbers(tmp_path, monkeypatch):
    (tmp_path / "of_compilations.py").write_text(ENERGY)
    monkeypatch.chdir(tmp_path)

    def sampled(seed):
        words = ["sample", "of_compilations:energy", "--dim", 2, "--num-chains", 4]
        words += ["--num-steps", 200, "--num-warmup", 100, "--seed", seed]
        return call(*words, "--kernel", "mala", "--out", tmp_path / f"{seed}.npz")

    assert sampled(1).exit_code == 0
    with compilations() as count:
        result = sampled(2)
    assert result.exit_code == 0, result.output
    assert count[0] == 0
