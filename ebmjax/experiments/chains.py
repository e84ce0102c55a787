"""Chains of a trained run: the energy, the kernel, the step size and the starts of its
training."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax.adaptation.tuning import tune_step_size
from ebmjax.base import Energy, Kernel, Key
from ebmjax.experiments.data.arrays import check_fits
from ebmjax.experiments.experiment import Run
from ebmjax.experiments.registry import METHODS
from ebmjax.kernels.registry import KERNELS
from ebmjax.objectives.batches import points_of
from ebmjax.sampling.sample import sample
from ebmjax.sampling.samples import Samples
from ebmjax.training.step import TrainState

# kernels for a trained energy: those of training, and the exact ones
SAMPLERS = {n: e for n, e in KERNELS.items() if e.is_exact or e.training is not None}
MOST_BYTES = 2**28  # largest size of the stored draws


class Chains(NamedTuple):
    """Chains of a trained energy."""

    positions: np.ndarray  # [T, C, ...] standardised
    energies: np.ndarray  # [T, C]
    samples: Samples


def run_chains(
    key: Key,
    run: Run,
    state: TrainState,
    kernel: Kernel,
    *,
    num_chains: int,
    num_steps: int,
    thin: int | None = None,
    is_fresh: bool = False,
    progress: Any = False,
    sampler: Callable[..., Samples] = sample,
) -> Chains:
    """Chains of a run's energy, from its buffer or from fresh noise.

    Args:
      thin: steps per stored draw; by default :func:`thinning`, which stores all draws
        if they take at most 256 MiB.
      is_fresh: start from noise.  Starts are drawn from the buffer with replacement if
        it holds fewer chains.
      sampler: called as :func:`ebmjax.sample`.
    """
    checks.count(num_chains, "num_chains")
    check_fits(16 * num_chains * int(np.prod(run.facts.shape)), "num_chains")
    key_start, key_run = jax.random.split(key)
    start = starts(key_start, run, state, num_chains, is_fresh)
    thin = thinning(run, num_chains, num_steps) if thin is None else thin
    samples = sampler(
        key_run,
        kernel,
        start,
        num_steps // thin * thin,
        thin=thin,
        progress=progress,
        collect=_position_and_energy,
    )
    positions, energies = (np.asarray(x) for x in samples.draws)
    return Chains(positions, energies, samples)


def _position_and_energy(state, info):
    return state.position, state.energy


def thinning(run: Run, num_chains: int, num_steps: int) -> int:
    """The smallest number of steps per stored draw so that all draws fit in 256 MiB."""
    size = 4 * num_chains * int(np.prod(run.facts.shape))
    return max(1, min(num_steps, -(-num_steps * size // MOST_BYTES)))


def starts(
    key: Key, run: Run, state: TrainState, num_chains: int, is_fresh: bool = False
) -> Any:
    """Where chains start, ``[C, ...]`` in standardised units."""
    key_start, method = key, METHODS[run.config.objective]
    if method.descend is not None:  # energies are accurate near the data of their level
        key_start, key_descend = jax.random.split(key_start)
        noise = jax.random.normal(key_start, (num_chains, *run.z.shape[1:]))
        of_noise = lambda x, noise: run.network(run.lower(state.ema), x, noise)
        z = run.z[: run.facts.num_reference]
        return jax.jit(lambda k, s: method.descend(k, run.config, of_noise, z, s))(
            key_descend, noise
        )
    if is_fresh or state.buffer is None:
        return run.draw(key_start, num_chains)
    kept = points_of(state.buffer)
    rows = jax.random.choice(
        key_start, len(kept), (num_chains,), replace=num_chains > len(kept)
    )
    return kept[rows]


def kernel_of(
    run: Run, energy: Energy, step_size: float, name: str | None = None
) -> Kernel:
    """The kernel that trained a run, or another by name, on its energy."""
    return SAMPLERS[name or run.config.kernel].training_kernel(energy, step_size)


def step_size_for(key: Key, run: Run, state: TrainState, name: str) -> float:
    """The last step size of training; else one tuned from noise."""
    is_tuned = run.objective.uses_chains and name == run.config.kernel
    target = SAMPLERS[name].properties().acceptance_target
    if is_tuned or target is None:
        return float(state.step_size)
    start = run.draw(key, 256)
    with warnings.catch_warnings():
        # of chains that are thrown away here, and did not count
        warnings.filterwarnings("ignore", message=".*did not count in the warm-up")
        tuned = tune_step_size(
            key,
            SAMPLERS[name].training_kernel,
            run.trained(state),
            start,
            target=target,
            step_size=float(state.step_size),
        )
    return float(tuned.step_size)
