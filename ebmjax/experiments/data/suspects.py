"""Numbers of a file that may not be coordinates: labels, and codes of missing
values."""

import numpy as np

CODES = tuple(sign * (10.0**k - 1) for k in (2, 3, 4, 5, 6) for sign in (-1, 1))
FAR_CODE = 3.0  # times the reach of the other values: a code of a missing value
MOST_SUSPECTED = 20  # largest number of classes in a column of labels


def suspected_labels(x: np.ndarray) -> int | None:
    """The first or last of columns ``[N, D]`` if it alone holds few whole numbers."""
    if x.ndim != 2 or x.shape[1] < 2 or len(x) < 10:
        return None
    is_whole = (x == np.round(x)).all(axis=0)
    if is_whole.sum() != 1:
        return None
    i = int(np.flatnonzero(is_whole)[0])
    num = len(np.unique(x[:, i]))
    is_few = 2 <= num <= min(MOST_SUSPECTED, len(x) // 2)
    return i if is_few and i in (0, x.shape[1] - 1) else None


def missing_code(x: np.ndarray) -> tuple[int, float, int] | None:
    """The column, the number and how often, where one of the usual codes of a missing
    value lies far from all other values of its column ``[N, D]``."""
    if x.ndim != 2:
        return None
    x = x.astype(np.float64)
    for code in CODES:
        is_code = x == code
        for i in np.flatnonzero(is_code.any(axis=0)):
            others = x[~is_code[:, i], i]
            if len(others) < max(3, len(x) // 2):
                continue
            reach = np.abs(others - others.mean()).max()
            if abs(code - others.mean()) > FAR_CODE * reach:
                return int(i), code, int(is_code[:, i].sum())
    return None
