"""The step size, by dual averaging (Nesterov 2009; Hoffman & Gelman 2014, section 3.2).

To the acceptance rate delta, with a_i that of step i over all chains:

    log eps_t = mu - sqrt(t) / gamma  1 / (t + t0)  sum_{i <= t} (delta - a_i),
    log eps   = the average of them with weights t^-kappa

Where some chains lag because the target is narrower there, their harmonic mean lowers
the rate (Hoffman, Radul & Sountsov 2021).  At the start of a window the step is doubled
or halved until one cheap step is neither refused nor free.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ebmjax._value import number, static, value
from ebmjax.adaptation.base import Adapter, Tuning, weighted_mean
from ebmjax.base import Array, cast_like

GAMMA, T0, KAPPA = 0.05, 10.0, 0.75  # gamma of one chain
LARGEST_GAMMA = 0.25  # the mean acceptance of many chains is hardly noisy
SLOWEST = 0.05  # acceptance of a chain for which the others are slowed down
MOST_TRIES = 60  # to find a first step size
MEMORY = 0.9  # of the acceptance of each chain, a step


class StepSize(NamedTuple):
    """Dual averaging."""

    log_size: Array  # of the next step
    log_mean: Array  # what has been learned
    center: Array
    total: Array  # of target - acceptance
    num: Array  # of updates
    gamma: Array

    @staticmethod
    def begin(size: Any, num_chains: int) -> "StepSize":
        """From a first guess."""
        log_size, zero = jnp.log(jnp.float32(size)), jnp.float32(0.0)
        gamma = jnp.float32(min(GAMMA * num_chains**0.5, LARGEST_GAMMA))
        return StepSize(log_size, log_size, log_size, zero, zero, gamma)

    def update(self, acceptance: Array, target: float | Array) -> "StepSize":
        count = self.num + 1
        total = self.total + target - jnp.nan_to_num(acceptance)
        log_size = self.center - jnp.sqrt(count) / self.gamma * total / (count + T0)
        weight = count**-KAPPA
        log_mean = weight * log_size + (1 - weight) * self.log_mean
        return StepSize(log_size, log_mean, self.center, total, count, self.gamma)


class State(NamedTuple):
    """What :class:`StepSizeAdapter` keeps."""

    size: StepSize
    ema_acceptance: Array  # [C] averaged over about ten steps


@value
class StepSizeAdapter(Adapter):
    """One step size for all chains, to an acceptance rate.

    ``is_harmonic``: the rate is the harmonic mean over chains, where the length of
    trajectories is tuned as well; else the mean, lowered by how far some chains lag.
    """

    target: Any = number()
    is_harmonic: bool = static(default=False)

    def init(self, tuning: Tuning, num_chains: int) -> State:
        size = StepSize.begin(jnp.exp(tuning.log_step_size), num_chains)
        return State(size, jnp.full(num_chains, self.target, jnp.float32))

    def begin_window(self, state, tuning, probe):
        def rate(log_size):
            return probe(tuning._replace(log_step_size=log_size))

        log_size, num = first_log_size(rate, state.size.log_mean, self.target)
        num_chains = len(state.ema_acceptance)
        size = StepSize.begin(jnp.exp(log_size), num_chains)
        num_probes = tuning.num_probes + num
        tuning = tuning._replace(log_step_size=log_size, num_probes=num_probes)
        return state._replace(size=size), tuning

    def update(self, state, tuning, seen):
        rates, weight = seen.info.acceptance_rate, seen.weight
        ema = MEMORY * state.ema_acceptance + (1 - MEMORY) * rates
        if self.is_harmonic:
            rate = harmonic_mean(rates, weight)
        else:
            lag = harmonic_mean(ema, weight) / weighted_mean(ema, weight)
            rate = weighted_mean(rates, weight) * lag
        size = state.size.update(rate, self.target)
        return State(size, ema), tuning._replace(log_step_size=size.log_size)

    def final(self, state, tuning):
        return tuning._replace(log_step_size=state.size.log_mean)


def first_log_size(rate, log_size: Array, target: Array) -> tuple[Array, Array]:
    """Doubled while the rate is above the target, or halved while below, to between the
    last two; and how many rates that took."""

    def again(carry):
        log_size, change, num, _ = carry
        way = jnp.where(rate(log_size) > target, 1.0, -1.0) * jnp.log(2.0)
        is_on = (num == 0) | (way == change)
        log_size += jnp.where(is_on, way, -change / 2)
        return cast_like((log_size, way, num + 1, is_on & (num < MOST_TRIES)), carry)

    start = (log_size, jnp.float32(0.0), jnp.int32(0), jnp.bool_(True))
    log_size, _, num, _ = jax.lax.while_loop(lambda carry: carry[-1], again, start)
    return log_size, num


def harmonic_mean(rates: Array, weights: Array | None = None) -> Array:
    """Over chains: small where any of them lags (Hoffman, Radul & Sountsov 2021)."""
    weights = jnp.ones_like(rates) if weights is None else weights
    return 1 / weighted_mean(1 / jnp.maximum(rates, SLOWEST), weights)
