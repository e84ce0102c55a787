"""Proposals: a candidate  x* ~ q(x* | x)  and the log ratio
log q(x | x*) - log q(x* | x).

:func:`~ebmjax.kernels.metropolis.metropolis` accepts or rejects them,
:func:`~ebmjax.kernels.unadjusted.unadjusted` always accepts.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import Value, function, static, value
from ebmjax.base import Array, Energy, Key, Noise, Position, State, moved

Propose = Callable[[Noise, State], tuple[State, Array]]


class Proposal(Value):
    """A random move of a state, and the log ratio of its reverse and forward densities.

    ``Proposal(draw, propose, uses_grad=False)`` makes one of two functions:

        draw(key, shapes) -> noise                 as of a kernel
        propose(noise, state) -> (state*, ratio)   ratio: log q(x | x*) - log q(x* | x)

    The proposals of the library are subclasses with fields.
    """

    uses_grad: bool = False

    def __new__(cls, *args: Any, **options: Any) -> "Proposal":
        return object.__new__(_FunctionProposal if cls is Proposal else cls)

    def __init__(self, *args: Any, **options: Any):
        raise NotImplementedError  # every subclass is a dataclass and has its own

    def draw(self, key: Key, shapes: Position) -> Noise:
        raise NotImplementedError

    def propose(self, noise: Noise, state: State) -> tuple[State, Array]:
        raise NotImplementedError


@value
class _FunctionProposal(Proposal):
    """A proposal of two functions."""

    draw: Callable[[Key, Position], Noise] = function()  # type: ignore[assignment]
    propose: Propose = function()  # type: ignore[assignment]
    uses_grad: bool = static(default=False)

    def __repr__(self) -> str:
        return super().__repr__().removeprefix("_Function")


@value
class Density(Proposal):
    """A user's ``q(key, x) -> x*`` with ``log_q(to=, given=)``; symmetric if that is
    ``None``."""

    energy: Energy = function()
    q: Callable[[Key, Position], Position] = function()
    log_q: Callable[..., Array] | None = function(default=None)

    def draw(self, key, shapes):
        return key

    def propose(self, noise, state):
        x = state.position
        candidate = self.q(noise, x)
        _same_shape(x, candidate)
        proposed = moved(self.energy, state, candidate)
        x_new = proposed.position
        if self.log_q is None:
            return proposed, jnp.zeros_like(state.energy)
        ratio = self.log_q(to=x, given=x_new) - self.log_q(to=x_new, given=x)
        if jnp.shape(ratio) != ():
            raise TypeError(
                f"log_q must return a scalar, got shape {jnp.shape(ratio)}; sum over "
                "the coordinates"
            )
        return proposed, ratio


@value
class Independent(Proposal):
    """Draws that do not depend on the state."""

    energy: Energy = function()
    sample: Callable[[Key], Position] = function()
    log_density: Callable[[Position], Array] = function()

    def draw(self, key, shapes):
        candidate = _in_precision_of(shapes, self.sample(key))
        _same_shape(shapes, candidate)
        return candidate

    def propose(self, candidate, state):
        proposed = moved(self.energy, state, candidate)
        ratio = self.log_density(state.position) - self.log_density(proposed.position)
        if jnp.shape(ratio) != ():
            raise TypeError(
                f"log_density must return a scalar, got shape {jnp.shape(ratio)}; sum "
                "over the coordinates"
            )
        return proposed, ratio


def proposal_of(energy, proposal, log_q, symmetric) -> Proposal:
    """The given ``Proposal``, or one made from a function ``q`` and its density."""
    checks.function(energy, "energy")
    if isinstance(proposal, Proposal):
        if log_q is not None or symmetric:
            raise TypeError(
                "log_q and symmetric belong to a function q(key, x); a Proposal "
                "returns its own ratio"
            )
        return proposal
    checks.function(proposal, "proposal")
    if (log_q is None) == (not symmetric):
        got = "neither" if log_q is None else "both"
        raise TypeError(
            "metropolis needs log_q(to=, given=) or symmetric=True for its proposal, "
            f"got {got}"
        )
    if log_q is not None:
        checks.keywords(log_q, ("to", "given"), "log_q")
    return Density(energy, proposal, log_q)


def propose(proposal: Proposal, noise: Noise, state: State) -> tuple[State, Array]:
    """The candidate and the log ratio; raises where the state lacks its gradient."""
    if proposal.uses_grad and state.grad is None:
        raise TypeError(
            "this kernel needs the gradient and the state carries none: "
            "make the state with this kernel's init(position)"
        )
    return proposal.propose(noise, state)


def _in_precision_of(position, candidate):
    """Floating numbers of the candidate in the precision of the position's: a sampler
    draws in the default one, whatever the chains have."""
    if jax.tree.structure(position) != jax.tree.structure(candidate):
        return candidate
    is_real = lambda x: jnp.issubdtype(jnp.result_type(x), jnp.floating)
    return jax.tree.map(
        lambda x, c: jnp.asarray(c, x.dtype) if is_real(x) and is_real(c) else c,
        position,
        candidate,
    )


def _same_shape(position, candidate):
    if jax.tree.structure(position) != jax.tree.structure(candidate):
        raise TypeError(
            "proposal must return a tree like the position, "
            f"{jax.tree.structure(position)}, got {jax.tree.structure(candidate)}"
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
