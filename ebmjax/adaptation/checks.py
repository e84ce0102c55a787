"""What a warm-up checks: its arguments, its starts, and where it ended.

An adaptation that failed says so: acceptance far from its target is a warning, so are
chains that are lost, and a step size that is not finite is an error.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax.adaptation.schedule import WINDOWS
from ebmjax.adaptation.warmup import Adapted
from ebmjax.base import Energy, Kernel, Key, Position, evaluate
from ebmjax.kernels.chains import parallel
from ebmjax.sampling.initialization import check_grad
from ebmjax.sampling.loop import chain_keys, run
from ebmjax.spaces import REAL

COVARIANCES = ("auto", "dense", "diagonal", None)
ESCAPED = 1e9  # times the starts: chains that are further out have escaped
WALLS = 0.01  # share of steps beyond a hard boundary, of which a warning speaks
FAR = 0.15  # an acceptance rate that ends further below its target is a warning


def steps_of(num_steps: int | None, num_chains: int) -> int:
    """The number of steps that is given; by default fewer for many chains."""
    if num_steps is None:
        num_steps = max(100, int(1000 / num_chains**0.5))
    return checks.count(num_steps, "num_steps", least=20)


def check_covariance(covariance: Any) -> None:
    """Raise where it is none of :data:`COVARIANCES`."""
    if (
        not (covariance is None or isinstance(covariance, str))
        or covariance not in COVARIANCES
    ):
        raise ValueError(
            "covariance must be 'auto', 'dense', 'diagonal' or None, got "
            f"{covariance!r}"
        )


def covariance_of(kernel: Kernel, covariance: str | None) -> str | None:
    """The covariance that is given; none where the kernel is of discrete states.

    Raises:
      ValueError: a covariance of discrete states.
    """
    if kernel.state_space == REAL:
        return covariance
    if covariance in ("dense", "diagonal"):
        raise ValueError(
            f"covariance must be None or 'auto' for a kernel of {kernel.state_space} "
            f"points, whose step size is one number, got {covariance!r}"
        )
    return None


def target_of(kernel: Kernel, target: float | None) -> float:
    """The target that is given, or that of the kernel; raises where there is none."""
    target = kernel.acceptance_target if target is None else target
    if target is None:
        raise ValueError(
            "target must be given for a kernel without an acceptance_target, got None"
        )
    checks.between(target, "target")
    return target


def check_starts(energy: Energy, positions: Position, needs_grad: bool) -> None:
    """Raise where the energy, or its gradient, is not finite at a start."""
    state = _evaluated(energy, positions, needs_grad)
    bad = np.flatnonzero(~np.isfinite(np.asarray(state.energy)))
    if len(bad):
        raise ValueError(
            "the energy must be finite where the chains start; it is not at chain "
            f"{bad[0]} ({len(bad)} of {len(state.energy)} chains): start them elsewhere"
        )
    check_grad(state, "the chains start")


def last_rates(rates: Any) -> Any:
    """Of ``[T]`` acceptance rates those of the second half of the last window."""
    return rates[int((1 + WINDOWS[-1]) / 2 * len(rates)) :]


def check_adapted(
    energy: Energy,
    found: Adapted,
    positions: Position,
    target: float,
    where: str = "",
    at_walls: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0),
) -> None:
    """Raise or warn where an adaptation failed; ``where`` begins each message, and
    ``at_walls`` is :func:`share_at_walls` of it."""
    reached = last_rates(found.acceptance_rate).mean()
    _check_acceptance(found, reached, target, where, at_walls)
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


def _check_acceptance(
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
            f"{text}: {share:.0%} of the steps end where the energy is infinite, "
            f"beyond a boundary of the support, the others are accepted at {rate:.2f}; "
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
        "nats above the others and did not count in the warm-up: start them elsewhere, "
        "or leave them out",
        RuntimeWarning,
    )


@functools.partial(jax.jit, static_argnames="with_grad")
def _evaluated(energy, positions, with_grad):
    return jax.vmap(lambda x: evaluate(energy, x, with_grad=with_grad))(positions)


def _flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
