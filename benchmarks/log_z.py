"""log Z: brackets against exact values, and SMC compared with BlackJAX's.

``brackets``: on each target 20 seeds of annealed importance sampling, forward and in
reverse from exact draws, in one program.  Results: the number of seeds in which the
exact log Z lies between the bounds, their width, the error of Bennett's estimate,
seconds.

``side_by_side``: estimates of log Z by our SMC, by ours annealed (pilot and both
directions), and by BlackJAX's adaptive tempered SMC with the same kernel, Hamiltonian
Monte Carlo of 5 leapfrog steps.  BlackJAX's step size is fixed by its user: it gets the
last one of our run.  Work is the number of gradients of the energy in a run; the
efficiency is 1 / (mean squared error x gradients).
"""

import functools
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import ebmjax as eb
from ebmjax import targets
from ebmjax.energies import boltzmann, enumeration, flows
from ebmjax.kernels.gibbs import gibbs
from ebmjax.tempering.annealing import anneal
from ebmjax.tempering.bases import Base, bits, fit_gaussian, gaussian
from ebmjax.tempering.bennett import bennett
from ebmjax.tempering.paths import geometric
from ebmjax.tempering.schedule import pilot
from ebmjax.tempering.smc import sequential_monte_carlo

NUM_SEEDS = 20
CONFIDENCE = 0.999


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


# --- targets --------------------------------------------------------------------------


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
    config = experiment.preset(dataset, num_updates=300, features=(128, 128))
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
    return Problem(energy, base, hmc5, sample, float("nan"), 300, 128)


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


# --- brackets -------------------------------------------------------------------------


def brackets(names: tuple[str, ...], num_seeds: int) -> Iterator[tuple]:
    """One row per target, when it is done."""
    for number, name in enumerate(names, 1):
        yield (
            number,
            len(names),
            {"target": name} | bracket(PROBLEMS[name](), num_seeds),
        )


def bracket(problem: Problem, num_seeds: int) -> dict[str, Any]:
    """Bounds of all seeds against the exact value."""
    path = geometric(problem.base, problem.energy)
    make_kernel, num = problem.make_kernel, problem.num_chains
    begin = time.perf_counter()
    schedule = pilot(
        jax.random.key(0), path, make_kernel, num_levels=problem.num_levels
    )
    tuning = time.perf_counter() - begin
    betas, sizes = (jnp.asarray(x, jnp.float32) for x in schedule)

    @functools.partial(jax.jit, static_argnames="is_reversed")
    def run(keys, x, is_reversed):
        one = lambda key, x: anneal(
            key,
            path,
            make_kernel,
            betas,
            sizes,
            x,
            is_reversed=is_reversed,
            num_relax=20 if is_reversed else 0,
        )
        return jax.vmap(one)(keys, x)

    seeds = [jax.random.key(1000 + i) for i in range(num_seeds)]
    x = {
        False: jnp.stack([path.base.sample(k, num) for k in seeds]),
        True: jnp.stack([problem.sample(k, num) for k in seeds]),
    }
    begin, ends = time.perf_counter(), {}
    for is_reversed, starts in x.items():
        keys = jax.random.split(jax.random.key(int(is_reversed)), num_seeds)
        ends[is_reversed] = jax.block_until_ready(run(keys, starts, is_reversed))
    seconds = (time.perf_counter() - begin) / num_seeds
    found = []
    for i in range(num_seeds):
        ahead, back = (
            jax.tree.map(lambda leaf, i=i: leaf[i], ends[is_reversed])
            for is_reversed in (False, True)
        )
        found.append(bennett(ahead, back, confidence=CONFIDENCE))
    errors = np.array([z.log_z - problem.log_z for z in found])
    held = [z.lower < problem.log_z < z.upper for z in found]
    return {
        "exact": problem.log_z,
        "held": int(sum(held)),
        "num_seeds": num_seeds,
        "width": float(np.mean([z.width for z in found])),
        "error": float(np.sqrt((errors**2).mean())),
        "standard_error": float(np.mean([z.standard_error for z in found])),
        "levels": problem.num_levels,
        "chains": num,
        "seconds a seed, compilation included": seconds,
        "seconds of the pilot": tuning,
    }


# --- side by side ---------------------------------------------------------------------


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


RIVALS: dict[str, Callable[[], Problem]] = {
    "ten double wells": double_wells,
    "eight modes in 10-d": functools.partial(mixture, 10),
    "Rosenbrock": rosenbrock,
    "Gaussian, condition 100, 20-d": ill_conditioned,
}
NUM_REPEATS = 64
NUM_PARTICLES, NUM_STEPS = 500, 5  # of BlackJAX; ours: half as many, twice the steps


