"""The learned Stein discrepancy: a critic estimates the difference of the scores of
model and data.

Grathwohl, Wang, Jacobsen, Duvenaud & Zemel 2020, "Learning the Stein discrepancy for
training and evaluating energy-based models without sampling".  With s = -grad E and a
critic f from points to vectors,

    S(E, f) = E_data[ s(x).f(x) + tr grad f(x) ],
    min over E, max over f of  S(E, f) - lambda E_data|f|^2.

If the data have density p, S = E_data[(s - grad log p).f], so that the best critic is
f* = (s - grad log p) / (2 lambda), and S - lambda E|f|^2 there is E_data|s - grad log
p|^2 / (4 lambda), the Fisher divergence: score matching with a learned score of the
data in place of integration by parts.

One update moves both, each along its own gradient (by ``stop_gradient``):

    loss = S(E, sg f) - S(sg E, f) + lambda E|f|^2.

The value of the loss is the penalty; the discrepancy is a metric.  The trace is exact,
one direction at a time, or an average over random signs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import function, number, static, value
from ebmjax.base import Array, Key, Position, half_square, scalar
from ebmjax.objectives._gradients import inner, quadratic_form, random_signs, trace
from ebmjax.objectives.base import (
    Objective,
    Params,
    Players,
    TrainableEnergy,
    init_other,
)

Critic = Callable[[Params, Position], Position]  # a vector in the shape of the point


@value
class LearnedStein(Objective):
    """Made by :func:`learned_stein`."""

    energy: TrainableEnergy = function()
    critic: Critic = function()
    penalty: Any = number(default=0.5)
    num_projections: int | None = static(default=None)
    critic_init: Any = function(default=None)
    critic_scale: Any = number(default=5.0)

    def check(self):
        checks.positive(self.penalty, "penalty")
        if self.num_projections is not None:
            num = checks.count(self.num_projections, "num_projections")
            object.__setattr__(self, "num_projections", num)
        checks.positive(self.critic_scale, "critic_scale")

    @property
    def update_scale(self):
        return Players(1.0, self.critic_scale)

    def init(self, key, params, data=None):
        call = "learned_stein(..., critic_init=critic.init)"
        trains = "Players(energy, critic)"
        critic = init_other(self.critic_init, key, data, call=call, trains=trains)
        return Players(params, critic)

    def energy_params(self, params):
        return params.energy

    def discrepancy(self, params, keys, batch):
        """S(E, f) of a batch."""
        energy = partial(scalar(self.energy), params.energy)
        f = partial(self.critic, params.other)

        def of_point(key, x):
            along_score = -inner(jax.grad(energy)(x), f(x))
            return along_score + self.divergence(key, f, x)

        return jnp.mean(jax.vmap(of_point)(keys, batch))

    def divergence(self, key, f, x) -> Array:
        """tr grad f at a point."""
        if self.num_projections is None:
            return trace(f, x)
        along = lambda key: quadratic_form(f, x, random_signs(key, x))
        return jnp.mean(jax.vmap(along)(jax.random.split(key, self.num_projections)))

    def loss(self, params, key, batch, chains):
        if not isinstance(params, Players):
            raise TypeError(
                "learned_stein trains Players(energy, critic), got "
                f"{checks.describe(params)}"
            )
        keys = jax.random.split(key, checks.num_chains(batch, "batch"))
        fixed = jax.lax.stop_gradient(params)
        square = lambda x: half_square(self.critic(params.other, x))
        size = 2 * jnp.mean(jax.vmap(square)(batch))
        found = self.discrepancy(Players(params.energy, fixed.other), keys, batch)
        of_critic = self.discrepancy(Players(fixed.energy, params.other), keys, batch)
        value = found - of_critic + self.penalty * size
        metrics = {
            "stein_discrepancy": found - self.penalty * size,
            "critic_size": size,
        }
        return value, (chains, jax.lax.stop_gradient(metrics))


def learned_stein(
    energy: TrainableEnergy,
    critic: Critic,
    penalty: Any = 0.5,
    *,
    num_projections: int | None = None,
    critic_init: Callable[[Key, Position], Params] | None = None,
    critic_scale: Any = 5.0,
) -> Objective:
    """An energy trained against a critic.

    It trains ``Players(energy, critic)``, which ``init`` makes.

    Args:
      energy: ``energy(params, x)`` of one point.
      critic: ``critic(params, x)``, in the shape of ``x``.
      penalty: lambda; at 1/2 the best critic is the difference of the scores.
      num_projections: random signs for the trace; exact by default, D derivatives.
      critic_init: ``critic_init(key, x)``, the first parameters of the critic; without
        it ``init`` raises.
      critic_scale: multiplies the updates of the critic, which must stay near its
        optimum.

    Metrics: S(E, f) - lambda E|f|^2 and E|f|^2.

    Raises:
      ValueError: a penalty or a scale that is not positive.
      TypeError: when traced, parameters that are not ``Players``.

    >>> critic = auxiliary_networks.Field((128,))  # doctest: +SKIP
    >>> learned_stein(
    ...     network.apply, critic.apply, critic_init=critic.init
    ... )  # doctest: +SKIP
    """
    return LearnedStein(
        energy, critic, penalty, num_projections, critic_init, critic_scale
    )
