"""Tuning from the host: checks, one compiled call of :mod:`ebmjax.adaptation.warmup`, a kernel with fixed parameters.

An adaptation that failed says so: acceptance far from where it should be is told, a step size that is not
finite is an error.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax.adaptation.warmup import STEP_JITTER, WINDOWS, Adapted, adapt
from ebmjax.base import Energy, Kernel, Key, Position, scalar
from ebmjax.kernels.hamiltonian import hmc
from ebmjax.kernels.langevin import mala
from ebmjax.kernels.nuts import nuts
from ebmjax.kernels.random_walk import random_walk
from ebmjax.sampling.initialization import one_point

TARGETS = {  # acceptance at which the sampler is at its best
    random_walk: 0.234,  # Roberts, Gelman & Gilks 1997
    mala: 0.574,  # Roberts & Rosenthal 1998
    hmc: 0.651,  # Beskos et al. 2013
    nuts: 0.85,  # Hoffman & Gelman 2014, figure 3: between 0.6 and 0.9; narrow places want the smaller steps
}
MASSES = ("auto", "dense", "diagonal", None)
OUTSIDE = 1e9  # times the starts: nobody's scale
FAR = 0.15  # an acceptance rate that ends further below its target than this is told


class Tuned(NamedTuple):
    """What :func:`warm_up` found."""

    kernel: Kernel  # with these parameters, fixed
    step_size: Any  # a scalar, a tree like the position, or a matrix [D, D]
    num_steps: int | None  # of a trajectory, where that was free
    position: Position  # [C, ...] where the chains are now
    acceptance_rate: (
        np.ndarray
    )  # [T] of each step, the mean over chains; harmonic where num_steps was free
    num_grads: int  # gradients that it took, of all chains together

    def __repr__(self) -> str:
        size = np.concatenate([np.ravel(x) for x in jax.tree.leaves(self.step_size)])
        length = (
            "" if self.num_steps is None else f", {self.num_steps} steps a trajectory"
        )
        shapes = jax.tree.map(np.shape, self.position)
        return (
            f"Tuned(step size up to {np.abs(size).max():.3g}{length}, chains {shapes})"
        )


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

    Args:
      key: one key.
      make_kernel: ``nuts``, ``mala``, ``random_walk``, ``partial(hmc, num_steps=10)``, or any function of an
        energy and a step size.  Where it also wants ``num_steps``, as ``hmc`` alone does, that is tuned, too:
        made for dozens of chains and more.
      energy: of one point.
      positions: where the chains start, ``[C, ...]``; best wider apart than the target.
      num_steps: T; by default 1000 for one chain, fewer for many, at least 100.
      target: of the acceptance rate; by default the best one known for each kernel of the library.  Where
        the length of trajectories is tuned, too, it is that of the harmonic mean over chains.
      mass: ``dense``, correlations only as far as the points can tell them from none; ``diagonal``;
        ``auto``, dense up to 64 coordinates; or ``None`` for the step size alone.
      step_size: a first guess, of which little depends.

    Returns:
      :class:`Tuned`.

    Raises:
      ValueError: a target outside (0, 1) or unknown for the kernel, a start whose energy is not finite.
      TypeError: a ``partial(hmc, ...)`` without ``num_steps``.
      RuntimeError: the step size is not finite in the end.

    Warns:
      where the acceptance rate ends far from its target, or the chains a billion times further out than
      they began.

    >>> energy = lambda x: 0.5 * jnp.sum((x / jnp.array([1.0, 100.0])) ** 2)
    >>> tuned = warm_up(jax.random.key(0), nuts, energy, jnp.ones((4, 2)))
    >>> samples = sample(jax.random.key(1), tuned.kernel, tuned.position, 1000)  # doctest: +SKIP
    """
    checks.on_host(
        (key, positions), "warm_up", "adapt(key, make_kernel, energy, positions, ...)"
    )
    key = checks.key(key)
    checks.function(make_kernel, "make_kernel")
    if (
        isinstance(make_kernel, partial)
        and make_kernel.func is hmc
        and "num_steps" not in make_kernel.keywords
    ):
        raise TypeError(
            f"make_kernel must be hmc itself, whose num_steps is tuned, or partial(hmc, num_steps=...), got "
            f"partial(hmc, {', '.join(f'{k}={v}' for k, v in make_kernel.keywords.items())})"
        )
    positions = checks.position(positions)
    one_point(positions, scalar(energy))
    num_chains = checks.num_chains(positions)
    checks.positive(step_size, "step_size")
    if num_steps is None:
        num_steps = max(100, int(1000 / num_chains**0.5))
    checks.count(num_steps, "num_steps", least=20)
    target = _target(make_kernel, target)
    if not (mass is None or isinstance(mass, str)) or mass not in MASSES:
        raise ValueError(
            f"mass must be 'auto', 'dense', 'diagonal' or None, got {mass!r}"
        )
    bad = np.flatnonzero(~np.isfinite(np.asarray(jax.vmap(energy)(positions))))
    if len(bad):
        raise ValueError(
            f"the energy must be finite where the chains start; it is not at chain {bad[0]} "
            f"({len(bad)} of {num_chains} chains): start them elsewhere"
        )
    found = _compiled(
        make_kernel, energy, num_steps, mass, key, positions, target, step_size
    )
    rates = np.asarray(found.acceptance_rate)
    _check(found, rates[int((1 + WINDOWS[-1]) / 2 * num_steps) :].mean(), target)
    _check_held(positions, found.position)
    length = None if found.num_steps is None else int(found.num_steps)
    options = (
        {} if length is None else {"num_steps": length, "step_jitter": STEP_JITTER}
    )
    kernel = make_kernel(energy, found.step_size, **options)
    return Tuned(
        kernel, found.step_size, length, found.position, rates, int(found.num_grads)
    )


