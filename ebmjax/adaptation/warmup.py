"""Warm-up: step size, scales and length learned while the chains run, in one compiled
loop.

    1. the approach (:mod:`~ebmjax.adaptation.approach`), out of the far tails
    2. steps of the kernel; after each, every adapter sees what all chains showed
    3. at the start of each of a few growing windows the scales become the mass, and a
       step size for them is looked for
    4. a last stretch with scales and length at rest, for the step size alone

It is the scheme of Stan's windows (Carpenter et al. 2017), with many chains in the
place of many steps.  Chains whose energy is far above the others' do not count: one
that is lost would set the scales of all.  The kernel that comes out has fixed numbers
and leaves its target invariant; the steps until then are no samples.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax._value import as_function
from ebmjax.adaptation.approach import ROUND, approach
from ebmjax.adaptation.base import Adapter, Tuning, median
from ebmjax.adaptation.charts import Chart
from ebmjax.adaptation.mass_matrix import MassMatrixAdapter
from ebmjax.adaptation.schedule import (
    STEP_JITTER,
    Progress,
    Schedule,
    flat,
    weights_of,
)
from ebmjax.adaptation.step_size import StepSizeAdapter
from ebmjax.adaptation.trajectory_length import (
    MOST_STEPS,
    TrajectoryLengthAdapter,
    num_leapfrog_steps,
)
from ebmjax.base import Array, Energy, Kernel, Key, Position
from ebmjax.energies.constrained import constrained_in
from ebmjax.kernels.chains import parallel
from ebmjax.kernels.free_coordinates import wrapping
from ebmjax.kernels.hamiltonian import AUTO
from ebmjax.sampling.loop import chain_keys

LARGEST_DENSE = 64  # coordinates up to which a dense mass is tried unasked


class Adapted(NamedTuple):
    """What the compiled part of a warm-up found."""

    step_size: Any  # eps C^(1/2): a scalar, a tree like the position, or Dense
    num_steps: Array | None  # of a trajectory, where that was free
    position: Position  # [C, ...] where the chains are now
    # [T] of each step, the mean over chains; harmonic where the length is free
    acceptance_rate: Array
    is_lost: Array  # [C] bool, chains far above the others at the end
    num_grads: Array  # [] int32, of all chains together

    def kernel(self, make_kernel: Callable[..., Kernel], energy: Energy) -> Kernel:
        """The kernel with these numbers."""
        kernel = with_length(make_kernel)(energy, self.step_size)
        if self.num_steps is None:
            return kernel
        return kernel.replace(num_steps=self.num_steps, step_jitter=STEP_JITTER)


def adapt(
    key: Key,
    make_kernel: Callable[..., Kernel],
    energy: Energy,
    positions: Position,
    *,
    num_steps: int,
    target: Any,
    covariance: str | None = "auto",
    step_size: Any = 1.0,
    adapters: Sequence[Adapter] | None = None,
) -> Adapted:
    """The pure part of :func:`ebmjax.warm_up`, for use inside ``jit``.

    The kernel is then ``adapted.kernel(make_kernel, energy)``.
    ``adapters`` take the place of the usual ones, :func:`usual_adapters`, in their
    order.  Positions are free coordinates where the energy is constrained.
    """
    make_kernel = with_length(make_kernel)
    schedule = scheduled(
        key, make_kernel, energy, positions, num_steps, target, covariance, adapters
    )
    progress, num_rounds = begun(schedule, positions, target, step_size)
    progress, rates = schedule.run(progress)
    return adapted(schedule, progress, num_rounds, rates)


def scheduled(
    key: Key,
    make_kernel: Callable[..., Kernel],
    energy: Energy,
    positions: Position,
    num_steps: int,
    target: Any,
    covariance: str | None,
    adapters: Sequence[Adapter] | None = None,
) -> Schedule:
    """The steps of a warm-up of chains at positions ``[C, ...]`` of these shapes."""
    first, unravel = ravel_pytree(jax.tree.map(lambda x: x[0], positions))
    is_dense = covariance == "dense" or (
        covariance == "auto" and first.size <= LARGEST_DENSE
    )
    is_free = wants_length(make_kernel(energy, jnp.float32(1.0)))
    if adapters is None:
        adapters = usual_adapters(
            target, covariance, is_dense=is_dense, is_free=is_free
        )
    return Schedule(
        chain_keys(key, checks.num_chains(positions)),
        make_kernel,
        energy,
        unravel,
        tuple(adapters),
        num_steps,
        is_plain=covariance is None,
        is_dense=is_dense,
        is_free=is_free,
    )


def begun(
    schedule: Schedule, positions: Position, target: Any, step_size: Any
) -> tuple[Progress, Array]:
    """What there is after the approach, before step 0; and the rounds that it took."""
    one = jax.tree.map(lambda x: x[0], positions)
    dim, num_chains = ravel_pytree(one)[0].size, checks.num_chains(positions)
    unit = jnp.eye(dim) if schedule.is_dense else jnp.ones(dim)
    log_size, zero = jnp.log(jnp.float32(step_size)), jnp.float32(0.0)
    tuning = Tuning(log_size, unit, unit, zero, jnp.int32(0))
    state = parallel(schedule.kernel(tuning, jnp.int32(1))).init(positions)
    sizes = jnp.full(num_chains, log_size)
    probe = partial(schedule.probe, state)
    state, sizes, num_rounds = approach(schedule.keys, probe, state, sizes, target, dim)
    state = wrapping(parallel(probe(step_size)))(state)
    chart = Chart.of(constrained_in(schedule.energy), one)
    if chart is not None:
        chart = chart.add(flat(state.position), jnp.ones(num_chains))
    tuning = tuning._replace(log_step_size=median(sizes))
    states = tuple(adapter.init(tuning, num_chains) for adapter in schedule.adapters)
    return Progress(state, tuning, states, jnp.int32(0), chart), num_rounds


def adapted(
    schedule: Schedule, progress: Progress, num_rounds: Array, rates: Any
) -> Adapted:
    """What was found in steps of these acceptance rates ``[T]``, after ``num_rounds``
    of the approach."""
    state, tuning, states, num_grads, _ = progress
    for adapter, adapter_state in zip(schedule.adapters, states, strict=True):
        tuning = adapter.final(adapter_state, tuning)
    eps = jnp.exp(tuning.log_step_size)
    num = num_leapfrog_steps(tuning.log_length, eps, 0.999, MOST_STEPS)
    num_chains, dim = len(state.energy), len(tuning.scale)
    if state.grad is not None:
        num_grads += num_chains * (1 + ROUND * num_rounds + tuning.num_probes)
    return Adapted(
        schedule.step_size(tuning),
        num if schedule.is_free else None,
        state.position,
        rates,
        weights_of(state.energy, dim) == 0,
        num_grads,
    )


def usual_adapters(
    target: Any, covariance: str | None, *, is_dense: bool, is_free: bool
) -> tuple[Adapter, ...]:
    """Scales, unless ``covariance`` is ``None``; the step size; the length, where it is
    free."""
    adapters: tuple[Adapter, ...] = (StepSizeAdapter(target, is_free),)
    if covariance is not None:
        adapters = (MassMatrixAdapter(is_dense), *adapters)
    if is_free:
        adapters = (*adapters, TrajectoryLengthAdapter())
    return adapters


def wants_length(kernel: Kernel) -> bool:
    """Whether the length of trajectories is left to the warm-up."""
    num_steps = getattr(kernel, "num_steps", None)
    return isinstance(num_steps, str) and num_steps == AUTO


def with_length(make_kernel: Callable[..., Kernel]) -> Callable[..., Kernel]:
    """``make_kernel`` as a function of an energy and a step size, a pytree: a number of
    steps that it requires is ``"auto"``."""
    checks.function(make_kernel, "make_kernel")
    try:
        parameters = inspect.signature(make_kernel).parameters
    except (TypeError, ValueError):
        return as_function(make_kernel)
    wanted = parameters.get("num_steps")
    if wanted is not None and wanted.default is inspect.Parameter.empty:
        make_kernel = functools.partial(make_kernel, num_steps=AUTO)
    return as_function(make_kernel, "make_kernel")
