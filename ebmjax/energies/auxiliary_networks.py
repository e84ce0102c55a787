"""Networks that are no energies and stand beside one: the critic of an objective, and a
classifier that judges samples.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

Activation = Callable[[jax.Array], jax.Array]


class Classifier(nn.Module):
    """A small convolutional classifier of images, which judges samples."""

    num_classes: int

    @nn.compact
    def __call__(self, x):
        h = x if x.ndim == 3 else x[..., None]
        for width in (16, 32):
            h = nn.relu(
                nn.Conv(width, (3, 3), strides=2 if min(h.shape[:2]) > 4 else 1)(h)
            )
        return nn.Dense(self.num_classes)(nn.relu(nn.Dense(128)(jnp.ravel(h))))


class Field(nn.Module):
    """A perceptron from points to vectors of their shape, a critic; zero when new."""

    features: Sequence[int] = (128, 128)
    activation: Activation = nn.swish

    @nn.compact
    def __call__(self, x):
        h = jnp.ravel(x)
        for width in self.features:
            h = self.activation(nn.Dense(width)(h))
        return nn.Dense(x.size, kernel_init=nn.initializers.zeros)(h).reshape(x.shape)
