"""Warm-up: step size, scales and length learned while the chains run, in one compiled
loop.

    1. the approach (:mod:`~ebmjax.adaptation.approach`), out of the far tails
    2. steps of the kernel; after each, every adapter sees what all chains showed
    3. at the start of each of a few growing windows the scales become the mass, and a
       step size for them is looked for
    4. a last stretch with scales and length at rest, for the step size alone

It is the scheme of Stan's windows (Carpenter et al. 2017), with many chains in the place
of many steps.  Chains whose energy is far above the others' do not count: one that is
lost would set the scales of all.  The kernel that comes out has fixed numbers and leaves
its target invariant; the steps until then are no samples.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax._random import fold_in
from ebmjax._value import as_function
from ebmjax.adaptation.approach import ROUND, approach
from ebmjax.adaptation.base import Adapter, Seen, Tuning, median
from ebmjax.adaptation.charts import Chart
from ebmjax.adaptation.mass_matrix import MassMatrixAdapter
from ebmjax.adaptation.step_size import StepSizeAdapter, harmonic_mean
from ebmjax.adaptation.trajectory_length import (
    FIRST_STEPS,
    MOST_STEPS,
    TrajectoryLengthAdapter,
    evenly,
    num_leapfrog_steps,
)
from ebmjax.base import (
    Array,
    Dense,
    Energy,
    Kernel,
    Key,
    Position,
    State,
    cast_like,
    draw_noise,
    shapes_of,
)
from ebmjax.energies.constrained import constrained_in
from ebmjax.kernels.chains import parallel
from ebmjax.kernels.circles import wrapping
from ebmjax.kernels.hamiltonian import AUTO
from ebmjax.kernels.langevin import mala
from ebmjax.sampling.loop import chain_keys

WINDOWS = (0.1, 0.15, 0.25, 0.45, 0.8)  # shares of the warm-up at which windows begin
STEP_JITTER = 0.3  # of trajectories whose length is tuned
LARGEST_DENSE = 64  # coordinates up to which a dense mass is tried unasked
LOST, LOST_SPREADS = 10.0, 8.0  # nats, and spreads, above the median: a lost chain


class Adapted(NamedTuple):
    """What the compiled part of a warm-up found."""

    step_size: Any  # eps C^(1/2): a scalar, a tree like the position, or Dense
    num_steps: Array | None  # of a trajectory, where that was free
    position: Position  # [C, ...] where the chains are now
    acceptance_rate: Array  # [T] of each step, the mean over chains that count
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
    mass: str | None = "auto",
    step_size: Any = 1.0,
    adapters: Sequence[Adapter] | None = None,
) -> Adapted:
    """The pure part of :func:`ebmjax.warm_up`, for use inside ``jit``.

    The kernel is then ``adapted.kernel(make_kernel, energy)``.
    ``adapters`` take the place of the usual ones, :func:`usual_adapters`, in their order.
    Positions are free coordinates where the energy is constrained.
    """
    make_kernel = with_length(make_kernel)
    num_chains = checks.num_chains(positions)
    keys = chain_keys(key, num_chains)
    one = jax.tree.map(lambda x: x[0], positions)
    first, unravel = ravel_pytree(one)
    dim = first.size
    is_dense = mass == "dense" or (mass == "auto" and dim <= LARGEST_DENSE)
    is_free = wants_length(make_kernel(energy, step_size))
    if adapters is None:
        adapters = usual_adapters(target, mass, is_dense=is_dense, is_free=is_free)
    schedule = _Schedule(make_kernel, energy, unravel, mass is None, is_dense, is_free)

    unit = jnp.eye(dim) if is_dense else jnp.ones(dim)
    tuning = Tuning(jnp.log(jnp.float32(step_size)), unit, unit, _zero(), jnp.int32(0))
    state = parallel(schedule.kernel(tuning, jnp.int32(1))).init(positions)
    probe = mala if state.grad is not None else make_kernel
    sizes = jnp.full(num_chains, tuning.log_step_size)
    state, sizes, num_rounds = approach(
        keys, partial(probe, energy), state, sizes, target, dim
    )
    state = wrapping(parallel(probe(energy, step_size)))(state)
    chart = Chart.of(constrained_in(energy), one)
    if chart is not None:
        chart = chart.add(_flat(state.position), jnp.ones(num_chains))
    tuning = tuning._replace(log_step_size=median(sizes))
    states = tuple(adapter.init(tuning, num_chains) for adapter in adapters)

    def begin_window(carry, t):
        state, tuning, states, num_grads, chart = carry
        chart = chart and chart.renewed()

        def rate(tuning):
            kernel = parallel(probe(energy, schedule.step_size(tuning)))
            info = _advance(kernel, keys, state, num_steps + t)[2]
            return jnp.mean(info.acceptance_rate)

        new = []
        for adapter, adapter_state in zip(adapters, states, strict=True):
            adapter_state, tuning = adapter.begin_window(adapter_state, tuning, rate)
            new.append(adapter_state)
        return cast_like((state, tuning, tuple(new), num_grads, chart), carry)

    def step(carry, when):
        t, begins, is_first = when
        carry = jax.lax.cond(begins, begin_window, lambda carry, t: carry, carry, t)
        state, tuning, states, num_grads, chart = carry
        seen, new_state = schedule.step(keys, state, tuning, t, is_first)
        if chart is not None:
            chart = chart.add(seen.after, seen.weight)
            before, after = (chart.flat(x) for x in (seen.before, seen.after))
            seen = seen._replace(before=before, after=after)
        new = []
        for adapter, adapter_state in zip(adapters, states, strict=True):
            adapter_state, tuning = adapter.update(adapter_state, tuning, seen)
            new.append(adapter_state)
        num_grads += jnp.sum(seen.info.num_grads)
        rates, weight = seen.info.acceptance_rate, seen.weight
        rate = harmonic_mean(rates, weight) if is_free else _mean(rates, weight)
        return cast_like((new_state, tuning, tuple(new), num_grads, chart), carry), rate

    begins = np.zeros(num_steps, bool)
    begins[[0, *(max(2, round(share * num_steps)) for share in WINDOWS)]] = True
    when = jnp.arange(num_steps), begins, np.cumsum(begins) == 1
    carry = (state, tuning, states, jnp.int32(0), chart)
    (state, tuning, states, num_grads, _), rates = jax.lax.scan(step, carry, when)
    for adapter, adapter_state in zip(adapters, states, strict=True):
        tuning = adapter.final(adapter_state, tuning)
    eps = jnp.exp(tuning.log_step_size)
    num = num_leapfrog_steps(tuning.log_length, eps, 0.999, MOST_STEPS)
    cheap = 1 + ROUND * num_rounds + tuning.num_probes
    num_grads += num_chains * cheap * (state.grad is not None)
    return Adapted(
        schedule.step_size(tuning),
        num if is_free else None,
        state.position,
        rates,
        weights_of(state.energy, dim) == 0,
        num_grads,
    )


def usual_adapters(
    target: Any, mass: str | None, *, is_dense: bool, is_free: bool
) -> tuple[Adapter, ...]:
    """Scales, unless ``mass`` is ``None``; the step size; the length, where it is free."""
    adapters: tuple[Adapter, ...] = (StepSizeAdapter(target, is_free),)
    if mass is not None:
        adapters = (MassMatrixAdapter(is_dense), *adapters)
    if is_free:
        adapters = (*adapters, TrajectoryLengthAdapter())
    return adapters


class _Schedule(NamedTuple):
    """How numbers become a kernel, and a step becomes what adapters see."""

    make_kernel: Callable[..., Kernel]
    energy: Energy
    unravel: Callable[[Array], Position]
    is_plain: bool  # no scales
    is_dense: bool
    is_free: bool

    def step_size(self, tuning: Tuning) -> Any:
        size = jnp.exp(tuning.log_step_size)
        if self.is_plain:
            return size
        if self.is_dense:
            return Dense(size * tuning.scale)
        return self.unravel(size * tuning.scale)

    def kernel(self, tuning: Tuning, num_steps: Array) -> Kernel:
        kernel = self.make_kernel(self.energy, self.step_size(tuning))
        if not self.is_free:
            return kernel
        return kernel.replace(
            num_steps=num_steps, step_jitter=STEP_JITTER, keep_momentum=True
        )

    def step(self, keys, state, tuning, t, is_first) -> tuple[Seen, State]:
        eps = jnp.exp(tuning.log_step_size)
        most = jnp.where(is_first, FIRST_STEPS, MOST_STEPS)
        num = num_leapfrog_steps(tuning.log_length, eps, evenly(t), most)
        kernel = parallel(self.kernel(tuning, num))
        noise, new, info = _advance(kernel, keys, state, t)
        new = wrapping(kernel)(new)
        momentum = time = None
        if self.is_free:
            momentum, time = _flat(new.momentum), num * eps * noise[0].factor
        before, after = _flat(state.position), _flat(new.position)
        weight = weights_of(new.energy, before.shape[1])
        return Seen(before, after, momentum, time, weight, info, is_first), new


def weights_of(energies: Array, dim: int) -> Array:
    """1, or 0 for chains whose energy ``[C]`` is far above the median, relative to the
    spread of the chains and to that of a normal density, sqrt(D / 2)."""
    middle = median(energies)
    spread = 1.4826 * median(jnp.abs(energies - middle))
    limit = LOST + LOST_SPREADS * jnp.maximum(spread, (dim / 2) ** 0.5)
    return (energies <= middle + limit).astype(jnp.float32)


def _advance(kernel, keys, state, t):
    keys = jax.vmap(fold_in, (0, None))(keys, t)
    noise = draw_noise(kernel, keys, shapes_of(state.position))
    return noise, *kernel.move(noise, state)


def _flat(positions):
    return jax.vmap(lambda x: ravel_pytree(x)[0])(positions)


def _mean(rates, weight):
    return jnp.sum(rates * weight) / jnp.maximum(jnp.sum(weight), 1.0)


def _zero():
    return jnp.float32(0.0)


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