def side_by_side(names: tuple[str, ...], num_repeats: int) -> Iterator[tuple]:
    """A row for each target and method."""
    rows = list(itertools.product(names, (ours, annealed, theirs)))
    step_size = None
    for number, (name, method) in enumerate(rows, 1):
        problem = RIVALS[name]()
        log_z, num_grads, step_size = method(problem, num_repeats, step_size)
        errors = np.asarray(log_z, np.float64) - problem.log_z
        error = float(np.sqrt((errors**2).mean()))
        row = {
            "target": name,
            "method": NAMES[method],
            "error": error,
            "bias": float(errors.mean()),
            "gradients": float(num_grads),
            "efficiency": 1e6 / (error**2 * num_grads),
        }
        yield number, len(rows), row


def ours(problem: Problem, num_repeats: int, _):
    """ebmjax SMC."""
    path = geometric(problem.base, problem.energy)
    runs = [
        sequential_monte_carlo(
            jax.random.key(i),
            path,
            hmc5,
            num_particles=NUM_PARTICLES // 2,
            num_steps=2 * NUM_STEPS,
        )
        for i in range(num_repeats)
    ]
    grads = np.mean(
        [r.num_grads + NUM_PARTICLES // 2 * (r.num_levels + 1) for r in runs]
    )
    return [r.log_z for r in runs], grads, runs[0].step_sizes[-1]


def annealed(problem: Problem, num_repeats: int, step_size):
    """ebmjax annealed, both directions; the work includes its pilot."""
    path = geometric(problem.base, problem.energy)
    levels, chains, particles = 60, 100, 100

    @functools.partial(jax.jit, static_argnames="is_reversed")
    def run(key, betas, sizes, x, is_reversed):
        return anneal(key, path, hmc5, betas, sizes, x, is_reversed=is_reversed)

    found, grads = [], []
    for i in range(num_repeats):
        keys = jax.random.split(jax.random.key(i), 5)
        schedule = pilot(
            keys[0], path, hmc5, num_levels=levels, num_particles=particles, num_steps=5
        )
        betas, sizes = (jnp.asarray(x, jnp.float32) for x in schedule)
        starts = path.base.sample(keys[1], chains), problem.sample(keys[2], chains)
        ahead, back = (
            run(k, betas, sizes, x, r)
            for k, x, r in zip(keys[3:], starts, (False, True), strict=True)
        )
        found.append(bennett(ahead, back).log_z)
        pilot_grads = 6 * 5 * particles * 12  # of about 11 levels
        grads.append(pilot_grads + 2 * chains * levels * 6)
    return found, np.mean(grads), step_size


def theirs(problem: Problem, num_repeats: int, step_size):
    """BlackJAX adaptive tempered SMC."""
    import blackjax
    from blackjax.smc import extend_params, resampling

    dim = problem.base.sample(jax.random.key(0), 1).shape[1]
    log_prior = problem.base.log_prob
    parameters = {
        "step_size": float(step_size),
        "inverse_mass_matrix": jnp.ones(dim),
        "num_integration_steps": 5,
    }
    smc = blackjax.adaptive_tempered_smc(
        log_prior,
        lambda x: -problem.energy(x) - log_prior(x),
        blackjax.hmc.build_kernel(),
        blackjax.hmc.init,
        extend_params(parameters),
        resampling.systematic,
        0.5,
        num_mcmc_steps=NUM_STEPS,
    )

    @jax.jit
    def run(key):
        key_start, key_run = jax.random.split(key)
        state = smc.init(problem.base.sample(key_start, NUM_PARTICLES))

        def step(carry):
            state, log_z, i = carry
            state, info = smc.step(jax.random.fold_in(key_run, i), state)
            return state, log_z + info.log_likelihood_increment, i + 1

        is_on = lambda carry: (carry[0].tempering_param < 1) & (carry[2] < 200)
        start = (state, jnp.float32(0.0), jnp.int32(0))
        _, log_z, num = jax.lax.while_loop(is_on, step, start)
        return log_z, num

    ends = [run(jax.random.key(i)) for i in range(num_repeats)]
    levels = np.mean([int(n) for _, n in ends])
    grads = levels * NUM_PARTICLES * (NUM_STEPS * 5 + 1)
    return [float(z) for z, _ in ends], grads, step_size


NAMES = {
    ours: "ebmjax SMC",
    annealed: "ebmjax annealed, both directions",
    theirs: "BlackJAX adaptive tempered SMC",
}
