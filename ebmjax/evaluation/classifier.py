"""Metrics of image samples by a classifier that is trained on the real images.

They are not a likelihood: they measure whether samples look like one of the classes,
and whether all classes appear.  Chains that repeat ten training images would score
well, so the metrics include the distance to the nearest training image.  Compare them
with the metrics of held-out real images.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ebmjax import _validation as checks
from ebmjax.base import Array, Key
from ebmjax.energies.auxiliary_networks import Classifier

Predict = Callable[[Array], Array]


class ClassifierMetrics(NamedTuple):
    """Metrics of a set of images."""

    mean_confidence: float  # mean of the largest class probability
    share_confident: float  # share of images with that above 0.9
    class_shares: np.ndarray  # [K] by predicted class
    nearest: float  # median RMS distance per pixel to the nearest training image

    @property
    def num_classes(self) -> int:
        """Classes with at least a tenth of an equal share."""
        return int(np.sum(self.class_shares > 0.1 / len(self.class_shares)))


def train_classifier(
    key: Key,
    images: Any,
    labels: np.ndarray,
    *,
    num_updates: int = 600,
    noise: float = 0.1,
) -> Predict:
    """A small convolutional network, trained by Adam on images with noise.

    The noise of each image has a standard deviation of up to ``noise`` of the range.

    Returns a function from images ``[N, H, W]`` to class probabilities ``[N, K]``.
    """
    network = Classifier(int(labels.max()) + 1)
    params = _fitted(
        network,
        num_updates,
        checks.key(key),
        jnp.asarray(images),
        jnp.asarray(labels),
        noise,
    )
    return functools.partial(_probabilities, network, params)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _fitted(network, num_updates, key, images, labels, noise):
    """The trained parameters; images and labels are arguments, not constants, so that
    one program serves all of their shape."""
    key_init, key_run = jax.random.split(key)
    params = network.init(key_init, images[0])
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, num_updates))
    low, high = jnp.min(images), jnp.max(images)

    def cross_entropy(params, x, y):
        logits = jax.vmap(lambda x: network.apply(params, x))(x)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))

    def update(carry, key):
        params, opt_state = carry
        key_rows, key_size, key_noise = jax.random.split(key, 3)
        rows = jax.random.randint(key_rows, (min(128, len(images)),), 0, len(images))
        x = images[rows]
        size = (
            noise
            * (high - low)
            * jax.random.uniform(key_size, (len(x),) + (1,) * (x.ndim - 1))
        )
        x = jnp.clip(x + size * jax.random.normal(key_noise, x.shape), low, high)
        updates, opt_state = optimizer.update(
            jax.grad(cross_entropy)(params, x, labels[rows]), opt_state
        )
        return (optax.apply_updates(params, updates), opt_state), None

    keys = jax.random.split(key_run, num_updates)
    (params, _), _ = jax.lax.scan(update, (params, optimizer.init(params)), keys)
    return params


@functools.partial(jax.jit, static_argnums=0)
def _probabilities(network, params, x):
    return jax.nn.softmax(jax.vmap(lambda x: network.apply(params, x))(x))


def classifier_metrics(
    predict: Predict, samples: Any, training_images: Any, value_range=(0.0, 1.0)
) -> ClassifierMetrics:
    """Metrics of samples ``[N, H, W]``, clipped to the range of the data."""
    samples = jnp.clip(samples, *value_range)
    probabilities = np.asarray(predict(samples))
    confidence = probabilities.max(axis=1)
    counts = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])
    return ClassifierMetrics(
        float(confidence.mean()),
        float((confidence > 0.9).mean()),
        counts / len(samples),
        float(np.median(nearest_distances(samples, training_images))),
    )


def nearest_distances(samples: Any, images: Any) -> np.ndarray:
    """RMS distance per pixel of each sample to its nearest image, ``[N]``."""
    a, b = (jnp.reshape(jnp.asarray(x), (len(x), -1)) for x in (samples, images))
    squares = jnp.sum(a**2, 1)[:, None] + jnp.sum(b**2, 1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(np.asarray(jnp.min(squares, axis=1)), 0.0) / a.shape[1])
