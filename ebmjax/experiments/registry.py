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

from ebmjax.base import Array, Kernel
from ebmjax.energies.flows import Flow, sample
from ebmjax.energies.networks import Field
from ebmjax.kernels import registry as kernels
from ebmjax.kernels.langevin import mala, ula
from ebmjax.objectives import (
    Objective,
    binary_data,
    learned_stein,
    maximum_likelihood,
    score_matching,
    stein,
)
from ebmjax.objectives import noise_contrastive as nce
from ebmjax.objectives.adversarial import (
    adversarial,
    mixture,
    mixture_params,
    through_map,
)
from ebmjax.objectives.conditional import conditional_likelihood, over_pairs
from ebmjax.objectives.energy_discrepancy import energy_discrepancy
from ebmjax.objectives.flow_contrastive import flow_contrastive
from ebmjax.objectives.improved import improved_contrastive
from ebmjax.objectives.joint import class_conditional, joint
from ebmjax.objectives.noise_contrastive import fitted_normal
from ebmjax.objectives.recovery import recovery, sample_recovery
from ebmjax.spaces import BITS, REAL, Space, levels
from ebmjax.tempering.annealed_langevin import annealed_langevin, noise_levels, step_for

KERNELS = {  # kernels for training
    name: entry for name, entry in kernels.KERNELS.items() if entry.training is not None
}


def make_kernel(name: str) -> Callable[..., Kernel]:
    """From an energy and a step size to the kernel that training runs."""
    return KERNELS[name].training_kernel


def acceptance_target(name: str) -> float | None:
    """The acceptance rate to which training adapts the step size."""
    return KERNELS[name].properties().acceptance_target


# those that train on bits and levels
DISCRETE = ("maximum_likelihood", "pseudo_likelihood", "ratio_matching")


def space_of_config(config: Any) -> Space:
    """The state space of the points of a configuration."""
    if config.levels > 2:
        return levels(config.levels)
    kernel = KERNELS[config.kernel].properties().state_space
    is_bits = config.levels == 2 or kernel == BITS
    return BITS if is_bits or METHODS[config.objective].is_binary else REAL


MAX_MIXTURE_DIM = 8  # coordinates up to which the sampler is a mixture of normals
STEPS_A_LEVEL = 30  # steps of the chains of a report at each noise level


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


def _chains(config) -> dict[str, Any]:
    """Common arguments of the objectives with chains."""
    return {
        "make_kernel": make_kernel(config.kernel),
        "num_steps": config.chain_steps,
        "acceptance_target": acceptance_target(config.kernel),
    }


METHODS: dict[str, Method] = {
    "maximum_likelihood": Method(
        lambda config, energy, z: maximum_likelihood(
            energy,
            **_chains(config),
            regularisation=config.regularisation,
            temperature=config.temperature,
        ),
        has_temperature=True,
        takes_condition=True,
        defaults={"learning_rate": 2e-3},
    ),
    "improved": Method(
        lambda config, energy, z: _improved(config, energy),
        defaults={"kernel": "ula", "step_size": 0.1, "learning_rate": 1e-3},
    ),
    "joint": Method(
        lambda config, energies, z: joint(
            energies, regularisation=config.regularisation, **_chains(config)
        ),
        is_labelled=True,
        defaults={"learning_rate": 1e-3},
    ),
    "class_conditional": Method(
        lambda config, energies, z: class_conditional(
            energies, regularisation=config.regularisation, **_chains(config)
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
        descend=lambda *given: _descend_langevin(*given),
        defaults={"noise": 0.05, "learning_rate": 5e-3},
    ),
    "recovery": Method(
        lambda config, energy, z: recovery(
            energy, levels=noise_levels(z, config.noise), **_chains(config)
        ),
        is_noise_conditional=True,
        descend=lambda *given: _descend_recovery(*given),
        defaults={"noise": 0.2, "step_size": 1.0, "learning_rate": 3e-4},
    ),
    "nce": Method(
        lambda config, energy, z: nce.binary(
            energy, _noise(config, z), config.noise_ratio
        ),
        takes_condition=True,
        defaults={"learning_rate": 5e-3},
    ),
    "ranking": Method(
        lambda config, energy, z: nce.ranking(
            energy, _noise(config, z), config.noise_ratio
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
        lambda config, energy, z: _learned_stein(config, energy),
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
        lambda config, energy, z: _flow_contrastive(config, energy, z),
        defaults={"learning_rate": 5e-3, "num_updates": 1500},
    ),
    "adversarial": Method(
        lambda config, energy, z: _adversarial(config, energy, z),
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
            **_chains(config),
            regularisation=config.regularisation,
            temperature=config.temperature,
        )
    template = METHODS[config.objective].make(config, energy, z)
    return over_pairs(partial(_with_energy, template), energy)


def _with_energy(template, energy):
    return template.replace(energy=energy)


def _noise(config, z):
    """A normal fitted to the data in the units of the network."""
    variance = float(z.var())
    return fitted_normal(z, widen=((variance + config.noise**2) / variance) ** 0.5)


def _improved(config, energy):
    if config.kernel != "ula":
        raise ValueError(
            "kernel must be ula, which is differentiable, for improved; got "
            f"{config.kernel!r}"
        )
    return improved_contrastive(
        energy, ula, config.chain_steps, regularisation=config.regularisation
    )


def _flow(config, z):
    return Flow(z[0].shape, config.features)


def _descend_langevin(key, config, energy, z, start):
    levels = noise_levels(z, config.noise)
    start = z.mean(axis=0) + levels[0] * start
    return annealed_langevin(
        key, energy, start, levels, step_for(levels, STEPS_A_LEVEL), STEPS_A_LEVEL
    )


def _descend_recovery(key, config, energy, z, start):
    levels = noise_levels(z, config.noise)
    start = z.mean(axis=0) + (levels[0] ** 2 + z.var()) ** 0.5 * start
    return sample_recovery(
        key, energy, start, levels, mala, config.step_size, STEPS_A_LEVEL
    )


def _learned_stein(config, energy):
    critic = Field(config.features)
    return learned_stein.learned_stein(energy, critic.apply, critic_init=critic.init)


def _adversarial(config, energy, z):
    """The sampler is a mixture of 64 normals for few coordinates, else a flow."""
    options = {"gradient_penalty": config.regularisation}
    if z.ndim == 2 and z.shape[1] <= MAX_MIXTURE_DIM:
        return adversarial(energy, mixture, sampler_init=_mixture_init, **options)
    flow = _flow(config, z)
    generate = through_map(partial(flow.apply, method="forward"), z[0].size)
    return adversarial(energy, generate, sampler_init=flow.init, **options)


def _mixture_init(key, x):
    return mixture_params(key, x.size)


def _flow_contrastive(config, energy, z):
    """With the likelihood of the flow, which stabilises the training."""
    flow = _flow(config, z)
    return flow_contrastive(
        energy,
        partial(sample, flow),
        flow.apply,
        likelihood_weight=1.0,
        flow_init=flow.init,
    )
