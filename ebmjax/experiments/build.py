"""What a configuration names: its network, where its chains start, its optimiser; and its checks."""

import jax.numpy as jnp
import numpy as np
import optax

from ebmjax import _validation as checks
from ebmjax.energies import networks
from ebmjax.experiments.registry import KERNELS, METHODS
from ebmjax.experiments.standardize import is_image
from ebmjax.objectives.base import Objective, scale_updates
from ebmjax.objectives.joint import of_points, with_labels
from ebmjax.training.chain_init import ChainInit, from_data, from_noise, replay_buffer

NETWORKS = {"mlp": networks.MLP, "conv": networks.Conv}
CHAIN_INITS = ("buffer", "data", "noise")


class RunError(ValueError):
    """A run folder that cannot be used, in one line."""


def check(config) -> None:
    """Raise a :class:`RunError` at names that are unknown and numbers that cannot be."""
    for name, known in (
        ("objective", METHODS),
        ("network", NETWORKS),
        ("kernel", KERNELS),
        ("chain_init", CHAIN_INITS),
    ):
        if getattr(config, name) not in known:
            raise RunError(
                f"{name} must be one of {', '.join(known)}, got {getattr(config, name)!r}"
            )
    for name in (
        "learning_rate",
        "step_size",
        "noise",
        "regularisation",
        "temperature",
    ):
        checks.positive(
            getattr(config, name), name, zero=name in ("noise", "regularisation")
        )
    if config.temperature != 1.0 and not METHODS[config.objective].has_temperature:
        raise RunError(
            f"{config.objective} learns at temperature 1, got {config.temperature}"
        )
    if config.chain_init == "buffer" and config.num_chains > config.buffer_size:
        raise RunError(
            f"num_chains must be at most the buffer's size, {config.buffer_size}, got {config.num_chains}"
        )


def network_of(config, z, num_classes):
    if METHODS[config.objective].is_noise_conditional:
        if config.network != "mlp":
            raise RunError(
                f"{config.objective} wants the network mlp, got {config.network}"
            )
        center, spread = float(jnp.mean(z)), float(jnp.std(z))
        return networks.NoiseConditional(
            config.features,
            is_spectral=config.is_spectral,
            center=center,
            spread=spread,
        )
    if config.noise > 0 and is_image(z):
        shape = {"confinement": config.noise, "gain": 1 / config.noise**2}
    else:
        shape = {"confinement": 4.0}
    center, spread = float(jnp.mean(z)), float(jnp.sqrt(jnp.var(z) + config.noise**2))
    return NETWORKS[config.network](
        features=config.features,
        is_spectral=config.is_spectral,
        center=center,
        spread=spread,
        num_outputs=num_classes,
        **shape,
    )


def chain_init_of(config, objective: Objective, draw, batches) -> ChainInit:
    """Of chains of points; with labels where classes are learned one by one."""
    method = METHODS[config.objective]
    if not objective.uses_chains:
        return from_data()
    if not method.learns_shares:
        draw = with_labels(draw, np.asarray(batches.label).mean(axis=0))
    if config.chain_init == "data":
        chain_init = from_data()
    elif config.chain_init == "noise":
        chain_init = from_noise(draw)
    else:
        chain_init = replay_buffer(draw, config.buffer_size, config.restart_probability)
    return (
        of_points(chain_init)
        if method.is_labelled and method.learns_shares
        else chain_init
    )


def optimizer_of(config, objective: Objective) -> optax.GradientTransformation:
    """Adam: warm-up, constant, and from the middle on a line down to 2 %; the updates of
    what is trained beside the energy scaled as the objective says."""
    warm, half = min(50, config.num_updates // 10 + 1), config.num_updates // 2
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, config.learning_rate, warm),
            optax.constant_schedule(config.learning_rate),
            optax.linear_schedule(
                config.learning_rate, 0.02 * config.learning_rate, half
            ),
        ],
        [warm, half],
    )
    # chains lag behind the parameters; momentum overshoots
    momentum = 0.0 if objective.uses_chains else 0.9
    adam = optax.scale_by_adam(b1=momentum, b2=0.999)
    optimizer = optax.chain(adam, optax.scale_by_learning_rate(schedule))
    scale = objective.update_scale
    is_plain = isinstance(scale, float) and scale == 1.0
    return optimizer if is_plain else optax.chain(optimizer, scale_updates(scale))
