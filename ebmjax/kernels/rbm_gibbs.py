"""Block Gibbs of a restricted Boltzmann machine: all hidden units given the visible
ones, then all visible ones; it has detailed balance.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._inlined import inlined
from ebmjax._random import split
from ebmjax._value import number, value
from ebmjax.base import Kernel
from ebmjax.energies.boltzmann import RBM, rbm
from ebmjax.energies.differences import discrete_state, renewed
from ebmjax.energies.transforms import Tempered
from ebmjax.kernels.gibbs import gibbs_info
from ebmjax.spaces import BITS


@value
class RBMGibbs(Kernel):
    """Made by :func:`rbm_gibbs`."""

    params: RBM = number()
    temperature: Any = number(default=1.0)
    is_reversible = True
    state_space = BITS

    def init(self, position):
        return discrete_state(self._energy, BITS, position)

    def _energy(self, v):
        """Infinite but at temperature 1, where the hidden units are independent."""
        energy = rbm(self.params, v.ravel())
        return jnp.where(self.temperature == 1.0, energy, jnp.inf)

    def draw(self, key, shapes):
        key_hidden, key_visible = split(key)
        hidden = self.params.hidden.shape
        return (
            jax.random.logistic(inlined(key_hidden), hidden, shapes.dtype),
            jax.random.logistic(inlined(key_visible), shapes.shape, shapes.dtype),
        )

    def move(self, noise, state):
        of_hidden, of_visible = noise
        weights, visible, hidden = self.params
        v = state.position.ravel()
        h = (of_hidden < hidden + v @ weights).astype(v.dtype)
        v = (of_visible.ravel() < visible + weights @ h).astype(v.dtype)
        new = renewed(self._energy, BITS, state, v.reshape(state.position.shape))
        return new, gibbs_info(state, new)


def rbm_gibbs(model: RBM | Any) -> Kernel:
    """Block Gibbs: every hidden unit given the visible ones, every visible one given
    the hidden.

    Args:
      model: the parameters of a restricted Boltzmann machine, or its energy,
        ``partial(rbm, params)``, as training passes it; at temperature 1.

    Raises:
      TypeError: any other energy.

    >>> from ebmjax.energies.boltzmann import rbm_params
    >>> kernel = rbm_gibbs(rbm_params(jax.random.key(0), 4, 2))
    """
    if isinstance(model, RBM):
        return RBMGibbs(model)
    inner: Any = model
    is_tempered = isinstance(inner, Tempered)
    temperature = inner.temperature if is_tempered else 1.0
    params = _parameters(inner.energy if is_tempered else inner)
    if params is None:
        raise TypeError(
            "model must be the parameters of an RBM, or its energy, partial(rbm, "
            f"params); got {checks.describe(model)}"
        )
    return RBMGibbs(params, temperature)


def _parameters(energy: Any) -> RBM | None:
    """The RBM that an energy carries as the first argument of a partial."""
    energy = energy.unwrap() if hasattr(energy, "unwrap") else energy
    arguments = getattr(energy, "args", ())
    if arguments and isinstance(arguments[0], RBM):
        return arguments[0]
    inner = getattr(energy, "func", getattr(energy, "__wrapped__", None))
    return None if inner is None else _parameters(inner)
