"""Objectives of a configuration that need more than the energy: chains, a noise
distribution, a critic, a flow or a sampler.

``make_x(config, energy, z)`` is the objective, for the standardised data ``z``;
``descend_x`` runs chains of its energy over the noise levels, for a report.
"""

from functools import partial
from typing import Any

from ebmjax.energies.auxiliary_networks import Field
from ebmjax.energies.flows import Flow, sample
from ebmjax.kernels.langevin import mala, ula
from ebmjax.kernels.registry import KERNELS
from ebmjax.objectives import Objective
from ebmjax.objectives.adversarial import (
    adversarial,
    mixture,
    mixture_params,
    through_map,
)
from ebmjax.objectives.flow_contrastive import flow_contrastive
from ebmjax.objectives.global_moves import independent_moves
from ebmjax.objectives.improved import improved_contrastive
from ebmjax.objectives.learned_stein import learned_stein
from ebmjax.objectives.noise_contrastive import fitted_normal
from ebmjax.objectives.recovery import sample_recovery
from ebmjax.tempering.annealed_langevin import annealed_langevin, noise_levels, step_for

MAX_MIXTURE_DIM = 8  # coordinates up to which the sampler is a mixture of normals
WIDER = 1.3  # candidates of global moves than the data, in standard deviations
STEPS_A_LEVEL = 30  # steps of the chains of a report at each noise level


def chain_options(config) -> dict[str, Any]:
    """Common arguments of the objectives with chains."""
    kernel = KERNELS[config.kernel]
    return {
        "make_kernel": kernel.training_kernel,
        "num_steps": config.chain_steps,
        # the acceptance rate to which training adapts the step size
        "acceptance_target": kernel.properties().acceptance_target,
    }


def likelihood_options(config, z) -> dict[str, Any]:
    """Arguments of maximum likelihood with chains, with labels, too."""
    options = {**chain_options(config), "regularisation": config.regularisation}
    if config.global_steps:
        candidates = noise_of(config, z, widen=WIDER)
        options["make_global_kernel"] = independent_moves(candidates)
        options["num_global_steps"] = config.global_steps
    return options


def noise_of(config, z, widen: float = 1.0):
    """A normal fitted to the data in the units of the network."""
    variance = float(z.var())
    with_noise = ((variance + config.noise**2) / variance) ** 0.5
    return fitted_normal(z, widen=widen * with_noise)


def make_improved(config, energy, z) -> Objective:
    if config.kernel != "ula":
        raise ValueError(
            "kernel must be ula, which is differentiable, for improved; got "
            f"{config.kernel!r}"
        )
    return improved_contrastive(
        energy, ula, config.chain_steps, regularisation=config.regularisation
    )


def make_learned_stein(config, energy, z) -> Objective:
    critic = Field(config.features)
    return learned_stein(energy, critic.apply, critic_init=critic.init)


def make_adversarial(config, energy, z) -> Objective:
    """The sampler is a mixture of 64 normals for few coordinates, else a flow."""
    options = {"gradient_penalty": config.regularisation}
    if z.ndim == 2 and z.shape[1] <= MAX_MIXTURE_DIM:
        return adversarial(energy, mixture, sampler_init=_mixture_init, **options)
    flow = _flow(config, z)
    generate = through_map(partial(flow.apply, method="forward"), z[0].size)
    return adversarial(energy, generate, sampler_init=flow.init, **options)


def _mixture_init(key, x):
    return mixture_params(key, x.size)


def make_flow_contrastive(config, energy, z) -> Objective:
    """With the likelihood of the flow, which stabilises the training."""
    flow = _flow(config, z)
    return flow_contrastive(
        energy,
        partial(sample, flow),
        flow.apply,
        likelihood_weight=1.0,
        flow_init=flow.init,
    )


def _flow(config, z):
    return Flow(z[0].shape, config.features)


def descend_langevin(key, config, energy, z, start):
    levels = noise_levels(z, config.noise)
    start = z.mean(axis=0) + levels[0] * start
    return annealed_langevin(
        key, energy, start, levels, step_for(levels, STEPS_A_LEVEL), STEPS_A_LEVEL
    )


def descend_recovery(key, config, energy, z, start):
    levels = noise_levels(z, config.noise)
    start = z.mean(axis=0) + (levels[0] ** 2 + z.var()) ** 0.5 * start
    return sample_recovery(
        key, energy, start, levels, mala, config.step_size, STEPS_A_LEVEL
    )
