"""Targets whose log Z is known, for :mod:`benchmarks.log_z`."""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import ebmjax as eb
from ebmjax import targets
from ebmjax.energies import boltzmann, enumeration, flows
from ebmjax.kernels.gibbs import gibbs
from ebmjax.tempering.bases import Base, bits, fit_gaussian, gaussian


class Problem(NamedTuple):
    """A target with its exact log Z."""

    energy: Callable
    base: Base
    make_kernel: Callable
    sample: Callable  # (key, n) -> exact draws
    log_z: float
    num_levels: int = 500
    num_chains: int = 256


def hmc5(energy, step_size):
    return eb.hmc(energy, step_size, 5)


def sweeps(energy, step_size):
    return gibbs(energy)


def rbm() -> Problem:
    """30 visible and 20 hidden units."""
    params = boltzmann.rbm_params(jax.random.key(5), 30, 20, 4.0)
    turned = boltzmann.RBM(params.weights.T, params.hidden, params.visible)
    of_hidden = enumeration.sampler(functools.partial(boltzmann.rbm, turned), 20)

    def sample(key, num):
        key_hidden, key_visible = jax.random.split(key)
        h = of_hidden(key_hidden, num)
        logits = params.visible + h @ params.weights.T
        return jax.random.bernoulli(key_visible, jax.nn.sigmoid(logits)).astype(h.dtype)

    energy = functools.partial(boltzmann.rbm, params)
    truth = boltzmann.rbm_log_z(params)
    base = bits(jnp.full(30, 0.5))
    return Problem(energy, base, sweeps, sample, truth, 100, 128)


def ising(side: int, coupling: float) -> Problem:
    """A torus of spins 2 x - 1; exact by the transfer matrix between rows."""

    def energy(x):
        s = (2 * x - 1).reshape(side, side)
        return -coupling * jnp.sum(s * jnp.roll(s, 1, 0) + s * jnp.roll(s, 1, 1))

    rows = 2.0 * np.array(list(itertools.product((0, 1), repeat=side))) - 1
    within = coupling * (rows * np.roll(rows, 1, axis=1)).sum(axis=1)
    transfer = np.exp(coupling * rows @ rows.T + 0.5 * (within[:, None] + within))
    powers = [np.linalg.matrix_power(transfer, k) for k in range(side + 1)]
    truth = float(np.log(np.trace(powers[side])))

    def sample(key, num):
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        p = np.diag(powers[side]) / np.trace(powers[side])
        first = rng.choice(len(rows), num, p=p)
        states = [first]
        for k in range(1, side):
            weights = transfer[states[-1]] * powers[side - k][:, first].T
            cumulative = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
            u = rng.random((num, 1))
            states.append(np.minimum((cumulative < u).sum(axis=1), len(rows) - 1))
        x = (rows[np.stack(states, axis=1)] + 1) / 2
        return jnp.asarray(x.reshape(num, -1), jnp.float32)

    base = bits(jnp.full(side * side, 0.5))
    return Problem(energy, base, sweeps, sample, truth, 200)


def double_wells() -> Problem:
    """Ten of them, 1024 modes."""
    one = targets.double_well(1, 3.0)

    def sample(key, num):
        draws = [one.sample(k, num)[:, 0] for k in jax.random.split(key, 10)]
        return jnp.stack(draws, axis=1)

    energy = lambda x: jnp.sum(3.0 * (x**2 - 1) ** 2)
    base = gaussian(jnp.zeros(10), 1.2)
    return Problem(energy, base, hmc5, sample, 10 * one.log_z)


def flow() -> Problem:
    """A normalising flow of 64 coordinates with random parameters; log Z = 0."""
    network = flows.Flow((64,), (32, 32), 4)
    params = network.init(jax.random.key(0), jnp.zeros(64))
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    pairs = zip(keys, leaves, strict=True)
    params = jax.tree.unflatten(
        treedef, [x + 0.1 * jax.random.normal(k, x.shape) for k, x in pairs]
    )
    draw = jax.jit(
        lambda key, num: flows.sample(network, params, key, num), static_argnums=1
    )
    base = fit_gaussian(draw(jax.random.key(2), 2000), widen=1.1)
    energy = flows.energy_of(network, params)
    return Problem(energy, base, hmc5, draw, 0.0, 100, 64)


