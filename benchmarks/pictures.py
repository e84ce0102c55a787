"""Pictures of the benchmarks, saved beside their figures."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.measure import RESULTS
from ebmjax import plotting

STYLES = {
    "ebmjax": (plotting.MODEL, "-", "o"),
    "blackjax": (plotting.DATA, "--", "s"),
    "blackjax best": (plotting.DATA, "-", "s"),
    "numpyro": (plotting.GREY, "--", "D"),
    "numpyro best": (plotting.GREY, "-", "D"),
    "tfp": (plotting.THIRD, "--", "^"),
    "tfp best": (plotting.THIRD, "-", "^"),
}
NAMES = {"random_walk": "random walk", "mala": "MALA", "hmc": "HMC, 10 steps"}
Rows = list[dict[str, Any]]


def keep(name: str, figure: Figure) -> Path:
    path = RESULTS / f"{name}-{jax.devices()[0].platform}.png"
    plotting.save(figure, path)
    return path


@plotting.house_style
def throughput(rows: Rows) -> Figure:
    """Chain-steps a second against chains, a row of panels a kernel, a column a dimension."""
    kernels = list(dict.fromkeys(row["kernel"] for row in rows))
    dims = sorted({row["dim"] for row in rows})
    fig, axes = plotting.figure(
        len(kernels), len(dims), size=(2.4 * len(dims) + 1.6, 2.1 * len(kernels) + 0.4)
    )
    axes = np.reshape(axes, (len(kernels), len(dims)))
    for i, kernel in enumerate(kernels):
        for ax, dim in zip(axes[i], dims, strict=True):
            cells = [row for row in rows if (row["kernel"], row["dim"]) == (kernel, dim)]
            for name, (colour, line, marker) in STYLES.items():
                points = [
                    (c["num_chains"], c[f"{name} chain-steps/s"])
                    for c in cells
                    if f"{name} chain-steps/s" in c
                ]
                if points:
                    style = {"color": colour, "ls": line, "marker": marker, "ms": 3, "lw": 1.2}
                    ax.loglog(*np.transpose(points), label=name, **style)
            ax.set_title(f"{NAMES[kernel]}, {dim}-d")
            ax.yaxis.set_minor_formatter(NullFormatter())
            if i == len(kernels) - 1:
                ax.set_xlabel("chains")
        axes[i, 0].set_ylabel("chain-steps a second")
        reach = np.array([ax.get_ylim() for ax in axes[i]])
        for ax in axes[i]:
            ax.set_ylim(reach.min(), reach.max())
    found = {
        label: line for ax in axes.flat for line, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    shown = [name for name in STYLES if name in found]
    fig.legend([found[name] for name in shown], shown, loc="outside right center")
    return fig
