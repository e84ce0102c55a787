"""Training without files, with a history, a signal to stop, and a number of updates
that fits a time; for :mod:`benchmarks.likelihood`.

The updates are those of :func:`ebmjax.experiments.runs.train`.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ebmjax._value import as_function
from ebmjax.cli import measurement
from ebmjax.experiments import experiment
from ebmjax.io import run_directory

LAST = 100  # updates, over which the gap is taken
CHUNK = 50  # updates in one compiled call
NUM_TIMED = 100  # updates that are timed to choose the number of updates
NUM_POINTS = 40  # of a history
NUM_COMPARED = 1000  # training points, and held-out points, of a history


def updates_in(seconds: float, build: Callable[[int], experiment.Run]) -> int:
    """How many updates take so long, by the time of the first, a multiple of 100.

    ``build(num_updates)`` makes the run.
    """
    run = build(NUM_TIMED + CHUNK)
    ends: list[float] = []
    run.fit(run.init(), chunk=CHUNK, progress=lambda *_: ends.append(time.time()))
    each = (ends[-1] - ends[0]) / NUM_TIMED  # the first chunk compiles
    return max(LAST, int(seconds / each / 100) * 100)


def train(run: experiment.Run, history: "History") -> Any:
    """The last state; a signal to stop raises KeyboardInterrupt after a chunk."""
    with run_directory.postponed_stop() as is_signalled:

        def on_chunk(state, metrics):
            history.add(state, metrics)
            if is_signalled():
                raise KeyboardInterrupt

        return run.fit(run.init(), on_chunk=on_chunk, chunk=CHUNK)[0]


@jax.jit
def energies(energy: Any, x: Any) -> jax.Array:
    return jax.vmap(energy)(x)


class History:
    """Metrics of a run, and at ``NUM_POINTS`` times their means."""

    def __init__(self, run: experiment.Run):
        self.run = run
        self.points: list[dict[str, float]] = []
        self.metrics: list[dict[str, np.ndarray]] = []
        self.num_updates, self.num_shown = 0, 0
        key_kept, key_held = jax.random.split(jax.random.key(run.config.seed))
        held = measurement.held_out(run, "")
        some = lambda key, z: measurement.noisy(key, run, z[:NUM_COMPARED])
        self.groups = some(key_kept, run.z), some(key_held, held)

    def add(self, state: Any, metrics: dict[str, np.ndarray]) -> None:
        """The metrics ``[n]`` of the updates before a state."""
        self.metrics.append(metrics)
        self.num_updates = int(state.step)
        every = -(-self.run.config.num_updates // NUM_POINTS)
        if self.num_updates - self.num_shown < every:
            return
        recent = self.last(self.num_updates - self.num_shown)
        names = ("energy_data", "energy_model", "energy_spread", "acceptance_rate")
        point = {}
        if np.isfinite(recent["step_size"][-1]):  # of updates with chains
            point = {name: float(np.nanmean(recent[name])) for name in names}
            point |= {"step_size": float(recent["step_size"][-1])}
        averaged = as_function(self.run.trained(state))
        kept, held = (energies(averaged, x).mean() for x in self.groups)
        point |= {"held out - training data": float(held - kept)}
        self.points.append({"update": self.num_updates, **point})
        self.num_shown = self.num_updates

    def last(self, num: int) -> dict[str, np.ndarray]:
        """The metrics of the last updates."""
        names = self.metrics[0]
        return {n: np.concatenate([m[n] for m in self.metrics])[-num:] for n in names}

    def gap(self) -> dict[str, float]:
        """The gap at the end, with the standard error of one update."""
        if not self.metrics:
            return {}
        tail, config = self.last(LAST), self.run.config
        if np.isnan(tail["energy_spread"]).all():  # of updates without chains
            return {}
        spread = np.nanmean(tail["energy_spread"])
        error = spread * np.sqrt(1 / config.batch_size + 1 / config.num_chains)
        gap = float(np.nanmean(tail["energy_data"] - tail["energy_model"]))
        return {"gap": gap, "batch error": float(error), "spread": float(spread)}
