"""The divergence monitor of training: roll-backs to the last healthy state.

Training of energies diverges without an error;
:func:`ebmjax.training.diagnosis.diagnose` detects it in the metrics of a chunk of
updates.

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
from ebmjax.training.diagnosis import diagnose


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
        is_skipped = np.concatenate(skips)[-max(SETTLED, length) :]
        recent = {**metrics, "is_skipped": is_skipped}
        if trouble := diagnose(recent, self.extent, self.dim, self.max_gap):
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
