"""Training on bits and levels: the likelihood that chains reach, every kernel
through the same loop and command line, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import call

import ebmjax as eb
from ebmjax.energies import boltzmann, enumeration
from ebmjax.energies.local import of_one_hot, offered
from ebmjax.energies.transforms import temper
from ebmjax.experiments import data, experiment, runs
from ebmjax.kernels.discrete_langevin import dmala
from ebmjax.kernels.gibbs import gibbs
from ebmjax.kernels.locally_balanced import gibbs_with_gradients
from ebmjax.kernels.rbm_gibbs import rbm_gibbs
from ebmjax.kernels.registry import KERNELS
from ebmjax.spaces import BITS, levels, space_of

SMALL = {"features": (8,), "num_chains": 16, "buffer_size": 32, "batch_size": 32}
SMALL |= {"num_updates": 4, "chain_steps": 2}


def make(name="binary_digits", **choices):
    dataset = data.load(name, levels=choices.get("levels", 0))
    return experiment.build(experiment.preset(dataset, **{**SMALL, **choices}), dataset)


# --- likelihoods --------------------------------------------------------------------

N = 5
TRUE = boltzmann.Boltzmann(
    0.5 * jnp.asarray(np.random.default_rng(2).normal(size=(N, N)), jnp.float32),
    jnp.asarray([0.3, -0.2, 0.4, 0.0, -0.5]),
)
POINTS = enumeration.sampler(functools.partial(boltzmann.boltzmann, TRUE), N)(
    jax.random.key(3), 4000
)


def symmetric(params, x):
    w = params.couplings
    return boltzmann.boltzmann(params._replace(couplings=(w + w.T) / 2), x)


def reached(make_kernel):
    """The exact log-likelihood of the data after persistent training from zero."""
    objective = eb.maximum_likelihood(symmetric, make_kernel, 5)
    start = boltzmann.Boltzmann(jnp.zeros((N, N)), jnp.zeros(N))
    draw = lambda key, n: jax.random.bernoulli(key, 0.5, (n, N)).astype(jnp.float32)
    chain_init = eb.replay_buffer(draw, 256, 0.0)
    optimizer = optax.adam(optax.linear_schedule(0.05, 0.001, 300))
    state = eb.init_state(jax.random.key(0), start, optimizer, chain_init, 0.5)
    state, _ = eb.fit(
        jax.random.key(1),
        objective,
        optimizer,
        state,
        POINTS,
        chain_init,
        num_updates=300,
        batch_size=512,
        num_chains=256,
    )
    energy = functools.partial(symmetric, state.ema)
    return enumeration.log_likelihood(energy, POINTS)


@pytest.mark.parametrize("name", ["gibbs_with_gradients", "dmala"])
def test_persistent_training_reaches_the_likelihood_of_the_truth(name):
    """The maximum is above the truth by about dof / (2 n) = 0.002 nat."""
    truth = enumeration.log_likelihood(functools.partial(symmetric, TRUE), POINTS)
    found = reached(KERNELS[name].training_kernel)
    assert truth - 0.01 < found < truth + 0.01
    if name == "dmala":  # chains of another temperature learn another model
        assert reached(lambda e, h: dmala(temper(e, 2.0), h)) < truth - 0.05


# --- runs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ("gibbs_with_gradients", {}),
        ("dmala", {"name": "digits", "levels": 4}),
        ("gibbs", {"name": "digits", "levels": 2, "chain_steps": 1}),
        ("rbm_gibbs", {"network": "rbm"}),
    ],
)
def test_kernels_of_discrete_states_train(kernel, options, tmp_path):
    run = make(kernel=kernel, **options)
    state = runs.train(run, tmp_path / "run", progress=False)
    assert int(state.num_skipped) == 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))
    space = levels(run.config.levels) if run.config.levels > 2 else BITS
    assert np.isin(np.asarray(state.buffer), space.values).all()
    again = runs.reopen(tmp_path / "run")
    assert again.config == run.config and np.array_equal(again.z, run.z)


def test_data_as_bits_from_the_command_line(tmp_path):
    out, file = tmp_path / "run", tmp_path / "grey.npy"
    np.save(file, np.random.default_rng(0).random((300, 6)).astype(np.float32))
    options = ["--features", "8", "--num-updates", 5, "--chain-steps", 2]
    result = call("train", "--data", file, "--binary", *options, "--out", out)
    assert result.exit_code == 0, result.output
    assert "values in 2 levels, 0 to 1" in result.output
    result = call("sample", out, "--num-chains", 8, "--num-steps", 20)
    assert result.exit_code == 0, result.output
    with np.load(out / "samples-dmala-1" / "samples.npz") as file:
        assert np.isin(file["x"], (0, 1)).all()
    both = call("train", "--data", "digits", "--binary", "--levels", 3, "--out", "x")
    assert both.exit_code == 2 and "give either --binary or --levels" in both.stderr


def test_data_are_quantised_to_levels():
    grey = data.load("digits")
    found = data.load("digits", levels=4)
    expected = np.clip(np.ceil(grey.x * 4) - 1, 0, 3)
    assert np.array_equal(found.x, expected) and found.range == (0.0, 3.0)
    assert np.array_equal(data.load("digits", levels=2).x, data.load("binary_digits").x)
    whole = data.Dataset("mine", np.array([[0.0, 2.0], [1.0, 1.0]]))
    assert np.array_equal(data.quantised(whole, 4).x, whole.x)
    with pytest.raises(data.DataError, match="every value is 7"):
        data.quantised(data.Dataset("mine", np.full((3, 2), 7.0)), 2)


def test_a_trainable_energy_of_levels_keeps_its_methods():
    """Through a partial, a temperature and the check of its value."""
    energy = of_one_hot(lambda w, z: jnp.sum(w * z), 3)
    fixed = temper(functools.partial(eb.base.scalar(energy), 2.0), 4.0)
    assert space_of(fixed) == levels(3)
    assert float(offered(fixed.energy, "one_hot")(jnp.eye(3))) == 6.0
    state = gibbs_with_gradients(fixed).init(jnp.array([0.0, 2.0]))
    assert state.grad.shape == (2, 3) and float(state.grad[0, 0]) == 0.5
    assert gibbs(fixed).state_space == levels(3)


def test_block_gibbs_of_an_rbm_in_training_has_its_parameters():
    network = boltzmann.RBMNetwork(3)
    params = network.init(jax.random.key(0), jnp.zeros((2, 2)))
    fixed = functools.partial(eb.base.scalar(network.apply), params)
    kernel = rbm_gibbs(temper(fixed, 1.0))
    assert (kernel.params.weights == params.weights).all()
    x = jnp.ones((2, 2))
    assert float(kernel.init(x).energy) == pytest.approx(
        float(network.apply(params, x))
    )
    assert rbm_gibbs(temper(fixed, 2.0)).init(x).energy == jnp.inf
    with pytest.raises(TypeError, match="model must be the parameters of an RBM"):
        rbm_gibbs(jnp.sum)


def test_kernels_of_real_numbers_do_not_train_on_bits():
    with pytest.raises(
        experiment.RunError, match="data of bits need a kernel of discre"
    ):
        make(kernel="mala", levels=2)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"name": "two_moons", "kernel": "dmala"},
         "the kernel dmala is of bits, and the data are not each 0 or 1"),
        ({"kernel": "rbm_gibbs"}, "rbm_gibbs is of --network rbm at temperature 1"),
        ({"name": "two_moons", "network": "rbm"}, "the network rbm is of bits"),
        ({"network": "rbm", "features": (8, 8), "kernel": "gibbs"}, "has one width"),
        ({"levels": 3, "objective": "ratio_matching"}, "does not train on levels"),
        ({"levels": 2, "objective": "denoising"}, "denoising does not train on bits"),
        ({"levels": 2, "noise": 0.1}, "points of bits have no noise, got noise 0.1"),
    ],
)  # fmt: skip
def test_choices_that_exclude_each_other_are_refused(choices, message):
    with pytest.raises(experiment.RunError, match=message):
        make(**choices)


MODULE = """
import jax.numpy as jnp
from ebmjax.energies.lattice import ising

lattice = ising(0.3)
bits = lambda x: -0.5 * jnp.sum(x[1:] * x[:-1])

def initial(key, n):
    return jnp.ones((n, 4, 4))
"""


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("bits", ["--kernel", "gibbs", "--dim", 6]), ("lattice", ["--kernel", "wolff"])],
)
def test_sampling_an_energy_of_discrete_states(name, arguments, tmp_path, monkeypatch):
    (tmp_path / "model14.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    out = tmp_path / "out"
    arguments = [*arguments, "--num-steps", 20, "--num-chains", 4]
    result = call("sample", f"model14:{name}", *arguments, "--out", out)
    assert result.exit_code == 0, result.output
    assert (out / "draws.npz").exists()
    given = ["--step-size", "0.1", "--out", tmp_path / "b"]
    wrong = call("sample", f"model14:{name}", *arguments, *given)
    assert wrong.exit_code == 2 and "has nothing to tune" in wrong.stderr
