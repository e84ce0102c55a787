"""The stages of a run: their objectives, optimisers and numbers of updates."""

import dataclasses
from typing import Any

import optax

from ebmjax.experiments.registry import conditional_objective
from ebmjax.objectives.base import Objective
from ebmjax.objectives.score_matching import denoising
from ebmjax.training.chain_init import FROM_DATA, ChainInit


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """Updates of one objective."""

    objective: Objective
    optimizer: Any
    end: int  # its last update, counted from the first of the run
    chain_init: ChainInit = FROM_DATA
    shift: int = 0  # of images, in pixels


def stages_of(config, network, objective: Objective, chain_init, z) -> tuple:
    """The stages of a run: denoising, if there is any, and the objective."""
    optimizer, num = optimizer_of(config, objective), config.num_updates
    if not config.denoising_updates:
        return (Stage(objective, optimizer, num, chain_init, config.shift),)
    # shifts keep the score from the training images alone; then images are learned
    # where they are
    first = denoising_stage(config, network.apply, z)
    return first, Stage(objective, optimizer, num, chain_init)


def denoising_stage(config, energy, z) -> Stage:
    """Updates of denoising score matching, by Adam: linear warm-up, and cosine decay to
    3 %."""
    method = dataclasses.replace(config, objective="denoising")
    if config.condition_on:
        objective = conditional_objective(method, energy, z)
    else:
        # one noise a point: a large one gains little by its negative
        objective = denoising(energy, config.noise, is_antithetic=False)
    num, rate = config.denoising_updates, config.denoising_rate
    warm = _warm(num)
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, rate, warm),
            optax.cosine_decay_schedule(rate, max(num - warm, 1.0), 0.03),
        ],
        [warm],
    )
    optimizer = optax.chain(
        optax.scale_by_adam(b1=0.9, b2=0.999), optax.scale_by_learning_rate(schedule)
    )
    return Stage(objective, optimizer, num, shift=config.shift)


def _warm(num_updates: int) -> float:
    # floats are leaves: another number of updates compiles nothing
    return float(min(50, num_updates // 10 + 1))


def optimizer_of(config, objective: Objective) -> optax.GradientTransformation:
    """Adam: linear warm-up, constant, and from the middle on linear decay to 2 %.

    ``update_scale`` of the objective scales the updates of a second trained model.
    """
    num_updates = config.num_updates - config.denoising_updates
    warm, half = _warm(num_updates), float(num_updates // 2)
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
