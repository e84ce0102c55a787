"""Watching a run of training: what is wrong, in words, and what is done about it.

Energies do not fail loudly.  The gap between data and chains runs away, chains leave the data's box or
freeze, the gradient of the energy grows until a Langevin step overshoots, the gradient of the loss explodes:
each has its sentence in :func:`diagnose`, which looks at the metrics of a chunk of updates.

The remedy is a :class:`RollbackPolicy`: back to the last state that was well, with a smaller learning rate and step
size, a bounded number of times.  Both are numbers in the training state, so that nothing is compiled again.
A chunk counts as well only when the ``SETTLED`` updates after it are, too: what runs away does so for a while
before it is seen.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np

from ebmjax import _validation as checks


class TrainingDiverged(RuntimeError):
    """Training has left the ground; ``state`` and ``step`` are the last that were well."""

    def __init__(self, message: str, state: Any):
        super().__init__(message)
        self.state = state


class RollbackPolicy(NamedTuple):
    """Roll-backs: how often, and by what the learning rate and the step size of chains are multiplied."""

    max_rollbacks: int = 4
    learning_rate_factor: float = 0.3
    step_size_factor: float = 0.7

    def apply(self, state: Any) -> Any:
        """The last state that was well, to be tried again with smaller steps; counted."""
        return state._replace(
            lr_scale=state.lr_scale * np.float32(self.learning_rate_factor),
            step_size=state.step_size * np.float32(self.step_size_factor),
            num_rollbacks=state.num_rollbacks + np.int32(1),
        )

    def check(self) -> "RollbackPolicy":
        """Raise unless the count is whole and the factors lie in (0, 1]."""
        checks.count(self.max_rollbacks, "rollback.max_rollbacks", least=0)
        for name in ("learning_rate_factor", "step_size_factor"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(
                    f"rollback.{name} must lie in (0, 1], got {getattr(self, name)}"
                )
        return self


DEFAULT_ROLLBACK, NO_ROLLBACK = RollbackPolicy(), RollbackPolicy(max_rollbacks=0)
GAP, GAP_PER_DIM = (
    100.0,
    10.0,
)  # nat between the energies of data and chains that still count as training
SETTLED = 25  # updates that must be well after a state before one goes back to it


def roll_back(rollback: RollbackPolicy, state: Any, trouble: str) -> Any:
    """The state to go on from, with a warning that says what was seen.

    Raises:
      TrainingDiverged: the roll-backs are used up, or there were none.
    """
    used = int(state.num_rollbacks)
    if used >= rollback.max_rollbacks:
        after = f" after {used} roll-backs" if used else ""
        raise TrainingDiverged(f"training diverged{after} {trouble}", state)
    state = rollback.apply(state)
    warnings.warn(
        f"training diverged {trouble}; back to update {int(state.step)} with "
        f"{float(state.lr_scale):.2g} times the learning rate "
        f"({used + 1} of {rollback.max_rollbacks} roll-backs)",
        stacklevel=3,
    )
    return state


def diagnose(
    metrics: dict[str, np.ndarray],
    data_extent: float,
    dim: int,
    max_gap: float | None = None,
    max_grad: float = 1e8,
) -> str | None:
    """What is wrong with a chunk of updates, in words; ``None`` when nothing is.

    Energies are in nat, and a normal density has a spread of sqrt(D / 2): what counts as too much grows with
    the number of coordinates D, and with the spread of the data's energies only as far as that is believable.
    """
    skipped = metrics["is_skipped"].mean()
    if skipped > 0.5:
        return f"{skipped:.0%} of the updates had a gradient, loss or step that was not finite"
    grad = _median(metrics.get("grad_norm"))
    if not grad < max_grad:
        return f"the gradient of the loss has norm {grad:.3g} (limit {max_grad:g}); lower the learning rate"
    max_gap = GAP + GAP_PER_DIM * dim if max_gap is None else max_gap
    return (
        _of_chains(metrics, data_extent, dim, max_gap)
        if "energy_model" in metrics
        else None
    )


def _of_chains(metrics, data_extent, dim, max_gap) -> str | None:
    with np.errstate(invalid="ignore"):  # infinities may meet
        gap = known_mean(metrics["energy_data"] - metrics["energy_model"])
    if not abs(gap) < max_gap:
        return (
            f"the energies of data and model are {gap:.3g} apart (limit {max_gap:g}); "
            "lower the learning rate or raise the regularisation"
        )
    spread = known_mean(metrics["energy_spread"])
    if -gap > 10 + 3 * min(spread, dim**0.5):
        return (
            f"the chains are {-gap:.3g} nat above the data, whose energies spread by {spread:.3g}: they "
            "no longer follow the energy; lower the learning rate, add noise, or run more steps"
        )
    acceptance = known_mean(metrics["acceptance_rate"])
    if acceptance < 0.005:
        return (
            f"the chains froze, acceptance {acceptance:.4f} at step size "
            f"{metrics['step_size'][-1]:.3g}; lower it, or set an acceptance target"
        )
    extent = np.nanmax(metrics["chain_extent"], initial=0.0)
    if extent > 30 * max(data_extent, 1e-6):
        return (
            f"chains are at |x| = {extent:.3g} where the data reach {data_extent:.3g}; "
            "use a network with a confinement term"
        )
    drift = _median(metrics.get("drift"))
    if drift > 30 * max(data_extent, 1e-6):
        return (
            f"the gradient of the energy exploded: a Langevin step drifts by {drift:.3g} where the data "
            f"reach {data_extent:.3g}; lower the learning rate or the step size"
        )
    return None


def known_mean(values) -> float:
    """Of what is not NaN; NaN where nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _median(values) -> float:
    """As :func:`known_mean`; zero where the metric is not kept."""
    if values is None:
        return 0.0
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")
