"""Pictures of a run: samples or densities beside the data, energies, training curves,
chains.

Each function takes arrays, draws into a new figure and returns it; :func:`save` writes
it. The colours are those of Okabe & Ito, which colour-blind readers can distinguish.
"""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ebmjax.verify.report import Report

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
def density(
    energy: Callable,
    data: np.ndarray,
    samples: np.ndarray,
    *,
    resolution: int = 200,
    margin: float = 0.25,
) -> Figure:
    """A 2-d model: data, density exp(-E) normalised on the box, and samples."""
    low, high = data.min(axis=0), data.max(axis=0)
    low, high = low - margin * (high - low), high + margin * (high - low)
    grid = [np.linspace(a, b, resolution) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*grid), axis=-1).reshape(-1, 2).astype(np.float32)
    energies = np.asarray(jax.jit(jax.vmap(energy))(jnp.asarray(points))).reshape(
        resolution, resolution
    )
    values = np.exp(energies.min() - energies)
    values /= values.sum() * np.prod((high - low) / (resolution - 1))

    fig, axes = figure(1, 3, size=(9.6, 3.4))
    extent = (low[0], high[0], low[1], high[1])
    axes[1].imshow(values, origin="lower", extent=extent, cmap="cividis", aspect="auto")
    for ax, points, colour in ((axes[0], data, DATA), (axes[2], samples, MODEL)):
        ax.scatter(*points[:3000].T, s=2, alpha=0.4, color=colour, linewidths=0)
    for ax, title in zip(
        axes, ("data", "density of the model", "samples of its chains"), strict=True
    ):
        ax.set(title=title, xlim=extent[:2], ylim=extent[2:], xlabel="$x_1$")
    axes[0].set_ylabel("$x_2$")
    return fig


@styled
def energy_histogram(energies: dict[str, np.ndarray]) -> Figure:
    """Histograms of energies on common bins, one per group."""
    pooled = np.concatenate(list(energies.values()))
    low, high = np.quantile(pooled[np.isfinite(pooled)], [0.002, 0.998])
    bins = np.linspace(low, high, 60)
    fig, ax = figure(size=(5.2, 3.2))
    for (name, values), colour in zip(
        energies.items(), (DATA, MODEL, THIRD, GREY), strict=False
    ):
        fill = {"histtype": "stepfilled", "alpha": 0.45 if len(energies) < 3 else 0.2}
        ax.hist(values, bins, density=True, color=colour, label=name, **fill)
        ax.hist(values, bins, density=True, color=colour, histtype="step", lw=1)
    ax.set(xlabel="energy $E(x)$ [nat]", ylabel="density")
    ax.legend()
    return fig


@styled
def reliability(
    confidence: np.ndarray, accuracy: np.ndarray, share: np.ndarray, error: float
) -> Figure:
    """Accuracy against confidence in bins, the diagonal of a calibrated classifier, and
    the share of points in each bin."""
    fig = Figure(figsize=(3.6, 4.2), layout="constrained")
    top, bottom = fig.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--", label="calibrated")
    is_filled = share > 0
    top.plot(
        confidence[is_filled],
        accuracy[is_filled],
        "o-",
        ms=4,
        lw=1,
        color=DATA,
        label="held-out points",
    )
    top.set(
        title=f"expected calibration error {error:.3f}",
        ylabel="accuracy",
        ylim=(-0.02, 1.02),
    )
    top.legend()
    edges = np.linspace(0, 1, len(share) + 1)
    bottom.bar(edges[:-1], share, np.diff(edges), align="edge", color=DATA, alpha=0.45)
    bottom.set(xlabel="confidence", ylabel="share", xlim=(0, 1.02), yscale="log")
    return fig


@styled
def training_curves(metrics: dict[str, np.ndarray]) -> Figure:
    """Energies, acceptance and gradient norm against the update."""
    steps = (
        metrics["step"]
        if "step" in metrics
        else np.arange(1, len(metrics["grad_norm"]) + 1)
    )
    has_chains = "energy_model" in metrics
    fig, axes = figure(
        1, 3 if has_chains else 2, size=(9.6 if has_chains else 6.6, 2.9)
    )
    if has_chains:
        axes[0].plot(steps, metrics["energy_data"], color=DATA, label="data", lw=1)
        axes[0].plot(steps, metrics["energy_model"], color=MODEL, label="chains", lw=1)
        axes[0].set(title="mean energy", ylabel="[nat]")
        axes[0].legend()
        axes[2].plot(steps, metrics["acceptance_rate"], color=THIRD, lw=1)
        axes[2].set(title="acceptance rate of the chains", ylim=(0, 1.02))
    else:
        axes[0].plot(steps, metrics["loss"], color=DATA, lw=1)
        axes[0].set(title="loss")
    axes[1].plot(steps, metrics["grad_norm"], color=GREY, lw=1)
    axes[1].set(title="gradient norm", yscale="log")
    for ax in axes:
        ax.set_xlabel("update")
    return fig


