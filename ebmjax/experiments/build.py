"""Network and chain initialisation of a configuration."""

from typing import Any, NamedTuple

import numpy as np

from ebmjax.energies import boltzmann, conditional_networks, networks
from ebmjax.energies.local import encode, of_one_hot
from ebmjax.experiments.errors import RunError
from ebmjax.experiments.registry import METHODS
from ebmjax.objectives.base import Objective
from ebmjax.objectives.conditional_chains import (
    of_points,
    persistent_pairs,
    with_labels,
)
from ebmjax.training.chain_init import (
    ChainInit,
    from_data,
    from_noise,
    near_data,
    replay_buffer,
)

NETWORKS = {"mlp": networks.MLP, "conv": networks.Conv, "rbm": boltzmann.RBMNetwork}
CONDITIONAL = {
    "mlp": conditional_networks.ConditionalMLP,
    "conv": conditional_networks.ConditionalConv,
}
CHAIN_INITS = ("buffer", "data", "noise")
CONFINEMENTS = ("fixed", "trained")


class Network(NamedTuple):
    """An energy with parameters: ``init(key, x)`` and ``apply(params, x)``."""

    init: Any
    apply: Any


def network_of(config, facts):
    """The energy network, in the units of the data."""
    center = facts.center
    if config.network == "rbm":
        return boltzmann.RBMNetwork(config.features[0])
    if config.levels > 2:
        inner = NETWORKS[config.network](features=config.features)
        energy = of_one_hot(inner.apply, config.levels)
        start = lambda key, x: inner.init(key, encode(x, config.levels))
        return Network(start, energy)
    if METHODS[config.objective].is_noise_conditional:
        if config.network != "mlp":
            raise RunError(
                f"{config.objective} needs the network mlp, got {config.network}"
            )
        return networks.NoiseConditional(
            config.features,
            is_spectral=config.is_spectral,
            center=center,
            spread=facts.spread,
        )
    if config.shift and not facts.is_image:
        raise RunError(
            f"shift is of images, and the points have shape {facts.shape}; "
            "--layout if they are images"
        )
    if config.network == "conv" and not facts.is_image:
        raise RunError(
            f"the network conv needs images, and the points have shape {facts.shape}; "
            "--network mlp, or --layout if they are images"
        )
    if config.noise > 0 and facts.is_image:
        shape = {"confinement": config.noise, "gain": 1 / config.noise**2}
    else:
        shape = {"confinement": 4.0}
    if config.network == "mlp":
        shape["first_layer_scale"] = config.first_layer_scale
    known = CONDITIONAL if config.condition_on else NETWORKS
    return known[config.network](
        features=config.features,
        is_confinement_trained=config.confinement == "trained",
        is_scale_trained=config.confinement == "trained",
        is_spectral=config.is_spectral,
        center=center,
        spread=float(np.hypot(facts.spread, config.noise)),
        num_outputs=facts.num_classes,
        **shape,
    )


def chain_init_of(config, objective: Objective, draw, batches) -> ChainInit:
    """The chain initialisation; with labels if classes are learned separately.

    ``draw`` gives fresh chains; after denoising a buffer begins near the data.
    """
    method = METHODS[config.objective]
    if not objective.uses_chains:
        return from_data()
    if config.condition_on:
        if config.chain_init == "buffer":
            if config.denoising_updates:
                draw = near_data(batches.point, config.noise)
            return persistent_pairs(draw, len(batches.row), config.restart_probability)
        starts = from_data() if config.chain_init == "data" else from_noise(draw)
        return of_points(starts)
    if not method.learns_shares:
        draw = with_labels(draw, np.asarray(batches.label).mean(axis=0))
    if config.chain_init == "data":
        chain_init = from_data()
    elif config.chain_init == "noise":
        chain_init = from_noise(draw)
    else:
        if config.denoising_updates:
            draw = near_data(batches, config.noise)
        chain_init = replay_buffer(draw, config.buffer_size, config.restart_probability)
    return (
        of_points(chain_init)
        if method.is_labelled and method.learns_shares
        else chain_init
    )
