"""Training methods by name, with their requirements on a configuration.

maximum_likelihood                        :mod:`ebmjax.objectives.likelihood`, chains
improved                                  :mod:`ebmjax.objectives.improved`, chains
explicit, sliced, denoising, multi_scale  :mod:`ebmjax.objectives.score_matching`
recovery                                  :mod:`ebmjax.objectives.recovery`
nce, ranking, conditional                 :mod:`ebmjax.objectives.noise_contrastive`
flow_contrastive                          :mod:`ebmjax.objectives.flow_contrastive`
energy_discrepancy                        :mod:`ebmjax.objectives.energy_discrepancy`
kernel_stein                              :mod:`ebmjax.objectives.stein`
learned_stein                             :mod:`ebmjax.objectives.learned_stein`
adversarial                               :mod:`ebmjax.objectives.adversarial`
joint, class_conditional                  :mod:`ebmjax.objectives.joint`, labels
pseudo_likelihood, ratio_matching         :mod:`ebmjax.objectives.binary_data`, bits
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from ebmjax.base import Array
from ebmjax.experiments.objectives import (
    chain_options,
    descend_langevin,
    descend_recovery,
    likelihood_options,
    make_adversarial,
    make_flow_contrastive,
    make_improved,
    make_learned_stein,
    noise_of,
)
from ebmjax.kernels import registry as kernels
from ebmjax.objectives import (
    Objective,
    binary_data,
    maximum_likelihood,
    score_matching,
    stein,
)
from ebmjax.objectives import noise_contrastive as nce
from ebmjax.objectives.conditional import conditional_likelihood, over_pairs
from ebmjax.objectives.energy_discrepancy import energy_discrepancy
from ebmjax.objectives.joint import class_conditional, joint
from ebmjax.objectives.recovery import recovery
from ebmjax.spaces import BITS, REAL, Space, levels
from ebmjax.tempering.annealed_langevin import noise_levels

KERNELS = {  # kernels for training
    name: entry for name, entry in kernels.KERNELS.items() if entry.training is not None
}
# objectives that train on bits and levels
DISCRETE = ("maximum_likelihood", "pseudo_likelihood", "ratio_matching")


def space_of_config(config: Any) -> Space:
    """The state space of the points of a configuration."""
    if config.levels > 2:
        return levels(config.levels)
    kernel = KERNELS[config.kernel].properties().state_space
    is_bits = config.levels == 2 or kernel == BITS
    return BITS if is_bits or METHODS[config.objective].is_binary else REAL


class Method(NamedTuple):
    """An objective, with its requirements on configuration, network and data.

    Whether it runs chains, adds noise, and trains more than the energy are properties
    of the objective.
    """

    # (config, energy, data) -> objective
    make: Callable[[Any, Callable, Array], Objective]
    has_temperature: bool = False  # whether ``config.temperature`` may differ from 1
    is_binary: bool = False  # needs points of bits, 0 or 1
    takes_condition: bool = False  # may learn points given a condition
    # needs points with labels, and a network of one energy a class
    is_labelled: bool = False
    learns_shares: bool = True  # learns the classes; else only points given their label
    # energy(params, x, noise); the energy of a run is that of ``config.noise``
    is_noise_conditional: bool = False
    # (key, config, energy(x, noise), z, start) -> chains over the noise levels
    descend: Callable | None = None
    defaults: dict[str, Any] = {}  # options of a configuration, for points


METHODS: dict[str, Method] = {
    "maximum_likelihood": Method(
        lambda config, energy, z: maximum_likelihood(
            energy,
            **likelihood_options(config, z),
            temperature=config.temperature,
        ),
        has_temperature=True,
        takes_condition=True,
        defaults={"learning_rate": 2e-3},
    ),
    "improved": Method(
        make_improved,
        defaults={"kernel": "ula", "step_size": 0.1, "learning_rate": 1e-3},
    ),
    "joint": Method(
        lambda config, energies, z: joint(energies, **likelihood_options(config, z)),
        is_labelled=True,
        defaults={"learning_rate": 1e-3},
    ),
    "class_conditional": Method(
        lambda config, energies, z: class_conditional(
            energies, **likelihood_options(config, z)
        ),
        is_labelled=True,
        learns_shares=False,
        defaults={"learning_rate": 1e-3},
    ),
    "explicit": Method(
        lambda config, energy, z: score_matching.explicit(energy), takes_condition=True
    ),
    "sliced": Method(
        lambda config, energy, z: score_matching.sliced(energy),
        takes_condition=True,
        defaults={"learning_rate": 5e-3},
    ),
    "denoising": Method(
        lambda config, energy, z: score_matching.denoising(energy, config.noise),
        takes_condition=True,
        defaults={"noise": 0.05, "learning_rate": 5e-3},
    ),
    "multi_scale": Method(
        lambda config, energy, z: score_matching.multi_scale(
            energy, noise_levels(z, config.noise)
        ),
        is_noise_conditional=True,
        descend=descend_langevin,
        defaults={"noise": 0.05, "learning_rate": 5e-3},
    ),
    "recovery": Method(
        lambda config, energy, z: recovery(
            energy, levels=noise_levels(z, config.noise), **chain_options(config)
        ),
        is_noise_conditional=True,
        descend=descend_recovery,
        defaults={"noise": 0.2, "step_size": 1.0, "learning_rate": 3e-4},
    ),
    "nce": Method(
        lambda config, energy, z: nce.binary(
            energy, noise_of(config, z), config.noise_ratio
        ),
        takes_condition=True,
        defaults={"learning_rate": 5e-3},
    ),
    "ranking": Method(
        lambda config, energy, z: nce.ranking(
            energy, noise_of(config, z), config.noise_ratio
        ),
        takes_condition=True,
        defaults={"learning_rate": 5e-3},
    ),
    "kernel_stein": Method(
        lambda config, energy, z: stein.kernel_stein(
            energy, config.perturbation_scale, kernel="imq"
        ),
        defaults={"learning_rate": 3e-3, "perturbation_scale": 0.1},
    ),
    "learned_stein": Method(
        make_learned_stein,
        defaults={"learning_rate": 5e-4},
    ),
    "pseudo_likelihood": Method(
        lambda config, energy, z: binary_data.pseudo_likelihood(energy), is_binary=True
    ),
    "ratio_matching": Method(
        lambda config, energy, z: binary_data.ratio_matching(energy), is_binary=True
    ),
    "conditional": Method(
        lambda config, energy, z: nce.conditional(energy, config.perturbation_scale),
        takes_condition=True,
        defaults={"learning_rate": 5e-3},
    ),
    "flow_contrastive": Method(
        make_flow_contrastive,
        defaults={"learning_rate": 5e-3, "num_updates": 1500},
    ),
    "adversarial": Method(
        make_adversarial,
        defaults={"learning_rate": 1e-3, "regularisation": 0.02},
    ),
    "energy_discrepancy": Method(
        lambda config, energy, z: energy_discrepancy(energy, config.perturbation_scale),
        takes_condition=True,
        defaults={
            "perturbation_scale": 0.5,
            "learning_rate": 5e-3,
            "num_updates": 1500,
        },
    ),
}


def conditional_objective(config, energy, z) -> Objective:
    """The objective of points given their conditions; of ``energy(params, x, c)``."""
    if config.objective == "maximum_likelihood":
        return conditional_likelihood(
            energy,
            **likelihood_options(config, z),
            temperature=config.temperature,
        )
    template = METHODS[config.objective].make(config, energy, z)
    return over_pairs(partial(_with_energy, template), energy)


def _with_energy(template, energy):
    return template.replace(energy=energy)
