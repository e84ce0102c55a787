"""Evaluation of a labelled run on held-out points: as a classifier, and as a detector
of out-of-distribution inputs.

Synthetic out-of-distribution inputs are made from the held-out points:

    shuffled     each coordinate from another point: only the marginals are correct
    midpoints    of two points of different classes
    uniform      in the box of the data
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from ebmjax import plotting
from ebmjax.evaluation import classification
from ebmjax.experiments.experiment import Run
from ebmjax.training.step import TrainState


class Judged(NamedTuple):
    """Class probabilities ``[N, K]`` and labels of held-out points, and scores -E of
    them and of out-of-distribution inputs."""

    probabilities: np.ndarray
    labels: np.ndarray
    scores: dict[str, np.ndarray]
    confidence: dict[str, np.ndarray]  # the largest probability

    def rows(self) -> list[tuple[str, str]]:
        """Accuracy, calibration, and detection of out-of-distribution inputs."""
        right = classification.accuracy(self.probabilities, self.labels)
        error = classification.calibration_error(self.probabilities, self.labels)
        auroc = lambda of, name: f"{classification.auroc(of['held out'], of[name]):.3f}"
        sides = [
            (
                f"against {name}: by density, by confidence (AUROC)",
                f"{auroc(self.scores, name)}, {auroc(self.confidence, name)}",
            )
            for name in list(self.scores)[1:]
        ]
        return [
            (f"accuracy on {len(self.labels)} held out", f"{right:.2%}"),
            ("calibration error", f"{error:.4f}"),
            *sides,
        ]

    def pictures(self) -> dict[str, Figure]:
        """The reliability of the classes, and energies of all groups of inputs."""
        return {
            "reliability.png": plotting.reliability(
                *classification.reliability(self.probabilities, self.labels),
                classification.calibration_error(self.probabilities, self.labels),
            ),
            "ood_inputs.png": plotting.energy_histogram(
                {k: -v for k, v in self.scores.items()}
            ),
        }


def judged(
    run: Run, state: TrainState, others: dict[str, jax.Array] | None = None
) -> Judged:
    """The classes of a labelled run on points held out, with the noise of training.

    ``others`` are more inputs to detect, in units of training, by name.
    """
    held = run.held
    assert held is not None  # labelled runs always have held-out points
    labels = np.asarray(held.labels)
    x = jnp.asarray(run.standard.forward(held.x), jnp.float32)
    key_noise, *keys = jax.random.split(jax.random.key(run.config.seed), 4)
    groups = {"held out": x, **ood_inputs(keys, x, labels), **(others or {})}
    of_classes = jax.jit(jax.vmap(run.of_classes(state)))
    noise = lambda z: run.config.noise * jax.random.normal(key_noise, z.shape)
    energies = {
        name: -np.asarray(of_classes(points + noise(points)), np.float64)
        for name, points in groups.items()
    }
    of = {
        name: np.asarray(jax.nn.softmax(jnp.asarray(e), axis=1))
        for name, e in energies.items()
    }
    return Judged(
        of["held out"],
        labels,
        {name: np.logaddexp.reduce(e, axis=1) for name, e in energies.items()},
        {name: p.max(axis=1) for name, p in of.items()},
    )


def ood_inputs(keys, x: jax.Array, labels: np.ndarray) -> dict[str, jax.Array]:
    """Three kinds, each as many as there are points ``[N, ...]``."""
    key_shuffle, key_pair, key_uniform = keys
    num = len(x)
    flat = x.reshape(num, -1)
    order = jnp.argsort(jax.random.uniform(key_shuffle, flat.shape), axis=0)
    pairs = np.asarray(jax.random.randint(key_pair, (2, 20 * num), 0, num))
    pairs = pairs[:, labels[pairs[0]] != labels[pairs[1]]][:, :num]
    pairs = np.resize(pairs, (2, num)) if pairs.size else np.zeros((2, num), int)
    low, high = flat.min(axis=0), flat.max(axis=0)
    return {
        "shuffled": jnp.take_along_axis(flat, order, axis=0).reshape(x.shape),
        "midpoints": (x[pairs[0]] + x[pairs[1]]) / 2,
        "uniform": jax.random.uniform(
            key_uniform, flat.shape, minval=low, maxval=high
        ).reshape(x.shape),
    }
