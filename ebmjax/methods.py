"""The ways to train by name, with what each needs of a configuration.

maximum_likelihood   chains                         :mod:`ebmjax.objectives.likelihood`
explicit, sliced, denoising                         :mod:`ebmjax.objectives.score_matching`
nce, ranking, conditional                           :mod:`ebmjax.objectives.noise_contrastive`
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from ebmjax.base import Array
from ebmjax.hamiltonian import hmc
from ebmjax.langevin import mala, ula
from ebmjax.objectives import Loss, contrastive, score_matching
from ebmjax.objectives import noise_contrastive as nce
from ebmjax.objectives.noise_contrastive import fitted_normal, with_log_z

KERNELS: dict[str, Callable] = {
    "mala": mala,
    "ula": ula,
    "hmc": lambda energy, step_size: hmc(energy, step_size, 5),
}
ACCEPTANCE = {"mala": 0.574, "ula": None, "hmc": 0.651}  # Roberts & Rosenthal 1998; Beskos et al. 2013


class Method(NamedTuple):
    """A way to train."""

    make: Callable[[Any, Callable, Array], Loss]  # of a configuration, an energy and the data
    uses_chains: bool = False
    has_temperature: bool = False  # whether it honours ``config.temperature``
    adds_noise: bool = True  # the loop adds ``config.noise`` to each batch; else the objective sees to it
    defaults: dict[str, Any] = {}  # choices of a configuration, for points
    lift: Callable[[Any], Any] = lambda params: params  # from parameters of the network to those trained
    lower: Callable[[Any], Any] = lambda params: params  # and back


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
    "explicit": Method(lambda config, energy, z: score_matching.explicit(energy)),
    "sliced": Method(lambda config, energy, z: score_matching.sliced(energy)),
    "denoising": Method(
        lambda config, energy, z: score_matching.denoising(energy, config.noise),
        adds_noise=False,
        defaults={"noise": 0.1},
    ),
    "nce": Method(
        lambda config, energy, z: nce.binary(energy, _noise(config, z), config.noise_ratio),
        lift=with_log_z,
        lower=lambda params: params.energy,
    ),
    "ranking": Method(lambda config, energy, z: nce.ranking(energy, _noise(config, z), config.noise_ratio)),
    "conditional": Method(lambda config, energy, z: nce.conditional(energy, config.contrast)),
}


def _noise(config, z):
    """A normal fitted to the data as the network sees them."""
    variance = float(z.var())
    return fitted_normal(z, widen=((variance + config.noise**2) / variance) ** 0.5)