def two_moons() -> Problem:
    """A network trained for 300 updates; exact by quadrature, drawn from its grid."""
    from ebmjax.evaluation.quadrature import log_z
    from ebmjax.experiments import data, experiment

    dataset = data.load("two_moons")
    run = experiment.build(
        experiment.preset(dataset, num_updates=300, features=(32, 32)), dataset
    )
    state, _ = run.fit(run.init(), progress=False)
    energy = run.trained(state)
    reach, num = 8.0, 800
    truth = log_z(energy, [-reach] * 2, [reach] * 2, resolution=num)
    axis = -reach + 2 * reach * (np.arange(num) + 0.5) / num
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2).astype(np.float32)
    log_p = -np.asarray(jax.jit(jax.vmap(energy))(points), np.float64)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()

    def sample(key, num_draws):
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        x = points[rng.choice(len(p), num_draws, p=p)]
        return jnp.asarray(x + rng.uniform(-1, 1, x.shape) * reach / num, jnp.float32)

    base = fit_gaussian(run.z, widen=1.3)
    return Problem(energy, base, hmc5, sample, truth, 200, 128)


def digits() -> Problem:
    """A network of 8 x 8 digits trained for 300 updates; log Z is not known.

    The samples are chains of training after 1000 further steps, the same in all seeds.
    """
    from ebmjax.experiments import data, experiment, report

    dataset = data.load("digits")
    config = experiment.preset(
        dataset, num_updates=300, denoising_updates=0, features=(128, 128)
    )
    run = experiment.build(config, dataset)
    state, _ = run.fit(run.init(), progress=False)
    energy = run.trained(state)
    kernel = report.kernel_of(run, energy, float(state.step_size))
    chains = report.run_chains(
        jax.random.key(0), run, state, kernel, num_chains=256, num_steps=1000
    )
    last = chains.positions[len(chains.positions) // 2 :]
    base = fit_gaussian(jnp.asarray(last.reshape(-1, *last.shape[2:])), widen=1.1)
    positions = jnp.asarray(last[-1])
    sample = lambda key, num: positions[:num]
    return Problem(energy, base, hmc5, sample, float("nan"), 1500, 256)


def mixture(dim: int) -> Problem:
    """Eight modes of unit width, at distances of at least ten."""
    rng = np.random.default_rng(dim)
    means = rng.normal(size=(8, dim))
    means *= 10 / np.linalg.norm(means, axis=1, keepdims=True)
    target = targets.mixture(np.arange(1, 9) / 36, means, 1.0)
    base = gaussian(jnp.zeros(dim), 6.0)
    return Problem(target.energy, base, hmc5, target.sample, 0.0)


def rosenbrock() -> Problem:
    target = targets.rosenbrock()
    base = gaussian(jnp.array([1.0, 6.0]), jnp.array([4.0, 12.0]))
    return Problem(target.energy, base, hmc5, target.sample, target.log_z)


def ill_conditioned() -> Problem:
    target = targets.ill_conditioned_gaussian(20, 100.0)
    base = gaussian(jnp.zeros(20), 1.5)
    return Problem(target.energy, base, hmc5, target.sample, target.log_z)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "RBM, 20 hidden units": rbm,
    **{
        f"Ising {side} x {side}, J = {coupling}": functools.partial(
            ising, side, coupling
        )
        for side in (4, 6)
        for coupling in (0.3, 0.4407, 0.6)
    },
    "ten double wells": double_wells,
    "flow, 64 coordinates": flow,
    "two moons, a network": two_moons,
    "digits, a network": digits,
}
RIVALS: dict[str, Callable[[], Problem]] = {
    "ten double wells": double_wells,
    "eight modes in 10-d": functools.partial(mixture, 10),
    "Rosenbrock": rosenbrock,
    "Gaussian, condition 100, 20-d": ill_conditioned,
}
