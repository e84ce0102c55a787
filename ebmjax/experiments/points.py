"""The points of a run: which are trained on, which are held out, and their facts."""

from typing import NamedTuple

import numpy as np

from ebmjax import _validation as checks
from ebmjax.experiments.classes import labelled_parts, parts
from ebmjax.experiments.configuration import Config
from ebmjax.experiments.data import Dataset
from ebmjax.experiments.errors import RunError
from ebmjax.experiments.facts import Facts
from ebmjax.experiments.registry import METHODS, space_of_config
from ebmjax.experiments.standardize import Standard, atoms, digest
from ebmjax.spaces import REAL


class Points(NamedTuple):
    """The points of a run."""

    kept: Dataset  # trained on
    held: Dataset | None  # held out
    facts: Facts
    is_whole: bool  # whether all points are here, not only those of the facts


def points_of(config: Config, dataset: Dataset, facts: Facts | None = None) -> Points:
    """The points of a new run, or, with its facts, of an earlier one.

    Raises:
      RunError: data that differ from those of the configuration, that are not of the
        space of its kernel, or fewer than a batch.
      DataError: no labels where the objective needs them.
    """
    is_whole = facts is None or facts.is_whole or dataset is not facts.dataset
    if is_whole and config.data_digest != digest(dataset):
        raise RunError(f"the data of {config.data!r} have changed since this run began")
    _check_values(config, dataset)
    split = labelled_parts if METHODS[config.objective].is_labelled else parts
    kept, held = (
        split(dataset, config.seed, config.held_out)
        if facts is None or is_whole
        else (dataset, facts.held)
    )
    if facts is None:
        facts = _facts(config, dataset, kept, held)
    if is_whole and config.batch_size > len(kept.x):
        raise RunError(
            f"batch_size must be at most the number of points to train on, "
            f"{len(kept.x)}, got {config.batch_size}"
        )
    return Points(kept, held, facts, is_whole)


def _check_values(config, dataset) -> None:
    """Raise unless the values of the data are those of the kernel."""
    space = space_of_config(config)
    if space == REAL or np.isin(dataset.x, np.array(space.values)).all():
        return
    if METHODS[config.objective].is_binary:
        raise RunError(
            f"{config.objective} needs data of 0 and 1 and no noise; --binary makes "
            "them, and --data binary_digits has them"
        )
    raise RunError(
        f"the kernel {config.kernel} is of {space}, and the data are not "
        f"{space.listed}; --binary or --levels K makes them so"
    )


def _facts(config, dataset, kept, held) -> Facts:
    """Units and sizes of new data, with warnings about them."""
    method = METHODS[config.objective]
    if space_of_config(config) != REAL:
        standard = Standard(np.float64(0), np.float64(1))
    else:
        standard = Standard.of(kept)
        for symptom in atoms(kept, standard) if config.noise == 0 else []:
            checks.warn(f"{dataset.name}: {symptom}")
    num_classes = int(kept.labels.max()) + 1 if method.is_labelled else None
    return Facts.of(config, dataset, kept, held, standard, num_classes)
