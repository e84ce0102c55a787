"""One step of a warm-up: build the kernel from the adapted numbers, step all chains,
update the adapters.

At the start of each of a few growing windows the scales become the mass, and a step
size for them is looked for.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax._random import fold_in
from ebmjax.adaptation.base import Adapter, Seen, Tuning, median
from ebmjax.adaptation.charts import Chart
from ebmjax.adaptation.step_size import harmonic_mean
from ebmjax.adaptation.trajectory_length import (
    FIRST_STEPS,
    MOST_STEPS,
    evenly,
    num_leapfrog_steps,
)
from ebmjax.base import (
    Array,
    Dense,
    Energy,
    Info,
    Kernel,
    Key,
    Position,
    State,
    cast_like,
    draw_noise,
    shapes_of,
)
from ebmjax.kernels.chains import parallel
from ebmjax.kernels.free_coordinates import wrapping
from ebmjax.kernels.hamiltonian import factor_of, with_momentum
from ebmjax.kernels.langevin import mala
from ebmjax.spaces import REAL

WINDOWS = (0.1, 0.15, 0.25, 0.45, 0.8)  # shares of the warm-up at which windows begin
STEP_JITTER = 0.3  # of trajectories whose length is tuned
LOST, LOST_SPREADS = 10.0, 8.0  # nats, and spreads, above the median: a lost chain


class Progress(NamedTuple):
    """What goes on from step to step."""

    state: State  # [C]
    tuning: Tuning
    adapters: tuple[Any, ...]  # their states
    num_grads: Array  # [] int32, of the steps
    chart: Chart | None  # of periodic coordinates


class Shown(NamedTuple):
    """What a step shows beside where it ends."""

    info: Info  # [C]
    momentum: Position | None  # [C, ...] of ``hmc``, at the end
    factor: Array | None  # [C] of its step size


class Schedule(NamedTuple):
    """What stays the same from step to step."""

    keys: Key  # [C]
    make_kernel: Callable[..., Kernel]
    energy: Energy
    unravel: Callable[[Array], Position]
    adapters: tuple[Adapter, ...]
    num_steps: int
    is_plain: bool  # no scales
    is_dense: bool
    is_free: bool  # the length of trajectories is tuned

    # numbers become a kernel

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
        return kernel.replace(num_steps=num_steps, step_jitter=STEP_JITTER)

    def kernel_at(self, tuning: Tuning, t: Array, is_first: Array) -> Kernel:
        """The kernel of step ``t``, of the first window or a later one."""
        return self.kernel(tuning, self.length(tuning, t, is_first))

    def length(self, tuning: Tuning, t: Array, is_first: Array) -> Array:
        """Steps of the trajectories of step ``t``, where that is tuned."""
        most = jnp.where(is_first, FIRST_STEPS, MOST_STEPS)
        eps = jnp.exp(tuning.log_step_size)
        return num_leapfrog_steps(tuning.log_length, eps, evenly(t), most)

    def probe(self, state: State, step_size: Any) -> Kernel:
        """A cheap kernel: MALA where there is a gradient of real points."""
        kernel = self.make_kernel(self.energy, step_size)
        if state.grad is not None and kernel.state_space == REAL:
            return mala(self.energy, step_size)
        return kernel

    # a step becomes what adapters see

    def step(self, kernel: Kernel, state: State, t: Array) -> tuple[State, Shown]:
        """Step ``t`` of all chains: where it ends, and what it shows."""
        if self.is_free:
            kernel = with_momentum(kernel)
            zeros = jax.tree.map(jnp.zeros_like, state.position)
            state = state._replace(momentum=zeros)
        chains = parallel(kernel)
        noise = self.noise(chains, state, t)
        new, info = chains.move(noise, state)
        new = wrapping(chains)(new)
        shown = Shown(info, new.momentum, factor_of(noise))
        return new._replace(momentum=None) if self.is_free else new, shown

    def noise(self, chains: Kernel, state: State, t: Any) -> Any:
        """The noise of step ``t``."""
        keys = jax.vmap(fold_in, (0, None))(self.keys, t)
        return draw_noise(chains, keys, shapes_of(state.position))

    def seen(
        self,
        progress: Progress,
        new: State,
        shown: Shown,
        t: Array,
        is_first: Array,
    ) -> Seen:
        """What adapters see of step ``t``."""
        before, after = flat(progress.state.position), flat(new.position)
        at_end = time = None
        if self.is_free:
            at_end = flat(shown.momentum)
            eps = jnp.exp(progress.tuning.log_step_size)
            num = self.length(progress.tuning, t, is_first)
            time = num.astype(eps.dtype) * eps * shown.factor
        weight = weights_of(new.energy, before.shape[1])
        return Seen(before, after, at_end, time, weight, shown.info, is_first)

    # and that becomes new numbers

    def run(self, progress: Progress) -> tuple[Progress, Array]:
        """All steps; with the acceptance rate of each, ``[T]``."""
        begins, is_first = windows(self.num_steps)
        when = jnp.arange(self.num_steps), begins, is_first
        return jax.lax.scan(self._step, progress, when)

    def _step(self, progress, when):
        t, begins, is_first = when
        progress = jax.lax.cond(
            begins, self.begin_window, lambda progress, t: progress, progress, t
        )
        kernel = self.kernel_at(progress.tuning, t, is_first)
        new, shown = self.step(kernel, progress.state, t)
        seen = self.seen(progress, new, shown, t, is_first)
        return self.update(progress, new, seen)

    def update(self, progress: Progress, new_state: State, seen: Seen):
        """New numbers after a step, and its acceptance rate."""
        _, tuning, states, num_grads, chart = progress
        if chart is not None:
            chart = chart.add(seen.after, seen.weight)
            before, after = (chart.flat(x) for x in (seen.before, seen.after))
            seen = seen._replace(before=before, after=after)
        new = []
        for adapter, adapter_state in zip(self.adapters, states, strict=True):
            adapter_state, tuning = adapter.update(adapter_state, tuning, seen)
            new.append(adapter_state)
        num_grads += jnp.sum(seen.info.num_grads)
        mean = harmonic_mean if self.is_free else _mean
        rate = mean(seen.info.acceptance_rate, seen.weight)
        new_progress = Progress(new_state, tuning, tuple(new), num_grads, chart)
        return cast_like(new_progress, progress), rate

    def begin_window(self, progress: Progress, t: Array) -> Progress:
        """New scales, and a step size for them, before step ``t``."""
        state, tuning, states, num_grads, chart = progress
        chart = chart and chart.renewed()

        def rate(tuning):
            kernel = parallel(self.probe(state, self.step_size(tuning)))
            noise = self.noise(kernel, state, self.num_steps + t)
            return jnp.mean(kernel.move(noise, state)[1].acceptance_rate)

        new = []
        for adapter, adapter_state in zip(self.adapters, states, strict=True):
            adapter_state, tuning = adapter.begin_window(adapter_state, tuning, rate)
            new.append(adapter_state)
        new_progress = Progress(state, tuning, tuple(new), num_grads, chart)
        return cast_like(new_progress, progress)


def windows(num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each step, whether a window begins there, and whether it is of the first."""
    begins = np.zeros(num_steps, bool)
    begins[[0, *(max(2, round(share * num_steps)) for share in WINDOWS)]] = True
    return begins, np.cumsum(begins) == 1


def weights_of(energies: Array, dim: int) -> Array:
    """1, or 0 for chains whose energy ``[C]`` is far above the median, relative to the
    spread of the chains and to that of a normal density, sqrt(D / 2)."""
    middle = median(energies)
    spread = 1.4826 * median(jnp.abs(energies - middle))
    limit = LOST + LOST_SPREADS * jnp.maximum(spread, (dim / 2) ** 0.5)
    return (energies <= middle + limit).astype(jnp.float32)


def flat(positions: Position) -> Array:
    """Positions ``[C, ...]`` as ``[C, D]``."""
    return jax.vmap(lambda x: ravel_pytree(x)[0])(positions)


def _mean(rates, weight):
    return jnp.sum(rates * weight) / jnp.maximum(jnp.sum(weight), 1.0)
