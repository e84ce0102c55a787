"""Energy networks in Flax, for one point of any shape.

``network.apply(params, x)`` is a number,

    E(x) = gain net((x - center) / spread) + |x|^2 / (2 s^2),

the last term where ``confinement=s``; with ``is_confinement_trained`` it is multiplied
by exp(c), and with ``is_scale_trained`` the sum by exp(10 a), parameters that start at
0.  What energies need and classifiers do not:
smooth activations, because samplers follow the gradient and score matching its
derivative; no batch statistics, because the energy of a point must not depend on its
batch; and tails.  A network alone grows at most linearly, so exp(-E) need not be
integrable: the quadratic term makes it so, and keeps chains from leaving.

Data with Gaussian noise of standard deviation sigma have, exactly, the energy of a
parabola minus a convex function,

    E(y) = |y|^2 / (2 sigma^2) - log E_x[exp((x.y - |x|^2/2) / sigma^2)],

and the gradient of the second is the posterior mean of the clean x over sigma^2.  So
``confinement=sigma, gain=1/sigma^2`` leaves the network a function whose gradient is a
clean point, whatever the noise.  A network that is not yet convex there makes the
density narrower than the noise, in all directions, and the data keep more energy than
the chains: a trained c takes up this difference at once, with
d/dc log p = E_model - E_data of the quadratic term.

The scale of the energy is trained by all weights together, d/da log p = 10 (E_model -
E_data): each has a small share of this difference, below the noise of its gradient, and
optimisers that divide by that noise, like Adam, follow it slowly; one parameter, fast.

Two variants.  With ``num_outputs=K`` a network returns K energies, one a class.  A
noise-conditional one is ``apply(params, x, noise)``, with s the spread of the data and
r^2 = s^2 + noise^2,

    E(x, noise) = |u|^2 / 2 + (r / noise) net(u, log noise),      u = (x - center) / r :

the energy of a Gaussian of the right size, and a network whose gradient is of order one
at every level (what Song & Ermon 2020, Technique 3, and the scalings of Karras et al.
2022 do for scores).

Any other network will do.  Linen's ``module.apply`` is a trainable energy already; an
NNX module becomes one by

    graph, params = nnx.split(module)
    energy = lambda params, x: nnx.merge(graph, params)(x)
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax.base import half_square
from ebmjax.energies.spectral import spectral

Activation = Callable[[jax.Array], jax.Array]
SCALE_RATE = 10.0  # of log scale to its parameter, which Adam moves as any other


class EnergyNetwork(nn.Module):
    """What all energies here share; a subclass says how features come from a point."""

    features: Sequence[int] = (128, 128)
    activation: Activation = nn.swish
    confinement: float | None = None  # s, in units of x
    is_confinement_trained: bool = False
    is_scale_trained: bool = False
    gain: float = 1.0
    center: float = 0.0
    spread: float = 1.0
    is_spectral: bool = False  # weights divided by their largest singular values
    num_outputs: int | None = None  # K energies, one a class
    dtype: Any = None  # of the features, jnp.bfloat16; all else stays as wide as x

    def __post_init__(self):
        super().__post_init__()
        for width in self.features:
            checks.count(width, "features")
        checks.positive(self.spread, "spread")
        if self.confinement is not None:
            checks.positive(self.confinement, "confinement")
        elif self.is_confinement_trained:
            raise ValueError("is_confinement_trained needs a confinement, got None")

    @nn.compact
    def __call__(self, x, *condition):
        h = self.hidden((x - self.center) / self.spread, *condition)
        h = jnp.ravel(h).astype(jnp.promote_types(x.dtype, jnp.float32))
        last = spectral(nn.Dense) if self.is_spectral else nn.Dense
        value = self.gain * last(self.num_outputs or 1)(h)
        value = value if self.num_outputs else value[0]
        if self.confinement is not None:
            quadratic = half_square(x) / self.confinement**2
            if self.is_confinement_trained:
                log_scale = self.param("log_confinement", nn.initializers.zeros, ())
                quadratic *= jnp.exp(log_scale)
            value += quadratic
        if self.is_scale_trained:
            log_scale = self.param("log_scale", nn.initializers.zeros, ())
            value *= jnp.exp(SCALE_RATE * log_scale)
        return value

    def layer(self, module: type[nn.Module]) -> Callable[..., nn.Module]:
        """A layer of the features."""
        made = spectral(module) if self.is_spectral else module
        return functools.partial(made, dtype=self.dtype)

    def hidden(self, x, *condition):
        raise NotImplementedError


class MLP(EnergyNetwork):
    """A perceptron on the flattened point.

    A perceptron of two or three coordinates learns slowly what varies over short
    distances (Rahaman et al. 2019, "On the spectral bias of neural networks"; Tancik et
    al. 2020).  With ``first_layer_scale=s`` above 1 the units j = 1..m of the first
    layer start with weights N(0, s_j^2 / d), in the place of 1 / d, and biases
    N(0, .16 (s_j - 1)^2), of scales s_j from 1 to s in equal ratios: some are smooth
    over the data, others bend within them, and not all at their centre.

    >>> network = MLP((128, 128))
    >>> params = network.init(jax.random.key(0), jnp.zeros(2))
    >>> network.apply(params, jnp.ones(2)).shape
    ()
    """

    first_layer_scale: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        checks.positive(scale := self.first_layer_scale, "first_layer_scale")
        if scale < 1:
            raise ValueError(f"first_layer_scale must be at least 1, got {scale}")
        if self.is_spectral and scale != 1:
            raise ValueError(
                "first_layer_scale is without effect on weights divided by their "
                f"largest singular value (is_spectral), got {scale}"
            )

    def dense(self, index, width):
        """A layer of the features, the first with its own initial weights."""
        made, most = self.layer(nn.Dense), self.first_layer_scale
        if index or most == 1:
            return made(width)
        scales = jnp.geomspace(1.0, most, width) if width > 1 else jnp.full(1, most)
        weights, biases = nn.initializers.lecun_normal(), nn.initializers.normal(0.4)
        return made(
            width,
            kernel_init=_multiplied(weights, scales),
            bias_init=_multiplied(biases, scales - 1),
        )

    @nn.compact
    def hidden(self, x):
        h = jnp.ravel(x)
        for i, width in enumerate(self.features):
            h = self.activation(self.dense(i, width)(h))
        return h


def _multiplied(initial: Callable[..., Any], factors: jax.Array) -> Callable[..., Any]:
    def multiplied(*arguments):
        numbers = initial(*arguments)
        return factors.astype(numbers.dtype) * numbers

    return multiplied


class Conv(EnergyNetwork):
    """Strided convolutions on ``[H, W]`` or ``[H, W, channels]``.

    Each of ``features`` but the last is a convolution with stride 2, which halves the
    sides; the last is dense.  :func:`conv_features` chooses widths for an image.

    >>> network = Conv(conv_features((28, 28)))
    >>> params = network.init(jax.random.key(0), jnp.zeros((28, 28)))
    >>> sum(w.size for w in jax.tree.leaves(params))
    689377
    """

    features: Sequence[int] = (32, 64, 128, 256)
    kernel_size: int = 4

    def image(self, x):
        """With an axis of channels."""
        if x.ndim not in (2, 3):
            raise ValueError(
                f"Conv takes one image [H, W] or [H, W, channels], got shape {x.shape}"
            )
        return x if x.ndim == 3 else x[..., None]

    def convolution(self, width):
        return self.layer(nn.Conv)(width, (self.kernel_size,) * 2, strides=2)

    @nn.compact
    def hidden(self, x):
        h = self.image(x)
        for width in self.features[:-1]:
            h = self.activation(self.convolution(width)(h))
        return self.activation(self.layer(nn.Dense)(self.features[-1])(jnp.ravel(h)))


FINAL_SIDE = 4  # pixels of the longer side before the dense layer
WIDEST = 256


def conv_features(shape: Sequence[int]) -> tuple[int, ...]:
    """Widths of :class:`Conv` for an image ``[H, W, ...]``.

    As many convolutions of stride 2 as leave at most 4 pixels a side, 32 channels in
    the first and twice as many in each that follows, up to 256; then 256 dense.  The
    number of parameters grows with the logarithm of the size: .70 million for 28x28,
    1.8 million for 64x64x3.

    >>> conv_features((28, 28)), conv_features((64, 64, 3))
    ((32, 64, 128, 256), (32, 64, 128, 256, 256))
    """
    side, widths = max(shape[:2]), [32]
    while (side := -(-side // 2)) > FINAL_SIDE:
        widths.append(min(2 * widths[-1], WIDEST))
    return (*widths, WIDEST)


class NoiseConditional(nn.Module):
    """A perceptron that knows the noise of its point: ``apply(params, x, noise)``.

    >>> network = NoiseConditional((128, 128))
    >>> params = network.init(jax.random.key(0), jnp.zeros(2), 1.0)
    >>> network.apply(params, jnp.ones(2), 0.1).shape
    ()
    """

    features: Sequence[int] = (128, 128)
    activation: Activation = nn.swish
    center: float = 0.0
    spread: float = 1.0  # of the data, without noise
    is_spectral: bool = False

    @nn.compact
    def __call__(self, x, noise):
        layer = spectral(nn.Dense) if self.is_spectral else nn.Dense
        radius = jnp.sqrt(self.spread**2 + noise**2)
        u = (x - self.center) / radius
        h = jnp.ravel(u)
        level = jnp.log(noise / self.spread)
        waves = jnp.stack(
            [
                level / 4,
                *(f(k * level) for k in (0.5, 1.0, 2.0) for f in (jnp.sin, jnp.cos)),
            ]
        )
        for i, width in enumerate(self.features):
            h = layer(width)(h) + (
                nn.Dense(width)(waves.astype(h.dtype)) if i == 0 else 0.0
            )
            h = self.activation(h)
        return half_square(u) + radius / noise * layer(1)(h)[0]
