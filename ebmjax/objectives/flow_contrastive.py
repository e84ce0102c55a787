"""Flow contrastive estimation (Gao, Nijkamp, Kingma, Xu, Dai & Wu 2020,
arXiv:1912.00589): noise contrastive estimation with trained noise.

The energy, with its log Z, classifies data against draws of a normalising flow q, and
the flow is trained to make this impossible:

    V = E_data[log p / (p + q)] + E_q[log q / (p + q)],      p(x) = exp(-E(x) - c),
    the energy and c maximise V, the flow minimises it.

If p = q = the density of the data, V is -2 log 2 and its gradients are zero.  One loss
trains both: its value is -V; its gradient is that of -V for the energy, and that of V
for the flow, through the draws and through log q.  ``likelihood_weight`` adds
-E_data[log q], minus the log-likelihood of the flow, which has the same optimum if the
flow can represent the data, and stabilises the training.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import function, number, value
from ebmjax.base import Array, Key, Position, scalar
from ebmjax.objectives.base import (
    Objective,
    Params,
    Players,
    TrainableEnergy,
    init_other,
    optional,
)
from ebmjax.objectives.noise_contrastive import Normalised, with_log_z

stop = jax.lax.stop_gradient


@value
class FlowContrastive(Objective):
    """Made by :func:`flow_contrastive`."""

    energy: TrainableEnergy = function()
    draw: Callable[[Any, Key, int], Position] = function()
    log_prob: Callable[[Any, Position], Array] = function()
    likelihood_weight: Any = number(default=None)
    flow_init: Any = function(default=None)
    flow_scale: Any = number(default=0.3)

    def check(self):
        if self.likelihood_weight is not None:
            checks.positive(self.likelihood_weight, "likelihood_weight", zero=True)
        checks.positive(self.flow_scale, "flow_scale")

    @property
    def update_scale(self):
        return Players(1.0, self.flow_scale)

    def init(self, key, params, data=None):
        call = "flow_contrastive(..., flow_init=flow.init)"
        trains = "Players(with_log_z(energy), flow)"
        flow = init_other(self.flow_init, key, data, call=call, trains=trains)
        return Players(with_log_z(params), flow)

    def energy_params(self, params):
        return params.energy.energy

    def confusion(self, player, flow, batch, draws):
        """-V, and the share of data and draws that is classified correctly."""
        energy = partial(scalar(self.energy), player.energy)
        log_odds = lambda x: -energy(x) - player.log_z - self.log_prob(flow, x)
        of_data, of_draws = jax.vmap(log_odds)(batch), jax.vmap(log_odds)(draws)
        missed = jnp.mean(jax.nn.softplus(-of_data))
        value = missed + jnp.mean(jax.nn.softplus(of_draws))
        return value, (jnp.mean(of_data > 0) + jnp.mean(of_draws < 0)) / 2

    def loss(self, params, key, batch, chains):
        if not (isinstance(params, Players) and isinstance(params.energy, Normalised)):
            raise TypeError(
                "flow_contrastive trains Players(with_log_z(energy), flow), got "
                f"{checks.describe(getattr(params, 'energy', params))}"
            )
        player, flow = params
        draws = self.draw(flow, key, checks.num_chains(batch, "batch"))
        value, right = self.confusion(player, stop(flow), batch, stop(draws))
        of_flow, _ = self.confusion(stop(player), flow, batch, draws)
        value += stop(of_flow) - of_flow  # value zero, reversed gradient of the flow
        log_q = jnp.mean(jax.vmap(partial(self.log_prob, flow))(batch))
        if self.likelihood_weight is not None:
            value += self.likelihood_weight * (stop(log_q) - log_q)
        metrics = {
            "share_right": right,
            "log_z": player.log_z,
            "flow_log_likelihood": log_q,
        }
        return value, (chains, stop(metrics))


def flow_contrastive(
    energy: TrainableEnergy,
    draw: Callable[[Any, Key, int], Position],
    log_prob: Callable[[Any, Position], Array],
    *,
    likelihood_weight: Any = 0.0,
    flow_init: Callable[[Key, Position], Params] | None = None,
    flow_scale: Any = 0.3,
) -> Objective:
    """An energy trained against a flow.

    It trains ``Players(with_log_z(energy), flow)``, which ``init`` makes.

    Args:
      energy: ``energy(params, x)`` of one point.
      draw: ``draw(flow, key, n)``, ``[n, ...]``, differentiable in the parameters of
        the flow.
      log_prob: ``log_prob(flow, x)`` of one point, normalised.
      likelihood_weight: of the likelihood of the flow.
      flow_init: ``flow_init(key, x)``, the first parameters of the flow; without it
        ``init`` raises.
      flow_scale: multiplies the updates of the flow, which need not be optimal.

    Metrics: the share of data and draws that is classified correctly, log Z, the mean
    log-likelihood of the flow.

    Raises:
      ValueError: a negative weight, a scale that is not positive.
      TypeError: when traced, other parameters.

    >>> flow = flows.Flow((2,))  # doctest: +SKIP
    >>> flow_contrastive(
    ...     network.apply, partial(flows.sample, flow), flow.apply, flow_init=flow.init
    ... )  # doctest: +SKIP
    """
    weight = optional(likelihood_weight)
    return FlowContrastive(energy, draw, log_prob, weight, flow_init, flow_scale)
