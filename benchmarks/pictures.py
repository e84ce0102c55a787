"""Pictures of the benchmarks, saved beside their results."""

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


@plotting.styled
def throughput(rows: Rows) -> Figure:
    """Chain-steps per second against chains: one row per kernel, one column per
    dimension."""
    kernels = list(dict.fromkeys(row["kernel"] for row in rows))
    dims = sorted({row["dim"] for row in rows})
    fig, axes = plotting.figure(
        len(kernels), len(dims), size=(2.4 * len(dims) + 1.6, 2.1 * len(kernels) + 0.4)
    )
    axes = np.reshape(axes, (len(kernels), len(dims)))
    for i, kernel in enumerate(kernels):
        for ax, dim in zip(axes[i], dims, strict=True):
            cells = [
                row for row in rows if (row["kernel"], row["dim"]) == (kernel, dim)
            ]
            for name, (colour, line, marker) in STYLES.items():
                points = [
                    (c["num_chains"], c[f"{name} chain-steps/s"])
                    for c in cells
                    if f"{name} chain-steps/s" in c
                ]
                if points:
                    style = {
                        "color": colour,
                        "ls": line,
                        "marker": marker,
                        "ms": 3,
                        "lw": 1.2,
                    }
                    ax.loglog(*np.transpose(points), label=name, **style)
            ax.set_title(f"{NAMES[kernel]}, {dim}-d")
            ax.yaxis.set_minor_formatter(NullFormatter())
            if i == len(kernels) - 1:
                ax.set_xlabel("chains")
        axes[i, 0].set_ylabel("chain-steps per second")
        reach = np.array([ax.get_ylim() for ax in axes[i]])
        for ax in axes[i]:
            ax.set_ylim(reach.min(), reach.max())
    found = {
        label: line
        for ax in axes.flat
        for line, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    shown = [name for name in STYLES if name in found]
    fig.legend([found[name] for name in shown], shown, loc="outside right center")
    return fig


@plotting.styled
def roofline(rows: Rows) -> Figure:
    """Operations per second against operations per byte, below the measured
    ceilings."""
    ceiling, *cells = rows
    reach = np.array([row["operations/byte"] for row in cells])
    x = np.geomspace(reach.min() / 3, reach.max() * 10, 200)
    fig, ax = plotting.figure(size=(6.8, 4.0))
    for name, line, label in (
        ("bytes/s in cache", "-", "{:.2g} GB/s, copy in cache"),
        ("bytes/s", "--", "{:.2g} GB/s, large copy"),
    ):
        roof = np.minimum(ceiling["operations/s"], ceiling[name] * x)
        ax.loglog(
            x,
            roof / 1e9,
            color=plotting.GREY,
            ls=line,
            label=label.format(ceiling[name] / 1e9),
        )
    colours = {
        "random walk": plotting.DATA,
        "MALA": plotting.MODEL,
        "HMC": plotting.THIRD,
    }
    markers = "o^sDvP"
    for target, marker in zip(
        dict.fromkeys(_target(row) for row in cells), markers, strict=False
    ):
        for row in cells:
            if _target(row) == target:
                colour = next(
                    c for name, c in colours.items() if row["cell"].startswith(name)
                )
                ax.plot(
                    row["operations/byte"],
                    row["operations/s"] / 1e9,
                    marker,
                    color=colour,
                    ms=5,
                    ls="none",
                    label=row["cell"],
                )
    ax.axhline(ceiling["operations/s"] / 1e9, color=plotting.GREY, lw=0.6, ls=":")
    ax.set(xlabel="operations per byte", ylabel="$10^9$ operations per second")
    ax.set_title(
        f"{ceiling['operations/s'] / 1e9:.0f} billion operations per second in a "
        "matrix product",
        fontsize=8,
    )
    fig.legend(loc="outside right center", fontsize=7)
    return fig


def _target(row):
    return row["cell"].split(", ")[-1]


@plotting.styled
def scaling(rows: Rows) -> Figure:
    """Cost of a chain-step against chains."""
    cells = [row for row in rows if row["what"] == "chains"]
    fig, ax = plotting.figure(size=(4.6, 3.2))
    ax.loglog(
        *np.transpose([(r["chains"], r["ns a chain-step"]) for r in cells]),
        "o-",
        color=plotting.MODEL,
    )
    ax.set(
        xlabel="chains",
        ylabel="nanoseconds per chain-step",
        title="HMC, 5 steps, 2-d, nothing stored",
    )
    return fig


@plotting.styled
def accelerator(rows: Rows, dim: int = 10) -> Figure:
    """Microseconds of a step against chains, measured on a GPU; a panel per kernel."""
    cells = [r for r in rows if r["dim"] == dim and r.get("measured us/step")]
    kernels = [k for k in (*NAMES, "nuts") if any(r["program"] == k for r in cells)]
    counts = sorted({r["chains"] for r in cells})
    libraries = {
        "ebmjax fused": (plotting.MODEL, "o"),
        "ebmjax": (plotting.THIRD, "^"),
        "blackjax": (plotting.DATA, "s"),
        "numpyro": (plotting.GREY, "D"),
    }
    fig, axes = plotting.figure(1, len(kernels), size=(2.0 * len(kernels) + 1.0, 2.6))
    axes = np.atleast_1d(axes)
    for ax, kernel in zip(axes, kernels, strict=True):
        for library, (colour, marker) in libraries.items():
            of = {
                r["chains"]: r["measured us/step"]
                for r in cells
                if (r["program"], r["library"]) == (kernel, library)
            }
            chains = sorted(of)
            times = [of[c] for c in chains]
            ax.plot(chains, times, marker=marker, ms=4, color=colour, label=library)
        ax.set(xscale="log", yscale="log", ylim=(0.3, 2000), xlabel="chains")
        ax.set_xticks(counts, [f"{c:,}" for c in counts])
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_title(NAMES.get(kernel, "NUTS"))
        ax.sharey(axes[0])
    axes[0].set_ylabel("microseconds per step")
    handles, labels = axes[kernels.index("hmc")].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return fig
