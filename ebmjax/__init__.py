"""Functional sampling for energy-based models.

An energy is a function ``energy(x) -> scalar``; the density is ``exp(-energy(x)) / Z``.

    kernel = ebmjax.hmc(energy, step_size=0.3, num_steps=10)
    samples = ebmjax.sample(jax.random.key(0), kernel, jnp.zeros((64, 2)), 1000)

The kernels need only JAX.  Flax, Optax and matplotlib are imported when a name that
needs them is first used.
"""

import importlib
import importlib.util
from importlib import metadata
from typing import TYPE_CHECKING

from ebmjax import supports
from ebmjax._compilation_cache import enable_compilation_cache
from ebmjax.base.kernel import Kernel
from ebmjax.base.states import Energy, Info, State
from ebmjax.base.step_size import Dense
from ebmjax.energies.conditional import condition
from ebmjax.energies.constrained import Constrained, constrain
from ebmjax.energies.transforms import (
    confine,
    denoise,
    from_log_density,
    product,
    temper,
)
from ebmjax.kernels.chains import parallel, stack, stacked
from ebmjax.kernels.combinators import (
    Cycle,
    Mixture,
    Repeat,
    cycle,
    mixture,
    reject_nonfinite,
    repeat,
)
from ebmjax.kernels.hamiltonian import HMC, hmc
from ebmjax.kernels.integrators import leapfrog, mclachlan, trajectory, yoshida
from ebmjax.kernels.langevin import (
    MALA,
    ULA,
    UnderdampedLangevin,
    langevin,
    mala,
    separate_noise,
    ula,
    underdamped_langevin,
)
from ebmjax.kernels.metropolis import Metropolis, independence, metropolis
from ebmjax.kernels.nuts import NUTS, nuts
from ebmjax.kernels.proposal import Proposal
from ebmjax.kernels.random_walk import RandomWalk, random_walk
from ebmjax.kernels.unadjusted import Unadjusted, unadjusted
from ebmjax.kernels.within import Within, within
from ebmjax.sampling.collect import Record, Reducer, collect_stats, discard, position_of
from ebmjax.sampling.loop import chain_keys, run
from ebmjax.sampling.sample import sample
from ebmjax.sampling.samples import Samples

if TYPE_CHECKING:
    from ebmjax.adaptation.each import TunedEach, warm_up_each
    from ebmjax.adaptation.tuning import Tuned, tune_step_size, warm_up
    from ebmjax.adaptation.warmup import adapt
    from ebmjax.diagnostics.each import by_condition, summary_each
    from ebmjax.diagnostics.expectation import expectation
    from ebmjax.diagnostics.summary import assert_healthy, summary
    from ebmjax.energies.conditional_networks import ConditionalConv, ConditionalMLP
    from ebmjax.energies.flows import Flow
    from ebmjax.energies.lattice import ising, potts
    from ebmjax.energies.networks import MLP, Conv
    from ebmjax.energies.pairwise import pairwise
    from ebmjax.evaluation.likelihood import log_likelihood
    from ebmjax.evaluation.log_z import bracket_log_z
    from ebmjax.io.arviz import to_arviz
    from ebmjax.kernels.barker import barker
    from ebmjax.kernels.blackjax import from_blackjax, to_blackjax
    from ebmjax.kernels.cluster import swendsen_wang, wolff
    from ebmjax.kernels.discrete_langevin import dmala, dula
    from ebmjax.kernels.flip import flip
    from ebmjax.kernels.gaussian_prior import elliptical_slice, pcn
    from ebmjax.kernels.gibbs import gibbs
    from ebmjax.kernels.locally_balanced import gibbs_with_gradients, locally_balanced
    from ebmjax.kernels.rbm_gibbs import rbm_gibbs
    from ebmjax.objectives.base import Chains, Objective, Players
    from ebmjax.objectives.batches import Labelled, Pairs, labelled, pairs
    from ebmjax.objectives.conditional import conditional_likelihood, over_pairs
    from ebmjax.objectives.conditional_chains import persistent_pairs
    from ebmjax.objectives.likelihood import maximum_likelihood
    from ebmjax.tempering.ais import annealed_importance_sampling
    from ebmjax.tempering.parallel_tempering import parallel_tempering
    from ebmjax.tempering.paths import geometric
    from ebmjax.tempering.smc import sequential_monte_carlo
    from ebmjax.training.chain_init import (
        from_data,
        from_noise,
        near_data,
        replay_buffer,
    )
    from ebmjax.training.divergence import (
        NO_ROLLBACK,
        DivergenceMonitor,
        RollbackPolicy,
        TrainingDiverged,
    )
    from ebmjax.training.fit import fit
    from ebmjax.training.step import TrainState, init_state, train_step
    from ebmjax.verify.check_energy import check

