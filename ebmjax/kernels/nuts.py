"""The no-U-turn sampler (Hoffman & Gelman 2014), multinomial (Betancourt 2017,
arXiv:1701.02434, appendix A).

A trajectory of H(x, n) = E(x) + |n|^2 / 2 is doubled, forward or backward in time by a
coin, until it turns back on itself or diverges.  Of its points one is drawn with
probability in proportion to exp(-H), so that nothing is lost to rejection.
:mod:`ebmjax.kernels.nuts_tree` has the criteria and the draws.

Momenta are standard normal in units of M^(-1/2), as in
:mod:`ebmjax.kernels.hamiltonian`, so that the mass is in the step size and the
criterion is that of the whitened space.
"""

from typing import Any

import jax
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax._random import bits, fold_in_each
from ebmjax._value import function, number, static, value
from ebmjax.base import (
    Energy,
    Info,
    Kernel,
    any_chain,
    differs,
    evaluate,
    half_square,
    normal_like,
    preconditioned,
)
from ebmjax.kernels.nuts_tree import Growth, grown, seed
from ebmjax.kernels.nuts_turns import turning

LARGEST_DEPTH = 20


@value
class NUTS(Kernel):
    """Made by :func:`nuts`."""

    energy: Energy = function()
    step_size: Any = number()
    max_depth: int = static(default=10)
    rejects_nonfinite = True
    needs_grad = True
    is_reversible = True
    is_trajectory = True
    # Hoffman & Gelman 2014, figure 3: between 0.6 and 0.9
    acceptance_target = 0.85

    def check(self):
        checks.step_size(self.step_size)
        depth = checks.count(self.max_depth, "max_depth")
        if depth > LARGEST_DEPTH:
            raise ValueError(
                f"max_depth must be at most {LARGEST_DEPTH}, a million gradients a "
                f"step, got {depth}"
            )
        object.__setattr__(self, "max_depth", depth)

    def init(self, position):
        return evaluate(self.energy, position, with_grad=True)

    def draw(self, key, shapes):
        key_momentum, key_directions, key_leaves = fold_in_each(key, 3)
        words = bits(key_directions, self.max_depth)
        return normal_like(key_momentum, shapes), words, key_leaves

    def move(self, noise, state):
        momentum, words, key = noise
        if state.grad is None:
            raise TypeError(
                "nuts needs a state with its gradient: make it with this kernel's "
                "init(position)"
            )
        flat, unravel = ravel_pytree(momentum)
        start = state.energy + half_square(momentum)
        most = 2**self.max_depth - 1
        turns = turning(self.energy, self.step_size, unravel)
        growth = Growth(self.energy, self.step_size, unravel, turns, words, key, start)
        tree = jax.lax.while_loop(
            lambda tree: any_chain(~tree.has_ended) & (tree.num_leaves < most),
            lambda tree: grown(growth, tree),
            seed(state, flat, self.max_depth),
        )
        info = Info(
            acceptance_rate=tree.sum_rate / tree.num_grads.astype(tree.sum_rate.dtype),
            is_accepted=differs(tree.chosen.position, state.position),
            energy_error=tree.energy_error(),
            num_nonfinite=tree.num_nonfinite,
            hamiltonian=start,
            num_grads=tree.num_grads,
        )
        return tree.chosen, info


def nuts(
    energy: Energy, step_size: Any, *, covariance: Any = None, max_depth: int = 10
) -> Kernel:
    """The no-U-turn sampler; at most ``2^max_depth - 1`` gradients a step, in
    ``info.num_grads``.

    ``info.acceptance_rate`` is the mean over the trajectory of min(1, exp(H_0 - H)),
    for which dual averaging has a target; ``info.energy_error`` is the H - H_0 of the
    largest size, infinite where H was NaN.  A trajectory diverges where its largest and
    smallest H are more than 1000 nats apart, and ``info.energy_error`` is then their
    difference.

    Args:
      energy: of one point, differentiable.
      step_size: eps; a scalar, an array or tree that broadcasts to the position, or
        ``Dense(matrix)`` with a matrix ``[D, D]``.
      covariance: an estimate of the target's, ``[D]`` or ``[D, D]``, the inverse of the
        mass; ``step_size`` is then a scalar.
      max_depth: of the binary tree.

    Raises:
      ValueError: a step size that is not positive, a covariance that is not positive
        definite, a depth that is not between 1 and 20.

    >>> nuts(lambda x: 0.5 * jnp.sum(x**2), 0.5)
    NUTS(energy=<lambda>, step_size=0.5)
    """
    return NUTS(energy, preconditioned(step_size, covariance), max_depth)
