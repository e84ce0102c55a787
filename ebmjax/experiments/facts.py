"""Facts about the data of a run, in ``data.npz``: a run is loaded and sampled without
its data.

Numbers that enter the energy (units, the centre and spread of the network, the mean of
the data) are stored exactly.  Points are stored if they take at most 32 MiB, else a
random part of the training and held-out points, for pictures and tables.
"""

import contextlib
import dataclasses
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from ebmjax.experiments.data import DataError, Dataset, is_image
from ebmjax.experiments.data.arrays import read_array_of
from ebmjax.experiments.errors import RunError
from ebmjax.experiments.standardize import Standard

FILE = "data.npz"
MOST_BYTES = 32 * 2**20  # largest size of points that are stored completely
MAY_CHANGE = {
    "num_updates",
    "max_rollbacks",
    "data",
}  # in a continued run


@dataclasses.dataclass(frozen=True)
class Facts:
    """Facts about the data of one run; ``z`` denotes standardised points."""

    standard: Standard
    shape: tuple[int, ...]  # of one z
    num_points: int  # trained on
    num_reference: int  # stored here
    num_classes: int | None
    is_image: bool
    center: float  # mean of all z
    spread: float  # standard deviation of all z
    mean: np.ndarray  # [*shape] of z
    config: dict[str, Any]  # the options at the beginning of the run
    dataset: Dataset  # all data, or the reference points
    held: Dataset | None  # if the dataset is a part: held-out points
    is_whole: bool  # whether the dataset is all data
    given: Standard | None = None  # units of the conditions

    @staticmethod
    def of(
        config: Any,
        dataset: Dataset,
        kept: Dataset,
        held: Dataset | None,
        standard: Standard,
        num_classes: int | None,
    ) -> "Facts":
        """Facts of split and standardised data."""
        z = jnp.asarray(standard.forward(kept.x), jnp.float32)
        is_whole = dataset.x.nbytes <= MOST_BYTES
        num = max(1, MOST_BYTES // max(1, dataset.x[:1].nbytes)) // 2
        head = lambda x: None if x is None else x[:num]
        part = lambda d: d._replace(
            x=d.x[:num], labels=head(d.labels), conditions=head(d.conditions)
        )
        return Facts(
            standard=standard,
            shape=tuple(z.shape[1:]),
            num_points=len(z),
            num_reference=len(z) if is_whole else min(num, len(z)),
            num_classes=num_classes,
            is_image=is_image(dataset),
            center=float(jnp.mean(z)),
            spread=float(jnp.std(z)),
            mean=np.asarray(jnp.mean(z, axis=0)),
            config=dataclasses.asdict(config),
            dataset=dataset if is_whole else part(kept),
            held=None if is_whole or held is None else part(held),
            is_whole=is_whole,
            given=None if kept.conditions is None else _units(kept.conditions),
        )

    def check(self, config: Any) -> None:
        """Raise :class:`RunError` with the names of changed options."""
        now = dataclasses.asdict(config)
        for name, began in self.config.items():
            if name not in MAY_CHANGE and _plain(now.get(name)) != _plain(began):
                raise RunError(
                    f"{name} of config.json is {now.get(name)}, and the run began with "
                    f"{began}; set it back, or begin a new run with --out"
                )

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        arrays = {"mean": self.mean}
        for kind in ("standard", "given"):
            for name, value in (
                (getattr(self, kind) or Standard(None, None))._asdict().items()
            ):
                if value is not None:
                    arrays[f"{kind}.{name}"] = np.asarray(value)
        for name in ("dataset", "held"):
            points = getattr(self, name)
            if points is not None:
                arrays[f"{name}.x"] = points.x
                for beside in ("labels", "conditions"):
                    if (found := getattr(points, beside)) is not None:
                        arrays[f"{name}.{beside}"] = found
        known = self.dataset
        values = {n: getattr(self, n) for n in _NUMBERS} | {
            "config": self.config,
            "data": {n: getattr(known, n) for n in ("name", "range", "is_image")},
            "classes": known.classes,
            "columns": known.columns,
            "condition_columns": known.condition_columns,
            "notes": known.notes,
        }
        text = json.dumps(values).encode()
        write_npz(path, **arrays, facts=np.frombuffer(text, np.uint8))

    @staticmethod
    def load(path: Path) -> "Facts | None":
        """Read a file of :meth:`save`; None if it does not exist.

        Raises:
          RunError: the file is damaged, or of another version.
        """
        if not path.exists():
            return None
        try:
            arrays = read_array_of(path)
            values = json.loads(arrays["facts"].tobytes())
            common = {n: values[n] for n in ("classes", "columns", "notes")}
            common["condition_columns"] = values.get("condition_columns")
            common = {n: v if v is None else tuple(v) for n, v in common.items()}
            common |= values["data"]
            points = lambda name: Dataset(
                x=arrays[f"{name}.x"],
                labels=arrays.get(f"{name}.labels"),
                conditions=arrays.get(f"{name}.conditions"),
                **common,
            )
            of_kind = lambda kind: Standard(
                **{n: arrays.get(f"{kind}.{n}") for n in Standard._fields}
            )
            numbers = {n: values[n] for n in _NUMBERS}
            return Facts(
                **numbers | {"shape": tuple(numbers["shape"])},
                standard=of_kind("standard"),
                given=of_kind("given") if "given.center" in arrays else None,
                mean=arrays["mean"],
                config=values["config"],
                dataset=points("dataset"),
                held=points("held") if "held.x" in arrays else None,
            )
        except (DataError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise RunError(f"{path} is damaged: {error}") from None


_COUNTS = ("shape", "num_points", "num_reference", "num_classes")
_NUMBERS = (*_COUNTS, "is_image", "center", "spread", "is_whole")


def _units(conditions: np.ndarray) -> Standard:
    """Mean 0 and standard deviation 1, of columns that are not only 0 and 1; of a
    constant one its value is 0."""
    is_bit = np.isin(conditions, (0, 1)).all(axis=0)
    spread = np.where(is_bit, 1.0, conditions.std(axis=0))
    center = np.where(is_bit, 0.0, conditions.mean(axis=0))
    is_flat = spread <= 1e-14 * np.abs(center)
    return Standard(center, np.where(is_flat, 1.0, spread))


def write_npz(path: Path, **arrays: Any) -> None:
    """Write an ``.npz`` atomically.

    Raises:
      RunError: the disk is full, the folder cannot be written.
    """
    aside = path.with_name(path.name + ".tmp")
    try:
        with open(aside, "wb") as file:
            np.savez_compressed(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except (OSError, zipfile.BadZipFile) as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or error
        raise RunError(f"{path} cannot be written: {why}") from None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
