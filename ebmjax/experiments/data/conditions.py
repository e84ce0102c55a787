"""What points are given: columns of a table, labels, or both.

``condition_on`` is a list of columns, by heading or by number from 1 among the columns
of numbers, and the word ``label``: ``"temperature,pressure"``, ``"3"``, ``"label"``.
Conditions are rows ``[N, M]``: the columns as they are, then a one-hot row of the
label.
"""

from typing import Any

import numpy as np

from ebmjax.experiments.data.dataset import DataError, Dataset

LABEL = "label"


def split(dataset: Dataset, condition_on: str) -> Dataset:
    """Points without the columns that they are given, which become ``conditions``.

    Raises:
      DataError: unknown columns, no labels, no column left for the points.

    >>> data = Dataset("mine", np.arange(6.0).reshape(3, 2), columns=("x", "t"))
    >>> split(data, "t").x.tolist(), split(data, "t").conditions.tolist()
    ([[0.0], [2.0], [4.0]], [[1.0], [3.0], [5.0]])
    """
    names = [name.strip() for name in condition_on.split(",") if name.strip()]
    if not names:
        return dataset
    parts, shown = [], []
    columns = [_column(dataset, name) for name in names if name.lower() != LABEL]
    if len(set(columns)) < len(columns):
        raise DataError(f"--condition-on {condition_on} names a column twice")
    if columns:
        x = dataset.x
        rest = [i for i in range(x.shape[1]) if i not in columns]
        if not rest:
            raise DataError(
                f"--condition-on {condition_on} leaves no column for the points of "
                f"{dataset.name}"
            )
        heads = dataset.columns or tuple(str(i + 1) for i in range(x.shape[1]))
        parts.append(np.asarray(x[:, columns], np.float64))
        shown += [heads[i] for i in columns]
        dataset = dataset._replace(
            x=np.ascontiguousarray(x[:, rest]), columns=tuple(heads[i] for i in rest)
        )
    if len(columns) < len(names):
        labels = dataset.labels
        if labels is None:
            raise DataError(
                f"--condition-on label: {dataset.name} has no labels; --labels names "
                "their column"
            )
        parts.append(np.eye(int(labels.max()) + 1)[labels])
        shown += [f"{LABEL}={c}" for c in classes_of(dataset)]
    note = f"points of {_size(dataset.x)} numbers, given {', '.join(shown[:12])}"
    return dataset._replace(
        conditions=np.concatenate(parts, axis=1),
        condition_columns=tuple(shown),
        notes=(*dataset.notes, note),
    )


def classes_of(dataset: Dataset) -> tuple:
    """The classes as they are in the file, or 0 to K - 1."""
    assert dataset.labels is not None
    return dataset.classes or tuple(range(int(dataset.labels.max()) + 1))


def row(columns: tuple[str, ...], values: str, label: str) -> np.ndarray:
    """The condition ``[M]`` of values, ``"1.5,2"`` in the order of the columns, and a
    label.

    Raises:
      DataError: a number of values that is not that of the columns, no numbers, an
        unknown label, or none where there must be one.

    >>> row(("t", "label=a", "label=b"), "0.5", "b").tolist()
    [0.5, 0.0, 1.0]
    """
    plain = [c for c in columns if not c.startswith(f"{LABEL}=")]
    known = [c.removeprefix(f"{LABEL}=") for c in columns[len(plain) :]]
    try:
        found = [float(v) for v in values.split(",")] if values.strip() else []
    except ValueError:
        found = [np.nan]
    if len(found) != len(plain) or not np.isfinite(found).all():
        wanted = ", ".join(plain) or "no values"
        raise DataError(f"--condition must be {wanted} as numbers, got {values!r}")
    if bool(known) != bool(label) or (label and label not in known):
        wanted = f"one of {', '.join(known)}" if known else "left out: there are none"
        raise DataError(f"--label must be {wanted}; got {label!r}")
    return np.array([*found, *(float(label == k) for k in known)])


def _column(dataset, name: str) -> int:
    x, heads = dataset.x, dataset.columns or ()
    if x.ndim != 2:
        raise DataError(
            f"--condition-on {name}: {dataset.name} is no table of columns; label is "
            "what its points can be given"
        )
    lower = [str(h).lower() for h in heads]
    if name.lower() in lower:
        return lower.index(name.lower())
    if name.isdecimal() and 1 <= int(name) <= x.shape[1]:
        return int(name) - 1
    listed = ", ".join(map(str, heads)) or f"1 to {x.shape[1]}"
    raise DataError(f"--condition-on {name}: {dataset.name} has the columns {listed}")


def _size(x: Any) -> str:
    return " x ".join(map(str, x.shape[1:]))