@styled
def chain_traces(energies: np.ndarray, *, num_shown: int = 12) -> Figure:
    """Energies along chains, ``[T, C]``, and their distribution at the end."""
    fig, axes = figure(1, 2, size=(8.0, 2.9))
    axes[0].plot(energies[:, :num_shown], lw=0.7, alpha=0.8)
    axes[0].set(
        title=f"energy along {min(num_shown, energies.shape[1])} chains",
        xlabel="stored step",
    )
    axes[0].set_ylabel("energy $E(x)$ [nat]")
    axes[1].hist(energies[-1], 40, color=MODEL, alpha=0.6)
    axes[1].set(
        title=f"all {energies.shape[1]} chains at the end", xlabel="energy $E(x)$ [nat]"
    )
    axes[1].set_ylabel("chains")
    return fig


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


@styled
def verification(report: Report) -> Figure:
    """The result of a test of :mod:`ebmjax.verify`, against the truth."""
    draw = {
        "invariance": _two_histograms,
        "rank": _ranks,
        "flow": _flows,
        "order": _orders,
    }
    kind = report.evidence.get("kind")
    is_drawn = kind in draw and (kind != "invariance" or "after" in report.evidence)
    fig = draw[kind](report.evidence) if is_drawn else _p_values(report)  # type: ignore[index]
    fig.suptitle(f"{report.title}: {report.verdict}, p = {report.p_value:.2g}")
    return fig


def _p_values(report):
    """Adjusted p-values, for reports without other evidence."""
    values = [max(report.adjusted(f), 1e-30) for f in report.findings]
    fig, ax = figure(size=(4.2, 3.2))
    ax.semilogy(sorted(values) or [1.0], "o", color=MODEL)
    ax.axhline(report.alpha, color=GREY, ls="--", label="false-alarm rate")
    ax.set(xlabel="statistic", ylabel="adjusted p-value")
    ax.legend()
    return fig


def _two_histograms(evidence):
    exact, after = evidence["before"], evidence["after"]
    shown = min(exact.shape[1], 4)
    labels = evidence.get("labels") or [f"x[{i}]" for i in range(shown)]
    fig, axes = figure(1, shown, size=(2.8 * shown + 0.6, 2.9))
    for i, ax in enumerate(np.atleast_1d(axes)):
        low, high = np.quantile(exact[:, i], [0.001, 0.999])
        bins = np.linspace(low, high if high > low else low + 1, 60)
        style = {"density": True, "label": "exact draws"}
        ax.hist(exact[:, i], bins, color=GREY, alpha=0.35, **style)
        style = {"density": True, "label": "after the kernel"}
        ax.hist(after[:, i], bins, histtype="step", color=MODEL, lw=1.2, **style)
        ax.set(xlabel=labels[i], yticks=[])
    np.atleast_1d(axes)[0].set_ylabel("density")
    np.atleast_1d(axes)[0].legend(fontsize=7)
    return fig


def _ranks(evidence):
    ranks = evidence["ranks"]
    fig, axes = figure(1, len(ranks), size=(2.8 * len(ranks) + 0.6, 2.9))
    for ax, (name, counts) in zip(np.atleast_1d(axes), ranks.items(), strict=True):
        mean = counts.sum() / len(counts)
        ax.axhspan(
            mean - 3.3 * mean**0.5, mean + 3.3 * mean**0.5, color=GREY, alpha=0.3, lw=0
        )
        ax.bar(np.arange(len(counts)), counts, color=MODEL, alpha=0.8, width=0.8)
        ax.set(xlabel="rank of the exact draw", title=name)
    np.atleast_1d(axes)[0].set_ylabel("chains (grey: 99.9 % band)")
    return fig


def _flows(evidence):
    flow = evidence["flow"]
    fig, axes = figure(1, 2, size=(7.4, 3.2))
    for ax, values, title in zip(
        axes,
        (flow, flow - flow.T),
        ("flow $\\pi_i P_{ij}$", "flow - flow back"),
        strict=True,
    ):
        limit = np.abs(values).max() or 1.0
        image = ax.imshow(
            values, cmap="RdBu_r" if values is not flow else "cividis", vmax=limit
        )
        fig.colorbar(image, ax=ax)
        ax.set(title=title, xlabel="to $j$", ylabel="from $i$")
    return fig


def _orders(evidence):
    steps, errors = evidence["step_sizes"], evidence["errors"]
    fig, ax = figure(size=(4.2, 3.2))
    ax.loglog(steps, errors, "o-", color=MODEL, label="largest error of $H$")
    for order, line in ((2, "--"), (4, ":")):
        ax.loglog(
            steps,
            errors[0] * (steps / steps[0]) ** order,
            line,
            color=GREY,
            label=f"order {order}",
        )
    ax.set(xlabel="step size", ylabel="error [nat]")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend()
    return fig
