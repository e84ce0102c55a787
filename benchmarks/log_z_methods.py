"""Estimates of log Z of a problem by several methods, for :mod:`benchmarks.log_z`.

A method is ``(problem, num_repeats, step_size) -> (log_z, num_grads, step_size)``: the
estimates ``[R]``, the gradients of one of them, and the step size for BlackJAX.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.log_z_problems import Problem, hmc5
from ebmjax.tempering.annealing import anneal
from ebmjax.tempering.bennett import bennett
from ebmjax.tempering.paths import geometric
from ebmjax.tempering.schedule import pilot
from ebmjax.tempering.smc import sequential_monte_carlo

NUM_PARTICLES, NUM_STEPS = 500, 5  # of BlackJAX; ours: half as many, twice the steps


def ours(problem: Problem, num_repeats: int, _, covariance: str | None = None):
    """ebmjax SMC; with one step size for all coordinates, or one for each."""
    path = geometric(problem.base, problem.energy)
    runs = [
        sequential_monte_carlo(
            jax.random.key(i),
            path,
            hmc5,
            num_particles=NUM_PARTICLES // 2,
            num_steps=2 * NUM_STEPS,
            covariance=covariance,
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


METHODS = {
    "ebmjax SMC": ours,
    "ebmjax annealed, both directions": annealed,
    "BlackJAX adaptive tempered SMC": theirs,
    "ebmjax SMC, diagonal covariance": functools.partial(ours, covariance="diagonal"),
}
