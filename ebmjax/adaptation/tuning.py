"""Tuning from the host: checks, one compiled call of :mod:`ebmjax.adaptation.warmup`, a
kernel with fixed numbers.

An adaptation that failed says so: acceptance far from its target is a warning, so are
chains that are lost, and a step size that is not finite is an error.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import as_function
from ebmjax.adaptation.warmup import WINDOWS, Adapted, adapt, with_length
from ebmjax.base import (
    Energy,
    Kernel,
    Key,
    Position,
    evaluate,
    scalar,
)
from ebmjax.energies.constrained import constrained_in
from ebmjax.kernels.chains import parallel
from ebmjax.sampling.coordinates import constrained_of, free_of
from ebmjax.sampling.initialization import check_grad, one_point
from ebmjax.sampling.loop import chain_keys, run
from ebmjax.sampling.recompiled import warn_of_many

MASSES = ("auto", "dense", "diagonal", None)
ESCAPED = 1e9  # times the starts: chains that are further out have escaped
WALLS = 0.01  # share of steps beyond a hard boundary, of which a warning speaks
FAR = 0.15  # an acceptance rate that ends further below its target is a warning


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
        largest = np.abs(_flat(self.step_size)).max()
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
    mass: str | None = "auto",
    step_size: float = 1.0,
) -> Tuned:
    """Tune a kernel on an energy.

    Other positions of the same shape, another target or first step, other parameters of
    the same energy compile nothing.

    Args:
      key: one key.
      make_kernel: ``nuts``, ``mala``, ``random_walk``, ``partial(hmc, num_steps=10)``, or
        any function of an energy and a step size.  Where it asks for ``num_steps`` and
        none is given, as ``hmc`` or ``partial(hmc, integrator=mclachlan)`` do, or makes
        an ``hmc`` with ``num_steps="auto"``, that is tuned, too: made for dozens of
        chains and more.
      energy: of one point.
      positions: where the chains start, ``[C, ...]``, constrained values where the energy
        is of :func:`~ebmjax.constrain`; best more spread than the target.
      num_steps: T; by default 1000 for one chain, fewer for many, at least 100.
      target: of the acceptance rate; by default that of the kernel.  Where the length of
        trajectories is tuned, it is that of the harmonic mean over chains.
      mass: ``dense``, correlations only as far as the points can tell them from none;
        ``diagonal``; ``auto``, dense up to 64 coordinates; or ``None`` for the step size
        alone.
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
    if num_steps is None:
        num_steps = max(100, int(1000 / num_chains**0.5))
    num_steps = checks.count(num_steps, "num_steps", least=20)
    if not (mass is None or isinstance(mass, str)) or mass not in MASSES:
        raise ValueError(
            f"mass must be 'auto', 'dense', 'diagonal' or None, got {mass!r}"
        )
    template = make_kernel(energy, np.float32(step_size))
    if not isinstance(template, Kernel):
        raise TypeError(
            "make_kernel must return a Kernel of an energy and a step size, got "
            f"{checks.describe(template)}"
        )
    target = target_of(template, target)
    warn_of_many("warm_up", template)
    _check_starts(template, energy, positions, num_chains)
    numbers = np.float32(target), np.float32(step_size)
    found = _compiled(key, make_kernel, energy, positions, *numbers, num_steps, mass)
    found = found._replace(
        acceptance_rate=np.asarray(found.acceptance_rate),
        is_lost=np.asarray(found.is_lost),
    )
    reached = last_rates(found.acceptance_rate).mean()
    length = None if found.num_steps is None else int(found.num_steps)
    kernel = found._replace(num_steps=length).kernel(make_kernel, energy)
    at_walls = functools.partial(share_at_walls, key, kernel, found.position)
    check_adapted(energy, found, positions, reached, target, at_walls=at_walls)
    rates, num_grads = found.acceptance_rate, int(found.num_grads)
    position = found.position
    if constrained is not None:
        position = constrained_of(constrained, position)
    return Tuned(
        kernel, found.step_size, length, position, rates, found.is_lost, num_grads
    )


def tune_step_size(
    key: Key,
    make_kernel: Callable[..., Kernel],
    energy: Energy,
    positions: Position,
    **options: Any,
) -> Tuned:
    """:func:`warm_up` for the step size alone, a scalar."""
    return warm_up(key, make_kernel, energy, positions, mass=None, **options)


def target_of(kernel: Kernel, target: float | None) -> float:
    """The target that is given, or that of the kernel; raises where there is none."""
    target = kernel.acceptance_target if target is None else target
    if target is None:
        raise ValueError(
            "target must be given for a kernel without an acceptance_target, got None"
        )
    checks.between(target, "target")
    return target


