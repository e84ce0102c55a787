"""Output of ``train``: final chains, the table of a run, and its pictures."""

from pathlib import Path
from typing import Any

import jax
from rich.table import Table
from rich.text import Text

from ebmjax.cli.app import console, say
from ebmjax.experiments.experiment import Run

NUM_CHAINS, NUM_STEPS, THIN = 256, 400, 20  # of the final chains


def show(run: Run, state: Any, folder: Path) -> None:
    """Print the table of a trained run, and write its pictures into its folder."""
    key = jax.random.key((run.config.seed + 1) % 2**32)
    if run.config.condition_on:
        _show_conditions(key, run, state, folder)
    else:
        _show_chains(key, run, state, folder)


def _show_chains(key, run, state, folder) -> None:
    """Final chains, pictures and the table of a trained run."""
    from ebmjax.experiments import report  # these need matplotlib
    from ebmjax.experiments.conditional import takes_condition
    from ebmjax.experiments.conditional_report import compare

    key_chains, key_judge, key_tune = jax.random.split(key, 3)
    chains = _final_chains(key_chains, key_tune, run, state)
    paths = report.pictures(run, state, chains, folder)
    rows = report.table(run, state, chains, folder)
    if takes_condition(run):
        found = compare(jax.random.fold_in(key_judge, 1), run, state)
        rows += found.rows
        paths += _saved(found.figures, folder)
    console.print(_table(folder, rows))
    if verdicts := report.verdicts(key_judge, run, state, chains):
        console.print(_judged(verdicts))
    _list_pictures(paths)


def _final_chains(key, key_tune, run, state):
    from ebmjax.experiments import chains

    step_size = chains.step_size_for(key_tune, run, state, run.config.kernel)
    return chains.run_chains(
        key,
        run,
        state,
        chains.kernel_of(run, run.trained(state), step_size),
        num_chains=NUM_CHAINS,
        num_steps=NUM_STEPS,
        thin=THIN,
        progress=True,
    )


def _show_conditions(key, run, state, folder) -> None:
    """What chains at the conditions of held-out points say, and pictures."""
    from ebmjax import plotting  # these need matplotlib
    from ebmjax.experiments import figures
    from ebmjax.experiments.conditional_report import compare

    found = compare(key, run, state)
    history = figures.history_of(folder)
    shown = {"training.png": plotting.training_curves(history)} if history else {}
    paths = _saved(shown | found.figures, folder)
    updates = f"{run.config.objective}, {int(state.step)}"
    console.print(_table(folder, [("objective, updates", updates), *found.rows]))
    _list_pictures(paths)


def _saved(figures, folder) -> list[Path]:
    from ebmjax import plotting

    for name, figure in figures.items():
        plotting.save(figure, folder / name)
    return [folder / name for name in figures]


def _list_pictures(paths) -> None:
    say("pictures: " + ", ".join(map(str, paths)))


def _table(folder, rows) -> Table:
    table = Table("", "value", title=Text(f"run {folder}"), title_justify="left")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table


def _judged(verdicts: dict[str, Any]) -> Table:
    """What a classifier says of real images and of chains."""
    head = ("a classifier says of", "confidence", "> 0.9", "classes", "shares")
    table = Table(*head, "nearest", title_justify="left")
    for name, v in verdicts.items():
        table.add_row(
            Text(name),
            f"{v.mean_confidence:.3f}",
            f"{v.share_confident:.0%}",
            f"{v.num_classes} of {len(v.class_shares)}",
            f"{min(v.class_shares):.0%} to {max(v.class_shares):.0%}",
            f"{v.nearest:.3f}",
        )
    return table
