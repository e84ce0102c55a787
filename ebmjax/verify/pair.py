"""Test whether an energy and a sampler have the same distribution.

A target of the user's own is a pair ``(energy, sample)``.  If the two disagree, every
correct kernel of the energy fails.  So a simple reference kernel, random-walk
Metropolis with proposals in the shape of the draws, starts from the draws and must keep
their distribution.  Coordinates with few values (bits, labels) move by a proposal of
one of their values.  Draws on a curved surface, which a random walk would leave, are
not checked.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.spatial import cKDTree

from ebmjax import _validation as checks
from ebmjax.base import Kernel, Key, State
from ebmjax.targets import Target
from ebmjax.verify.report import Report
from ebmjax.verify.running import Chains, Meter
from ebmjax.verify.sequential import sequential
from ebmjax.verify.trial import Trial

MANY = 20  # number of values from which on a coordinate counts as continuous
NUM_DRAWS = 4000
MISMATCH = (
    "The energy and the exact sampler of this target are of different distributions: "
    "a random walk by Metropolis' rule does not keep the draws.  Correct the pair "
    "before any kernel is tested on it."
)


class Pair(NamedTuple):
    """A user's target."""

    energy: Callable
    sample: Callable
    name: str = "the pair (energy, sample)"


def as_target(target: Any) -> Any:
    """An object with ``energy`` and ``sample``; a tuple becomes a :class:`Pair`."""
    if type(target) is tuple and len(target) == 2:
        target = Pair(*target)
    for name in ("energy", "sample"):
        if not callable(getattr(target, name, None)):
            raise TypeError(
                "target must have energy(x) and sample(key, n), or be the pair "
                f"(energy, sample), got {checks.describe(target)}"
            )
    return target


def is_of_library(target: Any) -> bool:
    return (
        isinstance(target, Target)
        or type(target).__module__.startswith("ebmjax.")
        and (not isinstance(target, Pair))
    )


def pair(
    key: Key,
    energy: Any,
    sample: Any = None,
    *,
    num_chains: int = 100_000,
    alpha: float = 1e-6,
) -> Report:
    """Check ``(energy, sample)`` against each other.

    Args:
      key: one key.
      energy: of one point; or a target that has both.
      sample: ``sample(key, n)``, exact and independent draws ``[n, ...]``.
      num_chains: of the first round.
      alpha: the false-alarm rate.

    Returns:
      A report, FAILED if the two disagree.
    """
    return blame(
        key,
        as_target(energy if sample is None else (energy, sample)),
        num_chains,
        alpha,
    )


def blame(key, target, num_chains: int, alpha: float) -> Report:
    """The test of a pair, as a report about the pair."""
    key_draws, key_test = jax.random.split(key)
    draws = target.sample(key_draws, NUM_DRAWS)
    title = f"agreement of energy and sample of {getattr(target, 'name', 'the target')}"
    x = np.asarray(jax.vmap(lambda p: ravel_pytree(p)[0])(draws), np.float64)
    if _is_curved(x):
        return Report(
            title, "not run", (), alpha, untested="the draws lie on a curved surface"
        )
    kernel = _walk(target.energy, draws, x)
    steps = [20, 200] if x.shape[1] <= 20 else [20]
    families = ("means", "variances", "correlations", "projections", "tails", "energy")
    families += ("ks", "products")  # type: ignore[assignment]
    trial = Trial(Chains(kernel), Meter(target), steps, families, "a random walk")
    report = sequential(trial, key_test, num_chains=num_chains, alpha=alpha)
    return report._replace(title=title, suggestion=MISMATCH, untested="")


def _walk(energy, draws, x) -> Kernel:
    """Metropolis with the covariance of the draws; a uniform proposal on few values."""
    example = jax.tree.map(lambda leaf: leaf[0], draws)
    _, unravel = ravel_pytree(example)
    values = [np.unique(column) for column in x.T]
    is_few = np.array([len(v) <= MANY for v in values])
    table = np.zeros((len(values), MANY))
    for i, v in enumerate(values):
        table[i] = np.resize(v, MANY) if is_few[i] else 0
    sizes = jnp.asarray(
        [len(v) if few else 1 for v, few in zip(values, is_few, strict=True)]
    )
    dim = int((~is_few).sum())
    moved = np.where(is_few, 0.0, 1.0)
    covariance = np.atleast_2d(np.cov(x.T)) * np.outer(moved, moved)
    w, v = np.linalg.eigh(covariance)
    root = v * np.sqrt(np.where(w > 1e-9 * max(w.max(), 1e-30), w, 0))
    root = jnp.asarray(  # type: ignore[assignment]
        2.0 / np.sqrt(max(dim, 1)) * root, jnp.float32
    )
    few = jnp.asarray(np.flatnonzero(is_few))
    table = jnp.asarray(table, jnp.float32)  # type: ignore[assignment]

    def draw(key, position):
        keys = jax.random.split(key, 6)
        normal = jax.random.normal(keys[0], (len(values),))
        scale = jnp.exp2(jax.random.randint(keys[1], (), -2, 1).astype(jnp.float32))
        which = jax.random.randint(keys[2], (), 0, max(len(few), 1))
        place = jax.random.uniform(keys[3])
        is_jump = jax.random.uniform(keys[4]) < (0.5 if dim else 1.0)
        return scale * normal, which, place, is_jump, jax.random.exponential(keys[5])

    def move(noise, state):
        normal, which, place, is_jump, exponential = noise
        flat, _ = ravel_pytree(state.position)
        candidate = flat + root @ normal
        if len(few):
            i = few[which]
            value = table[i, (place * sizes[i]).astype(int)]
            candidate = jnp.where(is_jump, flat.at[i].set(value), candidate)
        position = unravel(candidate.astype(flat.dtype))
        new = State(position, jnp.asarray(energy(position), jnp.float32))
        is_accepted = -exponential < state.energy - new.energy
        return jax.tree.map(lambda a, b: jnp.where(is_accepted, a, b), new, state), None

    return Kernel(lambda p: State(p, jnp.asarray(energy(p), jnp.float32)), draw, move)


def _is_curved(x: np.ndarray) -> bool:
    """Whether draws lie on a surface: their neighbourhoods have a lower dimension."""
    x = x[:, [len(np.unique(column)) > MANY for column in x.T]]
    if not 2 <= x.shape[1] <= 6:
        return False
    x = x / x.std(axis=0)
    _, near = cKDTree(x).query(x[:200], k=3 * x.shape[1])
    spread = np.linalg.svd(
        x[near] - x[near].mean(axis=1, keepdims=True), compute_uv=False
    )
    full = np.linalg.svd(x[:200] - x[:200].mean(axis=0), compute_uv=False)
    is_flat = full[-1] < 1e-6 * full[0]  # a plane: the walk stays in it
    return bool(np.median(spread[:, -1] / spread[:, 0]) < 0.01 and not is_flat)
