"""Weights of distant modes: parallel tempering, and TFP's replica exchange beside it.

Independent ladders give the weight of each mode as the share of draws nearest to it.
The error is the root of the mean over ladders of the sum of squared errors, and the
efficiency is 1 / (error^2 x gradients of a ladder).  Kernels are Hamiltonian Monte
Carlo of 5 leapfrog steps, in both.

TFP tunes neither a ladder nor step sizes.  ``TFP, tuned by us`` has our base, our
ladder and our step sizes and swaps alternating pairs; ``TFP, as documented`` tempers
the density itself, at inverse temperatures in geometric progression, with step sizes
that grow with the root of the temperature and random pairs.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import targets
from ebmjax.kernels.hamiltonian import hmc
from ebmjax.tempering.bases import gaussian
from ebmjax.tempering.parallel_tempering import Tempered, parallel_tempering
from ebmjax.tempering.paths import geometric

NUM_LADDERS, NUM_ITERATIONS, NUM_ADAPT, NUM_LEAPFROG = 64, 2000, 1000, 5


class Problem(NamedTuple):
    """A mixture of Gaussians of one width, and a base that covers it."""

    weights: np.ndarray  # [K]
    means: np.ndarray  # [K, D]
    scale: float
    reach: float  # standard deviation of the base
    num_replicas: int


def two() -> Problem:
    """Two modes in the plane, 25 standard deviations apart."""
    means = np.array([[-12.5, 0.0], [12.5, 0.0]])
    return Problem(np.array([0.3, 0.7]), means, 1.0, 12.0, 10)


def grid() -> Problem:
    """Five by five modes, ten standard deviations apart, of weights 1 to 3."""
    means = np.array(list(itertools.product(range(-2, 3), repeat=2)), float)
    weights = np.linspace(1.0, 3.0, 25)
    return Problem(weights / weights.sum(), means, 0.1, 2.0, 10)


def eight(dim: int) -> Problem:
    """Eight modes at a distance of ten from the origin, of weights 1 to 8."""
    means = np.random.default_rng(dim).normal(size=(8, dim))
    means *= 10 / np.linalg.norm(means, axis=1, keepdims=True)
    reach = (1 + 100 / dim) ** 0.5
    return Problem(np.arange(1, 9) / 36, means, 1.0, reach, 12 if dim < 20 else 20)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "two modes, 25 sd apart": two,
    "25 modes on a grid": grid,
    "eight modes in 10-d": lambda: eight(10),
    "eight modes in 50-d": lambda: eight(50),
}


def rows(names: tuple[str, ...], num_iterations: int) -> Iterator[tuple]:
    """Two or three rows for each target."""
    for number, name in enumerate(names, 1):
        problem = PROBLEMS[name]()
        found = ours(problem, num_iterations)
        row = _row(name, "ebmjax", problem, np.asarray(found.draws), _work(found))
        row["log_z"], row["log_z_error"] = found.log_z, found.standard_error
        row["thermodynamic_log_z"] = found.thermodynamic_log_z
        row["barrier"] = found.communication_barrier
        row["round_trips"] = found.num_round_trips
        yield number, len(names), row
        for method in (tuned_theirs, theirs):
            draws = method(problem, num_iterations, found)
            work = found.betas.size * num_iterations * NUM_LEAPFROG
            yield number, len(names), _row(name, method.__doc__, problem, draws, work)


def hmc5(energy, step_size):
    return hmc(energy, step_size, NUM_LEAPFROG)


def _target(problem: Problem) -> targets.Target:
    return targets.mixture(problem.weights, problem.means, problem.scale)


def _work(found: Tempered) -> float:
    """Gradients of a ladder, after adaptation, which is of NUM_ADAPT iterations."""
    return found.num_grads / NUM_LADDERS


def _row(name, method, problem, draws, work) -> dict[str, Any]:
    """Of draws ``[T, C, D]``."""
    distances = [np.sum((draws - m) ** 2, axis=-1) for m in problem.means]
    nearest = np.argmin(distances, axis=0)
    shares = np.stack(
        [(nearest == k).mean(axis=0) for k in range(len(problem.weights))], axis=1
    )
    errors = ((shares - problem.weights) ** 2).sum(axis=1)
    mean = shares.mean(axis=0)
    spread = shares.std(axis=0, ddof=1) / len(shares) ** 0.5
    return {
        "target": name,
        "method": method,
        "error": float(errors.mean() ** 0.5),
        "largest z": float(np.max(np.abs(mean - problem.weights) / spread)),
        "gradients": float(work),
        "efficiency": float(1e6 / (errors.mean() * work)),
    }


def ours(problem: Problem, num_iterations: int, seed: int = 0) -> Tempered:
    """ebmjax"""
    base = gaussian(jnp.zeros(problem.means.shape[1]), problem.reach)
    return parallel_tempering(
        jax.random.key(seed),
        geometric(base, _target(problem).energy),
        hmc5,
        num_iterations,
        problem.scale,
        num_ladders=NUM_LADDERS,
        num_replicas=problem.num_replicas,
        num_adapt=NUM_ADAPT,
        target_acceptance=0.8,
    )


# --- TensorFlow Probability -----------------------------------------------------------


def tuned_theirs(problem: Problem, num_iterations: int, found: Tempered):
    """TFP, tuned by us"""
    base = gaussian(jnp.zeros(problem.means.shape[1]), problem.reach)
    energy = _target(problem).energy
    return _replica_exchange(
        problem,
        num_iterations,
        found.betas[::-1],
        found.step_sizes[::-1],
        is_alternating=True,
        target_log_prob_fn=None,
        untempered_log_prob_fn=_batched(base.log_prob),
        tempered_log_prob_fn=_batched(lambda x: -energy(x) - base.log_prob(x)),
    )


def theirs(problem: Problem, num_iterations: int, found: Tempered):
    """TFP, as documented"""
    coldest = found.step_sizes[-1]
    lowest = (problem.scale / problem.reach) ** 2
    betas = np.geomspace(1.0, lowest, found.betas.size)
    energy = _target(problem).energy
    return _replica_exchange(
        problem,
        num_iterations,
        betas,
        coldest / np.sqrt(betas),
        is_alternating=False,
        target_log_prob_fn=_batched(lambda x: -energy(x)),
    )


def _batched(f):
    """Of positions ``[..., D]``."""
    return jnp.vectorize(f, signature="(d)->()")


def _replica_exchange(
    problem, num_iterations, betas, step_sizes, *, is_alternating, **densities
):
    """Draws ``[T, C, D]`` of ``tfp.mcmc.ReplicaExchangeMC``, coldest replica first."""
    from tensorflow_probability.substrates.jax import mcmc
    from tensorflow_probability.substrates.jax.mcmc import replica_exchange_mc as module

    sizes = jnp.asarray(step_sizes, jnp.float32)[:, None, None]
    swap = module.even_odd_swap_proposal_fn(1.0)
    options = {"swap_proposal_fn": swap} if is_alternating else {}
    kernel = mcmc.ReplicaExchangeMC(
        inverse_temperatures=jnp.asarray(betas, jnp.float32),
        make_kernel_fn=lambda log_prob: mcmc.HamiltonianMonteCarlo(
            log_prob, step_size=sizes, num_leapfrog_steps=NUM_LEAPFROG
        ),
        **densities,
        **options,
    )
    dim = problem.means.shape[1]
    start = problem.reach * jax.random.normal(jax.random.key(2), (NUM_LADDERS, dim))
    draws = jax.jit(
        lambda key: mcmc.sample_chain(
            num_iterations,
            start,
            kernel=kernel,
            num_burnin_steps=NUM_ADAPT,
            trace_fn=None,
            seed=key,
        )
    )(jax.random.key(3))
    return np.asarray(draws)
