"""What sampling of a trained run and of a user's energy have in common: the options,
the printed table, and the exit after a signal."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import typer

from ebmjax.cli.app import STOPPED, warn
from ebmjax.diagnostics.summary import Summary

MOST_ROWS = 20
MIN_DRAWS = 6  # draws per chain, for R-hat


class Request(NamedTuple):
    """Options of both; None is the default of each."""

    kernel: str | None
    num_chains: int | None
    num_steps: int
    thin: int | None
    step_size: float | None
    seed: int
    out: Path | None

    def check_thin(self) -> None:
        if self.thin is not None and self.num_steps % self.thin:
            raise ValueError(
                "--num-steps must be a multiple of --thin, got "
                f"{self.num_steps} and {self.thin}"
            )


def shown(summary: Summary) -> str:
    """The table; for many coordinates the rows with the smallest effective sample
    sizes."""
    if len(summary.names) <= MOST_ROWS:
        return str(summary._replace(warnings=[]))
    rows = np.argsort(summary.columns["ess_bulk"], kind="stable")[:MOST_ROWS]
    names = [summary.names[i] for i in rows]
    worst = Summary(  # type: ignore[call-arg]
        names, {n: x[rows] for n, x in summary.columns.items()}, []
    )
    return (
        f"{worst}\nthe {MOST_ROWS} of {len(summary.names)} rows with the smallest "
        "ess_bulk"
    )


def end_early(done: int, num_steps: int) -> None:
    """After a signal: print the number of completed steps, and exit with its code."""
    if done < num_steps:
        warn(
            f"stopped by a signal after {done} of {num_steps} steps, which are written"
        )
        raise typer.Exit(STOPPED)
