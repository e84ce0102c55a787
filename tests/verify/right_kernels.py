"""Correct kernels under ``verify.invariance`` at its defaults, with many keys.

    python tests/verify/right_kernels.py --num-keys 14     prints a table

Kernels of the library, of BlackJAX and NumPyro where they are installed, and those of
:mod:`kernel_examples`.  Each FAILED is a false alarm.
"""

import argparse
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import kernel_examples as examples
import numpy as np
from scipy import stats
from test_wrong_kernels import RIGHT

import ebmjax as eb
from ebmjax import targets, verify

PLANE = targets.correlated_gaussian(2, 0.5)
FUNNEL = targets.funnel(3)


class State(NamedTuple):
    position: Any
    inner: Any


class Kernel(NamedTuple):
    init: Any
    step: Any


def ours() -> Iterator[tuple[str, Any, Any]]:
    for target in (PLANE, FUNNEL):
        for name, kernel in {
            "random_walk": eb.random_walk(target.energy, 0.8),
            "mala": eb.mala(target.energy, 0.6),
            "barker": eb.barker(target.energy, 0.8),
            "hmc": eb.hmc(target.energy, 0.4, 3),
            "nuts": eb.nuts(target.energy, 0.5, max_depth=4),
        }.items():
            yield f"ebmjax {name}, {target.name}", kernel, target


def of_blackjax() -> Iterator[tuple[str, Any, Any]]:
    import blackjax

    log_density = lambda x: -PLANE.energy(x)
    inverse_mass = {"inverse_mass_matrix": jnp.ones(2)}
    walk = blackjax.additive_step_random_walk.normal_random_walk
    for name, kernel in {
        "random walk": walk(log_density, 0.8 * jnp.ones(2)),
        "mala": blackjax.mala(log_density, 0.2),
        "barker": blackjax.barker_proposal(log_density, 0.6),
        "hmc": blackjax.hmc(log_density, 0.5, num_integration_steps=3, **inverse_mass),
        "nuts": blackjax.nuts(log_density, 0.6, max_num_doublings=4, **inverse_mass),
    }.items():
        yield f"blackjax {name}, {PLANE.name}", kernel, PLANE
    target = examples.with_likelihood()
    slice_ = blackjax.elliptical_slice(
        examples.likelihood, mean=jnp.zeros(2), cov=jnp.eye(2)
    )
    yield f"blackjax elliptical slice, {target.name}", slice_, target


def of_numpyro() -> Iterator[tuple[str, Any, Any]]:
    from numpyro.infer.hmc import hmc

    fixed = {"adapt_step_size": False, "adapt_mass_matrix": False}
    for algorithm, more in (
        ("HMC", {"trajectory_length": 1.2}),
        ("NUTS", {"max_tree_depth": 4}),
    ):
        init, sample = hmc(PLANE.energy, algo=algorithm)

        def first(position, init=init, more=more):
            key = jax.random.key_data(jax.random.key(0))
            options = {"step_size": 0.5, "num_warmup": 0, **fixed, **more}
            return State(position, init(position, rng_key=key, **options))

        def step(key, state, sample=sample):
            new = sample(state.inner._replace(rng_key=jax.random.key_data(key)))
            return State(new.z, new), ()

        yield f"numpyro {algorithm}, {PLANE.name}", Kernel(first, step), PLANE


def kernels() -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """``name, kernel, target, options``: what a state needs, else defaults."""
    for name, (kernel, target, options) in RIGHT.items():
        yield name, kernel, target, {k: options[k] for k in options if k == "complete"}
    for source in (ours, of_blackjax, of_numpyro):
        try:
            for name, kernel, target in source():
                yield name, kernel, target, {}
        except ImportError as error:
            print(f"not installed: {error.name}", flush=True)


def main(num_keys: int, only: str) -> None:
    print("| kernel | keys | FAILED | INCONCLUSIVE | adjusted p < .05 | s |")
    print("|---|---|---|---|---|---|")
    total = failed = 0
    for i, (name, kernel, target, options) in enumerate(kernels()):
        if only not in name:
            continue
        begin, verdicts, p = time.time(), [], []
        for key in jax.random.split(jax.random.key(7000 + i), num_keys):
            report = verify.invariance(key, kernel, target, **options)
            verdicts.append(report.verdict)
            p.append(report.p_value)
            if report.is_failed:
                print(report, flush=True)
        num = [verdicts.count(v) for v in ("FAILED", "INCONCLUSIVE")]
        small, seconds = np.mean(np.array(p) < 0.05), (time.time() - begin) / num_keys
        print(
            f"| {name} | {num_keys} | {num[0]} | {num[1]} | {small:.2f} "
            f"| {seconds:.1f} |",
            flush=True,
        )
        total, failed = total + num_keys, failed + num[0]
        jax.clear_caches()
    most = stats.beta.ppf(0.95, failed + 1, total - failed)
    print(f"\n{failed} of {total} are false alarms; at most {most:.4f} (95 %)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--num-keys", type=int, default=14)
    parser.add_argument("--only", default="", help="kernels whose names have this text")
    main(**vars(parser.parse_args()))