def _check_starts(template, energy, positions, num_chains) -> None:
    needs_grad = template.needs_grad
    state = _evaluated(energy, positions, needs_grad)
    bad = np.flatnonzero(~np.isfinite(np.asarray(state.energy)))
    if len(bad):
        raise ValueError(
            "the energy must be finite where the chains start; it is not at chain "
            f"{bad[0]} ({len(bad)} of {num_chains} chains): start them elsewhere"
        )
    check_grad(state, "the chains start")


def last_rates(rates: np.ndarray) -> np.ndarray:
    """Of ``[T]`` acceptance rates those of the second half of the last window."""
    return rates[int((1 + WINDOWS[-1]) / 2 * len(rates)) :]


def check_adapted(
    energy: Energy,
    found: Adapted,
    positions: Position,
    reached: float,
    target: float,
    where: str = "",
    at_walls: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0),
) -> None:
    """Raise or warn where an adaptation failed; ``where`` begins each message, and
    ``at_walls`` is :func:`share_at_walls` of it."""
    _check(found, reached, target, where, at_walls)
    _check_held(positions, found.position, where)
    _check_lost(energy, found, where)


def share_at_walls(
    key: Key, kernel: Kernel, positions: Position
) -> tuple[float, float]:
    """Of some steps of all chains, the share rejected for an infinite energy, and the
    mean acceptance rate of the others."""
    errors, rates = (np.asarray(x) for x in _steps(key, kernel, positions))
    is_wall = np.isposinf(errors)
    others = rates[~is_wall]
    return float(is_wall.mean()), float(others.mean()) if others.size else 0.0


@jax.jit
def _steps(key, kernel, positions):
    chains = parallel(kernel)
    keys = chain_keys(key, checks.num_chains(positions))
    collect = lambda state, info: (info.energy_error, info.acceptance_rate)
    return run(keys, chains, chains.init(positions), 20, collect=collect).draws


def _check(
    found: Adapted,
    reached: float,
    target: float,
    where: str,
    at_walls: Callable[[], tuple[float, float]],
) -> None:
    sizes = _flat(found.step_size)
    largest = np.abs(sizes).max()
    text = (
        f"{where}acceptance ended at {reached:.2f} where {target:.2f} was wanted, "
        f"step size {largest:.3g}"
    )
    if not np.isfinite(sizes).all():
        raise RuntimeError(
            f"the warm-up failed, {text}: the energy has no finite gradient around the "
            "chains"
        )
    is_low = reached <= target - FAR
    share, rate = at_walls() if is_low else (0.0, 0.0)
    if share >= WALLS and rate > target - FAR:
        checks.warn(
            f"{text}: {share:.0%} of the steps end where the energy is infinite, beyond a "
            f"boundary of the support, the others are accepted at {rate:.2f}; "
            "constrain(energy, support) removes the boundary",
            RuntimeWarning,
        )
    elif not target - FAR < reached < 1 - (1 - target) / 4:
        checks.warn(
            f"{text}: more steps, or a start nearer to the typical set", RuntimeWarning
        )


def _check_held(before: Position, after: Position, where: str) -> None:
    """A flat energy, or one that falls for ever, has no density to stay in."""
    reach, far = (np.abs(_flat(tree)).max() for tree in (before, after))
    if far > ESCAPED * (1 + reach):
        checks.warn(
            f"{where}the chains have gone from {reach:.2g} to {far:.2g}: exp(-energy) "
            "seems to have no integral",
            RuntimeWarning,
        )


def _check_lost(energy: Energy, found: Adapted, where: str) -> None:
    lost = np.flatnonzero(found.is_lost)
    if not len(lost):
        return
    energies = np.asarray(_evaluated(energy, found.position, False).energy)
    above = np.median(energies[lost]) - np.median(energies[~found.is_lost])
    few = ", ".join(map(str, lost[:8])) + (", ..." if len(lost) > 8 else "")
    checks.warn(
        f"{where}chains {few} ({len(lost)} of {len(found.is_lost)}) are {above:.3g} "
        "nats above the others and did not count in the warm-up: start them elsewhere, or leave "
        "them out",
        RuntimeWarning,
    )


def _flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


@functools.partial(jax.jit, static_argnames="with_grad")
def _evaluated(energy, positions, with_grad):
    return jax.vmap(lambda x: evaluate(energy, x, with_grad=with_grad))(positions)


@functools.partial(jax.jit, static_argnames=("num_steps", "mass"))
def _compiled(key, make_kernel, energy, positions, target, step_size, num_steps, mass):
    return adapt(
        key,
        make_kernel,
        energy,
        positions,
        num_steps=num_steps,
        mass=mass,
        target=target,
        step_size=step_size,
    )
