"""Training on the 8x8 digits as bits: log-likelihood by kernel of the chains, against
pseudo-likelihood.

A restricted Boltzmann machine of 64 hidden units and a perceptron, each trained with
the same updates and batches:

    gibbs                 persistent chains, a sweep an update; of the machine in blocks
    gibbs_with_gradients  persistent chains, 64 steps of one site
    dmala                 persistent chains, 20 steps of all sites, step size adapted
    pseudo_likelihood     no chains

log Z lies between bounds of annealed importance sampling by sweeps of Gibbs, forward
from independent bits and in reverse from the chains of a sweep sampler that starts at
the data (:func:`ebmjax.evaluation.log_z.bracket_log_z`); the upper bound on log Z
supposes that these have reached equilibrium.  "independent bits" is the likelihood of
their means.
"""

import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ebmjax as eb
from ebmjax.evaluation.likelihood import log_likelihood
from ebmjax.evaluation.log_z import bracket_log_z
from ebmjax.experiments import data, experiment, runs
from ebmjax.kernels.gibbs import gibbs
from ebmjax.tempering.bases import bits

NUM_CHAINS, NUM_LEVELS, NUM_RELAX = 64, 300, 200
SMOOTHED = 0.02  # of the means of the base: at least that, and at most one minus it
NETWORKS: dict[str, dict[str, Any]] = {
    "rbm": {"network": "rbm", "features": (64,), "learning_rate": 1e-2},
    "mlp": {"network": "mlp", "features": (128, 128), "learning_rate": 2e-3},
}
WAYS: dict[str, dict[str, Any]] = {
    "gibbs": {"kernel": "gibbs", "chain_steps": 1},
    "gibbs_with_gradients": {"kernel": "gibbs_with_gradients", "chain_steps": 64},
    "dmala": {"kernel": "dmala", "chain_steps": 20},
    "pseudo_likelihood": {"objective": "pseudo_likelihood"},
}


def rows(
    networks: Sequence[str], ways: Sequence[str], num_updates: int
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """``(number, total, row)`` of each network and way to train."""
    cells = [(n, w) for n in networks for w in ways]
    yield 1, len(cells) + 1, independent()
    for i, (network, way) in enumerate(cells, 2):
        yield i, len(cells) + 1, one(network, way, num_updates)


def one(network: str, way: str, num_updates: int) -> dict[str, Any]:
    """Train one run and measure its likelihood."""
    options = {**NETWORKS[network], **WAYS[way], "num_updates": num_updates}
    if (network, way) == ("rbm", "gibbs"):
        options |= {"kernel": "rbm_gibbs", "chain_steps": 5}
    dataset = data.load("binary_digits")
    run = experiment.build(
        experiment.preset(dataset, batch_size=128, **options), dataset
    )
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = runs.train(run, Path(folder) / "run", progress=False)
    seconds = time.perf_counter() - begin
    energy, key = run.trained(state), jax.random.key(1)
    row = {"network": network, "way": way, "kernel": run.config.kernel}
    row |= {"num_updates": num_updates, "seconds": seconds}
    return row | likelihoods(key, energy, run)


def likelihoods(key: Any, energy: Any, run: Any) -> dict[str, float]:
    """Mean log-likelihoods in nats, and the bounds on log Z."""
    key_chains, key_z = jax.random.split(key)
    start = run.z[:NUM_CHAINS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few levels, chains that do not move
        chains = eb.sample(key_chains, gibbs(energy), start, NUM_RELAX, thin=NUM_RELAX)
        found = bracket_log_z(
            key_z,
            energy,
            chains.draws[-1],
            base=base_of(run),
            make_kernel=lambda e, step_size: gibbs(e),
            num_chains=NUM_CHAINS,
            num_levels=NUM_LEVELS,
        ).log_z
    held = jnp.asarray(run.held.x)
    row = {"log Z lower": found.lower, "log Z upper": found.upper}
    for name, x in (("training", run.z), ("held out", held)):
        value = log_likelihood(energy, x, found)
        row |= {name: value.mean, f"{name} lower": value.lower}
        row |= {f"{name} upper": value.upper, f"{name} error": value.standard_error}
    return row


def base_of(run: Any) -> Any:
    """Independent bits with the means of the data."""
    return bits(jnp.clip(jnp.mean(run.z, axis=0), SMOOTHED, 1 - SMOOTHED))


def independent() -> dict[str, Any]:
    """The likelihood of independent bits."""
    dataset = data.load("binary_digits")
    run = experiment.build(
        experiment.preset(dataset, objective="pseudo_likelihood"), dataset
    )
    log_p = jax.jit(jax.vmap(base_of(run).log_prob))
    row: dict[str, Any] = {"network": "independent bits", "way": "means"}
    for name, x in (("training", run.z), ("held out", jnp.asarray(run.held.x))):
        row[name] = float(np.asarray(log_p(x)).mean())
    return row
