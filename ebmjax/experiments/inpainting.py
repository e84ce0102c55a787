"""Points filled in where they are not known: chains of p(unknown | known).

With E the energy of whole points and y the values that are known,

    p(u | y) ~ exp(-E(x)),   x = u where unknown, y where known:

an energy of u given the condition y.  A run that trained with noise has the density of
noisy points, so that noise is added to the known values first; in the end the whole
point is denoised, and the known values are put back as they were given.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import plotting
from ebmjax.base import Array, Energy, Kernel, Key
from ebmjax.energies.transforms import denoise
from ebmjax.experiments.chains import SAMPLERS
from ebmjax.experiments.data import DataError
from ebmjax.experiments.data.arrays import read_array
from ebmjax.experiments.experiment import Run
from ebmjax.experiments.figures import value_range, viewable
from ebmjax.kernels.conditional import conditioned
from ebmjax.sampling.sample import sample
from ebmjax.sampling.samples import Samples
from ebmjax.training.step import TrainState


class Filled(NamedTuple):
    """Points that were filled in, ``[C, ...]`` in units of the data."""

    given: np.ndarray  # the whole points
    filled: np.ndarray  # the last draw, denoised, with the known values as given
    mean: np.ndarray  # over the second half of the draws, denoised
    acceptance_rate: np.ndarray  # [C]


def read_mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A mask ``[...]`` of a point's shape: true, or not zero, where values are known.

    Raises:
      DataError: no array of this shape, of numbers or booleans; nothing known, or all.
    """
    mask = read_array(path)
    if mask.shape != shape or mask.dtype.kind not in "biuf":
        raise DataError(
            f"--mask must be an array of shape {shape}, not 0 where values are known; "
            f"{path} holds {mask.dtype} of shape {mask.shape}"
        )
    is_known = mask != 0
    if is_known.all() or not is_known.any():
        raise DataError(f"--mask {path} says that everything, or nothing, is known")
    return is_known


def chains_given(
    key: Key,
    energy: Energy,
    make_kernel: Callable[[Energy], Kernel],
    points: Array,
    is_known: np.ndarray,
    start: Array,
    num_steps: int,
    thin: int,
) -> Samples:
    """Chains of the unknown values ``[C, U]``, given those of ``points`` ``[C, ...]``.

    Args:
      energy: of one whole point.
      make_kernel: from an energy to a kernel.
      is_known: of a point's shape.
      start: whole points ``[C, ...]``, of which the unknown values are used.
    """
    unknown = jnp.asarray(np.flatnonzero(~is_known))
    flat = lambda x: jnp.reshape(x, (len(x), -1))
    given = partial(_completed, energy, is_known.shape, unknown)
    kernel = conditioned(make_kernel, given, flat(points))
    return sample(key, kernel, flat(start)[:, unknown], num_steps, thin=thin)


def _completed(energy, shape, unknown, u, y):
    return energy(y.at[unknown].set(u).reshape(shape))


def whole(points: Array, is_known: np.ndarray, u: Array) -> Array:
    """Points ``[C, ...]`` with the unknown values ``[C, U]``."""
    flat = jnp.reshape(points, (len(points), -1))
    flat = flat.at[:, np.flatnonzero(~is_known)].set(u)
    return flat.reshape(points.shape)


def inpaint(
    key: Key,
    run: Run,
    state: TrainState,
    is_known: np.ndarray,
    points: np.ndarray,
    step_size: float,
    *,
    name: str,
    num_steps: int,
) -> Filled:
    """Fill points ``[C, ...]`` of a run, in units of its data.

    Args:
      is_known: of a point's shape, as the data have it.
      step_size, name: of the kernel.
    """
    key_noise, key_start, key_run = jax.random.split(key, 3)
    z = jnp.asarray(run.standard.forward(points), jnp.float32)
    noisy = z + run.config.noise * jax.random.normal(key_noise, z.shape)
    if run.standard.varying is not None:
        is_known = is_known[run.standard.varying]
    energy = run.trained(state)
    make = SAMPLERS[name].training_kernel
    samples = chains_given(
        key_run,
        energy,
        lambda e: make(e, step_size),
        noisy,
        is_known,
        run.draw(key_start, len(z)),
        num_steps,
        thin=max(1, num_steps // 20),
    )
    clean = lambda x: x
    if run.config.noise:
        clean = denoise(energy, run.config.noise)
    shown = jax.jit(jax.vmap(lambda y, x: jnp.where(is_known, y, clean(x))))
    draws = [shown(z, whole(noisy, is_known, u)) for u in samples.draws]
    mean = np.mean(np.stack(draws[len(draws) // 2 :]), axis=0)
    back = lambda x: np.asarray(run.standard.backward(np.asarray(x)))
    return Filled(points, back(draws[-1]), back(mean), samples.acceptance_rate)


def rows(run: Run, is_known: np.ndarray, found: Filled) -> list[tuple[str, str]]:
    """Errors at the unknown values, beside those of the mean of the training data."""
    error = lambda x: float(np.sqrt(np.mean((x - found.given)[:, ~is_known] ** 2)))
    mean = np.broadcast_to(run.kept.x.mean(axis=0), found.given.shape)
    return [
        ("unknown values", f"{(~is_known).sum()} of {is_known.size}"),
        ("RMS error of their mean over draws", f"{error(found.mean):.4f}"),
        ("RMS error of one draw", f"{error(found.filled):.4f}"),
        ("RMS error of the mean of the training data", f"{error(mean):.4f}"),
        ("acceptance of the chains", f"{found.acceptance_rate.mean():.2f}"),
    ]


def picture(run: Run, is_known: np.ndarray, found: Filled) -> Any:
    """Images as they are, what is known of them, and filled in; for images alone."""
    low, high = value_range(run)
    masked = np.where(is_known, found.given, 0.5 * (low + high))
    panels = {"held out": found.given, "known": masked, "filled": found.filled}
    shape = run.facts.shape
    panels = {n: viewable(x[:100], shape) for n, x in panels.items()}
    return plotting.image_grids(panels, value_range=(low, high))
