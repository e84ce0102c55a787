"""Minimum effective sample size a second and a gradient, warm-up included, against BlackJAX and NumPyro.

All start from N(0, 1) and are given no tuning parameter.  With few chains, 4 chains of 500 + 500 steps:

    ebmjax nuts           warm_up, then nuts
    blackjax nuts         window_adaptation and nuts, the whole of it in one jit
    blackjax nuts dense   the same with a dense mass, which the user asks for
    numpyro nuts          MCMC(NUTS), chains vectorised, inside one jit; outside, each run would compile anew

With many, 256 chains:

    ebmjax hmc        warm_up of hmc, 100 + 300 steps
    blackjax chees        chees_adaptation with its diagonal mass, 200 + 300 steps of dynamic_hmc; from a step
                          of 0.1, Adam at 0.02, as in its guide
    blackjax chees best   100 + 300 steps, from a step of 1, Adam at 0.05: the best of those that we tried

warm: a second run of the same program, another key; cold: the first call, compilation included.  A run whose
R-hat is above 1.05 in any coordinate, or a mean of which is more than four standard errors from the truth,
has not converged, and its size counts for nothing.
"""

import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import optax

import ebmjax as eb
from benchmarks.posteriors import POSTERIORS, Posterior
from ebmjax.diagnostics import ess_bulk, mcse_mean, rhat
from ebmjax.tuning import TARGETS
from ebmjax.warmup import STEP_JITTER

FEW, MANY = 4, 256
STEPS = 500
MANY_STEPS = 300
CONVERGED, FARTHEST = 1.05, 4.0  # R-hat; standard errors from the true mean


Row = dict[str, Any]


class Run(NamedTuple):
    """What a sampler returns."""

    draws: Any  # [T, C, D]
    num_grads: Any  # [] of the draws, all chains; NaN where it is not known


def ours_few(posterior: Posterior) -> Callable[[Any], Run]:
    return _ours(posterior, eb.nuts, FEW, STEPS, STEPS)


def ours_many(posterior: Posterior) -> Callable[[Any], Run]:
    return _ours(posterior, eb.hmc, MANY, 100, MANY_STEPS)


def _ours(posterior, make, num_chains, num_warmup, num_steps):
    energy, target = posterior.energy, TARGETS[make]

    @jax.jit
    def run(key):
        key_start, key_warm, key_run = jax.random.split(key, 3)
        start = jax.random.normal(key_start, (num_chains, posterior.dim))
        found = eb.adapt(key_warm, make, energy, start, num_steps=num_warmup, target=target)
        options = {"num_steps": found.num_steps, "step_jitter": STEP_JITTER} if make is eb.hmc else {}
        chains = eb.parallel(make(energy, found.step_size, **options))
        state = chains.init(found.position)
        _, draws, info = eb.run(eb.chain_keys(key_run, num_chains), chains, state, num_steps)
        return Run(draws, found.num_grads + jnp.sum(info.num_grads))

    return run


def blackjax_nuts(posterior: Posterior, *, is_dense: bool = False) -> Callable[[Any], Run]:
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
        (states, parameters), warm = jax.vmap(lambda k, x: warm_up.run(k, x, STEPS))(
            jax.random.split(key_warm, FEW), start
        )
        kernel = blackjax.nuts.build_kernel()

        def one_step(states, key):
            def of_chain(key, state, size, mass):
                return kernel(key, state, log_density, step_size=size, inverse_mass_matrix=mass)

            states, info = jax.vmap(of_chain)(
                jax.random.split(key, FEW), states, parameters["step_size"], parameters["inverse_mass_matrix"]
            )
            return states, (states.position, info.num_integration_steps)

        _, (draws, taken) = jax.lax.scan(one_step, states, jax.random.split(key_run, STEPS))
        return Run(draws, jnp.sum(taken) + jnp.sum(warm))

    return run


def blackjax_chees(
    posterior: Posterior, *, num_warmup: int = 200, first: float = 0.1, rate: float = 0.02
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
            adaptation_info_fn=lambda state, info, adaptation, *_: info.num_integration_steps,
        )
        (states, parameters), warm = warm_up.run(key_warm, start, first, optax.adam(rate), num_warmup)
        kernel = blackjax.dynamic_hmc(log_density, **parameters)

        def one_step(states, key):
            states, info = jax.vmap(kernel.step)(jax.random.split(key, MANY), states)
            return states, (states.position, info.num_integration_steps)

        _, (draws, taken) = jax.lax.scan(one_step, states, jax.random.split(key_run, MANY_STEPS))
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
        return Run(jnp.swapaxes(draws, 0, 1), jnp.nan)  # the steps of its warm-up are not told

    return run


