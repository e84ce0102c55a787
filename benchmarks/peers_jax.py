"""BlackJAX, NumPyro and TFP on a standard normal, as documented and in the best form
found.

blackjax       the loop of its guide to several chains: a scan over steps, each with a
               split of the key over the chains and a vmapped step; states returned
blackjax best  the same within one ``jit``; only positions returned
numpyro        ``MCMC(HMC)``, chains vectorised, no adaptation, within ``jit``, as in
               its guide within ``pmap``: outside, each run would compile again
numpyro best   its functional ``hmc``, vmapped over chains, in a scan within one ``jit``
tfp            ``sample_chain`` within ``jit``, chains batched natively,
               ``trace_fn=None``
tfp best       ``one_step`` of the same kernel in a scan within one ``jit``

A maker takes ``(kernel name, dim, number of steps, key, positions)`` and returns a
function without arguments that returns the positions of all steps.  Step sizes are
those of :func:`step_sizes`, in the convention of each library.
"""

import functools
from collections.abc import Callable
from typing import Any

import blackjax
import jax
import jax.numpy as jnp

L = 10
ENERGY = lambda x: 0.5 * jnp.sum(x**2)
LOG_DENSITY = lambda x: -ENERGY(x)
BATCHED_LOG_DENSITY = lambda x: -0.5 * jnp.sum(x**2, axis=-1)
Make = Callable[[str, int, int, Any, Any], Callable[[], Any]]


def step_sizes(dim: int) -> dict[str, float]:
    """The step size of the leapfrog, and the standard deviation of the random walk."""
    step = 1.2 / dim**0.25
    return {"random_walk": 2.38 / dim**0.5, "mala": step, "hmc": 0.3 * step}


def of_blackjax(name: str, dim: int) -> Any:
    step = step_sizes(dim)[name]
    if name == "random_walk":
        return blackjax.additive_step_random_walk(
            LOG_DENSITY, blackjax.mcmc.random_walk.normal(step * jnp.ones(dim))
        )
    if name == "mala":
        return blackjax.mala(LOG_DENSITY, step_size=step**2 / 2)
    return blackjax.hmc(
        LOG_DENSITY,
        step_size=step,
        inverse_mass_matrix=jnp.ones(dim),
        num_integration_steps=L,
    )


def blackjax_documented(name, dim, num_steps, key, positions):
    kernel = of_blackjax(name, dim)

    @jax.jit
    def one_step(states, key):
        keys = jax.random.split(key, len(positions))
        states, _ = jax.vmap(kernel.step)(keys, states)
        return states, states

    def run():
        states = jax.vmap(kernel.init)(positions)
        return jax.lax.scan(one_step, states, jax.random.split(key, num_steps))[
            1
        ].position

    return run


def blackjax_best(name, dim, num_steps, key, positions):
    kernel = of_blackjax(name, dim)

    def run(key, positions):
        def one_step(states, key):
            keys = jax.random.split(key, len(positions))
            states, _ = jax.vmap(kernel.step)(keys, states)
            return states, states.position

        return jax.lax.scan(
            one_step, jax.vmap(kernel.init)(positions), jax.random.split(key, num_steps)
        )[1]

    return functools.partial(jax.jit(run), key, positions)


def of_tfp(name: str, dim: int) -> Any:
    from tensorflow_probability.substrates.jax import mcmc

    step = step_sizes(dim)[name]
    if name == "random_walk":
        return mcmc.RandomWalkMetropolis(
            BATCHED_LOG_DENSITY, new_state_fn=mcmc.random_walk_normal_fn(scale=step)
        )
    if name == "mala":
        return mcmc.MetropolisAdjustedLangevinAlgorithm(
            BATCHED_LOG_DENSITY, step_size=step**2
        )
    return mcmc.HamiltonianMonteCarlo(
        BATCHED_LOG_DENSITY, step_size=step, num_leapfrog_steps=L
    )


def tfp_documented(name, dim, num_steps, key, positions):
    from tensorflow_probability.substrates.jax import mcmc

    kernel = of_tfp(name, dim)

    def run(key, positions):
        return mcmc.sample_chain(
            num_steps,
            current_state=positions,
            kernel=kernel,
            num_burnin_steps=0,
            trace_fn=None,
            seed=key,
        )

    return functools.partial(jax.jit(run), key, positions)


def tfp_best(name, dim, num_steps, key, positions):
    kernel = of_tfp(name, dim)

    def run(key, positions):
        def one_step(carry, key):
            position, results = kernel.one_step(*carry, seed=key)
            return (position, results), position

        start = positions, kernel.bootstrap_results(positions)
        return jax.lax.scan(one_step, start, jax.random.split(key, num_steps))[1]

    return functools.partial(jax.jit(run), key, positions)


def _numpyro_options(dim):
    fixed = {
        "adapt_step_size": False,
        "adapt_mass_matrix": False,
        "trajectory_length": None,
    }
    return {"step_size": step_sizes(dim)["hmc"], "num_steps": L, **fixed}


def numpyro_documented(name, dim, num_steps, key, positions):
    from numpyro.infer import HMC, MCMC

    def run(key, positions):
        sampler = MCMC(
            HMC(potential_fn=ENERGY, **_numpyro_options(dim)),
            num_warmup=0,
            num_samples=num_steps,
            num_chains=len(positions),
            chain_method="vectorized",
            progress_bar=False,
        )
        sampler.run(
            key, init_params=positions if len(positions) > 1 else positions[0]
        )  # as required
        return jnp.swapaxes(sampler.get_samples(group_by_chain=True), 0, 1)

    return functools.partial(jax.jit(run), key, positions)


def numpyro_best(name, dim, num_steps, key, positions):
    from numpyro.infer.hmc import hmc

    init, sample = hmc(ENERGY, algo="HMC")

    def run(key, positions):
        start = lambda key, x: init(x, 0, rng_key=key, **_numpyro_options(dim))
        states = jax.vmap(start)(jax.random.split(key, len(positions)), positions)

        def one_step(states, _):
            states = jax.vmap(sample)(states)
            return states, states.z

        return jax.lax.scan(one_step, states, None, length=num_steps)[1]

    return functools.partial(jax.jit(run), key, positions)


BLACKJAX: dict[str, Make] = {
    "blackjax": blackjax_documented,
    "blackjax best": blackjax_best,
}
TFP: dict[str, Make] = {"tfp": tfp_documented, "tfp best": tfp_best}
NUMPYRO: dict[str, Make] = {"numpyro": numpyro_documented, "numpyro best": numpyro_best}


def peers(name: str, *, is_all: bool = True) -> dict[str, Make]:
    """The libraries that have the kernel; only BlackJAX without ``is_all``."""
    others = {**(NUMPYRO if name == "hmc" else {}), **TFP}
    return {**BLACKJAX, **(others if is_all else {})}
