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
from ebmjax.kernels.langevin import mala

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
        return kernel.replace(
            num_steps=num_steps, step_jitter=STEP_JITTER, keep_momentum=True
        )

    def probe(self, state: State, step_size: Any) -> Kernel:
        """A cheap kernel: MALA where there is a gradient."""
        make = mala if state.grad is not None else self.make_kernel
        return make(self.energy, step_size)

    # a step becomes what adapters see

    def seen(
        self, state: State, tuning: Tuning, t: Array, is_first: Array
    ) -> tuple[Seen, State]:
        """A step of all chains, and where it ends."""
        eps = jnp.exp(tuning.log_step_size)
        most = jnp.where(is_first, FIRST_STEPS, MOST_STEPS)
        num = num_leapfrog_steps(tuning.log_length, eps, evenly(t), most)
        kernel = parallel(self.kernel(tuning, num))
        noise, new, info = _advance(kernel, self.keys, state, t)
        new = wrapping(kernel)(new)
        momentum = time = None
        if self.is_free:
            momentum, time = (
                flat(new.momentum),
                num.astype(eps.dtype) * eps * noise[0].factor,
            )
        before, after = flat(state.position), flat(new.position)
        weight = weights_of(new.energy, before.shape[1])
        return Seen(before, after, momentum, time, weight, info, is_first), new

    # and that becomes new numbers

    def run(self, progress: Progress) -> tuple[Progress, Array]:
        """All steps; with the acceptance rate of each, ``[T]``."""
        begins = np.zeros(self.num_steps, bool)
        first = (max(2, round(share * self.num_steps)) for share in WINDOWS)
        begins[[0, *first]] = True
        when = jnp.arange(self.num_steps), begins, np.cumsum(begins) == 1
        return jax.lax.scan(self._step, progress, when)

    def _step(self, progress, when):
        t, begins, is_first = when
        progress = jax.lax.cond(
            begins, self._begin_window, lambda progress, t: progress, progress, t
        )
        state, tuning, states, num_grads, chart = progress
        seen, new_state = self.seen(state, tuning, t, is_first)
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

    def _begin_window(self, progress, t):
        state, tuning, states, num_grads, chart = progress
        chart = chart and chart.renewed()

        def rate(tuning):
            kernel = parallel(self.probe(state, self.step_size(tuning)))
            info = _advance(kernel, self.keys, state, self.num_steps + t)[2]
            return jnp.mean(info.acceptance_rate)

        new = []
        for adapter, adapter_state in zip(self.adapters, states, strict=True):
            adapter_state, tuning = adapter.begin_window(adapter_state, tuning, rate)
            new.append(adapter_state)
        new_progress = Progress(state, tuning, tuple(new), num_grads, chart)
        return cast_like(new_progress, progress)


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


def _advance(kernel, keys, state, t):
    keys = jax.vmap(fold_in, (0, None))(keys, t)
    noise = draw_noise(kernel, keys, shapes_of(state.position))
    return noise, *kernel.move(noise, state)


def _mean(rates, weight):
    return jnp.sum(rates * weight) / jnp.maximum(jnp.sum(weight), 1.0)
