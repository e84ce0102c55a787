"""What data are: points, their labels, their range."""

from typing import NamedTuple

import numpy as np


class DataError(ValueError):
    """Data that cannot be read, in one line."""


class Dataset(NamedTuple):
    """Points and what is known of them."""

    name: str
    x: np.ndarray  # [N, ...] float32
    labels: np.ndarray | None = None  # [N] int
    range: tuple[float, float] | None = None  # of the values, where it is known