_LAZY = {  # imported when first used: module -> names
    "kernels.barker": ("barker",),
    "kernels.cluster": ("swendsen_wang", "wolff"),
    "kernels.discrete_langevin": ("dmala", "dula"),
    "kernels.gaussian_prior": ("elliptical_slice", "pcn"),
    "kernels.flip": ("flip",),
    "kernels.gibbs": ("gibbs",),
    "kernels.rbm_gibbs": ("rbm_gibbs",),
    "kernels.locally_balanced": ("gibbs_with_gradients", "locally_balanced"),
    "energies.lattice": ("ising", "potts"),
    "energies.pairwise": ("pairwise",),
    "adaptation.each": ("TunedEach", "warm_up_each"),
    "adaptation.tuning": ("Tuned", "tune_step_size", "warm_up"),
    "adaptation.warmup": ("adapt",),
    "diagnostics.each": ("by_condition", "summary_each"),
    "diagnostics.expectation": ("expectation",),
    "diagnostics.summary": ("assert_healthy", "summary"),
    "energies.conditional_networks": ("ConditionalConv", "ConditionalMLP"),
    "energies.flows": ("Flow",),
    "energies.networks": ("MLP", "Conv"),
    "io.arviz": ("to_arviz",),
    "kernels.blackjax": ("from_blackjax", "to_blackjax"),
    "objectives.batches": ("Labelled", "Pairs", "labelled", "pairs"),
    "objectives.conditional_chains": ("persistent_pairs",),
    "objectives.conditional": ("conditional_likelihood", "over_pairs"),
    "objectives.base": ("Chains", "Objective", "Players"),
    "objectives.likelihood": ("maximum_likelihood",),
    "evaluation.likelihood": ("log_likelihood",),
    "evaluation.log_z": ("bracket_log_z",),
    "tempering.ais": ("annealed_importance_sampling",),
    "tempering.parallel_tempering": ("parallel_tempering",),
    "tempering.paths": ("geometric",),
    "tempering.smc": ("sequential_monte_carlo",),
    "training.chain_init": ("from_data", "from_noise", "near_data", "replay_buffer"),
    "training.divergence": (
        "NO_ROLLBACK",
        "DivergenceMonitor",
        "RollbackPolicy",
        "TrainingDiverged",
    ),
    "training.fit": ("fit",),
    "training.step": ("TrainState", "init_state", "train_step"),
    "verify.check_energy": ("check",),
}
_MODULE_OF = {name: module for module, names in _LAZY.items() for name in names}

__all__ = [
    "barker",
    "swendsen_wang",
    "wolff",
    "dmala",
    "dula",
    "elliptical_slice",
    "pcn",
    "flip",
    "gibbs",
    "rbm_gibbs",
    "gibbs_with_gradients",
    "locally_balanced",
    "ising",
    "potts",
    "pairwise",
    "HMC",
    "MALA",
    "MLP",
    "NO_ROLLBACK",
    "NUTS",
    "ULA",
    "Chains",
    "ConditionalConv",
    "ConditionalMLP",
    "Constrained",
    "Conv",
    "Cycle",
    "Dense",
    "DivergenceMonitor",
    "Energy",
    "Flow",
    "Info",
    "Kernel",
    "Labelled",
    "Metropolis",
    "Mixture",
    "Objective",
    "Pairs",
    "Players",
    "Proposal",
    "RandomWalk",
    "Record",
    "Reducer",
    "Repeat",
    "RollbackPolicy",
    "Samples",
    "State",
    "TrainState",
    "TrainingDiverged",
    "Tuned",
    "TunedEach",
    "Unadjusted",
    "UnderdampedLangevin",
    "Within",
    "adapt",
    "annealed_importance_sampling",
    "assert_healthy",
    "bracket_log_z",
    "by_condition",
    "chain_keys",
    "check",
    "collect_stats",
    "condition",
    "conditional_likelihood",
    "confine",
    "constrain",
    "cycle",
    "denoise",
    "discard",
    "enable_compilation_cache",
    "expectation",
    "fit",
    "from_blackjax",
    "from_data",
    "from_log_density",
    "from_noise",
    "geometric",
    "hmc",
    "independence",
    "init_state",
    "labelled",
    "langevin",
    "leapfrog",
    "log_likelihood",
    "mala",
    "maximum_likelihood",
    "mclachlan",
    "metropolis",
    "mixture",
    "near_data",
    "nuts",
    "over_pairs",
    "pairs",
    "parallel",
    "parallel_tempering",
    "persistent_pairs",
    "position_of",
    "product",
    "random_walk",
    "reject_nonfinite",
    "repeat",
    "replay_buffer",
    "run",
    "sample",
    "separate_noise",
    "sequential_monte_carlo",
    "stack",
    "stacked",
    "summary",
    "summary_each",
    "supports",
    "temper",
    "to_arviz",
    "to_blackjax",
    "train_step",
    "trajectory",
    "tune_step_size",
    "ula",
    "unadjusted",
    "underdamped_langevin",
    "warm_up",
    "warm_up_each",
    "within",
    "yoshida",
]


def __getattr__(name):
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"ebmjax.{_MODULE_OF[name]}"), name)
    if name == "__version__":
        return metadata.version("ebmjax")
    if importlib.util.find_spec(f"ebmjax.{name}") is not None:
        return importlib.import_module(f"ebmjax.{name}")
    raise AttributeError(f"module 'ebmjax' has no attribute {name!r}")


def __dir__():
    return sorted([*__all__, "__version__"])
