"""Densities, energies, training curves, chains and calibration of a run."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from ebmjax.plotting.style import DATA, GREY, MODEL, THIRD, figure, styled


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
    """Energies, acceptance and gradient norm against the update; the chains' from
    where there are any."""
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
        of_chains = np.isfinite(metrics["energy_model"])
        seen = steps[of_chains]
        data, model, rate = (
            metrics[name][of_chains]
            for name in ("energy_data", "energy_model", "acceptance_rate")
        )
        axes[0].plot(seen, data, color=DATA, label="data", lw=1)
        axes[0].plot(seen, model, color=MODEL, label="chains", lw=1)
        axes[0].set(title="mean energy", ylabel="[nat]")
        axes[0].legend()
        axes[2].plot(seen, rate, color=THIRD, lw=1)
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
