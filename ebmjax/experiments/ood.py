"""Other inputs than the data of a run, and how well its energy tells them apart.

    shuffled, midpoints, uniform   made of the points held out
                                   (:func:`ebmjax.experiments.labelled.ood_inputs`)
    other images                   digits for a run on mnist and mnist for one on
                                   digits, patches of faces (lfw) where scikit-image is
                                   installed, or any data that are named, resized to
                                   those of the run

The score of an input is minus its energy; the table has the area under the ROC curve
against the points held out, all with the noise of training.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax.evaluation import classification
from ebmjax.experiments import data
from ebmjax.experiments.data import DataError, Dataset, is_image
from ebmjax.experiments.experiment import Run
from ebmjax.experiments.labelled import judged, ood_inputs
from ebmjax.experiments.registry import METHODS
from ebmjax.training.step import TrainState

OTHERS = {"mnist": ("digits", "lfw"), "digits": ("mnist", "lfw")}
MOST = 2000  # inputs of a kind


def rows(run: Run, state: TrainState, names: tuple[str, ...] = ()) -> Any:
    """Rows of a table: of a labelled run accuracy, calibration and AUROC by density and
    by confidence; of another the AUROC by density.  Empty where no points are held out.

    Args:
      names: data sets or files of other images; by default those of the run's data.

    Raises:
      DataError: data that are named and cannot be used.
    """
    if run.held is None or METHODS[run.config.objective].is_binary:
        return []
    others = other_images(run, names)
    if METHODS[run.config.objective].is_labelled and run.at is None:
        return judged(run, state, others).rows()
    key_noise, *keys = jax.random.split(jax.random.key(run.config.seed), 4)
    x = jnp.asarray(run.standard.forward(run.held.x[:MOST]), jnp.float32)
    labels = run.held.labels
    labels = np.arange(len(x)) if labels is None else np.asarray(labels)[:MOST]
    energy = jax.jit(jax.vmap(run.trained(state)))

    def scores(i, z):
        key = jax.random.fold_in(key_noise, i)
        noise = run.config.noise * jax.random.normal(key, z.shape)
        return -np.asarray(energy(z + noise), np.float64)

    inside = scores(0, x)
    groups = {**ood_inputs(keys, x, labels), **others}
    return [
        (
            f"held out against {name} (AUROC)",
            f"{classification.auroc(inside, scores(i + 1, z)):.3f}",
        )
        for i, (name, z) in enumerate(groups.items())
    ]


def other_images(run: Run, names: tuple[str, ...] = ()) -> dict[str, jax.Array]:
    """Images of other data in units of training, ``[N, H, W(, c)]``."""
    if not run.facts.is_image:
        if names:
            raise DataError("--other are images, and this run has none")
        return {}
    found = {}
    for name in names or OTHERS.get(run.config.data, ()):
        try:
            dataset = data.load(name)
        except DataError:
            if names:
                raise
            continue  # its package is not installed
        found[name] = jnp.asarray(resized(dataset, run.facts.shape))
    return found


def resized(dataset: Dataset, shape: tuple[int, ...]) -> np.ndarray:
    """Images of another data set ``[N, *shape]`` in [0, 1], by linear interpolation.

    Colours become grey where the shape has one channel, and grey is repeated where it
    has several.
    """
    if not is_image(dataset):
        raise DataError(f"{dataset.name} holds no images")
    x = np.asarray(dataset.x[:MOST], np.float32)
    low, high = dataset.range or (float(x.min()), float(x.max()))
    x = (x - low) / max(high - low, 1e-12)
    x = x[..., None] if x.ndim == 3 else x
    channels = shape[2] if len(shape) == 3 else 1
    if x.shape[-1] != channels:
        grey = x.mean(axis=-1, keepdims=True)
        x = np.repeat(grey, channels, axis=-1)
    x = jax.image.resize(x, (len(x), *shape[:2], channels), "linear")
    return np.asarray(x).reshape(len(x), *shape)
