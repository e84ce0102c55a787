"""Metropolis-Hastings: the only accept/reject of the library (notes, 2.1.2).

    1. draw a candidate  x* ~ q(x* | x)
    2. r = E(x) - E(x*) + log q(x | x*) - log q(x* | x)
    3. x' = x*  with probability  min(1, exp r),  else x' = x

Any proposal that says how lopsided its move was, ``log q(x | x*) - log q(x* | x)``, becomes a kernel with
detailed balance with respect to exp(-E) (Metropolis et al. 1953; Hastings 1970; Green 1995 for proposals
that are deterministic given extra noise).

The comparison is ``-exponential < r``: with ``log(uniform) < r`` a float32 uniform is zero once in 2^23 draws
and then accepts anything.  A ratio that is NaN, and a candidate of energy minus infinity, are rejected and
counted; plus infinity is the honest wall of a support.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._random import accept_noise
from ebmjax.base import (
    Array,
    Energy,
    Info,
    Kernel,
    Key,
    Noise,
    Position,
    State,
    careful,
    evaluate,
    moved,
    select,
)


class Proposal(NamedTuple):
    """A random move of a state, and the log ratio of its densities, backward over forward."""

    draw: Callable[[Key, Position], Noise]
    propose: Callable[
        [Noise, State], tuple[State, Array]
    ]  # state*, log q(x | x*) - log q(x* | x)
    uses_grad: bool = False


def metropolis(
    energy: Energy, proposal, *, log_q=None, symmetric: bool = False
) -> Kernel:
    """A proposal, corrected so that exp(-energy) is invariant.

    Args:
      energy: of one point.
      proposal: a :class:`Proposal`, or your own ``q(key, x) -> x*``.
      log_q: for your own, the log density of a move, ``log_q(to=, given=)``, up to a constant that does not
        depend on either; or else
      symmetric: ``True`` says that q(x* | x) = q(x | x*).

    Raises:
      TypeError: for a ``q`` with neither ``log_q`` nor ``symmetric=True``: no ratio, no sampler.

    >>> q = lambda key, x: x * jnp.exp(0.5 * jax.random.normal(key))  # a random walk of log x
    >>> kernel = metropolis(lambda x: x, q, log_q=lambda to, given: -jnp.log(to)
    ...                     - 0.5 * (jnp.log(to / given) / 0.5) ** 2)
    """
    checks.function(energy, "energy")
    if not isinstance(proposal, Proposal):
        proposal = _from_function(energy, proposal, log_q, symmetric)
    elif log_q is not None or symmetric:
        raise TypeError(
            "log_q and symmetric belong to a function q(key, x); a Proposal brings its own ratio"
        )

    def init(position):
        return evaluate(energy, position, with_grad=proposal.uses_grad)

    def draw(key, position):
        return proposal.draw(key, position), accept_noise(key)

    def move(noise, state):
        noise, exponential = noise
        proposed, log_q_ratio = _propose(proposal, noise, state)
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

    return Kernel(init, draw, careful(move))


def unadjusted(energy: Energy, proposal: Proposal) -> Kernel:
    """The same proposal, always accepted: biased, and cheaper by a comparison only.

    A move to a point whose energy or gradient is not finite is reverted; and counted, unless the energy is
    infinite there, a wall.
    """
    checks.function(energy, "energy")

    def init(position):
        return evaluate(energy, position, with_grad=proposal.uses_grad)

    def move(noise, state):
        proposed, log_q_ratio = _propose(proposal, noise, state)
        return unless_broken(
            state, proposed, proposed.energy - state.energy - log_q_ratio
        )

    return Kernel(init, proposal.draw, careful(move))


def unless_broken(
    state: State, proposed: State, energy_error: Array
) -> tuple[State, Info]:
    """The proposed state, unless its energy or its error is not finite: the end of an unadjusted move."""
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


def independence(energy: Energy, sample, log_density) -> Kernel:
    """Candidates drawn from one fixed density, ``sample(key)``, with ``log_density(x)`` (Tierney 1994)."""
    checks.function(sample, "sample")
    checks.function(log_density, "log_density")
    return metropolis(
        energy, lambda key, _: sample(key), log_q=lambda to, given: log_density(to)
    )


def _propose(proposal, noise, state):
    if proposal.uses_grad and state.grad is None:
        raise TypeError(
            "this kernel needs the gradient and the state carries none: "
            "make the state with this kernel's init(position)"
        )
    return proposal.propose(noise, state)


def _is_valid(proposed, log_ratio):
    return ~jnp.isnan(log_ratio) & (proposed.energy > -jnp.inf)


def _from_function(energy, q, log_q, symmetric) -> Proposal:
    checks.function(q, "proposal")
    if (log_q is None) == (not symmetric):
        got = "neither" if log_q is None else "both"
        raise TypeError(
            f"metropolis needs log_q(to=, given=) or symmetric=True for its proposal, got {got}"
        )

    def propose(key, state):
        x = state.position
        candidate = q(key, x)
        _same_shape(x, candidate)
        proposed = moved(energy, state, candidate)
        if symmetric:
            return proposed, jnp.zeros_like(state.energy)
        ratio = log_q(to=x, given=candidate) - log_q(to=candidate, given=x)
        if jnp.shape(ratio) != ():
            raise TypeError(
                f"log_q must return a scalar, got shape {jnp.shape(ratio)}; sum over the coordinates"
            )
        return proposed, ratio

    return Proposal(draw=lambda key, position: key, propose=propose)


def _same_shape(position, candidate):
    if jax.tree.structure(position) != jax.tree.structure(candidate):
        raise TypeError(
            f"proposal must return the tree it was given, {jax.tree.structure(position)}, "
            f"got {jax.tree.structure(candidate)}"
        )
    for (path, old), new in zip(
        jax.tree_util.tree_leaves_with_path(position),
        jax.tree.leaves(candidate),
        strict=True,
    ):
        if (old.shape, old.dtype) != (jnp.shape(new), jnp.result_type(new)):
            raise TypeError(
                f"proposal changed position{jax.tree_util.keystr(path)} from "
                f"{checks.describe(old)} to {checks.describe(new)}"
            )
