"""Labels of any kind, mapped to 0, ..., K - 1 in their order; the mapping is stored."""

import numpy as np

from ebmjax.experiments.data.dataset import DataError


def encode(path, labels: np.ndarray, num: int) -> tuple[np.ndarray, tuple, list[str]]:
    """Labels ``[N]`` from 0, the classes ``[K]`` that they represent, and a note.

    Accepted are whole numbers of any dtype, booleans, words, a column ``[N, 1]``, and
    one-hot rows ``[N, K]``.

    Raises:
      DataError: another number of labels than points, fractions, NaN, or almost as
        many classes as points.

    >>> encode("mine", np.array([3.0, 7.0, 3.0, 7.0]), 4)[:2]
    (array([0, 1, 0, 1], dtype=int32), (3, 7))
    """
    labels, notes = np.asarray(labels), []
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and len(labels) == num and _is_one_hot(labels):
        labels = labels.argmax(axis=1)
        notes.append("labels: one-hot rows, the class is the column of the one")
    if labels.shape != (num,):
        raise DataError(
            f"{path} must hold one whole label a point, {num}, got "
            f"{labels.dtype} of shape {labels.shape}"
        )
    if labels.dtype.kind == "f":
        bad = ~np.isfinite(labels) | (labels != np.round(labels))
        if bad.any() or np.abs(labels).max() > 2**53:
            shown = labels[bad][:3].tolist() or labels[:3].tolist()
            raise DataError(f"{path} must hold whole labels, got {shown}")
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iubUS":
        raise DataError(f"{path} must hold whole labels, got {labels.dtype}")
    values, codes = np.unique(labels, return_inverse=True)
    if len(values) > max(2, num // 2):
        raise DataError(
            f"{path}: its labels have {len(values)} different values in {num} points, "
            "so they are no classes; --labels none trains without them"
        )
    classes = tuple(values.tolist())
    shown = ", ".join(f"{c} -> {i}" for i, c in enumerate(classes[:10]))
    more = ", ..." if len(classes) > 10 else ""
    notes.append(f"labels: {len(classes)} classes, {shown}{more}")
    return codes.reshape(num).astype(np.int32), classes, notes


def _is_one_hot(labels):
    if labels.dtype.kind not in "iufb" or labels.shape[1] < 2:
        return False
    return bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all())
