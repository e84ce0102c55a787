"""Output of ``evaluate``: a table, numbers as JSON, pictures."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from ebmjax import plotting
from ebmjax.evaluation.likelihood import Likelihood
from ebmjax.evaluation.log_z import Bracket
from ebmjax.evaluation.two_sample import TestResult
from ebmjax.tempering.ladder import Tempered


class Evaluation(NamedTuple):
    """The measurements of a run."""

    brackets: dict[int, Bracket]  # by number of levels
    likelihoods: dict[str, Likelihood]  # by group of points
    tests: dict[str, TestResult]
    tempered: Tempered | None
    # accuracy, calibration, and how well other inputs are told from points held out
    detection: tuple[tuple[str, str], ...] = ()

    @property
    def best(self) -> Bracket:
        return self.brackets[max(self.brackets)]


def table(folder: Path, found: Evaluation) -> Table:
    shown = Table("", "value", title=f"evaluation {folder}", title_justify="left")
    bracket = found.best
    z, reverse = bracket.log_z, bracket.reverse
    assert reverse is not None
    shown.add_row(
        f"log Z, {z.confidence:.0%} between bounds",
        f"[{z.lower:.3f}, {z.upper:.3f}], {z.log_z:.3f} +- {z.standard_error:.3f}",
        end_section=False,
    )
    shown.add_row(
        "effective chains, forward and reverse",
        f"{bracket.forward.effective_sample_size:.0f}, "
        f"{reverse.effective_sample_size:.0f} of {len(reverse.log_weights)}",
    )
    for label, value in found.likelihoods.items():
        low, high = value.bits_per_dim
        shown.add_row(
            f"log-likelihood, {label} [nats]",
            f"[{value.lower:.3f}, {value.upper:.3f}] +- {value.standard_error:.3f}",
        )
        shown.add_row(f"bits per dimension, {label}", f"[{low:.4f}, {high:.4f}]")
    for label, test in found.tests.items():
        shown.add_row(label, f"p = {float(test.p_value):.3f}")
    for label, text in found.detection:
        shown.add_row(label, text)
    if (tempered := found.tempered) is not None:
        shown.add_row(
            "log Z by parallel tempering",
            f"{tempered.log_z:.3f} +- {tempered.standard_error:.3f}",
        )
        shown.add_row(
            "round trips per iteration, at best",
            f"{tempered.round_trip_rate:.4f}, {tempered.best_round_trip_rate:.4f}",
        )
    return shown


def numbers(found: Evaluation) -> dict[str, Any]:
    """All results as plain numbers, for JSON."""
    content: dict[str, Any] = {
        "log_z": {str(n): b.log_z._asdict() for n, b in found.brackets.items()},
        "log_likelihood": {k: v._asdict() for k, v in found.likelihoods.items()},
        "tests": {
            k: {name: float(x) for name, x in t._asdict().items()}
            for k, t in found.tests.items()
        },
    }
    if found.detection:
        content["detection"] = dict(found.detection)
    if found.tempered is not None:
        names = ("betas", "rejection_rate", "acceptance_rate", "log_z_of_ladders")
        t = found.tempered
        content["tempering"] = {n: np.asarray(getattr(t, n)).tolist() for n in names}
    return content


def pictures(found: Evaluation, folder: Path) -> list[Path]:
    figures = {"work.png": _work(found.best), "bounds.png": _bounds(found.brackets)}
    if found.tempered is not None:
        figures["swaps.png"] = _swaps(found.tempered)
    for name, figure in figures.items():
        plotting.save(figure, folder / name)
    return [folder / name for name in figures]


@plotting.styled
def _work(bracket: Bracket):
    """Histograms of the work: log weights forward, and minus those in reverse."""
    assert bracket.reverse is not None
    ahead = np.asarray(bracket.forward.log_weights)
    back = -np.asarray(bracket.reverse.log_weights)
    fig, ax = plotting.figure(size=(5.2, 3.2))
    bins = np.linspace(  # type: ignore[call-overload]
        *np.quantile(np.concatenate([ahead, back]), [0.002, 0.998]), 40
    )
    for values, label, colour in (
        (ahead, "forward", plotting.DATA),
        (back, "reverse", plotting.MODEL),
    ):
        ax.hist(values, bins, density=True, alpha=0.4, color=colour, label=label)
    ax.axvline(bracket.log_z.log_z, color="black", lw=1, label="log Z")
    ax.set(xlabel="minus the work [nats]", ylabel="density")
    ax.legend()
    return fig


@plotting.styled
def _bounds(brackets: dict[int, Bracket]):
    """Bounds against the number of levels."""
    levels = sorted(brackets)
    found = [brackets[n].log_z for n in levels]
    fig, ax = plotting.figure(size=(5.2, 3.2))
    lower, upper = [z.lower for z in found], [z.upper for z in found]
    ax.fill_between(levels, lower, upper, alpha=0.2, color=plotting.GREY)
    ax.plot(levels, upper, "v-", color=plotting.MODEL, label="upper, reverse")
    ax.plot(levels, [z.log_z for z in found], "k.", label="Bennett")
    ax.plot(levels, lower, "^-", color=plotting.DATA, label="lower, forward")
    ax.set(xscale="log", xlabel="levels", ylabel="log Z [nats]")
    ax.minorticks_off()
    ax.set_xticks(levels, [str(n) for n in levels])
    ax.legend()
    return fig


@plotting.styled
def _swaps(tempered: Tempered):
    """Rejection rates of swaps along the ladder; adaptation makes them equal."""
    fig, ax = plotting.figure(size=(5.2, 3.2))
    middle = 0.5 * (tempered.betas[1:] + tempered.betas[:-1])
    ax.plot(middle, tempered.rejection_rate, "o-", color=plotting.DATA)
    ax.set(
        xlabel="beta",
        ylabel="rejection rate of swaps",
        ylim=(0, 1),
        title=f"{tempered.num_round_trips} round trips, "
        f"barrier {tempered.communication_barrier:.2f}",
    )
    return fig
