"""Runs on labelled points: what is held out, and what makes classes comparable."""

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax.base import Array
from ebmjax.experiments import data
from ebmjax.experiments.data import DataError, Dataset

SHARE_HELD = 0.2


def parts(dataset: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """For training, and held out: new points of a toy set, the last fifth of other data.

    Raises:
      DataError: data without labels, or with fewer than two classes among those for training.
    """
    x, labels = dataset.x, dataset.labels
    if labels is None:
        raise DataError(
            f"{dataset.name} has no labels, which this objective needs: digits, mnist, two_moons, spirals, "
            "an .npz with x and y, a .csv whose last column is headed y"
        )
    if dataset.name in data.TOYS:
        return dataset, data.load(dataset.name, seed=(seed + 1) % 2**32)
    cut = len(x) - max(1, int(SHARE_HELD * len(x)))
    known = np.unique(labels[:cut])
    if (
        len(known) < 2
        or not np.array_equal(known, np.unique(labels))
        or known[-1] != len(known) - 1
    ):
        raise DataError(
            f"labels of {dataset.name} must be 0, 1, ..., two classes or more, each among the first four "
            f"fifths of the points; got {np.unique(labels)[:12].tolist()}"
        )
    return dataset._replace(x=x[:cut], labels=labels[:cut]), dataset._replace(
        x=x[cut:], labels=labels[cut:]
    )


def class_constants(energies: Array, labels: Array, num_steps: int = 200) -> Array:
    """c with p(y | x) ~ exp(c_y - E_y(x)), mean zero, by maximum likelihood.

    Of energies and labels ``[N, K]``.

    Energies of classes that were learned apart each have a free constant.  Where E_y is right but for it,
    c_y = log p(y) - log Z_y up to one constant: what estimators of ratios of Z by reweighting find too
    (Geyer 1994, "Estimating normalizing constants and reweighting mixtures").
    """
    shares = labels.mean(axis=0)

    def step(c, _):
        expected = jax.nn.softmax(c - energies).mean(axis=0)
        return c + jnp.log(jnp.maximum(shares, 1e-6)) - jnp.log(
            jnp.maximum(expected, 1e-6)
        ), None

    c, _ = jax.lax.scan(
        step, jnp.log(jnp.maximum(shares, 1e-6)), None, length=num_steps
    )
    return c - c.mean()
