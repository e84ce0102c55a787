"""A process of :mod:`benchmarks.cold`: warm-up, sampling and a table by one library.

    python -m benchmarks.cold_process LIBRARY KERNEL POSTERIOR

Nothing heavy is imported before the clock runs.
"""

import collections
import json
import sys
import time
from collections.abc import Callable
from typing import Any

# chains, steps of warm-up, steps
SIZES = {"nuts": (4, 500, 1000), "hmc": (256, 100, 300)}
EVENTS = {
    "jaxpr_trace_duration": "trace",
    "jaxpr_to_mlir_module_duration": "lower",
    "backend_compile_duration": "compile",
}


class Clock:
    """CPU seconds of this process by stage, and JAX's events in each."""

    def __init__(self) -> None:
        self.events: collections.Counter = collections.Counter()
        self.stages: dict[str, dict[str, float]] = {}
        self.last = 0.0

    def listen(self) -> None:
        import jax

        def count(event: str, seconds: float, **_: Any) -> None:
            name = EVENTS.get(event.rsplit("/", 1)[-1])
            if name is not None:
                self.events[name] += seconds
                self.events["compilations"] += name == "compile"

        jax.monitoring.register_event_duration_secs_listener(count)

    def stage(self, name: str) -> None:
        used = time.process_time()
        self.stages[name] = {"cpu": used - self.last, **self.events}
        self.last = used
        self.events.clear()


def ebmjax(kernel: str, energy: Callable, start: Any, clock: Clock) -> None:
    import jax

    import ebmjax as eb

    clock.stage("import")
    _, num_warmup, num_steps = SIZES[kernel]
    make = getattr(eb, kernel)
    tuned = eb.warm_up(jax.random.key(0), make, energy, start, num_steps=num_warmup)
    clock.stage("warm-up")
    key = jax.random.key(1)
    samples = eb.sample(key, tuned.kernel, tuned.position, num_steps)
    jax.block_until_ready(samples.draws)
    clock.stage("sample")
    print(eb.summary(samples))
    clock.stage("summary")


def blackjax(kernel, energy, start, clock, *, with_arviz=False) -> None:
    import blackjax
    import jax
    import jax.numpy as jnp

    if with_arviz:
        import arviz
    clock.stage("import")
    log_density = lambda x: -energy(x)
    warm = _window_adaptation if kernel == "nuts" else _chees_adaptation
    step, states = warm(log_density, start, SIZES[kernel][1])
    jax.block_until_ready(states)
    clock.stage("warm-up")

    @jax.jit
    def run(key, states):
        def one_step(states, key):
            keys = jax.random.split(key, len(start))
            states, _ = step(keys, states)
            return states, states.position

        return jax.lax.scan(one_step, states, jax.random.split(key, SIZES[kernel][2]))

    draws = jnp.swapaxes(run(jax.random.key(1), states)[1], 0, 1)
    jax.block_until_ready(draws)
    clock.stage("sample")
    if with_arviz:
        print(arviz.summary({"x": jax.device_get(draws)}))
    else:
        print(draws.mean(axis=(0, 1)), draws.std(axis=(0, 1)))
        print(blackjax.ess(draws), blackjax.rhat(draws))
    clock.stage("summary")


def _window_adaptation(log_density, start, num_steps):
    import blackjax
    import jax

    adaptation = blackjax.window_adaptation(blackjax.nuts, log_density)

    @jax.jit
    def warm_up(keys, positions):
        run = lambda key, x: adaptation.run(key, x, num_steps)[0]
        return jax.vmap(run)(keys, positions)

    keys = jax.random.split(jax.random.key(0), len(start))
    states, parameters = warm_up(keys, start)
    one = lambda key, state, p: blackjax.nuts(log_density, **p).step(key, state)
    return lambda keys, states: jax.vmap(one)(keys, states, parameters), states


def _chees_adaptation(log_density, start, num_steps):
    import blackjax
    import jax
    import optax

    adaptation = blackjax.chees_adaptation(
        log_density, len(start), mass_matrix_estimation="diagonal"
    )

    @jax.jit
    def warm_up(key, positions):
        found = adaptation.run(key, positions, 1.0, optax.adam(0.05), num_steps)
        (states, parameters), _ = found
        functions = {k: v for k, v in parameters.items() if callable(v)}
        shared.update(functions)
        rest = {k: v for k, v in parameters.items() if k not in functions}
        return states, rest

    shared: dict[str, Any] = {}
    states, parameters = warm_up(jax.random.key(0), start)
    kernel = blackjax.dynamic_hmc(log_density, **parameters, **shared)
    return jax.vmap(kernel.step), states


def blackjax_arviz(kernel, energy, start, clock) -> None:
    blackjax(kernel, energy, start, clock, with_arviz=True)


def numpyro(kernel, energy, start, clock) -> None:
    import jax
    from numpyro.infer import HMC, MCMC, NUTS

    clock.stage("import")
    num_chains, num_warmup, num_steps = SIZES[kernel]
    sampler = MCMC(
        {"nuts": NUTS, "hmc": HMC}[kernel](potential_fn=energy),
        num_warmup=num_warmup,
        num_samples=num_steps,
        num_chains=num_chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    clock.stage("warm-up")
    sampler.run(jax.random.key(0), init_params=start)
    jax.block_until_ready(sampler.get_samples())
    clock.stage("sample")
    sampler.print_summary()
    clock.stage("summary")


LIBRARIES: dict[str, Callable[..., None]] = {
    "ebmjax": ebmjax,
    "blackjax": blackjax,
    "blackjax az": blackjax_arviz,
    "numpyro": numpyro,
}


def run(library: str, kernel: str, name: str) -> None:
    """The whole of a process; its last line is what :func:`benchmarks.cold.process`
    reads."""
    clock = Clock()
    import numpy as np

    clock.listen()
    energy, dim = _posterior(name)
    start = np.random.default_rng(0).normal(size=(SIZES[kernel][0], dim))
    LIBRARIES[library](kernel, energy, start.astype(np.float32), clock)
    print(json.dumps({"stages": clock.stages}))


def _posterior(name):
    """The energy and the dimension; data stay NumPy's, so that building compiles
    nothing."""
    if name == "normal":
        import jax.numpy as jnp
        import numpy as np

        variances = np.linspace(0.1, 10, 10).astype(np.float32)
        return lambda x: 0.5 * jnp.sum(x**2 / variances), 10
    from benchmarks.posteriors import POSTERIORS as table

    found = table[name]()
    return found.energy, found.dim


if __name__ == "__main__":
    run(*sys.argv[1:])
