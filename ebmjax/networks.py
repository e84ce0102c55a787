"""Energy networks in Flax, for one point of any shape: ``network.apply(params, x) -> scalar``.

    E(x) = net(x) + |x|^2 / (2 s^2)        (the second term where ``confinement=s``)

What energies need and classifiers do not: smooth activations, because samplers follow the gradient and
score matching its derivative; no batch statistics, because the energy of a point must not depend on its
batch; and tails.  A network alone grows at most linearly, so exp(-E) need not be integrable: a quadratic
term with a generous scale ``s`` makes it so, and keeps chains from leaving.

Spectral normalisation (Miyato et al. 2018) divides each weight by its largest singular value, here from a
fixed start with power iterations at each call, so that it is a function of the weights alone.

Any other network will do.  Linen's ``module.apply`` is a trainable energy already; an NNX module becomes
one by

    graph, params = nnx.split(module);   energy = lambda params, x: nnx.merge(graph, params)(x)
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ebmjax.base import half_square

Activation = Callable[[jax.Array], jax.Array]


class MLP(nn.Module):
    """A perceptron on the flattened point.

    >>> network = MLP((128, 128))
    >>> params = network.init(jax.random.key(0), jnp.zeros(2))
    >>> network.apply(params, jnp.ones(2)).shape
    ()
    """

    features: Sequence[int] = (128, 128)
    activation: Activation = nn.swish
    confinement: float | None = None  # s, in units of x
    is_spectral: bool = False

    @nn.compact
    def __call__(self, x):
        dense = spectral(nn.Dense) if self.is_spectral else nn.Dense
        h = jnp.ravel(x)
        for width in self.features:
            h = self.activation(dense(width)(h))
        return _confined(dense(1)(h)[0], x, self.confinement)


class Conv(nn.Module):
    """Strided convolutions ``[H, W]`` or ``[H, W, channels]``, then a perceptron; no batch norm."""

    features: Sequence[int] = (32, 64)
    hidden: int = 128
    kernel_size: int = 4
    activation: Activation = nn.swish
    confinement: float | None = None
    is_spectral: bool = False

    @nn.compact
    def __call__(self, x):
        if x.ndim not in (2, 3):
            raise ValueError(f"Conv takes one image [H, W] or [H, W, channels], got shape {x.shape}")
        conv, dense = (spectral(m) if self.is_spectral else m for m in (nn.Conv, nn.Dense))
        h = x if x.ndim == 3 else x[..., None]
        for width in self.features:
            h = self.activation(conv(width, (self.kernel_size,) * 2, strides=2)(h))
        h = self.activation(dense(self.hidden)(jnp.ravel(h)))
        return _confined(dense(1)(h)[0], x, self.confinement)


def spectral(module: type[nn.Module], num_iterations: int = 8) -> Callable[..., nn.Module]:
    """The same layer, its kernel divided by its largest singular value."""

    def normalise(variables):
        return jax.tree.map(
            lambda w: w / jnp.maximum(largest_singular_value(w, num_iterations), 1e-12) if w.ndim > 1 else w,
            variables,
        )

    return nn.map_variables(module, "params", trans_in_fn=normalise, init=True)


def largest_singular_value(weight: jax.Array, num_iterations: int = 8) -> jax.Array:
    """By power iterations from the row of ones, the vectors held fixed under differentiation."""
    matrix = weight.reshape(-1, weight.shape[-1])

    def iterate(_, v):
        v = matrix.T @ (matrix @ v)
        return v / (jnp.linalg.norm(v) + 1e-12)

    start = jnp.ones(matrix.shape[1], matrix.dtype)
    v = jax.lax.stop_gradient(jax.lax.fori_loop(0, num_iterations, iterate, start))
    u = jax.lax.stop_gradient(matrix @ v)
    return jnp.vdot(u / (jnp.linalg.norm(u) + 1e-12), matrix @ v)


def _confined(value, x, confinement):
    if confinement is None:
        return value
    return value + half_square(x) / confinement**2
