"""Functional sampling for energy-based models.

An energy is a function ``energy(x) -> scalar``; the density is ``exp(-energy(x)) / Z``.

    kernel = ebmjax.hmc(energy, step_size=0.3, num_steps=10)
    samples = ebmjax.sample(jax.random.key(0), kernel, jnp.zeros((64, 2)), 1000)

The kernels need JAX alone.  What trains networks is imported when it is first named, so that kernels start
fast and Flax is not loaded for them.
"""

import importlib

from ebmjax.base import Energy, Info, Kernel, State
from ebmjax.sampling.sample.loop import Record, Reducer, chain_keys, nothing, position_of, run, with_stats
from ebmjax.energies.transforms import confine, denoise, from_log_density, product, temper
from ebmjax.kernels.combinators import cycle, mixture, parallel, repeat, within
from ebmjax.kernels.hamiltonian import hmc, leapfrog, mclachlan, trajectory, yoshida
from ebmjax.kernels.langevin import langevin, mala, separate_noise, ula, underdamped_langevin
from ebmjax.kernels.metropolis import Proposal, independence, metropolis, unadjusted
from ebmjax.kernels.nuts import nuts
from ebmjax.kernels.random_walk import random_walk
from ebmjax.sampling.sample.sample import Samples, sample

_LATER = {
    "objectives": ("contrastive", "Chains"),
    "adaptation": (),
    "tuning": ("Tuned", "tune_step_size", "warm_up"),
    "warmup": ("adapt",),
    "objectives.score_matching": (),
    "objectives.noise_contrastive": (),
    "objectives.energy_discrepancy": (),
    "objectives.improved": (),
    "objectives.flow_contrastive": (),
    "objectives.binary_data": (),
    "objectives.stein": (),
    "objectives.learned_stein": ("Players",),
    "objectives.adversarial": (),
    "kernels.annealed_langevin": (),
    "objectives.recovery": (),
    "objectives.joint": ("Labelled", "labelled"),
    "kernels.binary": (),
    "kernels.combinators": (),
    "enumeration": (),
    "starts": ("from_data", "from_noise", "replay_buffer"),
    "updates": ("TrainState", "init_state", "train_step"),
    "training": ("fit",),
    "watch": ("NO_REMEDY", "Remedy", "TrainingDiverged"),
    "networks": ("MLP", "Conv"),
    "flows": ("Flow",),
    "storage.checkpoint": (),
    "storage.folder": (),
    "data": (),
    "diagnostics": (),
    "monte_carlo": ("expectation",),
    "evaluation": (),
    "experiments.experiment": (),
    "experiments.report": (),
    "experiments.runs": (),
    "classification": (),
    "health": ("assert_healthy", "summary"),
    "adapters": ("from_blackjax", "to_blackjax"),
    "export": ("to_arviz",),
    "streaming": (),
    "plotting": (),
    "targets": (),
    "verify": ("check",),
}
_HOME = {name: module for module, names in _LATER.items() for name in names}
_ROOMS = {module.rpartition(".")[2]: module for module in _LATER}

__all__ = [
    "Energy",
    "Info",
    "Kernel",
    "Proposal",
    "Record",
    "Reducer",
    "Samples",
    "State",
    "chain_keys",
    "confine",
    "cycle",
    "denoise",
    "from_log_density",
    "hmc",
    "independence",
    "langevin",
    "leapfrog",
    "mala",
    "mclachlan",
    "metropolis",
    "mixture",
    "nothing",
    "nuts",
    "parallel",
    "position_of",
    "product",
    "random_walk",
    "repeat",
    "run",
    "sample",
    "separate_noise",
    "temper",
    "trajectory",
    "ula",
    "unadjusted",
    "underdamped_langevin",
    "with_stats",
    "within",
    "yoshida",
]


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(f"ebmjax.{_HOME[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"ebmjax.{_ROOMS[name]}")
    raise AttributeError(f"module 'ebmjax' has no attribute {name!r}")


def __dir__():
    return sorted([*__all__, *_ROOMS, *_HOME])
