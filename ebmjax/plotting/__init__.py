"""Pictures of a run: samples or densities beside the data, energies, training curves,
chains.

Each function takes arrays, draws into a new figure and returns it; :func:`save` writes
it. The colours are those of Okabe & Ito, which colour-blind readers can distinguish.
"""

from ebmjax.plotting.evidence import verification
from ebmjax.plotting.images import film_strips, image_grids, tile
from ebmjax.plotting.runs import (
    chain_traces,
    density,
    energy_histogram,
    reliability,
    training_curves,
)
from ebmjax.plotting.style import (
    DATA,
    GREY,
    MODEL,
    STYLE,
    THIRD,
    figure,
    save,
    styled,
)

__all__ = [
    "DATA",
    "GREY",
    "MODEL",
    "STYLE",
    "THIRD",
    "chain_traces",
    "density",
    "energy_histogram",
    "figure",
    "film_strips",
    "image_grids",
    "reliability",
    "save",
    "styled",
    "tile",
    "training_curves",
    "verification",
]
