"""Annealed Langevin sampling: from noise to data, over decreasing levels of noise.

Song & Ermon 2019, "Generative modeling by estimating gradients of the data
distribution".  At each level sigma_1 > ... > sigma_L, ``num_steps`` steps of Langevin
on the energy of the data with that noise; the step shrinks with the noise,

    x <- x - h_i^2 / 2 grad E(x, sigma_i) + h_i xi,      h_i = step_size sigma_i.

On data N(m, s^2), whose energy with noise is known, a level is a linear recursion: with
A = 1 - h^2 / (2 (s^2 + sigma^2)), a step takes a mean to m + A (mean - m) and a
variance v to A^2 v + h^2.

Levels and step follow Song & Ermon 2020, "Improved techniques for training score-based
generative models":

* the largest level is the largest distance between two points of the data;
* the others fall by one ratio gamma, so that neighbours overlap.  The norm of noise in
  D dimensions is about N(sqrt(D) sigma, sigma^2 / 2); that of a level lies within three
  deviations of that of the level above with probability one half,

      Phi(sqrt(2 D) (gamma - 1) + 3 gamma) - Phi(sqrt(2 D) (gamma - 1) - 3 gamma) = 1/2.

  In few dimensions any ratio satisfies this, and the limit is ``MAX_RATIO``;
* the step leaves the variance of the next level.  Around a single point,
  noise of gamma sigma becomes in T steps at sigma a variance of sigma^2 times
  w + (1 - u)^2T (gamma^2 - w),  u = step_size^2 / 2,  w = 2 / (2 - u):  nearest to 1.

The draws keep noise of sigma_L; :func:`ebmjax.denoise` removes it.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Array, Kernel, Key, Position
from ebmjax.kernels.langevin import ula
from ebmjax.sampling.collect import discard
from ebmjax.sampling.loop import chain_keys, run

MAX_RATIO = 2.0
NUM_COMPARED = 1000  # points among which the largest distance is sought


def annealed_langevin(
    key: Key,
    energy: Callable[[Position, Array], Array],
    positions: Position,
    levels: Any,
    step_size: float,
    num_steps: int,
) -> Position:
    """Chains ``[C, ...]`` sampled over all levels in turn; pure.

    Args:
      key: one key.
      energy: ``energy(x, noise)`` of one point.
      positions: initial positions, as wide as noise of the first level.
      levels: of noise ``[L]``, falling.
      step_size: relative to the noise of a level; :func:`step_for`.
      num_steps: at each level.

    Raises:
      ValueError: levels that are not positive and falling, a step or a number that is
        not positive.

    >>> levels = noise_levels(x, 0.05)  # doctest: +SKIP
    >>> start = levels[0] * jax.random.normal(key_start, (256, 2))  # doctest: +SKIP
    >>> step_size = step_for(levels, 20)  # doctest: +SKIP
    >>> draws = annealed_langevin(key, energy, start, levels, step_size, 20)
    ... # doctest: +SKIP
    """
    key = checks.key(key)
    checks.function(energy, "energy")
    checks.positive(step_size, "step_size")
    checks.count(num_steps, "num_steps")
    check_falls(levels)
    levels = jnp.asarray(levels, jnp.float32)

    def kernel_of(i, start):
        return ula(lambda x: energy(x, levels[i]), step_size * levels[i])

    return descend(key, positions, kernel_of, len(levels), num_steps)


def descend(
    key: Key,
    positions: Position,
    kernel_of: Callable[[Array, Position], Kernel],
    num_levels: int,
    num_steps: int,
) -> Position:
    """Chains ``[C, ...]`` over all levels in turn, ``num_steps`` at each; pure.

    ``kernel_of(i, start)`` is the kernel of level i for a chain that starts the level
    at ``start``.
    """
    positions = checks.position(positions)
    keys = chain_keys(key, checks.num_chains(positions))

    def of_chain(key, start, i):
        kernel, first = kernel_of(i, start), i * num_steps
        return run(
            key, kernel, kernel.init(start), num_steps, start=first, collect=discard
        )[0].position

    def level(positions, i):
        return jax.vmap(of_chain, (0, 0, None))(keys, positions, i), None

    return jax.lax.scan(level, positions, jnp.arange(num_levels))[0]


def check_falls(levels: Any, least: int = 1) -> None:
    """Raise unless ``least`` or more levels ``[L]`` are positive and decreasing."""
    checks.positive(levels, "levels")
    if np.ndim(levels) != 1 or (
        not checks.is_traced(levels) and (np.diff(levels) >= 0).any()
    ):
        raise ValueError(f"levels must be positive numbers [L] that fall, got {levels}")
    if len(levels) < least:
        raise ValueError(f"levels must be at least two, got {len(levels)}")


def noise_levels(
    data: Any, smallest: float, *, largest: float | None = None
) -> np.ndarray:
    """The noise levels for data ``[N, ...]``, largest first, ending at ``smallest``.

    Raises:
      ValueError: a smallest level that is not positive or not below the largest, data
        that are not finite.

    >>> noise_levels(np.array([[0.0, 0.0], [3.0, 4.0]]), 0.1, largest=0.4)
    array([0.4, 0.2, 0.1])
    """
    flat = np.asarray(data, np.float64).reshape(len(data), -1)
    checks.finite_rows(flat, "data")
    checks.positive(smallest, "smallest")
    if largest is None:
        largest = largest_distance(flat)
    if not largest > smallest:
        raise ValueError(
            f"smallest must be below the largest noise, {largest:.3g}, got {smallest}"
        )
    num_ratios = math.ceil(
        math.log(largest / smallest) / math.log(ratio_of_levels(flat.shape[1])) - 1e-9
    )
    return np.geomspace(largest, smallest, 1 + num_ratios)


def largest_distance(data: Any) -> float:
    """Between two of the first ``NUM_COMPARED`` points ``[N, D]``."""
    x = np.asarray(data, np.float64)[:NUM_COMPARED]
    x = x - x.mean(axis=0)
    squares = (x**2).sum(axis=1)
    return float(np.sqrt(max((squares[:, None] + squares - 2 * x @ x.T).max(), 0.0)))


def ratio_of_levels(dim: int) -> float:
    """gamma, from one level to the next, in D dimensions; at most ``MAX_RATIO``."""
    checks.count(dim, "dim")

    def overlap(ratio):
        normal = lambda t: 0.5 * math.erfc(-t / math.sqrt(2))
        shift = math.sqrt(2 * dim) * (ratio - 1)
        return normal(shift + 3 * ratio) - normal(shift - 3 * ratio)

    low, high = 1.0, MAX_RATIO
    if overlap(high) > 0.5:
        return high
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if overlap(middle) > 0.5 else (low, middle)
    return low


def step_for(levels: Any, num_steps: int) -> float:
    """The step size, relative to the noise, for at least two levels.

    Raises:
      ValueError: levels that are not positive and falling, or fewer than two.
    """
    check_falls(levels, least=2)
    checks.count(num_steps, "num_steps")
    levels = np.asarray(levels, np.float64)
    ratio = float(np.max(levels[:-1] / levels[1:]))
    u = np.geomspace(1e-6, 1.0, 20_000)
    rest = 2 / (2 - u)
    variance = rest + (1 - u) ** (2 * num_steps) * (ratio**2 - rest)
    return float(np.sqrt(2 * u[np.argmin(np.abs(variance - 1))]))
