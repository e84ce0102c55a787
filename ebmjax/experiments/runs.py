"""A training run on disk: everything needed to look at it and to go on.

    RUN/config.json       every choice, and a digest of the data
    RUN/metrics.csv       a row an update
    RUN/checkpoints/      the whole training state, the last three times (:mod:`ebmjax.io.run_directory`)
    RUN/*.png             pictures (:mod:`ebmjax.plotting`)

A run that was killed goes on from its newest good checkpoint and ends in the same bytes as one that was not.
SIGTERM and Ctrl-C wait for the end of a chunk of updates, which is saved.  With several processes, 0 writes.
"""

import contextlib
import csv
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ebmjax.experiments import data
from ebmjax.experiments.experiment import Config, Run, RunError, build
from ebmjax.io import run_directory as folder
from ebmjax.sampling import devices
from ebmjax.training.divergence import TrainingDiverged
from ebmjax.training.fit import placed
from ebmjax.training.step import TrainState

CHECKPOINTS = "checkpoints"
BEGINNINGS = {
    CHECKPOINTS,
    "config.json.tmp",
}  # all that a run killed in its first second has left


def train(
    run: Run,
    path: Path,
    *,
    is_resumed: bool = False,
    progress: Any = True,
    save_every: int = 100,
    backend: str | None = None,
    **options: Any,
) -> TrainState:
    """Train in a folder, saving as it goes; returns the last state.  ``options`` are those of ``fit``.

    ``backend`` writes the checkpoints, ``"npz"`` or ``"orbax"`` (:mod:`ebmjax.io.run_directory`); where none is
    named, that of the newest there.

    Raises:
      RunError: the folder is not empty (and not resumed), or cannot be written.
      FolderError: another run writes there.
      CheckpointError: nothing could be saved; what was saved before is intact.
      TrainingDiverged: with the checkpoint of the last good state in the folder.
      KeyboardInterrupt: told to stop, after a chunk was finished and saved.
    """
    backend = folder.check_backend(backend or folder.backend_of(path / CHECKPOINTS))
    with contextlib.ExitStack() as stack:
        if devices.is_main():
            if not is_resumed:
                check_new(path)
            stack.enter_context(folder.lock(path))
        is_told = stack.enter_context(folder.postponed_stop())
        mesh = devices.mesh_of(options.get("devices"))
        state = (
            resume(run, path, mesh) if is_resumed else _begin(run, path, backend, mesh)
        )
        writer = stack.enter_context(_Rows(path / "metrics.csv", keep=int(state.step)))
        current, saved = state, int(state.step)

        def save():
            nonlocal saved
            if int(current.step) > saved:
                writer.sync()
                folder.save(
                    path / CHECKPOINTS, int(current.step), current, backend=backend
                )
                saved = int(current.step)

        def on_chunk(state, metrics):
            nonlocal current
            writer.write(int(state.step) - len(metrics["loss"]), metrics)
            current = state
            is_stopped = devices.any_of(is_told())
            if is_stopped or int(state.step) - saved >= save_every:
                save()
            if is_stopped and int(state.step) < run.config.num_updates:
                raise KeyboardInterrupt

        try:
            current, _ = run.fit(state, on_chunk=on_chunk, progress=progress, **options)
        except (TrainingDiverged, KeyboardInterrupt):
            save()
            raise
        save()
    return current


def resume(run: Run, path: Path, mesh: jax.sharding.Mesh | None = None) -> TrainState:
    """The training state of a folder, from its newest good checkpoint; warns of damaged ones."""
    return folder.newest(path / CHECKPOINTS, placed(jax.eval_shape(run.init), mesh))[1]


def metrics(path: Path) -> dict[str, np.ndarray]:
    """The columns of ``metrics.csv``, an update a row, and ``step``."""
    with open(path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        name: np.array([float(r[name]) for r in rows])
        for name in (rows[0] if rows else [])
    }


def load(path: str | Path) -> tuple[Run, TrainState]:
    """The run in a folder and its last saved state; the data are read again.

    ``run.trained(state)`` is its energy, of points in standardised units: ``run.standard.forward(x)``.

    Raises:
      RunError: no run there, or its data have changed; CheckpointError, DataError.
    """
    run = reopen(path)
    return run, resume(run, Path(path))


def reopen(path: str | Path) -> Run:
    """The run in a folder, as :func:`load`, without its state."""
    config = Config.load(Path(path) / "config.json")
    return build(config, data.load(config.data, seed=config.seed))


def check_new(path: Path) -> None:
    """Raise unless a folder is missing or empty and can be written: before the hours, not after."""
    try:
        if path.exists() and (
            not path.is_dir() or {p.name for p in path.iterdir()} - BEGINNINGS
        ):
            raise RunError(f"{path} exists and is not empty; choose another --out")
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}") from None
    folder.check_writable(path)


def _begin(run, path, backend, mesh):
    """The first checkpoint, then the configuration: a folder that has one has the other."""
    state = run.init()
    state = devices.put_as(state, placed(state, mesh))
    if devices.is_main():
        (path / CHECKPOINTS).mkdir(exist_ok=True)
    folder.save(path / CHECKPOINTS, 0, state, backend=backend)
    if devices.is_main():
        run.config.save(path / "config.json")
    return state


class _Rows:
    """``metrics.csv``, cut back to the checkpoint's step and appended to; by process 0 alone."""

    def __init__(self, path: Path, keep: int):
        self.path, kept = path, []
        if path.exists():
            with open(path, newline="") as file:
                kept = list(csv.reader(file))[: keep + 1]
        self.names: list[str] | None = kept[0][1:] if kept else None
        self.file = open(path if devices.is_main() else os.devnull, "a", newline="")
        if devices.is_main() and kept:
            aside = path.with_name(path.name + ".tmp")
            with open(aside, "w", newline="") as file:
                csv.writer(file).writerows(kept)
            os.replace(aside, path)
            self.file = open(path, "a", newline="")

    def __enter__(self) -> "_Rows":
        return self

    def __exit__(self, *_: Any) -> None:
        with contextlib.suppress(OSError):  # a full disk has been told of by write
            self.file.close()

    def write(self, first: int, columns: dict[str, np.ndarray]) -> None:
        rows = csv.writer(self.file)
        try:
            if self.names is None:
                self.names = sorted(columns)
                rows.writerow(["step", *self.names])
            for i, values in enumerate(
                zip(*(columns[n] for n in self.names), strict=True)
            ):
                rows.writerow([first + i, *(float(v) for v in values)])
            self.file.flush()
        except OSError as error:
            why = error.strerror or error
            raise RunError(
                f"{self.path} cannot be written: {why}; the checkpoints are intact"
            ) from error

    def sync(self) -> None:
        """Rows are on disk before the checkpoint that counts them."""
        if devices.is_main():
            os.fsync(self.file.fileno())
