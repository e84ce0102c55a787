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
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._random import accept_noise
from ebmjax._value import Value, function, part, static, value
from ebmjax.base import (
    Array,
    Energy,
    Info,
    Kernel,
    Key,
    Noise,
    Position,
    State,
    evaluate,
    moved,
    select,
)
from ebmjax.spaces import REAL, space_of


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
    propose: Callable[[Noise, State], tuple[State, Array]] = function()  # type: ignore[assignment]
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
                f"log_q must return a scalar, got shape {jnp.shape(ratio)}; sum over the "
                "coordinates"
            )
        return proposed, ratio


# --- kernels ------------------------------------------------------------------------


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
        proposed, log_q_ratio = _propose(self.proposal, noise, state)
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
        proposed, log_q_ratio = _propose(self.proposal, noise, state)
        error = proposed.energy - state.energy - log_q_ratio
        return revert_nonfinite(state, proposed, error)


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


def proposal_of(energy, proposal, log_q, symmetric) -> Proposal:
    """The given ``Proposal``, or one made from a function ``q`` and its density."""
    checks.function(energy, "energy")
    if isinstance(proposal, Proposal):
        if log_q is not None or symmetric:
            raise TypeError(
                "log_q and symmetric belong to a function q(key, x); a Proposal returns "
                "its own ratio"
            )
        return proposal
    checks.function(proposal, "proposal")
    if (log_q is None) == (not symmetric):
        got = "neither" if log_q is None else "both"
        raise TypeError(
            "metropolis needs log_q(to=, given=) or symmetric=True for its proposal, got "
            f"{got}"
        )
    if log_q is not None:
        checks.keywords(log_q, ("to", "given"), "log_q")
    return Density(energy, proposal, log_q)


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


@value
class Independent(Proposal):
    """Draws that do not depend on the state."""

    energy: Energy = function()
    sample: Callable[[Key], Position] = function()
    log_density: Callable[[Position], Array] = function()

    def draw(self, key, shapes):
        candidate = self.sample(key)
        _same_shape(shapes, candidate)
        return candidate

    def propose(self, candidate, state):
        proposed = moved(self.energy, state, candidate)
        ratio = self.log_density(state.position) - self.log_density(proposed.position)
        return proposed, ratio


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


def _propose(proposal, noise, state):
    if proposal.uses_grad and state.grad is None:
        raise TypeError(
            "this kernel needs the gradient and the state carries none: "
            "make the state with this kernel's init(position)"
        )
    return proposal.propose(noise, state)


def _is_valid(proposed, log_ratio):
    return ~jnp.isnan(log_ratio) & (proposed.energy > -jnp.inf)


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
