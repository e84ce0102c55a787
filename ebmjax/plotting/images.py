"""Images: grids side by side, and chains over time."""

import numpy as np
from matplotlib.figure import Figure

from ebmjax.plotting.style import figure, styled


@styled
def image_grids(
    panels: dict[str, np.ndarray],
    *,
    num_rows: int = 10,
    value_range: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """Square grids of images ``[N, H, W]`` or ``[N, H, W, 3]`` side by side, one per
    title."""
    fig, axes = figure(1, len(panels), size=(3.4 * len(panels), 3.7))
    for ax, (title, images) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        _show(ax, tile(images, num_rows), value_range)
        ax.set_title(title)
        ax.set_axis_off()
    return fig


def _show(ax, image, value_range):
    """Grey, dark for large values; or colour, scaled to [0, 1] for Matplotlib."""
    low, high = value_range
    if image.ndim == 3:
        ax.imshow(
            np.clip((image - low) / (high - low), 0.0, 1.0)[
                ..., : 1 if image.shape[-1] == 1 else 3
            ]
        )
    else:
        ax.imshow(image, cmap="gray_r", vmin=low, vmax=high)


def tile(images: np.ndarray, num_rows: int) -> np.ndarray:
    """The first ``num_rows^2`` images as one, a pixel apart."""
    images = np.asarray(images)
    num_rows = min(num_rows, int(np.sqrt(len(images))))
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    height, width = images.shape[1:3]
    edge = [(0, 0), (0, 1), (0, 1)] + [(0, 0)] * (images.ndim - 3)
    padded = np.pad(images[: num_rows**2], edge, constant_values=images.min())
    grid = padded.reshape(num_rows, num_rows, height + 1, width + 1, *images.shape[3:])
    return np.moveaxis(grid, 2, 1).reshape(
        num_rows * (height + 1), num_rows * (width + 1), *images.shape[3:]
    )


@styled
def film_strips(
    positions: np.ndarray, *, value_range: tuple[float, float] = (0.0, 1.0)
) -> Figure:
    """Chains of images ``[T, C, H, W]`` or ``[T, C, H, W, 3]``, one per row, time to
    the right, with gaps."""
    edges = [(0, 0), (0, 0), (0, 1), (0, 1)] + [(0, 0)] * (positions.ndim - 4)
    positions = np.pad(positions, edges, constant_values=min(value_range))
    num_frames, num_chains, height, width = positions.shape[:4]
    strip = np.moveaxis(positions, (1, 2, 0, 3), (0, 1, 2, 3))  # [C, H, T, W, ...]
    strip = strip.reshape(num_chains * height, num_frames * width, *positions.shape[4:])
    fig, ax = figure(size=(0.55 * num_frames, 0.55 * num_chains + 0.3))
    _show(ax, strip, value_range)
    ax.set_title("chains along time, left to right")
    ax.set_axis_off()
    return fig
