"""Energy networks of a point and a condition, ``apply(params, x, c)``.

    e   = swish(A c + a)                         features of the condition
    h_l = swish(W_l h_(l-1) + b_l + V_l e)       every layer hears of it

and the energy is that of :class:`~ebmjax.energies.networks.EnergyNetwork`, with its
tails. A condition is an array of floats of any shape; or, with ``num_classes=K``, a
whole number below K, or a one-hot row ``[K]``.

p(x | c) does not change where a function of c alone is added to the energy: energies at
two conditions are not comparable.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ebmjax.energies.networks import MLP, Conv


class _TakesCondition:
    """What both networks share: the features of a condition."""

    def condition_features(self, c):
        width = self.condition_width
        if self.num_classes is not None:
            c = jnp.asarray(c)
            if jnp.issubdtype(c.dtype, jnp.integer):
                c = jax.nn.one_hot(c, self.num_classes)
            if c.shape != (self.num_classes,):
                raise ValueError(
                    f"a condition must be a class below {self.num_classes} or a "
                    f"one-hot row, got shape {c.shape}"
                )
        return self.activation(nn.Dense(width, name="condition")(jnp.ravel(c)))

    def shifted(self, h, e, i):
        """Features ``[..., W]`` of layer i with the shift that the condition gives."""
        shift = nn.Dense(h.shape[-1], use_bias=False, name=f"shift_{i}")
        return h + shift(e).astype(h.dtype)


class ConditionalMLP(_TakesCondition, MLP):
    """A perceptron on the flattened point, given c.

    >>> network = ConditionalMLP((128, 128))
    >>> params = network.init(jax.random.key(0), jnp.zeros(2), jnp.zeros(3))
    >>> network.apply(params, jnp.ones(2), jnp.ones(3)).shape
    ()
    """

    num_classes: int | None = None
    condition_width: int = 64

    @nn.compact
    def hidden(self, x, c):
        e, h = self.condition_features(c), jnp.ravel(x)
        for i, width in enumerate(self.features):
            h = self.activation(self.shifted(self.dense(i, width)(h), e, i))
        return h


class ConditionalConv(_TakesCondition, Conv):
    """Strided convolutions on ``[H, W]`` or ``[H, W, channels]``, given c.

    >>> network = ConditionalConv((8, 16, 32), num_classes=10)
    >>> params = network.init(jax.random.key(0), jnp.zeros((8, 8)), 3)
    >>> network.apply(params, jnp.ones((8, 8)), 3).shape
    ()
    """

    num_classes: int | None = None
    condition_width: int = 64

    @nn.compact
    def hidden(self, x, c):
        e, h = self.condition_features(c), self.image(x)
        for i, width in enumerate(self.features[:-1]):
            h = self.convolution(width)(h)
            h = self.activation(self.shifted(h, e, i))
        h = self.layer(nn.Dense)(self.features[-1])(jnp.ravel(h))
        return self.activation(self.shifted(h, e, len(self.features) - 1))
