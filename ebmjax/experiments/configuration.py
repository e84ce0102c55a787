"""The configuration of a run, and its file: a small regular file, its fields of the
right types."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, get_type_hints

from ebmjax.experiments.classes import SHARE_HELD
from ebmjax.experiments.data.arrays import check_regular
from ebmjax.experiments.data.dataset import DataError
from ebmjax.experiments.errors import RunError

MOST_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class Config:
    """All options of a run; lengths are in standardised units (images span [0, 1])."""

    data: str
    objective: str = "maximum_likelihood"
    network: str = "mlp"
    features: tuple[int, ...] = (128, 128)
    is_spectral: bool = False
    first_layer_scale: float = 1.0  # of its initial weights, mlp
    # or trained: a factor of the quadratic term, and the scale of the energy
    confinement: str = "fixed"
    noise: float = 0.0  # sigma, of the Gaussian noise added to the data
    # pixels by which images are shifted at random; in denoising_updates, if there are
    # any, and else in all, and some chains with them
    shift: int = 0
    noise_ratio: int = 4  # noise points a data point (nce, ranking)
    # noise of a point against itself (conditional, energy_discrepancy)
    perturbation_scale: float = 0.3
    kernel: str = "mala"
    chain_init: str = "buffer"
    chain_steps: int = 10
    # moves of each chain between modes, after its steps: candidates from a normal that
    # is fitted to the data
    global_steps: int = 0
    # of the first update; adapted where the kernel has an acceptance target
    step_size: float = 0.3
    num_chains: int = 256
    buffer_size: int = 1024
    # 0: chains that have not converged raise the energy at their positions
    restart_probability: float = 0.0
    batch_size: int = 256
    learning_rate: float = 2e-3
    # the first of num_updates: denoising score matching, before the objective
    denoising_updates: int = 0
    denoising_rate: float = 3e-3  # their learning rate
    regularisation: float = 0.0
    # of the training chains; the density learned is exp(-E / temperature)
    temperature: float = 1.0
    # before a diverging run stops
    max_rollbacks: int = 4
    ema_decay: float = 0.995
    num_updates: int = 3000
    held_out: float = SHARE_HELD  # share of the data that is not trained on
    labels: str = "auto"  # these three: options of reading a data file
    header: str = "auto"
    layout: str = "auto"
    condition_on: str = ""  # what points are given: columns, or label
    levels: int = 0  # in which the values of the data are put; 0: as they are
    seed: int = 0
    data_digest: str = ""

    def save(self, path: Path) -> None:
        aside = path.with_name(path.name + ".tmp")
        aside.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")
        os.replace(aside, path)  # atomic

    @staticmethod
    def load(path: Path) -> "Config":
        """Read a ``config.json``; raises :class:`RunError` if it is invalid."""
        try:
            return Config(**read_json(path, Config))
        except (ValueError, TypeError) as error:
            if isinstance(error, RunError):
                raise
            raise RunError(
                f"{path} is not a configuration of this version: {error}"
            ) from None

    @property
    def reading(self) -> dict[str, str]:
        """The options of reading a data file."""
        return {"labels": self.labels, "header": self.header, "layout": self.layout}


def read_json(path: Path, kind: type) -> dict[str, Any]:
    """The fields of a dataclass of names and numbers, with checked types.

    Raises:
      RunError: no such file, or a folder, a pipe, a very long file, or not JSON.
      ValueError, TypeError: JSON with other fields or types.
    """
    folder = path.parent
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is not a run: it is a file, not a folder")
    try:
        check_regular(path)
    except DataError as error:
        if "does not exist" not in str(error):
            raise RunError(f"{folder} is not a run: {error}") from None
        raise RunError(f"{folder} is not a run: it has no {path.name}") from None
    if path.stat().st_size > MOST_BYTES:
        raise RunError(f"{path} is not a configuration: it is longer than a megabyte")
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    except (RecursionError, MemoryError):
        raise ValueError("it is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("it is not an object of names and values")
    hints = get_type_hints(kind)
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"unknown fields {', '.join(unknown[:5])}")
    return {name: _typed(name, v, hints[name]) for name, v in values.items()}


def _typed(name: str, value: Any, hint: Any) -> Any:
    if hint in (bool, str) and type(value) is hint:
        return value
    if hint is int and type(value) is int:
        return value
    if hint is float and type(value) in (int, float):
        return float(value)
    is_list = isinstance(value, list) and all(type(v) is int for v in value)
    if hint not in (bool, str, int, float) and is_list:
        return tuple(value)
    raise TypeError(f"{name} is {str(value)[:40]!r}, a {type(value).__name__}")
