"""Training and held-out points; constants that make class energies comparable."""

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax.base import Array
from ebmjax.experiments import data
from ebmjax.experiments.data import DataError, Dataset

SHARE_HELD = 0.2


def parts(
    dataset: Dataset, seed: int, share: float = SHARE_HELD
) -> tuple[Dataset, Dataset | None]:
    """Training points and held-out points.

    Held-out points are new points for a toy set, a random share for other data.  The
    choice is the same in every call and for every seed.  With labels the share is taken
    of each class, with at least one training point left.  Nothing is held out of very
    small data sets.
    """
    if dataset.name in data.TOYS:
        new = data.load(dataset.name, seed=(seed + 1) % 2**32)
        return dataset, new if dataset.labels is not None else new._replace(labels=None)
    order = np.random.default_rng(0).permutation(len(dataset.x))
    classes = np.zeros(len(order), int) if dataset.labels is None else dataset.labels
    is_held = np.zeros(len(order), bool)
    for value in np.unique(classes):
        members = order[classes[order] == value]
        is_held[members[: int(share * len(members))]] = True
    if share == 0 or not is_held.any():
        return dataset, None
    return take(dataset, order[~is_held[order]]), take(dataset, order[is_held[order]])


def labelled_parts(
    dataset: Dataset, seed: int, share: float = SHARE_HELD
) -> tuple[Dataset, Dataset]:
    """As :func:`parts`, for data with labels.

    Raises:
      DataError: no labels, fewer than two classes, or no held-out points.
    """
    if dataset.labels is None:
        raise DataError(
            f"{dataset.name} has no labels, which this objective needs: digits, mnist, "
            "two_moons, spirals, an .npz with x and y, a .csv with a column label"
        )
    known = np.unique(dataset.labels)
    if len(known) < 2 or not np.array_equal(known, np.arange(len(known))):
        raise DataError(
            f"labels of {dataset.name} must be 0, 1, ..., two classes or more; got "
            f"{known[:12].tolist()}"
        )
    kept, held = parts(dataset, seed, share)
    if held is None:
        raise DataError(
            f"no point of {dataset.name} is held out ({share:.0%} of "
            f"{len(dataset.x)}), and a classifier is tested on such points; its labels "
            "need several points per class, and held_out a share above 0"
        )
    return kept, held


def take(dataset: Dataset, index: np.ndarray) -> Dataset:
    """Some of the points, with what is beside them."""
    beside = {
        name: None if (rows := getattr(dataset, name)) is None else rows[index]
        for name in ("labels", "conditions")
    }
    return dataset._replace(x=dataset.x[index], **beside)  # type: ignore[arg-type]


def class_constants(energies: Array, labels: Array, num_steps: int = 200) -> Array:
    """c with p(y | x) ~ exp(c_y - E_y(x)), mean zero, by maximum likelihood.

    From energies and labels ``[N, K]``.

    Class energies that are learned separately each have a free constant.  If E_y is
    correct up to it, c_y = log p(y) - log Z_y up to one constant, as in estimators of
    ratios of Z by reweighting (Geyer 1994, "Estimating normalizing
    constants and reweighting mixtures").
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
