"""Network, chain initialisation and optimiser of a configuration, and its checks."""

from typing import Any, NamedTuple

import numpy as np
import optax

from ebmjax import _validation as checks
from ebmjax.energies import boltzmann, conditional_networks, networks
from ebmjax.energies.local import encode, of_one_hot
from ebmjax.experiments.registry import DISCRETE, KERNELS, METHODS, space_of_config
from ebmjax.objectives.base import Objective
from ebmjax.objectives.chain_inits import of_points, persistent_pairs, with_labels
from ebmjax.spaces import BITS, REAL
from ebmjax.training.chain_init import ChainInit, from_data, from_noise, replay_buffer

NETWORKS = {"mlp": networks.MLP, "conv": networks.Conv, "rbm": boltzmann.RBMNetwork}
CONDITIONAL = {
    "mlp": conditional_networks.ConditionalMLP,
    "conv": conditional_networks.ConditionalConv,
}
CHAIN_INITS = ("buffer", "data", "noise")
CONFINEMENTS = ("fixed", "trained")
COUNTS = ("num_updates", "chain_steps", "num_chains", "buffer_size", "batch_size")
MOST = 2**31 - 1  # largest value of a 32-bit counter


class RunError(ValueError):
    """A run folder that cannot be used, in one line."""


def check(config) -> None:
    """Raise a :class:`RunError` for unknown names and numbers out of range."""
    for name, known in (
        ("objective", METHODS),
        ("network", NETWORKS),
        ("kernel", KERNELS),
        ("chain_init", CHAIN_INITS),
        ("confinement", CONFINEMENTS),
    ):
        if getattr(config, name) not in known:
            raise RunError(
                f"{name} must be one of {', '.join(known)}, "
                f"got {getattr(config, name)!r}"
            )
    for name in COUNTS:
        if checks.count(getattr(config, name), name) > MOST:
            raise RunError(
                f"{name} must be at most {MOST}, got {getattr(config, name)}"
            )
    checks.count(config.shift, "shift", least=0)
    if not 0 <= config.held_out <= 0.9:
        raise RunError(f"held_out must lie in [0, 0.9], got {config.held_out}")
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
    method = METHODS[config.objective]
    if config.condition_on and not method.takes_condition:
        those = ", ".join(n for n, m in METHODS.items() if m.takes_condition)
        raise RunError(
            f"condition_on goes with {those}, got {config.objective}"
            + ("; it learns labels itself" if method.is_labelled else "")
        )
    if config.condition_on and config.num_chains > config.batch_size:
        raise RunError(
            "with condition_on num_chains must be at most batch_size, "
            f"{config.batch_size}, got {config.num_chains}"
        )
    if config.temperature != 1.0 and not METHODS[config.objective].has_temperature:
        raise RunError(
            f"{config.objective} learns at temperature 1, got {config.temperature}"
        )
    no_confinement = config.levels > 2 or config.network == "rbm"
    if config.confinement == "trained" and (
        no_confinement or method.is_noise_conditional
    ):
        raise RunError(
            "confinement trained is of the networks mlp and conv at one level of noise; "
            f"got {config.network}, {config.objective}, levels {config.levels}"
        )
    _check_space(config)
    is_buffer = config.chain_init == "buffer" and not config.condition_on
    if is_buffer and config.num_chains > config.buffer_size:
        raise RunError(
            f"num_chains must be at most the buffer's size, {config.buffer_size}, "
            f"got {config.num_chains}"
        )


def _check_space(config) -> None:
    """Raise unless objective, kernel and network are of the points of a
    configuration."""
    space, entry = space_of_config(config), KERNELS[config.kernel]
    if space == REAL:
        if config.network == "rbm":
            raise RunError("the network rbm is of bits: --binary, or another network")
        return
    name, is_binary = config.objective, METHODS[config.objective].is_binary
    if entry.properties().state_space == REAL:
        of = f"{name} needs" if is_binary else f"data of {space} need"
        raise RunError(
            f"{of} a kernel of discrete states such as gibbs, got {config.kernel}"
        )
    if name not in DISCRETE or (is_binary and space != BITS):
        raise RunError(
            f"{name} does not train on {space} points; maximum_likelihood does"
            + (", pseudo_likelihood and ratio_matching, too" if space == BITS else "")
        )
    if config.condition_on:
        raise RunError(f"--condition-on is of real numbers, and the points are {space}")
    if config.noise:
        raise RunError(f"points of {space} have no noise, got noise {config.noise}")
    if config.network == "rbm" and (space != BITS or len(config.features) != 1):
        raise RunError(
            "the network rbm is of bits and has one width, --features 128; got "
            f"{space} and {list(config.features)}"
        )
    if config.kernel == "rbm_gibbs":
        if config.network != "rbm" or config.temperature != 1.0:
            raise RunError(
                "the kernel rbm_gibbs is of --network rbm at temperature 1, got "
                f"{config.network} at {config.temperature:g}"
            )


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
    known = CONDITIONAL if config.condition_on else NETWORKS
    return known[config.network](
        features=config.features,
        is_confinement_trained=config.confinement == "trained",
        is_spectral=config.is_spectral,
        center=center,
        spread=float(np.hypot(facts.spread, config.noise)),
        num_outputs=facts.num_classes,
        **shape,
    )


def chain_init_of(config, objective: Objective, draw, batches) -> ChainInit:
    """The chain initialisation; with labels if classes are learned separately."""
    method = METHODS[config.objective]
    if not objective.uses_chains:
        return from_data()
    if config.condition_on:
        if config.chain_init == "buffer":
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
        chain_init = replay_buffer(draw, config.buffer_size, config.restart_probability)
    return (
        of_points(chain_init)
        if method.is_labelled and method.learns_shares
        else chain_init
    )


def optimizer_of(config, objective: Objective) -> optax.GradientTransformation:
    """Adam: linear warm-up, constant, and from the middle on linear decay to 2 %.

    ``update_scale`` of the objective scales the updates of a second trained model.
    """
    # floats are leaves: another number of updates compiles nothing
    warm = float(min(50, config.num_updates // 10 + 1))
    half = float(config.num_updates // 2)
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
    # no momentum: chains lag behind the parameters, and momentum overshoots
    momentum = 0.0 if objective.uses_chains else 0.9
    adam = optax.scale_by_adam(b1=momentum, b2=0.999)
    return optax.chain(adam, optax.scale_by_learning_rate(schedule))
