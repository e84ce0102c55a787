"""Self-tuning samplers of several libraries, each one program from a key to its draws.

All start from N(0, 1), without tuning parameters.  With few chains, 4 chains of 500 +
500 steps:

    ebmjax nuts           warm_up, then nuts
    blackjax nuts         window_adaptation and nuts in one jit
    blackjax nuts dense   the same with a dense mass
    numpyro nuts          MCMC(NUTS), chains vectorised, inside one jit; outside, each
                          run would compile again

With many, 256 chains:

    ebmjax hmc        warm_up of hmc, 100 + 300 steps
    blackjax chees        chees_adaptation with its diagonal mass, 200 + 300 steps of
                          dynamic_hmc; initial step 0.1, Adam at 0.02, as in its guide
    blackjax chees best   100 + 300 steps, initial step 1, Adam at 0.05: the best of
                          those that we tried
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import optax

import ebmjax as eb
from benchmarks.posteriors import Posterior
from ebmjax.adaptation.warmup import with_length

FEW, MANY = 4, 256
STEPS = 500
MANY_STEPS = 300


class Run(NamedTuple):
    """The result of a sampler."""

    draws: Any  # [T, C, D]
    num_grads: Any  # [] of the draws, all chains; NaN if unknown


def ours_few(posterior: Posterior) -> Callable[[Any], Run]:
    return _ours(posterior, eb.nuts, FEW, STEPS, STEPS)


def ours_many(posterior: Posterior) -> Callable[[Any], Run]:
    return _ours(posterior, eb.hmc, MANY, 100, MANY_STEPS)


def _ours(posterior, make, num_chains, num_warmup, num_steps):
    energy = posterior.energy
    target = with_length(make)(energy, 1.0).acceptance_target

    @jax.jit
    def run(key):
        key_start, key_warm, key_run = jax.random.split(key, 3)
        start = jax.random.normal(key_start, (num_chains, posterior.dim))
        found = eb.adapt(
            key_warm, make, energy, start, num_steps=num_warmup, target=target
        )
        chains = eb.parallel(found.kernel(make, energy))
        state = chains.init(found.position)
        _, draws, info = eb.run(
            eb.chain_keys(key_run, num_chains), chains, state, num_steps
        )
        return Run(draws, found.num_grads + jnp.sum(info.num_grads))

    return run


def blackjax_nuts(
    posterior: Posterior, *, is_dense: bool = False, length: int | None = None
) -> Callable[[Any], Run]:
    length = length or STEPS
    log_density = lambda x: -posterior.energy(x)

    @jax.jit
    def run(key):
        key_start, key_warm, key_run = jax.random.split(key, 3)
        start = jax.random.normal(key_start, (FEW, posterior.dim))
        warm_up = blackjax.window_adaptation(
            blackjax.nuts,
            log_density,
            is_mass_matrix_diagonal=not is_dense,
            adaptation_info_fn=lambda state, info, _: info.num_integration_steps,
        )
        (states, parameters), warm = jax.vmap(lambda k, x: warm_up.run(k, x, length))(
            jax.random.split(key_warm, FEW), start
        )
        kernel = blackjax.nuts.build_kernel()

        def one_step(states, key):
            def of_chain(key, state, size, mass):
                return kernel(
                    key, state, log_density, step_size=size, inverse_mass_matrix=mass
                )

            states, info = jax.vmap(of_chain)(
                jax.random.split(key, FEW),
                states,
                parameters["step_size"],
                parameters["inverse_mass_matrix"],
            )
            return states, (states.position, info.num_integration_steps)

        _, (draws, taken) = jax.lax.scan(
            one_step, states, jax.random.split(key_run, length)
        )
        return Run(draws, jnp.sum(taken) + jnp.sum(warm))

    return run


def blackjax_chees(
    posterior: Posterior,
    *,
    num_warmup: int = 200,
    first: float = 0.1,
    rate: float = 0.02,
) -> Callable[[Any], Run]:
    log_density = lambda x: -posterior.energy(x)

    @jax.jit
    def run(key):
        key_start, key_warm, key_run = jax.random.split(key, 3)
        start = jax.random.normal(key_start, (MANY, posterior.dim))
        warm_up = blackjax.chees_adaptation(
            log_density,
            MANY,
            mass_matrix_estimation="diagonal",
            adaptation_info_fn=lambda state, info, adaptation, *_: (
                info.num_integration_steps
            ),
        )
        (states, parameters), warm = warm_up.run(
            key_warm, start, first, optax.adam(rate), num_warmup
        )
        kernel = blackjax.dynamic_hmc(log_density, **parameters)

        def one_step(states, key):
            states, info = jax.vmap(kernel.step)(jax.random.split(key, MANY), states)
            return states, (states.position, info.num_integration_steps)

        _, (draws, taken) = jax.lax.scan(
            one_step, states, jax.random.split(key_run, MANY_STEPS)
        )
        return Run(draws, jnp.sum(taken) + warm.sum())

    return run


def numpyro_nuts(posterior: Posterior) -> Callable[[Any], Run]:
    from numpyro.infer import MCMC, NUTS

    @jax.jit
    def run(key):
        sampler = MCMC(
            NUTS(potential_fn=posterior.energy),
            num_warmup=STEPS,
            num_samples=STEPS,
            num_chains=FEW,
            chain_method="vectorized",
            progress_bar=False,
        )
        key_start, key_run = jax.random.split(key)
        start = jax.random.normal(key_start, (FEW, posterior.dim))
        sampler.run(key_run, init_params=start, extra_fields=("num_steps",))
        draws = sampler.get_samples(group_by_chain=True)
        return Run(
            jnp.swapaxes(draws, 0, 1), jnp.nan
        )  # the steps of its warm-up are not counted

    return run


SAMPLERS: dict[str, Callable[[Posterior], Callable[[Any], Run]]] = {
    "ebmjax nuts": ours_few,
    "blackjax nuts": blackjax_nuts,
    "blackjax nuts dense": functools.partial(blackjax_nuts, is_dense=True),
    "numpyro nuts": numpyro_nuts,
    "ebmjax hmc": ours_many,
    "blackjax chees": blackjax_chees,
    "blackjax chees best": functools.partial(
        blackjax_chees, num_warmup=100, first=1.0, rate=0.05
    ),
}
