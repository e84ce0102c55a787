"""The ways to train by name, with what each needs of a configuration.

maximum_likelihood   chains                         :mod:`ebmjax.objectives.likelihood`
explicit, sliced, denoising, multi_scale            :mod:`ebmjax.objectives.score_matching`
recovery                                            :mod:`ebmjax.objectives.recovery`
nce, ranking, conditional                           :mod:`ebmjax.objectives.noise_contrastive`
energy_discrepancy, flow_contrastive, improved  :mod:`ebmjax.objectives.energy_discrepancy`, ...
kernel_stein, learned_stein                         :mod:`ebmjax.objectives.stein`, ``learned_stein``
pseudo_likelihood, ratio_matching                   :mod:`ebmjax.objectives.binary_data`, of bits
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from ebmjax.base import Array, Key
from ebmjax.flows import Flow, sample
from ebmjax.kernels.annealed_langevin import noise_levels
from ebmjax.kernels.binary import gibbs
from ebmjax.kernels.hamiltonian import hmc
from ebmjax.kernels.langevin import mala, ula
from ebmjax.networks import Field
from ebmjax.objectives import Loss, binary_data, contrastive, learned_stein, score_matching, stein
from ebmjax.objectives import noise_contrastive as nce
from ebmjax.objectives.energy_discrepancy import energy_discrepancy
from ebmjax.objectives.flow_contrastive import flow_contrastive
from ebmjax.objectives.improved import improved_contrastive
from ebmjax.objectives.noise_contrastive import fitted_normal, with_log_z
from ebmjax.objectives.recovery import recovery

KERNELS: dict[str, Callable] = {
    "mala": mala,
    "ula": ula,
    "hmc": lambda energy, step_size: hmc(energy, step_size, 5),
    "gibbs": lambda energy, step_size: gibbs(energy),  # of bits; there are no steps to size
}
ACCEPTANCE = {
    "mala": 0.574,
    "ula": None,
    "hmc": 0.651,
    "gibbs": None,
}  # Roberts & Rosenthal 1998; Beskos et al. 2013


class Method(NamedTuple):
    """A way to train."""

    make: Callable[[Any, Callable, Array], Loss]  # of a configuration, an energy and the data
    uses_chains: bool = False
    has_temperature: bool = False  # whether it honours ``config.temperature``
    adds_noise: bool = True  # the loop adds ``config.noise`` to each batch; else the objective sees to it
    is_binary: bool = False  # wants points of bits, 0 or 1
    is_noise_conditional: bool = False  # energy(params, x, noise); what is kept is that of ``config.noise``
    defaults: dict[str, Any] = {}  # choices of a configuration, for points
    lift: Callable[[Any], Any] = lambda params: params  # from parameters of the network to those trained
    lower: Callable[[Any], Any] = lambda params: params  # and back
    opponent: Callable[[Any, Key, Array], Any] | None = (
        None  # (config, key, z) -> parameters it plays against
    )


METHODS: dict[str, Method] = {
    "maximum_likelihood": Method(
        lambda config, energy, z: contrastive(
            energy,
            KERNELS[config.kernel],
            config.chain_steps,
            regularisation=config.regularisation,
            temperature=config.temperature,
            acceptance_target=ACCEPTANCE[config.kernel],
        ),
        uses_chains=True,
        has_temperature=True,
        defaults={"learning_rate": 1e-3, "num_updates": 3000},
    ),
    "improved": Method(
        lambda config, energy, z: _improved(config, energy),
        uses_chains=True,
        defaults={"kernel": "ula", "step_size": 0.1, "learning_rate": 1e-3, "num_updates": 3000},
    ),
    "explicit": Method(lambda config, energy, z: score_matching.explicit(energy)),
    "sliced": Method(lambda config, energy, z: score_matching.sliced(energy)),
    "denoising": Method(
        lambda config, energy, z: score_matching.denoising(energy, config.noise),
        adds_noise=False,
        defaults={"noise": 0.1},
    ),
    "multi_scale": Method(
        lambda config, energy, z: score_matching.multi_scale(energy, noise_levels(z, config.noise)),
        adds_noise=False,
        is_noise_conditional=True,
        defaults={"noise": 0.1},
    ),
    "recovery": Method(
        lambda config, energy, z: recovery(
            energy,
            KERNELS[config.kernel],
            noise_levels(z, config.noise),
            config.chain_steps,
            acceptance_target=ACCEPTANCE[config.kernel],
        ),
        adds_noise=False,
        is_noise_conditional=True,
        defaults={"noise": 0.1, "step_size": 1.0, "learning_rate": 1e-3},
    ),
    "nce": Method(
        lambda config, energy, z: nce.binary(energy, _noise(config, z), config.noise_ratio),
        lift=with_log_z,
        lower=lambda params: params.energy,
    ),
    "ranking": Method(lambda config, energy, z: nce.ranking(energy, _noise(config, z), config.noise_ratio)),
    "kernel_stein": Method(
        lambda config, energy, z: stein.kernel_stein(energy, config.contrast, kernel="imq"),
        defaults={"learning_rate": 1e-3, "num_updates": 3000},
    ),
    "learned_stein": Method(
        lambda config, energy, z: learned_stein.learned_stein(energy, Field(config.features).apply),
        lower=lambda params: params.energy,
        opponent=lambda config, key, z: Field(config.features).init(key, z[0]),
        defaults={"learning_rate": 5e-4, "num_updates": 3000},
    ),
    "pseudo_likelihood": Method(
        lambda config, energy, z: binary_data.pseudo_likelihood(energy), is_binary=True
    ),
    "ratio_matching": Method(lambda config, energy, z: binary_data.ratio_matching(energy), is_binary=True),
    "conditional": Method(lambda config, energy, z: nce.conditional(energy, config.contrast)),
    "flow_contrastive": Method(
        lambda config, energy, z: _flow_contrastive(config, energy, z),
        lift=with_log_z,
        lower=lambda params: params.energy.energy,
        opponent=lambda config, key, z: _flow(config, z).init(key, z[0]),
        defaults={"learning_rate": 5e-4, "num_updates": 3000},
    ),
    "energy_discrepancy": Method(
        lambda config, energy, z: energy_discrepancy(energy, config.contrast), defaults={"contrast": 0.5}
    ),
}


def _noise(config, z):
    """A normal fitted to the data as the network sees them."""
    variance = float(z.var())
    return fitted_normal(z, widen=((variance + config.noise**2) / variance) ** 0.5)


def _improved(config, energy):
    if config.kernel != "ula":
        raise ValueError(
            f"kernel must be ula, which a gradient can pass, for improved; got {config.kernel!r}"
        )
    return improved_contrastive(energy, ula, config.chain_steps, regularisation=config.regularisation)


def _flow(config, z):
    return Flow(z[0].shape, config.features)


def _flow_contrastive(config, energy, z):
    """The flow is held to the data by its likelihood as well: alone, the game can wander."""
    flow = _flow(config, z)
    return flow_contrastive(energy, partial(sample, flow), flow.apply, likelihood_weight=1.0)
