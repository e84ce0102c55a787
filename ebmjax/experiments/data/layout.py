"""Points or images: the meaning of the axes of an array ``[N, ...]``.

    auto         [N, H, W, c] and [N, c, H, W] with c of 1 to 4 channels are images;
                 [N, H, W] if square, or with values in [0, 1], [-1, 1] or bytes and
                 sides that differ by a factor of at most two; else points
    points       points of any shape
    grey         images [N, H, W] or [N, H, W, 1]
    hwc, chw     images with the channels last, or first (they become last)
    28x28, 32x32x3   images, from flat rows of that size

Each choice is reported in a note, with the option that changes it.
"""

import re
from typing import NamedTuple

import numpy as np

from ebmjax.experiments.data.dataset import CHANNELS, MIN_PIXELS, DataError

NAMES = ("auto", "points", "grey", "hwc", "chw")


class Laid(NamedTuple):
    """An array with its axes in order, whether its points are images, and a note."""

    x: np.ndarray
    is_image: bool
    note: str


def check(layout: str) -> str:
    """Raise :class:`DataError` unless the layout is a known name or a size."""
    if layout not in NAMES and not _size_of(layout):
        raise DataError(
            f"layout must be one of {', '.join(NAMES)} or a size such as 28x28 or "
            f"32x32x3, got {layout!r}"
        )
    return layout


def arrange(path, x: np.ndarray, layout: str = "auto", *, is_bytes=False) -> Laid:
    """An array ``[N, ...]`` as points ``[N, ...]`` or images ``[N, H, W(, c)]``.

    Raises:
      DataError: a layout that the shape does not have.
    """
    check(layout)
    shape = x.shape[1:]
    if size := _size_of(layout):
        return _reshaped(path, x, size)
    if layout == "auto":
        layout = _guess(x, is_bytes)
    if layout == "chw" and len(shape) == 3:
        x = np.ascontiguousarray(np.moveaxis(x, 1, 3))
    elif layout not in ("points", "grey", "hwc") or (
        (layout == "hwc" and len(shape) != 3)
        or (layout == "grey" and shape[2:] not in ((), (1,)))
        or (layout == "grey" and len(shape) < 2)
    ):
        raise DataError(f"{path} has points of shape {shape}, which are not {layout}")
    how = " x ".join(map(str, x.shape[1:]))
    if layout == "points":
        hint = "; for images: --layout hwc, chw, grey or 28x28" if x.ndim > 2 else ""
        return Laid(x, False, f"{len(x)} points of {how} numbers{hint}")
    first = ", channels were first" if layout == "chw" else ""
    hint = "" if min(x.shape[1:3]) >= MIN_PIXELS else ", small ones"
    note = f"{len(x)} images of {how}{first}{hint}; for plain points: --layout points"
    return Laid(x, True, note)


def _size_of(layout):
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})(?:x(\d{1,4}))?", layout)
    return tuple(int(n) for n in found.groups() if n) if found else None


def _reshaped(path, x, size):
    if np.prod(size) != np.prod(x.shape[1:]) or 0 in size:
        raise DataError(
            f"{path} has points of shape {x.shape[1:]}, {np.prod(x.shape[1:])} "
            f"numbers, and {'x'.join(map(str, size))} are {np.prod(size)}"
        )
    how = " x ".join(map(str, size))
    return Laid(x.reshape(len(x), *size), True, f"{len(x)} images of {how}")


def _guess(x, is_bytes):
    shape = x.shape[1:]
    if len(shape) == 3:
        if min(shape[:2]) >= MIN_PIXELS and shape[2] in CHANNELS:
            return "hwc"
        is_first = min(shape[1:]) >= MIN_PIXELS and shape[0] in CHANNELS
        return "chw" if is_first else "points"
    if len(shape) != 2 or min(shape) < MIN_PIXELS:
        return "points"
    is_near = max(shape) <= 2 * min(shape)
    return (
        "grey"
        if shape[0] == shape[1] or (is_near and _bounded(x, is_bytes))
        else ("points")
    )


def _bounded(x, is_bytes):
    """Whether the values may be pixels: bytes, or within [0, 1] or [-1, 1]."""
    low, high = float(x.min()), float(x.max())
    is_whole = lambda: bool((x == np.round(x)).all())
    return (
        is_bytes
        or (-1 <= low and high <= 1)
        or (0 <= low and high <= 255 and is_whole())
    )
