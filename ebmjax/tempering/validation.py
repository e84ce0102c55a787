"""Checks of paths, bases, kernels and schedules, before anything is compiled."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Kernel, Position
from ebmjax.kernels.discrete_langevin import DULA
from ebmjax.kernels.langevin import ULA, UnderdampedLangevin
from ebmjax.kernels.unadjusted import Unadjusted
from ebmjax.tempering.annealing import MakeKernel
from ebmjax.tempering.circles import check_period
from ebmjax.tempering.paths import Path

AT_BASE = 1e-3  # relative difference of the path at beta = 0 from its base
NUM_DRAWN = 3  # draws of the base that are checked
BIASED = (ULA, UnderdampedLangevin, DULA, Unadjusted)


def check_path(path: Any) -> Path:
    """The path.  Raises TypeError for any other type."""
    return checks.instance(
        path, Path, "path", "geometric(base, energy) or Path(energy, base)"
    )


def check_base(path: Path) -> None:
    """Raise unless draws of the base are points of the path, and the path starts there.

    Raises:
      ValueError: no base, draws of a shape that the energy does not accept, a path that
        differs from its base at beta = 0, a log density that is not finite, a base that
        is not periodic where the energy is.
    """
    if path.base is None:
        raise ValueError(
            "path must start from a base with a sampler and a log density, got an "
            "energy alone; use geometric(Base(sample, log_prob), energy)"
        )
    x = path.base.sample(jax.random.key(0), NUM_DRAWN)
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(x)]
    if not shapes or any(shape[:1] != (NUM_DRAWN,) for shape in shapes):
        raise ValueError(
            f"base.sample(key, n) must return n points [n, ...], got shapes {shapes} "
            f"for n = {NUM_DRAWN}"
        )
    try:
        at_base, _, log_prob = _ends(path, x)
    except (TypeError, ValueError, IndexError) as error:
        shapes = jax.tree.map(lambda leaf: jnp.shape(leaf)[1:], x)
        raise ValueError(
            f"energy cannot be evaluated at draws of the base, of shape {shapes}: "
            f"{error}"
        ) from None
    at_base, log_prob = np.asarray(at_base), np.asarray(log_prob)
    if not np.isfinite(log_prob).all():
        raise ValueError(
            f"base.log_prob must be finite at draws of the base, got {log_prob}"
        )
    if np.abs(at_base + log_prob).max() > AT_BASE * (1 + np.abs(log_prob).max()):
        raise ValueError(
            "path at beta = 0 must be minus the log density of its base, got "
            f"{at_base[0]:.6g} where it is {-log_prob[0]:.6g}"
        )
    check_period(path.base, path(1.0))


def check_support(path: Path, positions: Position, name: str) -> None:
    """Raise unless positions ``[C, ...]`` lie in the support of the base.

    Raises:
      ValueError: with the number of positions outside.
    """
    log_prob = np.asarray(_log_prob(path, positions))
    num = int(np.isneginf(log_prob).sum())
    if num:
        raise ValueError(
            f"base must have the support of the target: its density is 0 at {num} of "
            f"{len(log_prob)} {name}, so that log Z would be that of a part; use a "
            "wider base"
        )


def is_out_of_support(path: Path, draws: Position) -> bool:
    """Whether any of the draws ``[T, C, ...]`` has a density of 0 under the base."""
    flat = jax.tree.map(lambda x: jnp.reshape(x, (-1, *x.shape[2:])), draws)
    return bool(np.isneginf(_log_prob(path, flat)).any())


def check_starts(path: Path, positions: Position) -> None:
    """Raise unless positions ``[C, ...]`` have the shape of points of the path.

    Raises:
      ValueError: another shape than draws of the base; for a path without a base, a
        shape that the energy does not accept.
    """
    if path.base is None:
        first = jax.tree.map(lambda x: x[0], positions)
        try:
            jax.eval_shape(path(0.5), first)
        except (TypeError, ValueError, IndexError) as error:
            shapes = jax.tree.map(jnp.shape, first)
            raise ValueError(
                f"energy cannot be evaluated at positions, of shape {shapes}: {error}"
            ) from None
        return
    of_base = jax.eval_shape(
        lambda: path.base.sample(jax.random.key(0), 1)  # type: ignore[union-attr]
    )
    shapes = [
        jax.tree.map(lambda x: jnp.shape(x)[1:], tree) for tree in (of_base, positions)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"positions must have the shape of draws of the base, {shapes[0]}, "
            f"got {shapes[1]}"
        )


def check_positions(path: Path, positions: Position) -> None:
    """Raise unless samples of the target ``[C, ...]`` are points of base and target.

    Raises:
      ValueError: another shape than draws of the base, outside its support, or an
        infinite energy.
    """
    check_starts(path, positions)
    check_support(path, positions, "positions")
    num = int((~np.isfinite(np.asarray(_ends(path, positions)[1]))).sum())
    if num:
        raise ValueError(
            f"positions must have a finite energy at the target, got {num} that have "
            "not"
        )


def check_betas(betas: Any) -> np.ndarray:
    """Raise unless inverse temperatures ``[L + 1]`` rise from 0 to 1."""
    found = np.asarray(betas, np.float64)
    if found.ndim != 1 or len(found) < 2 or (found[0], found[-1]) != (0.0, 1.0):
        raise ValueError(
            f"betas must be numbers [L + 1] that run from 0 to 1, got shape "
            f"{found.shape}, first and last {found.ravel()[[0, -1][: found.size]]}"
        )
    if not (np.diff(found) > 0).all():
        raise ValueError("betas must rise at each level")
    return found


def check_kernel(make_kernel: MakeKernel, path: Path, step_size: Any) -> Kernel:
    """The kernel at the target.  Raises unless it is one; warns of one that is biased.

    Raises:
      TypeError: anything but a kernel of the library.
    """
    kernel = make_kernel(path(1.0), step_size)
    if not isinstance(kernel, Kernel):
        raise TypeError(
            "make_kernel(energy, step_size) must return a Kernel, such as eb.mala, "
            f"Kernel(init, draw, move) or from_blackjax; got {checks.describe(kernel)}"
        )
    if isinstance(kernel, BIASED):
        checks.warn(
            f"{type(kernel).__name__} does not leave its energy invariant, so that "
            "log Z is biased by an unknown amount; use its Metropolis form, such as "
            "eb.mala"
        )
    return kernel


@jax.jit
def _log_prob(path, x):
    return jax.vmap(path.base.log_prob)(x)


@jax.jit
def _ends(path, x):
    """Energies at both ends of the path and the log density of its base, ``[C]``."""
    log_prob = jax.vmap(path.base.log_prob)(x)
    return jax.vmap(path(0.0))(x), jax.vmap(path(1.0))(x), log_prob
