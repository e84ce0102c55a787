"""Moves that are always accepted: biased in general, by the error of the proposal."""

from collections.abc import Callable

import jax.numpy as jnp

from ebmjax._value import function, part, value
from ebmjax.base import (
    Array,
    Energy,
    Info,
    Kernel,
    Key,
    Position,
    State,
    evaluate,
    select,
)
from ebmjax.kernels.proposal import Proposal, proposal_of, propose
from ebmjax.spaces import REAL, space_of


@value
class Unadjusted(Kernel):
    """Any proposal, always accepted; made by :func:`unadjusted`."""

    energy: Energy = function()
    proposal: Proposal = part()
    rejects_nonfinite = True

    @property
    def state_space(self):
        return space_of(self.energy) or REAL

    @property
    def needs_grad(self) -> bool:  # type: ignore[override]
        return self.proposal.uses_grad

    def init(self, position):
        return evaluate(self.energy, position, with_grad=self.needs_grad)

    def draw(self, key, shapes):
        return self.proposal.draw(key, shapes)

    def move(self, noise, state):
        proposed, log_q_ratio = propose(self.proposal, noise, state)
        error = proposed.energy - state.energy - log_q_ratio
        return revert_nonfinite(state, proposed, error)


def unadjusted(
    energy: Energy,
    proposal: Proposal | Callable[[Key, Position], Position],
) -> Kernel:
    """A kernel that always accepts a proposal; biased in general.

    A move to a point of non-finite energy or gradient is rejected; it is counted unless
    the energy is plus infinity, a hard boundary.

    Args:
      energy: of one point.
      proposal: a :class:`Proposal`, or a function ``q(key, x) -> x*``.

    >>> contraction = lambda key, x: 0.6 * x + 0.8 * jax.random.normal(key, x.shape)
    >>> kernel = unadjusted(lambda x: 0.5 * jnp.sum(x**2), contraction)
    """
    if not isinstance(proposal, Proposal):
        proposal = proposal_of(energy, proposal, None, True)
    return Unadjusted(energy, proposal)


def revert_nonfinite(
    state: State, proposed: State, energy_error: Array
) -> tuple[State, Info]:
    """The proposed state, or the old one if its energy or the error is not finite; the
    last step of an unadjusted move."""
    is_finite = jnp.isfinite(proposed.energy) & jnp.isfinite(energy_error)
    info = Info(
        acceptance_rate=is_finite.astype(energy_error.dtype),
        is_accepted=is_finite,
        energy_error=energy_error,
        num_nonfinite=jnp.int32(~is_finite & (proposed.energy != jnp.inf)),
        hamiltonian=jnp.zeros_like(energy_error),
        num_grads=jnp.int32(proposed.grad is not None),
    )
    return select(is_finite, proposed, state), info
