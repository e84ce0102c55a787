"""Metropolis with proposals that are informed by differences of the energy, for bits,
spins and levels (:mod:`ebmjax.energies.differences`).

One site a step (Zanella 2020, JASA 115, section 2): with differences d_i(v) of the
energy,

    q(x with x_i = v | x)  proportional to  g(exp(-d_i(v))),     g(t) = t g(1 / t),

g(t) = sqrt t, or t / (1 + t), "barker".  Among the moves is the one that stays, of
weight 1: without it the chain would have period two on a flat energy.

    locally_balanced        exact differences
    gibbs_with_gradients    to first order, by one gradient (Grathwohl et al. 2021,
                            "Oops I took a gradient", algorithm 1)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._random import bits, unit
from ebmjax._value import function, static, value
from ebmjax.base import Array, Energy, Kernel, State
from ebmjax.energies.differences import (
    differences,
    discrete_state,
    first_order,
    renewed,
    replaced,
)
from ebmjax.energies.local import one_hot_of
from ebmjax.kernels.metropolis import MetropolisKernel
from ebmjax.kernels.proposal import Proposal
from ebmjax.spaces import Space, chosen

# log g(exp(-d))
BALANCING: dict[str, Callable[[Array], Array]] = {
    "sqrt": lambda d: -0.5 * d,
    "barker": lambda d: -jax.nn.softplus(d),
}


def to_others(space: Space, d: Array, x: Array) -> Array:
    """Of differences ``[*x.shape, K]`` those to the K - 1 other values, ``[K - 1,
    *x.shape]``; entry s - 1 is of the value s places up, modulo K."""
    num = space.num_values
    index = space.index(x)
    others = [(index + shift) % num for shift in range(1, num)]
    take = lambda k: jnp.take_along_axis(d, k[..., None], axis=-1)[..., 0]
    if num == 2:
        return jnp.where(others[0] == 1, d[..., 1], d[..., 0])[None]
    return jnp.stack([take(k) for k in others])


@value
class OneSite(Proposal):
    """One site takes another value, or none does, by a balanced weight."""

    energy: Energy = function()
    space: Space = static()
    is_exact: bool = static()
    balancing: str = static()

    @property
    def uses_grad(self):  # type: ignore[override]
        return not self.is_exact

    def draw(self, key, shapes):
        num = shapes.size * (self.space.num_values - 1) + 1
        return -jnp.log(-jnp.log(_below_one(unit(bits(key, num)))))  # Gumbel

    def log_q(self, state: State) -> Array:
        """Log probabilities of all moves, ``[(K - 1) N + 1]``, the last that of
        none."""
        if self.is_exact:
            d = differences(self.energy, self.space, state)
        else:
            d = first_order(self.space, state)
        moves = to_others(self.space, d, state.position).ravel()
        weights = BALANCING[self.balancing](moves.astype(state.energy.dtype))
        return jax.nn.log_softmax(jnp.append(weights, 0.0))

    def propose(self, noise, state):
        x, space = state.position, self.space
        forward = self.log_q(state)
        choice = jnp.argmax(forward + noise)
        shift, site = 1 + choice // x.size, choice % x.size
        is_none = choice == forward.size - 1
        other = space.value((space.index(x) + shift) % space.num_values, x.dtype)
        moved = jnp.where(is_none, x, replaced(x, site, other))
        new = renewed(self.energy, space, state, moved)
        back = (space.num_values - shift - 1) * x.size + site
        backward = self.log_q(new)[jnp.where(is_none, choice, back)]
        return new, backward - forward[choice]


def _below_one(u):
    return jnp.minimum(u, 1 - 2.0**-24)


@value
class LocallyBalanced(MetropolisKernel):
    """Made by :func:`locally_balanced` and :func:`gibbs_with_gradients`."""

    energy: Energy = function()
    space: Space | None = static(default=None)
    is_exact: bool = static(default=True)
    balancing: str = static(default="sqrt")

    def check(self):
        checks.one_of(self.balancing, "balancing", BALANCING)
        space = chosen(self.space, self.energy)
        if not self.is_exact:
            check_gradient(self.energy, space, "gibbs_with_gradients")

    @property
    def state_space(self):
        return chosen(self.space, self.energy)

    @property
    def proposal(self):
        return OneSite(self.energy, self.state_space, self.is_exact, self.balancing)

    def init(self, position):
        return discrete_state(
            self.energy, self.state_space, position, with_grad=self.needs_grad
        )


def locally_balanced(
    energy: Energy, space: Space | None = None, *, balancing: str = "sqrt"
) -> Kernel:
    """One site a step, chosen by exact differences; N (K - 1) of them a step.

    Args:
      energy: of one position.
      space: BITS, SPINS or levels(K); that of the energy by default, else bits.
      balancing: g, ``"sqrt"`` or ``"barker"``.

    Raises:
      TypeError: an energy of another space.
      ValueError: an unknown ``balancing``.

    >>> locally_balanced(lambda x: -jnp.sum(x))
    LocallyBalanced(energy=<lambda>)
    """
    return LocallyBalanced(energy, space, True, balancing)


def gibbs_with_gradients(
    energy: Energy, space: Space | None = None, *, balancing: str = "sqrt"
) -> Kernel:
    """One site a step, chosen by the gradient; one gradient a step.

    Args and errors as of :func:`locally_balanced`; an energy of levels must have a
    gradient, ``of_one_hot`` or ``potts``.

    >>> gibbs_with_gradients(lambda x: -jnp.sum(x))
    LocallyBalanced(energy=<lambda>, is_exact=False)
    """
    return LocallyBalanced(energy, space, False, balancing)


def check_gradient(energy: Energy, space: Space, kernel: str) -> None:
    if space.num_values > 2 and one_hot_of(energy) is None:
        raise TypeError(
            f"{kernel} needs the gradient of an energy of {space} with respect to "
            "one-hot vectors: make it with of_one_hot(energy, K), or use gibbs or "
            "locally_balanced, which need none"
        )
