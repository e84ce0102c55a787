"""A training run on disk: everything needed to look at it and to go on.

    RUN/config.json       every choice, and a digest of the data
    RUN/metrics.csv       a row an update
    RUN/checkpoint.npz    the whole training state (:mod:`ebmjax.checkpoint`)
    RUN/*.png             pictures (:mod:`ebmjax.plotting`)

A run that was killed goes on from its checkpoint and ends in the same bytes as one that was not.
"""

import csv
import os
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ebmjax import checkpoint, data
from ebmjax.experiment import Config, Run, RunError, build
from ebmjax.training import TrainState


def train(run: Run, folder: Path, *, is_resumed: bool = False, progress: Any = True, save_every: int = 100):
    """Train in a folder, saving as it goes; returns the last state.

    Raises:
      RunError: the folder is not empty (and not resumed), or cannot be written.
      TrainingDiverged: with the checkpoint of the last good state in the folder.
    """
    state = resume(run, folder) if is_resumed else _begin(run, folder)
    last_saved = int(state.step)
    writer = _Rows(folder / "metrics.csv", keep=last_saved)
    current = [state]

    def on_chunk(state, metrics):
        nonlocal last_saved
        first = int(state.step) - len(metrics["loss"])
        writer.write(first, metrics)
        current[0] = state
        if int(state.step) - last_saved >= save_every:
            _save(folder, state)
            last_saved = int(state.step)

    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        state, _ = run.fit(state, on_chunk=on_chunk, progress=progress)
        current[0] = state
    finally:
        signal.signal(signal.SIGTERM, previous)
        writer.close()
        _save(folder, current[0])
    return state


def resume(run: Run, folder: Path) -> TrainState:
    """The training state of a folder."""
    like = jax.eval_shape(run.init)
    return checkpoint.load(folder / "checkpoint.npz", like)


def metrics(folder: Path) -> dict[str, np.ndarray]:
    """The columns of ``metrics.csv``, an update a row, and ``step``."""
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(r[name]) for r in rows]) for name in (rows[0] if rows else [])}


def load(folder: Path) -> tuple[Run, TrainState]:
    """The run in a folder and its last saved state; the data are read again.

    Raises:
      RunError: no run there, or its data have changed; CheckpointError, DataError.
    """
    config = Config.load(folder / "config.json")
    run = build(config, data.load(config.data, seed=config.seed))
    return run, resume(run, folder)


def check_new(folder: Path) -> None:
    """Raise unless a folder is missing or empty and can be written: before the hours, not after."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RunError(f"{folder} exists and is not empty; choose another --out, or --resume it")
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror or error}") from None


def _begin(run, folder):
    check_new(folder)
    state = run.init()
    run.config.save(folder / "config.json")
    _save(folder, state)
    return state


def _save(folder, state):
    checkpoint.save(folder / "checkpoint.npz", state, step=int(state.step))


def _interrupt(signum, frame):
    raise KeyboardInterrupt


class _Rows:
    """``metrics.csv``, cut back to the checkpoint's step and appended to."""

    def __init__(self, path: Path, keep: int):
        kept = []
        if path.exists():
            with open(path, newline="") as file:
                kept = list(csv.reader(file))[: keep + 1]
            aside = path.with_name(path.name + ".tmp")
            with open(aside, "w", newline="") as file:
                csv.writer(file).writerows(kept)
            os.replace(aside, path)
        self.file = open(path, "a", newline="")
        self.rows = csv.writer(self.file)
        self.names: list[str] | None = kept[0][1:] if kept else None

    def write(self, first: int, columns: dict[str, np.ndarray]) -> None:
        if self.names is None:
            self.names = sorted(columns)
            self.rows.writerow(["step", *self.names])
        for i, values in enumerate(zip(*(columns[n] for n in self.names), strict=True)):
            self.rows.writerow([first + i, *(float(v) for v in values)])
        self.file.flush()

    def close(self) -> None:
        self.file.close()
