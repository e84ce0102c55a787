"""Tuning from the host: checks, a warm-up of :mod:`ebmjax.adaptation.warmup`, a kernel
with fixed numbers.

Kernels that follow trajectories are stepped from the host, by the program that steps
them in ``sample`` (:mod:`ebmjax.sampling._any_length`); of others the warm-up is one
program.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import as_function
from ebmjax.adaptation.checks import (
    check_adapted,
    check_covariance,
    check_starts,
    covariance_of,
    share_at_walls,
    steps_of,
    target_of,
)
from ebmjax.adaptation.stepped import stepped
from ebmjax.adaptation.warmup import adapt, wants_length, with_length
from ebmjax.base import Energy, Kernel, Key, Position, scalar
from ebmjax.energies.constrained import constrained_in
from ebmjax.sampling import _any_length as any_length
from ebmjax.sampling.coordinates import constrained_of, free_of
from ebmjax.sampling.initialization import one_point
from ebmjax.sampling.recompiled import warn_of_many
from ebmjax.spaces import REAL

LONGEST = 1e3  # step of discrete states: proposals no longer depend on it


class Tuned(NamedTuple):
    """What :func:`warm_up` found."""

    kernel: Kernel  # with these numbers, fixed
    step_size: Any  # a scalar, a tree like the position, or Dense
    num_steps: int | None  # of a trajectory, where that was free
    position: Position  # [C, ...] where the chains are now, constrained values
    acceptance_rate: np.ndarray  # [T] of each step; harmonic where num_steps was free
    is_lost: np.ndarray  # [C] bool, chains whose energy is far above the others'
    num_grads: int  # gradients that it took, of all chains together

    def __repr__(self) -> str:
        largest = max(np.abs(x).max() for x in jax.tree.leaves(self.step_size))
        length = ""
        if self.num_steps is not None:
            length = f", {self.num_steps} steps a trajectory"
        shapes = jax.tree.map(np.shape, self.position)
        return f"Tuned(step size up to {largest:.3g}{length}, chains {shapes})"


def warm_up(
    key: Key,
    make_kernel: Callable[..., Kernel],
    energy: Energy,
    positions: Position,
    *,
    num_steps: int | None = None,
    target: float | None = None,
    covariance: str | None = "auto",
    step_size: float = 1.0,
) -> Tuned:
    """Tune a kernel on an energy.

    Other positions of the same shape, another target or first step, other parameters of
    the same energy compile nothing.

    Args:
      key: one key.
      make_kernel: ``nuts``, ``mala``, ``random_walk``, ``partial(hmc, num_steps=10)``,
        or any function of an energy and a step size.  Where it asks for ``num_steps``
        and none is given, as ``hmc`` or ``partial(hmc, integrator=mclachlan)`` do, or
        makes an ``hmc`` with ``num_steps="auto"``, that is tuned, too: made for dozens
        of chains and more.
      energy: of one point.
      positions: where the chains start, ``[C, ...]``, constrained values where the
        energy is of :func:`~ebmjax.constrain`; best more spread than the target.
      num_steps: T; by default 1000 for one chain, fewer for many, at least 100.
      target: of the acceptance rate; by default that of the kernel.  Where the length
        of trajectories is tuned, it is that of the harmonic mean over chains.
      covariance: ``dense``, correlations only as far as the points can tell them from
        none; ``diagonal``; ``auto``, dense up to 64 coordinates; or ``None`` for the
        step size alone, as always of discrete states.
      step_size: a first guess, on which little depends.

    Returns:
      :class:`Tuned`.

    Raises:
      ValueError: a target outside (0, 1) or unknown for the kernel, a start outside of
        its support, or whose energy or gradient is not finite, naming the chain.
      RuntimeError: the step size is not finite in the end.

    Warns:
      where the acceptance rate ends far from its target, chains are lost far above the
      others, or end a billion times further out than they began.

    >>> energy = lambda x: 0.5 * jnp.sum((x / jnp.array([1.0, 100.0])) ** 2)
    >>> tuned = warm_up(jax.random.key(0), nuts, energy, jnp.ones((4, 2)))
    >>> samples = sample(jax.random.key(1), tuned.kernel, tuned.position, 1000
    ...                  )  # doctest: +SKIP
    """
    inside = "adapt(key, make_kernel, energy, positions, ...)"
    checks.on_host((key, positions), "warm_up", inside)
    key = checks.key(key)
    make_kernel = with_length(make_kernel)
    energy = as_function(energy, "energy")
    positions = checks.position(positions)
    num_chains = checks.num_chains(positions)
    constrained = constrained_in(energy)
    if constrained is not None:
        positions = free_of(constrained, positions)
    one_point(positions, scalar(energy))
    checks.positive(step_size, "step_size")
    num_steps = steps_of(num_steps, num_chains)
    check_covariance(covariance)
    template = make_kernel(energy, np.float32(step_size))
    if not isinstance(template, Kernel):
        raise TypeError(
            "make_kernel must return a Kernel of an energy and a step size, got "
            f"{checks.describe(template)}"
        )
    covariance = covariance_of(template, covariance)
    target = target_of(template, target)
    warn_of_many("warm_up", template)
    check_starts(energy, positions, template.needs_grad)
    numbers = np.float32(target), np.float32(step_size)
    is_stepped = (
        _is_trajectory(template)
        and any_length.fits(positions, num_chains)
        # not where each call makes a function of its own
        and jax.tree.structure(template)
        == jax.tree.structure(make_kernel(energy, np.float32(step_size)))
    )
    run: Callable[..., Any] = stepped if is_stepped else _compiled
    found = run(key, make_kernel, energy, positions, *numbers, num_steps, covariance)
    found = found._replace(
        acceptance_rate=np.asarray(found.acceptance_rate),
        is_lost=np.asarray(found.is_lost),
    )
    if template.state_space != REAL:  # where any step is accepted often enough
        found = found._replace(step_size=jnp.minimum(found.step_size, LONGEST))
    length = None if found.num_steps is None else int(found.num_steps)
    kernel = found._replace(num_steps=length).kernel(make_kernel, energy)
    at_walls = functools.partial(share_at_walls, key, kernel, found.position)
    check_adapted(energy, found, positions, target, at_walls=at_walls)
    position = found.position
    if constrained is not None:
        position = constrained_of(constrained, position)
    return Tuned(
        kernel,
        found.step_size,
        length,
        position,
        found.acceptance_rate,
        found.is_lost,
        int(found.num_grads),
    )


def _is_trajectory(kernel: Kernel) -> bool:
    if wants_length(kernel):
        kernel = kernel.replace(num_steps=np.int32(1))
    return any_length.is_for(kernel)


def tune_step_size(
    key: Key,
    make_kernel: Callable[..., Kernel],
    energy: Energy,
    positions: Position,
    **options: Any,
) -> Tuned:
    """:func:`warm_up` for the step size alone, a scalar."""
    return warm_up(key, make_kernel, energy, positions, covariance=None, **options)


@functools.partial(jax.jit, static_argnames=("num_steps", "covariance"))
def _compiled(
    key, make_kernel, energy, positions, target, step_size, num_steps, covariance
):
    return adapt(
        key,
        make_kernel,
        energy,
        positions,
        num_steps=num_steps,
        covariance=covariance,
        target=target,
        step_size=step_size,
    )
