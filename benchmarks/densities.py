"""Densities of seed 0 of the objectives, and pictures of them."""

from pathlib import Path

import numpy as np

from benchmarks import measure
from ebmjax import plotting

SHOWN, EDGE = 160, 3.0  # points per side of a picture; its half side, standardised
FOLDER = measure.RESULTS / "densities"


def grid(resolution: int = SHOWN, reach: float = EDGE) -> np.ndarray:
    """Midpoints of a square, ``[resolution^2, 2]``."""
    axis = reach * (2 * (np.arange(resolution) + 0.5) / resolution - 1)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def path_of(name: str, library: str, objective: str) -> Path:
    return FOLDER / f"{name}-{library}-{objective}.npy"


def keep(name: str, library: str, objective: str, energies: np.ndarray) -> None:
    """Store the energies at the points of :func:`grid`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.save(path_of(name, library, objective), energies.astype(np.float32))


@plotting.styled
def picture(name: str, jobs: list[tuple[str, str]]) -> None:
    """Draw the density of each library and objective, in this order; nothing where one
    of them is not stored, so that a picture of all is not replaced by one of a few."""
    files = {job: path_of(name, *job) for job in jobs}
    missing = [" ".join(job) for job, file in files.items() if not file.exists()]
    if missing or not files:
        print(f"no new picture of {name}: no stored density of {', '.join(missing)}")
        return
    panels = {job: np.load(file) for job, file in files.items()}
    num_columns = min(len(panels), 6)
    num_rows = -(-len(panels) // num_columns)
    fig, axes = plotting.figure(
        num_rows, num_columns, size=(1.4 * num_columns, 1.62 * num_rows)
    )
    for ax in np.atleast_1d(axes).ravel():
        ax.set_axis_off()
    for ax, ((library, objective), energies) in zip(
        np.atleast_1d(axes).ravel(), panels.items(), strict=False
    ):
        values = np.exp(energies.min() - energies).reshape(SHOWN, SHOWN)
        ax.imshow(
            values, origin="lower", cmap="cividis", vmax=np.quantile(values, 0.998)
        )
        title = objective.replace("_", " ")
        ax.set_title(
            title if library == "ebmjax" else f"{library}: {title}", fontsize=7
        )
    plotting.save(fig, measure.RESULTS / f"objectives-{name}.png")
