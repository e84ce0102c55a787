"""Colours, style, and figures with axes."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

DATA, MODEL, THIRD, GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}
styled = matplotlib.rc_context(STYLE)


def save(figure: Figure, path: str | Path, *, dpi: int = 150) -> None:
    """Write a figure and close it."""
    figure.savefig(path, dpi=dpi)


def figure(
    num_rows: int = 1, num_columns: int = 1, *, size: tuple[float, float] = (6.0, 4.0)
):
    """A figure and its axes."""
    fig = Figure(figsize=size, layout="constrained")
    return fig, fig.subplots(num_rows, num_columns)
