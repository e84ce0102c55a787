"""A training run on disk: everything needed to inspect, sample and continue it.

    RUN/config.json    all options, and a digest of the data
    RUN/data.npz       units, sizes, labels, and the data or a part of them
                       (:mod:`ebmjax.experiments.facts`)
    RUN/metrics.csv    one row per update (:mod:`ebmjax.experiments.metrics`)
    RUN/checkpoints/   the training state, the last three checkpoints
                       (:mod:`ebmjax.io.run_directory`)
    RUN/*.png          pictures (:mod:`ebmjax.plotting`)

A killed run continues from its newest valid checkpoint and ends in the same bytes as an
uninterrupted run.  SIGTERM, SIGHUP and Ctrl-C wait for the end of a chunk of updates,
which is saved.  With several processes, process 0 writes.
"""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import jax

from ebmjax import _validation as checks
from ebmjax.experiments import data
from ebmjax.experiments import facts as kept_facts
from ebmjax.experiments.configuration import Config
from ebmjax.experiments.data import DataError, Dataset
from ebmjax.experiments.errors import RunError
from ebmjax.experiments.experiment import Run, build
from ebmjax.experiments.facts import Facts
from ebmjax.experiments.metrics import Rows, metrics
from ebmjax.experiments.standardize import digest
from ebmjax.io import run_directory as folder
from ebmjax.sampling import devices
from ebmjax.training.divergence import TrainingDiverged
from ebmjax.training.fit import placed
from ebmjax.training.step import TrainState

__all__ = ["RunError", "check_new", "load", "metrics", "reopen", "resume", "train"]

CHECKPOINTS = "checkpoints"
# files that a run killed in its first second can leave
BEGINNINGS = {CHECKPOINTS, "config.json.tmp", "data.npz", "data.npz.tmp"}


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
    """Train in a folder with checkpoints; returns the last state.

    ``options`` are those of ``fit``.  ``backend`` writes the checkpoints, ``"npz"`` or
    ``"orbax"`` (:mod:`ebmjax.io.run_directory`); by default that of the newest
    checkpoint.

    Raises:
      RunError: the folder is not empty (and not resumed), or cannot be written.
      FolderError: another run writes there.
      CheckpointError: the checkpoint cannot be written; earlier ones are intact.
      TrainingDiverged: the checkpoint of the last healthy state is in the folder.
      KeyboardInterrupt: a signal to stop, after the chunk is completed and saved.
    """
    backend = folder.check_backend(backend or folder.backend_of(path / CHECKPOINTS))
    with contextlib.ExitStack() as stack:
        if devices.is_main():
            check_new(path) if not is_resumed else folder.check_writable(path)
            stack.enter_context(folder.lock(path))
            if is_resumed:
                _check_same(run, path)
        is_signalled = stack.enter_context(folder.postponed_stop())
        mesh = devices.mesh_of(options.get("devices"))
        state = (
            resume(run, path, mesh) if is_resumed else _begin(run, path, backend, mesh)
        )
        writer = stack.enter_context(Rows(path / "metrics.csv", keep=int(state.step)))
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
            is_stopped = devices.any_of(is_signalled())
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
    """The training state of the newest valid checkpoint; warns of damaged ones."""
    return folder.newest(path / CHECKPOINTS, placed(jax.eval_shape(run.init), mesh))[1]


def load(path: str | Path, data_file: str | None = None) -> tuple[Run, TrainState]:
    """The run in a folder and its last saved state.

    ``run.trained(state)`` is its energy, of points in standardised units:
    ``run.standard.forward(x)``.  If the data are missing or changed, the folder is
    sufficient; arguments as of :func:`reopen`.

    Raises:
      RunError: no run there; CheckpointError.
    """
    run = reopen(path, data_file)
    return run, resume(run, Path(path))


def reopen(
    path: str | Path,
    data_file: str | None = None,
    *,
    is_training: bool = False,
    **changes: Any,
) -> Run:
    """The run in a folder, as :func:`load`, without its state.

    Args:
      data_file: the present path of the data.
      is_training: whether all of the data are needed.
      changes: of the configuration, as far as a continued run allows them:
        ``num_updates``, ``max_rollbacks``.

    Raises:
      RunError: no run there; a file with other data; for training, data that have
        changed, or are missing if the folder has only a part of them.
    """
    path = Path(path)
    config = Config.load(path / "config.json")
    facts = Facts.load(path / kept_facts.FILE)
    if facts is not None:
        facts.check(config)
    dataset = _data_of(config, facts, data_file, is_training)
    return build(dataclasses.replace(config, **changes), dataset, facts)


def _data_of(config, facts, data_file, is_training) -> Dataset:
    """The data from their present path, or the part in the folder."""
    name = config.data if data_file is None else data_file
    reading = {} if name in (*data.TOYS, *data.REAL) else config.reading
    given: dict[str, Any] = {"condition_on": config.condition_on}
    given["levels"] = config.levels
    try:
        dataset = data.load(name, seed=config.seed, **given, **reading)._replace(
            name=config.data
        )
        if config.labels == "none":
            dataset = dataset._replace(labels=None, classes=None)
    except DataError as error:
        if data_file is not None or facts is None:
            raise
        if is_training and not facts.is_whole:
            raise RunError(
                f"{error}; the folder keeps {facts.num_reference} of "
                f"{facts.num_points} points, and training needs all: "
                "--data FILE gives the path of the data"
            ) from None
        return facts.dataset
    if digest(dataset) == config.data_digest:
        return dataset
    if data_file is not None:
        raise RunError(f"{data_file} holds other data than this run was trained on")
    if facts is None or is_training:
        raise RunError(
            f"the data of {config.data!r} have changed since this run began; "
            "--data FILE names the file with the original data"
        )
    checks.warn(
        f"the data of {config.data!r} have changed since this run began, and are not "
        "used; the folder has what is needed"
    )
    return facts.dataset


def check_new(path: Path) -> None:
    """Make a folder; raise unless it is missing or empty and can be written."""
    check_free(path)
    folder.check_writable(path)


def check_free(path: Path) -> None:
    """Raise unless a folder is missing or empty; nothing is created."""
    try:
        if path.exists() and (
            not path.is_dir() or {p.name for p in path.iterdir()} - BEGINNINGS
        ):
            raise RunError(f"{path} exists and is not empty; choose another --out")
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}") from None


def _check_same(run, path) -> None:
    """Raise unless a run is the one in a folder; save options that may change."""
    if (facts := Facts.load(path / kept_facts.FILE)) is not None:
        facts.check(run.config)
    if Config.load(path / "config.json") != run.config:
        run.config.save(path / "config.json")


def _begin(run, path, backend, mesh):
    """Write the first checkpoint, then the configuration, which marks both as
    complete."""
    state = run.init()
    state = devices.put_as(state, placed(state, mesh))
    if devices.is_main():
        (path / CHECKPOINTS).mkdir(exist_ok=True)
    folder.save(path / CHECKPOINTS, 0, state, backend=backend)
    if devices.is_main():
        run.facts.save(path / kept_facts.FILE)
        run.config.save(path / "config.json")
    return state
