"""``metrics.csv`` of a run: one row per update, truncated to the step of a
checkpoint."""

import contextlib
import csv
import os
from pathlib import Path
from typing import Any

import numpy as np

from ebmjax import _validation as checks
from ebmjax.experiments.data import DataError
from ebmjax.experiments.data.arrays import check_regular
from ebmjax.experiments.errors import RunError
from ebmjax.sampling import devices


def metrics(path: Path) -> dict[str, np.ndarray]:
    """The columns of ``metrics.csv`` in a folder, one row per update, and ``step``.

    Raises:
      RunError: it is missing or damaged, with the first line that cannot be read.
    """
    names, rows, damage = read(path / "metrics.csv")
    if damage:
        raise RunError(damage)
    columns = np.array(rows, np.float64).reshape(len(rows), len(names))
    return {name: columns[:, i] for i, name in enumerate(names)}


def read(path: Path) -> tuple[list[str], list[list[float]], str]:
    """Names, the rows before the first damaged one, and a description of the damage."""
    try:
        check_regular(path)
        with open(path, newline="") as file:
            lines = list(csv.reader(file))
    except (DataError, OSError, UnicodeDecodeError, csv.Error) as error:
        return [], [], f"{path} is damaged: {error}"
    names, rows = (lines[0] if lines else []), []
    if lines and names[:1] != ["step"]:
        return [], [], f"{path} is damaged: line 1 is not a header"
    for number, line in enumerate(lines[1:], 2):
        try:
            rows.append([float(value) for value in line])
        except ValueError:
            rows.append([])
        before = rows[-2][0] if len(rows) > 1 else -1
        if len(rows[-1]) != len(names) or not rows[-1][0] > before:
            return names, rows[:-1], f"{path} is damaged: line {number}"
    return names, rows, ""


class Rows:
    """``metrics.csv``, truncated to a number of rows and extended; by process 0.

    Raises:
      RunError: the file cannot be written.

    Warns:
      if it is damaged; the rows after the damage are lost.
    """

    def __init__(self, path: Path, keep: int):
        self.path, self.names, self.file = path, None, open(os.devnull, "a")
        if not devices.is_main():
            return
        kept = self._kept(keep) if path.exists() else []
        self.names = kept[0][1:] if kept else None
        aside = path.with_name(path.name + ".tmp")
        try:
            if kept:
                with open(aside, "w", newline="") as file:
                    csv.writer(file).writerows(kept)
                os.replace(aside, path)
            self.file = open(path, "a" if kept else "w", newline="")
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}") from None

    def _kept(self, keep: int) -> list[list[Any]]:
        names, rows, damage = read(self.path)
        rows = [row for row in rows if row[0] < keep]
        if len(rows) < keep:
            damage = damage or f"{self.path} is too short"
            checks.warn(
                f"{damage}; it continues with {len(rows)} of its {keep} rows, and the "
                "training state is not affected",
                RuntimeWarning,
            )
        if not names:
            return []
        whole = [[int(row[0]), *row[1:]] for row in rows]
        return [names, *whole]

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, *_: Any) -> None:
        with contextlib.suppress(OSError):  # write has already reported a full disk
            self.file.close()

    def write(self, first: int, columns: dict[str, np.ndarray]) -> None:
        """Append the rows of some updates, columns ``[T]``."""
        rows = csv.writer(self.file)
        try:
            if self.names is None:
                self.names = sorted(columns)
                rows.writerow(["step", *self.names])
            values = zip(*(columns[n] for n in self.names), strict=True)
            for i, row in enumerate(values):
                rows.writerow([first + i, *(float(v) for v in row)])
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
