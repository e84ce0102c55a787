"""Further cases of the suite: user-defined proposals, a finite space, a tree."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax.base import Energy, Kernel, moved
from ebmjax.kernels.combinators import cycle
from ebmjax.kernels.langevin import mala
from ebmjax.kernels.metropolis import independence, metropolis
from ebmjax.kernels.proposal import Proposal
from ebmjax.kernels.random_walk import random_walk
from ebmjax.kernels.within import within
from ebmjax.targets import Target
from ebmjax.verify.finite import detailed_balance
from ebmjax.verify.report import Report


def drifted(energy: Energy, step_size: float, *, with_ratio: bool = True) -> Kernel:
    """An asymmetric proposal: a contraction with noise that grows with the distance
    from the origin."""

    def spread(x):
        return step_size * (1 + 0.3 * jnp.abs(x))

    def q(key, x):
        return 0.9 * x + spread(x) * jax.random.normal(key, x.shape)

    def log_q(to, given):
        return jnp.sum(
            -0.5 * ((to - 0.9 * given) / spread(given)) ** 2 - jnp.log(spread(given))
        )

    return (
        metropolis(energy, q, log_q=log_q)
        if with_ratio
        else metropolis(energy, q, symmetric=True)
    )


def wide_independence(target: Target) -> Kernel:
    """Candidates from a normal one and a half times as wide as the target."""
    root = jnp.asarray(1.5 * np.linalg.cholesky(target.covariance), jnp.float32)
    mean = jnp.asarray(target.mean, jnp.float32)
    inverse = jnp.linalg.inv(root)
    return independence(
        target.energy,
        lambda key: mean + root @ jax.random.normal(key, mean.shape),
        lambda x: -0.5 * jnp.sum((inverse @ (x - mean)) ** 2),
    )


def ring(*, with_ratio: bool = True) -> Report:
    """Detailed balance on seven states, for a walk that goes one up with probability
    0.6, one down with 0.1, and two up with 0.3."""
    num_states, probability = 7, {1: 0.6, -1: 0.1, 2: 0.3}
    energies = jnp.asarray(
        np.random.default_rng(0).normal(size=num_states), jnp.float32
    )
    table = np.full(num_states, -np.inf)
    for shift, p in probability.items():
        table[shift % num_states] = np.log(p)
    log_p = jnp.asarray(table, jnp.float32)

    def energy(x):
        return energies[x.astype(int)]

    def propose(shift, state):
        candidate = (state.position + shift) % num_states
        step = (candidate - state.position).astype(int) % num_states
        ratio = log_p[-step % num_states] - log_p[step]
        return moved(energy, state, candidate), ratio if with_ratio else jnp.zeros_like(
            ratio
        )

    kernel = metropolis(energy, Proposal(lambda key, position: None, propose))
    shifts = jnp.asarray(list(probability), jnp.float32)
    weights = np.array(list(probability.values()))
    return detailed_balance(
        kernel, energy, jnp.arange(num_states, dtype=jnp.float32), shifts, weights
    )


class TreeTarget(NamedTuple):
    name: str
    energy: Energy
    sample: Callable


def tree_target() -> TreeTarget:
    """log_scale ~ N(0, 0.5^2) and three values N(0, exp(2 log_scale)), as a tree."""

    def energy(x):
        s = x["log_scale"]
        return 2 * s**2 + 3 * s + 0.5 * jnp.sum((x["values"] * jnp.exp(-s)) ** 2)

    def sample(key, n):
        key_scale, key_values = jax.random.split(key)
        s = 0.5 * jax.random.normal(key_scale, (n,))
        return {
            "log_scale": s,
            "values": jnp.exp(s)[:, None] * jax.random.normal(key_values, (n, 3)),
        }

    return TreeTarget("a scale and its values", energy, sample)


def gibbs() -> Kernel:
    energy = tree_target().energy
    return cycle(
        within(energy, "log_scale", lambda e: random_walk(e, 0.7)),
        within(energy, "values", lambda e: mala(e, 0.7)),
    )
