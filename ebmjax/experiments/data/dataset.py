"""A data set: points, labels, layout, and notes on how a file was read."""

from typing import NamedTuple

import numpy as np


class DataError(ValueError):
    """Data that cannot be read or used, in one line."""


class Dataset(NamedTuple):
    """Points with labels, layout and notes.

    ``x`` is float32, or float64 where float32 would round the values of the file.
    """

    name: str
    x: np.ndarray  # [N, ...] floating
    labels: np.ndarray | None = None  # [N] int, 0 to K - 1
    range: tuple[float, float] | None = None  # of the values, if known
    is_image: bool | None = None  # None: decided by the shape of ``x``
    classes: tuple | None = None  # [K] the labels as they are in the file
    columns: tuple[str, ...] | None = None  # [D] names of the coordinates
    notes: tuple[str, ...] = ()  # what was understood of a file, a line each
    conditions: np.ndarray | None = None  # [N, M] what points are given
    condition_columns: tuple[str, ...] | None = None  # [M] their names


def quantised(data: Dataset, num_levels: int) -> Dataset:
    """The same data in K levels 0, ..., K - 1; of two, 1 above the middle of the range.

    Whole numbers from 0 to K - 1 stay as they are; others are cut into K equal parts of
    the range of the data.

    >>> quantised(Dataset("mine", np.array([[0.0, 0.4], [0.6, 1.0]])), 2).x.tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    x, top = data.x, num_levels - 1
    if not np.isin(x, np.arange(num_levels)).all():
        low, high = data.range or (float(x.min()), float(x.max()))
        if not high > low:
            raise DataError(f"{data.name}: every value is {low:g}")
        share = (x - low) / (high - low)  # level k from k / K, excluded, to (k + 1) / K
        x = np.clip(np.ceil(share * num_levels) - 1, 0, top)
    note = f"values in {num_levels} levels, 0 to {top}"
    return data._replace(
        x=x.astype(np.float32), range=(0.0, float(top)), notes=(*data.notes, note)
    )


MIN_PIXELS = 8  # of a side of an image
CHANNELS = (1, 2, 3, 4)


def is_image(data: Dataset | np.ndarray) -> bool:
    """Whether points are images ``[H, W]`` or ``[H, W, channels]``.

    A :class:`Dataset` may state it; otherwise, and for an array, the shape decides:
    ``[N, H, W, 1 to 4]``, or ``[N, H, W]`` with sides of at least 8 pixels of which one
    is at most twice the other.

    >>> is_image(np.zeros((10, 28, 28))), is_image(np.zeros((10, 40, 10)))
    (True, False)
    """
    if isinstance(data, Dataset):
        return is_image(data.x) if data.is_image is None else data.is_image
    shape = data.shape[1:]
    if len(shape) == 3:
        return min(shape[:2]) >= MIN_PIXELS and shape[2] in CHANNELS
    return len(shape) == 2 and min(shape) >= MIN_PIXELS and max(shape) <= 2 * min(shape)
