"""The learned Stein discrepancy: a critic looks for where the score of the model is not that of the data.

Grathwohl, Wang, Jacobsen, Duvenaud & Zemel 2020, "Learning the Stein discrepancy for training and evaluating
energy-based models without sampling".  With s = -grad E and a critic f from points to vectors,

    S(E, f) = E_data[ s(x).f(x) + tr grad f(x) ],    min over E, max over f of  S(E, f) - lambda E_data|f|^2.

Were the data of density p, S = E_data[(s - grad log p).f], so that the best critic is
f* = (s - grad log p) / (2 lambda), and S - lambda E|f|^2 there is  E_data|s - grad log p|^2 / (4 lambda),
the Fisher divergence: score matching, with the data's score learned in place of integrated by parts.

Both players move in one update, each along its own gradient (``stop_gradient`` keeps them apart):

    loss = S(E, sg f) - S(sg E, f) + lambda E|f|^2.

Its value is that of the penalty alone; what it is worth stands in the metrics.  The trace is exact, a
direction at a time, or an average over random signs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax.base import Array, Key, Position, half_square, normal_like, scalar
from ebmjax.objectives.base import Loss, Params, Players

TrainableEnergy = Callable[[Params, Position], Array]
Critic = Callable[
    [Any, Position], Position
]  # of its parameters and a point, to a vector in its shape


def learned_stein(
    energy: TrainableEnergy,
    critic: Critic,
    penalty: float = 0.5,
    *,
    num_projections: int | None = None,
) -> Loss:
    """Energy against critic; the parameters are ``Players(energy, critic)``.

    Args:
      energy: ``energy(params, x)``.
      critic: ``critic(params, x)``, in the shape of ``x``.
      penalty: lambda; at 1/2 the best critic is the difference of the scores.
      num_projections: random signs for the trace; exact by default, D derivatives.

    Raises:
      ValueError: a penalty that is not positive; TypeError, when traced: parameters that are not ``Players``.
    """
    energy = scalar(energy)
    checks.function(critic, "critic")
    checks.positive(penalty, "penalty")
    if num_projections is not None:
        checks.count(num_projections, "num_projections")

    def stein(energy_params, critic_params, keys, batch):
        def of_point(key, x):
            f = partial(critic, critic_params)
            slope = -_inner(jax.grad(partial(energy, energy_params))(x), f(x))
            return slope + _divergence(key, f, x, num_projections)

        return jnp.mean(jax.vmap(of_point)(keys, batch))

    def loss(params, key, batch, chains):
        if not isinstance(params, Players):
            raise TypeError(
                f"learned_stein trains Players(energy, critic), got {checks.describe(params)}"
            )
        keys = jax.random.split(key, checks.num_chains(batch, "batch"))
        still = jax.lax.stop_gradient(params)
        size = 2 * jnp.mean(
            jax.vmap(lambda x: half_square(critic(params.other, x)))(batch)
        )
        found = stein(params.energy, still.other, keys, batch)
        value = found - stein(still.energy, params.other, keys, batch) + penalty * size
        metrics = {"stein_discrepancy": found - penalty * size, "critic_size": size}
        return value, (chains, jax.lax.stop_gradient(metrics))

    return loss


def _divergence(
    key: Key, f: Callable[[Position], Position], x: Position, num: int | None
) -> Array:
    """tr grad f at a point."""
    flat, unravel = ravel_pytree(x)

    def along(v):
        return _inner(v, jax.jvp(f, (x,), (v,))[1])

    if num is None:
        return jnp.sum(
            jax.lax.map(
                lambda e: along(unravel(e)), jnp.eye(flat.size, dtype=flat.dtype)
            )
        )
    signs = lambda key: jax.tree.map(jnp.sign, normal_like(key, x))
    return jnp.mean(jax.vmap(lambda key: along(signs(key)))(jax.random.split(key, num)))


def _inner(a: Position, b: Position) -> Array:
    products = [
        jnp.vdot(x, y)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    ]
    return sum(products[1:], products[0])
