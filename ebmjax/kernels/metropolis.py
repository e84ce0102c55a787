"""Metropolis-Hastings: the accept step of the library (notes, 2.1.2).

    1. draw a candidate  x* ~ q(x* | x)
    2. r = E(x) - E(x*) + log q(x | x*) - log q(x* | x)
    3. x' = x*  with probability  min(1, exp r),  else x' = x

A proposal returns the candidate and the log ratio  log q(x | x*) - log q(x* | x).  Any
such proposal yields a kernel with detailed balance with respect to exp(-E) (Metropolis
et al. 1953; Hastings 1970; Green 1995 for proposals that are deterministic given extra
noise).

The comparison is ``-exponential < r``: in ``log(uniform) < r`` a float32 uniform is
zero once in 2^23 draws and then accepts any candidate.  A ratio that is NaN, and a
candidate of energy minus infinity, are rejected and counted; plus infinity is a hard
boundary of the support, rejected and not counted.
"""

from collections.abc import Callable

import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._random import accept_noise
from ebmjax._value import function, part, value
from ebmjax.base import (
    Array,
    Energy,
    Info,
    Kernel,
    Key,
    Position,
    evaluate,
    select,
)
from ebmjax.kernels.proposal import Independent, Proposal, proposal_of, propose
from ebmjax.spaces import REAL, space_of


class MetropolisKernel(Kernel):
    """Accepts or rejects the moves of ``self.proposal``; a base class."""

    energy: Energy
    proposal: Proposal  # a field, or a property computed from the fields
    rejects_nonfinite = True
    is_reversible = True

    @property
    def needs_grad(self) -> bool:  # type: ignore[override]
        return self.proposal.uses_grad

    def init(self, position):
        return evaluate(self.energy, position, with_grad=self.needs_grad)

    def draw(self, key, shapes):
        return self.proposal.draw(key, shapes), accept_noise(key)

    def move(self, noise, state):
        noise, exponential = noise
        proposed, log_q_ratio = propose(self.proposal, noise, state)
        log_ratio = state.energy - proposed.energy + log_q_ratio
        is_valid = _is_valid(proposed, log_ratio)
        is_accepted = is_valid & (-exponential < log_ratio)
        info = Info(
            acceptance_rate=jnp.where(
                is_valid, jnp.exp(jnp.minimum(log_ratio, 0.0)), 0.0
            ),
            is_accepted=is_accepted,
            energy_error=-log_ratio,
            num_nonfinite=jnp.int32(~is_valid),
            hamiltonian=jnp.zeros_like(log_ratio),
            num_grads=jnp.int32(state.grad is not None),
        )
        return select(is_accepted, proposed, state), info


@value
class Metropolis(MetropolisKernel):
    """Any proposal, accepted or rejected; made by :func:`metropolis`."""

    energy: Energy = function()
    proposal: Proposal = part()

    @property
    def state_space(self):
        return space_of(self.energy) or REAL


def metropolis(
    energy: Energy,
    proposal: Proposal | Callable[[Key, Position], Position],
    *,
    log_q: Callable[..., Array] | None = None,
    symmetric: bool = False,
) -> Kernel:
    """A kernel that accepts or rejects a proposal, so that exp(-energy) is invariant.

    Args:
      energy: of one point.
      proposal: a :class:`Proposal`, or a function ``q(key, x) -> x*``.
      log_q: of a function, the log density of a move, ``log_q(to=, given=)``, up to a
        constant that depends on neither; or else
      symmetric: ``True`` says that q(x* | x) = q(x | x*).

    Raises:
      TypeError: for a ``q`` with neither ``log_q`` nor ``symmetric=True``.

    >>> q = lambda key, x: x * jnp.exp(0.5 * jax.random.normal(key))  # walks on log x
    >>> kernel = metropolis(lambda x: x, q, log_q=lambda to, given: -jnp.log(to)
    ...                     - 0.5 * (jnp.log(to / given) / 0.5) ** 2)
    """
    return Metropolis(energy, proposal_of(energy, proposal, log_q, symmetric))


def independence(
    energy: Energy,
    sample: Callable[[Key], Position],
    log_density: Callable[[Position], Array],
) -> Kernel:
    """Candidates drawn from one fixed density (Tierney 1994, section 2.3.3).

    Args:
      energy: of one point.
      sample: ``sample(key) -> x*``.
      log_density: of one point under ``sample``, up to a constant.

    >>> kernel = independence(lambda x: 0.5 * jnp.sum(x**2),
    ...                       lambda key: 2 * jax.random.normal(key, (3,)),
    ...                       lambda x: -jnp.sum(x**2) / 8)
    """
    checks.function(energy, "energy")
    return Metropolis(energy, Independent(energy, sample, log_density))


def _is_valid(proposed, log_ratio):
    return ~jnp.isnan(log_ratio) & (proposed.energy > -jnp.inf)
