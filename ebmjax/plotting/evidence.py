"""The evidence of a test of :mod:`ebmjax.verify`, against the truth."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ebmjax.plotting.style import GREY, MODEL, figure, styled
from ebmjax.verify.report import Report


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
    fig = (
        draw[kind](report.evidence)  # type: ignore[index]
        if is_drawn
        else _p_values(report)
    )
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
