"""Flow contrastive estimation (Gao, Nijkamp, Kingma, Xu, Dai & Wu 2020, arXiv:1912.00589): noise contrastive
estimation whose noise learns.

The energy, with its log Z, tells data from draws of a normalising flow q; the flow learns to be taken for
data:

    V = E_data[log p / (p + q)] + E_q[log q / (p + q)],      p(x) = exp(-E(x) - c),
    the energy and c maximise V, the flow minimises it.

Where p = q = the data's density, V is -2 log 2 and no gradient is left.  One loss does both: its value is -V,
its gradient is that of -V for the energy, and of V for the flow, through the draws and through log q.  The
flow may be held to the data by its own likelihood as well, ``likelihood_weight`` times -E_data[log q], which
has the same optimum where the flow can reach the data, and keeps the game from wandering.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax.base import Array, Key, Position, scalar
from ebmjax.objectives.base import Players
from ebmjax.objectives.likelihood import Loss, Params
from ebmjax.objectives.noise_contrastive import Normalised


def flow_contrastive(
    energy: Callable[[Params, Position], Array],
    draw: Callable[[Any, Key, int], Position],
    log_prob: Callable[[Any, Position], Array],
    *,
    likelihood_weight: float = 0.0,
) -> Loss:
    """Energy against flow; the parameters are ``Players(with_log_z(energy), flow)``.

    Args:
      energy: ``energy(params, x)`` of one point.
      draw: ``draw(flow, key, n)``, ``[n, ...]``, differentiable in the flow's parameters.
      log_prob: ``log_prob(flow, x)`` of one point, normalised.
      likelihood_weight: of the flow's own likelihood.

    Metrics: how often data and draws are told apart, log Z, the flow's mean log-likelihood.

    Raises:
      ValueError: a negative weight; TypeError, when traced: other parameters.

    >>> flow = flows.Flow((2,))  # doctest: +SKIP
    >>> loss = flow_maximum_likelihood(network.apply, partial(flows.sample, flow), flow.apply)  # doctest: +SKIP
    """
    energy = scalar(energy)
    checks.function(draw, "draw")
    checks.function(log_prob, "log_prob")
    checks.positive(likelihood_weight, "likelihood_weight", zero=True)
    stop = jax.lax.stop_gradient

    def confusion(player, flow, batch, draws):
        """-V, and how often data and draws are told apart."""

        def log_odds(x):
            return -energy(player.energy, x) - player.log_z - log_prob(flow, x)

        of_data, of_draws = jax.vmap(log_odds)(batch), jax.vmap(log_odds)(draws)
        value = jnp.mean(jax.nn.softplus(-of_data)) + jnp.mean(
            jax.nn.softplus(of_draws)
        )
        return value, (jnp.mean(of_data > 0) + jnp.mean(of_draws < 0)) / 2

    def loss(params, key, batch, chains):
        if not (isinstance(params, Players) and isinstance(params.energy, Normalised)):
            raise TypeError(
                "flow_contrastive trains Players(with_log_z(energy), flow), got "
                f"{checks.describe(getattr(params, 'energy', params))}"
            )
        player, flow = params
        draws = draw(flow, key, checks.num_chains(batch, "batch"))
        value, right = confusion(player, stop(flow), batch, stop(draws))
        of_flow, _ = confusion(stop(player), flow, batch, draws)
        value += stop(of_flow) - of_flow  # zero, with the flow's gradient turned round
        log_q = jnp.mean(jax.vmap(partial(log_prob, flow))(batch))
        value += likelihood_weight * (stop(log_q) - log_q)
        metrics = {
            "share_right": right,
            "log_z": player.log_z,
            "flow_log_likelihood": log_q,
        }
        return value, (chains, stop(metrics))

    return loss