SAMPLERS: dict[str, Callable[[Posterior], Callable[[Any], Run]]] = {
    "ebmjax nuts": ours_few,
    "blackjax nuts": blackjax_nuts,
    "blackjax nuts dense": functools.partial(blackjax_nuts, is_dense=True),
    "numpyro nuts": numpyro_nuts,
    "ebmjax hmc": ours_many,
    "blackjax chees": blackjax_chees,
    "blackjax chees best": functools.partial(blackjax_chees, num_warmup=100, first=1.0, rate=0.05),
}

FEW_PEERS = ("blackjax nuts", "blackjax nuts dense", "numpyro nuts")
RIVALS = {
    "ebmjax nuts": FEW_PEERS,
    "ebmjax hmc": (*FEW_PEERS, "blackjax chees", "blackjax chees best"),
}


def ratios(
    found: list[dict[str, Any]], ours: str, peers: tuple[str, ...], of: str = "ESS/s"
) -> dict[str, float]:
    """Ours over the best peer, a posterior each: infinite where we alone have converged, zero where we alone
    have not; where nobody has, there is none."""
    speed = {(row["posterior"], row["sampler"]): row[of] for row in found}
    names = dict.fromkeys(row["posterior"] for row in found)
    best = {name: max(speed[name, peer] for peer in peers) for name in names}
    return {
        name: speed[name, ours] / best[name] if best[name] else np.inf
        for name in names
        if best[name] or speed[name, ours]
    }


def rows(
    *, is_quick: bool, num_repeats: int = 3, names: tuple[str, ...] = ()
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """``(number, total, row)``, a row a posterior and sampler."""
    names = names or (("breast_cancer", "gaussian") if is_quick else tuple(POSTERIORS))
    total = len(names) * len(SAMPLERS)
    for i, name in enumerate(names):
        posterior = POSTERIORS[name]()
        truth = _truth(posterior)
        runs = {sampler: make(posterior) for sampler, make in SAMPLERS.items()}
        cold = {sampler: _timed(run, 0) for sampler, run in runs.items()}
        warm: dict[str, list] = {sampler: [] for sampler in runs}
        for repeat in range(1, num_repeats + 1):  # in alternation
            for sampler, run in runs.items():
                warm[sampler].append(_timed(run, repeat))
        for j, sampler in enumerate(SAMPLERS):
            yield i * len(SAMPLERS) + j + 1, total, _row(name, sampler, cold[sampler], warm[sampler], truth)


def _row(name, sampler, cold, warm, truth) -> dict[str, Any]:
    judged = [_judge(run, truth) for _, run in warm]
    sizes = [size if worst <= CONVERGED and error <= FARTHEST else 0.0 for size, worst, error in judged]
    seconds = [seconds for seconds, _ in warm]
    grads = [float(run.num_grads) for _, run in warm]
    return {
        "posterior": name,
        "sampler": sampler,
        "ESS/s": statistics.median(s / t for s, t in zip(sizes, seconds, strict=True)),
        "ESS/s cold": statistics.median(sizes) / cold[0],
        "ESS/gradient": statistics.median(s / g for s, g in zip(sizes, grads, strict=True)),
        "ESS": statistics.median(sizes),
        "R-hat": statistics.median(worst for _, worst, _ in judged),
        "error": statistics.median(error for _, _, error in judged),
        "seconds": statistics.median(seconds),
        "cold": cold[0],
        "each": {
            "seconds": seconds,
            "sizes": [s for s, _, _ in judged],
            "R-hat": [w for _, w, _ in judged],
            "error": [e for _, _, e in judged],
        },
    }


def _judge(run: Run, truth) -> tuple[float, float, float]:
    """Least bulk size, largest R-hat, largest error of a mean in standard errors of both."""
    draws = jnp.asarray(run.draws)
    error = (draws.mean(axis=(0, 1)) - truth[0]) / jnp.sqrt(mcse_mean(draws) ** 2 + truth[1] ** 2)
    size = jnp.nan_to_num(jnp.min(ess_bulk(draws)))
    return (
        float(size),
        float(jnp.nan_to_num(jnp.max(rhat(draws)), nan=np.inf)),
        float(jnp.max(jnp.abs(error))),
    )


def _truth(posterior: Posterior) -> tuple[Any, Any]:
    """Mean and its standard error: known, or from long chains of BlackJAX."""
    if posterior.mean is not None:
        return posterior.mean, 0.0
    run = blackjax_nuts(posterior)
    draws = np.concatenate([np.asarray(run(jax.random.key(1000 + i)).draws) for i in range(4)], axis=1)
    return draws.mean(axis=(0, 1)), np.asarray(mcse_mean(jnp.asarray(draws)))


def _timed(run, seed) -> tuple[float, Run]:
    begin = time.perf_counter()
    found = jax.block_until_ready(run(jax.random.key(seed)))
    return time.perf_counter() - begin, found
