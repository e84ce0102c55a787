"""The divergence monitor of training: diagnoses in words, and roll-backs.

Training of energies diverges without an error.  The gap between data and chains grows,
chains leave the range of the data or freeze, the gradient of the energy grows until a
Langevin step overshoots, or the gradient of the loss explodes.  :func:`diagnose`
detects each of these in the metrics of a chunk of updates.

A :class:`RollbackPolicy` returns to the last healthy state, with a smaller learning
rate and step size, a bounded number of times.  Both are numbers in the training state,
so that nothing is compiled again.  A state counts as healthy only if the ``SETTLED``
updates after it are healthy, too, because divergence is detected late.

:class:`DivergenceMonitor` adds this to a loop in one line; :func:`ebmjax.fit` uses it.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax.objectives.batches import Pairs


class TrainingDiverged(RuntimeError):
    """Training diverged; ``state`` is the last healthy state."""

    def __init__(self, message: str, state: Any):
        super().__init__(message)
        self.state = state


class RollbackPolicy(NamedTuple):
    """The number of roll-backs, and the factors of the learning rate and of the step
    size of chains."""

    max_rollbacks: int = 4
    learning_rate_factor: float = 0.3
    step_size_factor: float = 0.7

    def apply(self, state: Any) -> Any:
        """The last healthy state with smaller steps, and the roll-back counted."""
        return state._replace(
            lr_scale=state.lr_scale * np.float32(self.learning_rate_factor),
            step_size=state.step_size * np.float32(self.step_size_factor),
            num_rollbacks=state.num_rollbacks + np.int32(1),
        )

    def check(self) -> "RollbackPolicy":
        """Raise unless the count is a whole number and the factors lie in (0, 1]."""
        checks.count(self.max_rollbacks, "rollback.max_rollbacks", least=0)
        for name in ("learning_rate_factor", "step_size_factor"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(
                    f"rollback.{name} must lie in (0, 1], got {getattr(self, name)}"
                )
        return self


DEFAULT_ROLLBACK, NO_ROLLBACK = RollbackPolicy(), RollbackPolicy(max_rollbacks=0)
# largest difference of the mean energies of data and chains, in nats
GAP, GAP_PER_DIM = 100.0, 10.0
SETTLED = 25  # healthy updates after a state that make it healthy


class DivergenceMonitor:
    """Monitors a user's training loop: one line after each update.

    It returns the state to continue from: the new one, or, if training diverged, the
    last healthy one with smaller steps, with a warning.

    Args:
      data: the training points ``[N, ...]``, for their extent and dimension.
      max_gap: the largest allowed |E_data - E_model|, in nats; 100 + 10 D by default.
      rollback: the policy; ``NO_ROLLBACK`` raises at once.

    Raises:
      TrainingDiverged: by a call, after the last allowed roll-back.

    >>> monitor = DivergenceMonitor(data)  # doctest: +SKIP
    >>> for batch in batches:  # doctest: +SKIP
    ...     new, metrics = step(key, state, batch)
    ...     state = monitor(new, metrics)
    """

    def __init__(
        self,
        data: Any,
        *,
        max_gap: float | None = None,
        rollback: RollbackPolicy = DEFAULT_ROLLBACK,
    ):
        data = checks.position(data, "data")
        checks.num_chains(data, "data")
        if max_gap is not None:
            checks.positive(max_gap, "max_gap")
        checks.instance(
            rollback, RollbackPolicy, "rollback", "ebmjax.training.divergence"
        ).check()
        # chains of points with labels have labels, those of pairs are points
        data = data.point if isinstance(data, Pairs) else data
        leaves = jax.tree.leaves(data)
        self.extent = max(float(np.max(np.abs(np.asarray(x)))) for x in leaves)
        self.dim = sum(x[0].size for x in leaves)
        self.max_gap, self.rollback = max_gap, rollback
        self.healthy: Any = None  # the state to return to
        self.settled: list[
            tuple[Any, dict[str, np.ndarray]]
        ] = []  # healthy states that are not yet confirmed, in order
        self._pending: list[tuple[Any, dict[str, np.ndarray]]] = []
        self._rows: list[dict[str, np.ndarray]] = []

    def start(self, state: Any) -> None:
        """Set the state before the first update; the first roll-back may return to
        it."""
        self.healthy = state

    def __call__(self, state: Any, metrics: dict[str, Any]) -> Any:
        """After one update, with its metrics; or after several, with metrics
        ``[n]``."""
        rows = {name: np.asarray(x) for name, x in metrics.items()}
        if rows["loss"].ndim == 0:
            self._rows.append(rows)
            if self.healthy is None:
                self.healthy = jax.tree.map(np.asarray, state)
            if len(self._rows) < SETTLED:
                return state
            state = jax.tree.map(np.asarray, state)  # a donated state would be deleted
            rows = {k: np.stack([r[k] for r in self._rows]) for k in rows}
            self._rows = []
        return self.chunk(state, rows)

    def chunk(self, new: Any, metrics: dict[str, np.ndarray], is_last=False) -> Any:
        """The state to continue from, after a chunk of updates with metrics ``[n]``."""
        length, end = len(metrics["loss"]), int(new.step)
        skips = [m["is_skipped"] for m in (*(m for _, m in self._pending), metrics)]
        if not is_last:  # a share needs at least SETTLED updates
            skips.insert(0, np.zeros(SETTLED, bool))
        skips = np.concatenate(skips)[-max(SETTLED, length) :]  # type: ignore[assignment]
        recent = {**metrics, "is_skipped": skips}
        if trouble := diagnose(recent, self.extent, self.dim, self.max_gap):  # type: ignore[arg-type]
            trouble = f"between updates {end - length} and {end}: {trouble}"
            before = self.healthy if self.healthy is not None else new
            self._pending = []
            self.healthy = roll_back(self.rollback, before, trouble)
            return self.healthy
        self._pending.append((new, metrics))
        while len(self._pending) > 1 and end - int(self._pending[0][0].step) >= SETTLED:
            self._settle()
        return new

    def finish(self) -> None:
        """End of training: pending states count as healthy."""
        while self._pending:
            self._settle()

    def _settle(self) -> None:
        state, metrics = self._pending.pop(0)
        self.healthy = state
        self.settled.append((state, metrics))


def roll_back(rollback: RollbackPolicy, state: Any, trouble: str) -> Any:
    """The state to continue from, with a warning that names the cause.

    Raises:
      TrainingDiverged: no roll-back is left.
    """
    used = int(state.num_rollbacks)
    if used >= rollback.max_rollbacks:
        after = f" after {used} roll-backs" if used else ""
        raise TrainingDiverged(f"training diverged{after} {trouble}", state)
    state = rollback.apply(state)
    checks.warn(
        f"training diverged {trouble}; back to update {int(state.step)} with "
        f"{float(state.lr_scale):.2g} times the learning rate "
        f"({used + 1} of {rollback.max_rollbacks} roll-backs)"
    )
    return state


def diagnose(
    metrics: dict[str, np.ndarray],
    data_extent: float,
    dim: int,
    max_gap: float | None = None,
    max_grad: float = 1e8,
) -> str | None:
    """A description of the issue in a chunk of updates; ``None`` if no issue was found.

    Energies are in nats.  The energy of a normal density has a standard deviation of
    sqrt(D / 2), so the limits grow with the number of coordinates D.  They grow with
    the spread of the energies of the data up to a bound.
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
    with np.errstate(invalid="ignore"):  # inf - inf is possible
        gap = known_mean(metrics["energy_data"] - metrics["energy_model"])
    if not abs(gap) < max_gap:
        return (
            f"the energies of data and model are {gap:.3g} apart (limit {max_gap:g}); "
            "lower the learning rate or raise the regularisation"
        )
    spread = known_mean(metrics["energy_spread"])
    if -gap > 10 + 3 * min(spread, dim**0.5):
        return (
            f"the chains are {-gap:.3g} nats above the data, whose energies spread by {spread:.3g}: they "
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
    """The mean of the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _median(values) -> float:
    """As :func:`known_mean`; zero if the metric is missing."""
    if values is None:
        return 0.0
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")
