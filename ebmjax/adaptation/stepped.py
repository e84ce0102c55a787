"""A warm-up whose steps are taken from the host.

The kernel of a step is one of the results of the step before, so that what is compiled
is the step of :mod:`ebmjax.sampling._any_length`, which ``sample`` uses too, and what
is between steps: the approach, the start of a window, the numbers of the next step.
Nothing is read on the host until the end.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ebmjax.adaptation.schedule import Schedule, Shown, windows
from ebmjax.adaptation.warmup import Adapted, adapted, begun, scheduled
from ebmjax.base import Energy, Kernel, Key, Position
from ebmjax.sampling import _any_length as any_length
from ebmjax.sampling.loop import chain_keys

ONE = np.int32(1)
static = functools.partial(dataclasses.field, metadata={"static": True})
_program = functools.partial(jax.jit, static_argnames="covariance")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NewKernel:
    """A kernel that a program returns, without what is among its arguments: parameters
    of the energy would be copied at each step."""

    leaves: list[Any]  # the others
    places: tuple[int | None, ...] = static()  # of all leaves, among the arguments'
    treedef: Any = static()

    @staticmethod
    def of(kernel: Kernel, arguments: Any) -> "NewKernel":
        """When traced, in the program of these arguments."""
        known = {id(x): i for i, x in enumerate(jax.tree.leaves(arguments))}
        leaves, treedef = jax.tree.flatten(kernel)
        places = tuple(known.get(id(x)) for x in leaves)
        new = [x for x, i in zip(leaves, places, strict=True) if i is None]
        return NewKernel(new, places, treedef)

    def kernel(self, arguments: Any) -> Kernel:
        """The whole kernel."""
        new, known = iter(self.leaves), jax.tree.leaves(arguments)
        leaves = [next(new) if i is None else known[i] for i in self.places]
        return jax.tree.unflatten(self.treedef, leaves)


def stepped(
    key: Key,
    make_kernel: Callable[..., Kernel],
    energy: Energy,
    positions: Position,
    target: Any,
    step_size: Any,
    num_steps: int,
    covariance: str | None,
) -> Adapted:
    """What :func:`~ebmjax.adaptation.warmup.adapt` finds."""
    # data of the energy that are NumPy's are not copied at each step
    fixed = jax.device_put((key, make_kernel, energy, np.int32(num_steps), target))
    what = lambda program, *arguments: program(fixed, *arguments, covariance=covariance)
    keys = chain_keys(key, len(jax.tree.leaves(positions)[0]))
    progress, num_rounds = what(_begun, positions, step_size)
    begins, is_first = windows(num_steps)
    is_first = np.append(is_first, False)
    new_kernel: Any = None
    buffer: Any = None
    rates = []
    for t in range(num_steps):
        now = np.int32(t)
        if begins[t]:
            progress, new_kernel = what(_window, progress, now, is_first[t])
        kernel = new_kernel.kernel(fixed)
        if buffer is None:
            buffer = any_length.empty_buffer(kernel, progress.state)
        new = any_length.steps(kernel, keys, progress.state, now, ONE, buffer)
        buffer = new.buffer
        shown = Shown(new.info, new.momentum, new.factor)
        when = now, is_first[t], is_first[t + 1]
        progress, new_kernel, rate = what(_update, progress, new.state, shown, *when)
        rates.append(rate)
    found = what(_finish, progress, num_rounds)
    return found._replace(acceptance_rate=np.array(jax.device_get(rates)))


def _schedule(fixed, positions, covariance) -> Schedule:
    key, make_kernel, energy, num_steps, target = fixed
    return scheduled(key, make_kernel, energy, positions, num_steps, target, covariance)


@_program
def _begun(fixed, positions, step_size, covariance):
    schedule = _schedule(fixed, positions, covariance)
    return begun(schedule, positions, fixed[-1], step_size)


@_program
def _window(fixed, progress, t, is_first, covariance):
    """The numbers with which a window begins, and the kernel of its first step."""
    schedule = _schedule(fixed, progress.state.position, covariance)
    progress = schedule.begin_window(progress, t)
    kernel = schedule.kernel_at(progress.tuning, t, is_first)
    return progress, NewKernel.of(kernel, fixed)


@_program
def _update(fixed, progress, new, shown, t, is_first, is_next_first, covariance):
    """The numbers after step ``t``, the next kernel, and the acceptance rate."""
    schedule = _schedule(fixed, new.position, covariance)
    seen = schedule.seen(progress, new, shown, t, is_first)
    progress, rate = schedule.update(progress, new, seen)
    kernel = schedule.kernel_at(progress.tuning, t + 1, is_next_first)
    return progress, NewKernel.of(kernel, fixed), rate


@_program
def _finish(fixed, progress, num_rounds, covariance):
    schedule = _schedule(fixed, progress.state.position, covariance)
    return adapted(schedule, progress, num_rounds, None)
