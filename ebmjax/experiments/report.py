"""The report of a run: its table of results, and what a classifier says of its images.

Its chains are in :mod:`ebmjax.experiments.chains`, their R-hat in
:mod:`ebmjax.experiments.chain_summary`, likelihoods in
:mod:`ebmjax.experiments.likelihood`, and pictures in :mod:`ebmjax.experiments.figures`.
"""

from pathlib import Path

import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Key
from ebmjax.evaluation.classifier import (
    ClassifierMetrics,
    classifier_metrics,
    train_classifier,
)
from ebmjax.experiments.chain_summary import summary_of
from ebmjax.experiments.chains import (
    Chains,
    kernel_of,
    run_chains,
)
from ebmjax.experiments.experiment import Run
from ebmjax.experiments.figures import (
    clean,
    history_of,
    pictures,
    value_range,
    viewable,
)
from ebmjax.experiments.labelled import judged
from ebmjax.experiments.likelihood import log_likelihood, log_likelihoods
from ebmjax.experiments.registry import METHODS, space_of_config
from ebmjax.experiments.spurious import energies_of_points, warn_of_spurious
from ebmjax.objectives.batches import points_of
from ebmjax.spaces import BITS
from ebmjax.training.step import TrainState

NONE_MOVES = 1e-3  # an acceptance rate below which global moves are without effect

__all__ = [
    "Chains",
    "clean",
    "history_of",
    "kernel_of",
    "log_likelihood",
    "log_likelihoods",
    "pictures",
    "run_chains",
    "summary_of",
    "table",
    "value_range",
    "verdicts",
    "viewable",
]

Rows = list[tuple[str, str]]


def table(run: Run, state: TrainState, chains: Chains, folder: Path) -> Rows:
    """Energies, acceptance and health of the chains, rows of a name and a value."""
    rows = [("objective, updates", f"{run.config.objective}, {int(state.step)}")]
    rows += _training_rows(state, history_of(folder))
    if run.config.temperature != 1.0:
        rows.append(
            ("temperature; results are for exp(-E / T)", f"{run.config.temperature:g}")
        )
    how = "a sum" if space_of_config(run.config) == BITS else "quadrature"
    for points, value in log_likelihoods(run, state).items():
        name = f"log-likelihood, Z by {how}, of {points}"
        rows.append((name, f"{value:.4f} nats"))
    energies = energies_of_points(run, state)
    if run.held is not None:
        means = ", ".join(f"{x.mean():+.2f}" for x in energies)
        rows.append(("energy of training data, of held-out data", f"{means} nats"))
    if METHODS[run.config.objective].is_labelled:
        rows += judged(run, state).rows()
    rows += _chain_rows(state, chains)
    if num := warn_of_spurious(chains.energies[-1], energies[0]):
        rows.append(
            ("final chains in spurious modes", f"{num} of {chains.energies.shape[1]}")
        )
    return rows


def _training_rows(state, history) -> Rows:
    """The last 100 updates; those with chains, where there are chains."""
    if "energy_data" in history:
        of_chains = np.isfinite(history["energy_data"])
        history = {name: values[of_chains] for name, values in history.items()}
    tail = {name: values[-100:] for name, values in history.items()}
    if "energy_data" in tail:
        rows = [
            (
                "energy of data, of chains (last 100 updates)",
                f"{tail['energy_data'].mean():+.2f}, "
                f"{tail['energy_model'].mean():+.2f} nats",
            ),
            (
                "spread of the energy over data",
                f"{tail['energy_spread'].mean():.2f} nats",
            ),
            (
                "acceptance in training, step size",
                f"{tail['acceptance_rate'].mean():.2f}, {float(state.step_size):.4f}",
            ),
        ]
        if "global_acceptance_rate" in tail:
            rate = tail["global_acceptance_rate"].mean()
            rows.append(("acceptance of moves between modes", f"{rate:.3f}"))
            if rate < NONE_MOVES:
                checks.warn(
                    f"{rate:.1e} of the moves between modes were accepted: they are "
                    "without effect, and --global-steps 0 saves their time"
                )
        return rows
    if "loss" in tail:
        return [("loss (last 100 updates)", f"{tail['loss'].mean():.4f}")]
    return []


def _chain_rows(state, chains) -> Rows:
    """Health of the final chains and of the updates."""
    is_stuck = chains.samples.acceptance_rate < 0.01
    rows = [
        (
            "acceptance of the final chains",
            f"{chains.samples.acceptance_rate.mean():.2f}",
        ),
        ("final chains that are stuck", f"{is_stuck.sum()} of {len(is_stuck)}"),
        (
            "updates skipped, chains restarted",
            f"{int(state.num_skipped)}, {int(state.num_restarted)}",
        ),
    ]
    if int(state.num_rollbacks):
        scale = f"{int(state.num_rollbacks)}, {float(state.lr_scale):.2g}"
        rows.append(("roll-backs, factor of the learning rate", scale))
    return rows


def verdicts(
    key: Key, run: Run, state: TrainState, chains: Chains
) -> dict[str, ClassifierMetrics]:
    """Metrics by a classifier, for labelled images.

    It is trained on the training points and applied to held-out images, the chains of
    training, and the final chains.
    """
    x, labels = run.kept.x, run.kept.labels
    if labels is None or run.held is None or not run.facts.is_image:
        return {}
    shown, limits = clean(run, run.trained(state)), value_range(run)
    predict = train_classifier(key, x, labels)
    groups = {"real, held out": run.held.x}
    if state.buffer is not None:
        groups["chains of training"] = shown(points_of(state.buffer))
    groups["final chains"] = shown(chains.positions[-1])
    return {
        name: classifier_metrics(predict, images, x, limits)
        for name, images in groups.items()
    }