def _target(make_kernel, target) -> float:
    if target is None:
        target = TARGETS.get(getattr(make_kernel, "func", make_kernel))
        if target is None:
            raise ValueError(
                "target must be given for a kernel that is not of this library, got None"
            )
    checks.between(target, "target")
    return target


def _check(found: Adapted, reached: float, target: float) -> None:
    sizes = np.concatenate([np.ravel(x) for x in jax.tree.leaves(found.step_size)])
    largest = np.abs(sizes).max()
    text = f"acceptance ended at {reached:.2f} where {target:.2f} was wanted, step size {largest:.3g}"
    if not np.isfinite(sizes).all():
        raise RuntimeError(
            f"the warm-up failed, {text}: the energy has no finite gradient around the chains"
        )
    if not target - FAR < reached < 1 - (1 - target) / 4:
        warnings.warn(
            f"{text}: more steps, or a start nearer to the mass of the target",
            RuntimeWarning,
            stacklevel=3,
        )


def _check_held(before: Position, after: Position) -> None:
    """A flat energy, or one that falls for ever, has no density to stay in."""
    reach, far = (
        max(float(np.abs(x).max()) for x in jax.tree.leaves(tree))
        for tree in (before, after)
    )
    if far > OUTSIDE * (1 + reach):
        warnings.warn(
            f"the chains have gone from {reach:.2g} to {far:.2g}: exp(-energy) seems to have no integral",
            RuntimeWarning,
            stacklevel=3,
        )


_compiled = jax.jit(
    lambda make_kernel, energy, num_steps, mass, key, positions, target, step_size: (
        adapt(
            key,
            make_kernel,
            energy,
            positions,
            num_steps=num_steps,
            mass=mass,
            target=target,
            step_size=step_size,
        )
    ),
    static_argnums=(0, 1, 2, 3),
)

tune_step_size = partial(warm_up, mass=None)  # the step size alone, a scalar
