"""How a run is trained: its first state, its updates, and the loop over them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from ebmjax.experiments.configuration import Config
from ebmjax.experiments.errors import RunError
from ebmjax.experiments.points import Points
from ebmjax.objectives.base import Objective
from ebmjax.training.augmentation import shifts
from ebmjax.training.chain_init import ChainInit
from ebmjax.training.divergence import RollbackPolicy
from ebmjax.training.fit import Fit, fit
from ebmjax.training.step import TrainState, init_state, train_step


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
    """What the updates of a configuration need."""

    config: Config
    points: Points
    network: Any
    inputs: tuple  # of the network: a point, and its noise or condition
    objective: Objective
    optimizer: Any
    chain_init: ChainInit
    batches: Any  # source of the batches
    keys: tuple  # of the parameters, the buffer and the updates

    def init(self) -> TrainState:
        """The state before the first update."""
        params = jax.jit(self.network.init)(self.keys[0], *self.inputs)
        key_other = jax.random.fold_in(self.keys[0], 1)
        params = self.objective.init(key_other, params, self.batches)
        return init_state(
            self.keys[1],
            params,
            self.optimizer,
            self.chain_init,
            self.config.step_size,
        )

    def fit(self, state: TrainState, **options: Any) -> Fit:
        """Train until the last update; ``options`` are those of :func:`ebmjax.fit`."""
        config, facts = self.config, self.points.facts
        if not self.points.is_whole:
            raise RunError(
                f"only {len(self.points.kept.x)} of the {facts.num_points} points of "
                "this run are here; --data FILE names the file with all"
            )
        return fit(
            self.keys[2],
            self.objective,
            self.optimizer,
            state,
            self.batches,
            self.chain_init,
            num_updates=config.num_updates,
            batch_size=config.batch_size,
            num_chains=config.num_chains,
            data_noise=0.0 if self.objective.adds_noise else config.noise,
            augment=shifts(config.shift) if config.shift else None,
            ema_decay=config.ema_decay,
            **{"rollback": RollbackPolicy(config.max_rollbacks), **options},
        )

    def step(self) -> Callable[..., tuple[TrainState, dict]]:
        """One update, ``(key, state, batch)``."""
        return train_step(
            self.objective,
            self.optimizer,
            self.chain_init,
            num_chains=self.config.num_chains,
            ema_decay=self.config.ema_decay,
        )
