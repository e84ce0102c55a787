"""How a run is trained: its first state, its stages, and the updates of each.

A run has one stage, or two: denoising score matching first, which needs no chains, and
then the objective.  The optimiser of a stage begins anew, at the averaged parameters of
the one before.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax.experiments.configuration import Config
from ebmjax.experiments.errors import RunError
from ebmjax.experiments.points import Points
from ebmjax.experiments.stages import Stage
from ebmjax.sampling.progress import reporter
from ebmjax.training.augmentation import shifts
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
    stages: tuple[Stage, ...]
    batches: Any  # source of the batches
    keys: tuple  # of the parameters, the buffer and the updates

    def init(self) -> TrainState:
        """The state before the first update."""
        params = jax.jit(self.network.init)(self.keys[0], *self.inputs)
        key_other = jax.random.fold_in(self.keys[0], 1)
        last = self.stages[-1]
        params = last.objective.init(key_other, params, self.batches)
        return init_state(
            self.keys[1],
            params,
            self.stages[0].optimizer,
            last.chain_init,
            self.config.step_size,
        )

    def fit(
        self,
        state: TrainState,
        *,
        on_chunk: Callable[[TrainState, dict[str, np.ndarray]], None] | None = None,
        progress: Any = False,
        **options: Any,
    ) -> Fit:
        """Train until the last update; ``options`` are those of :func:`ebmjax.fit`.

        The metrics of all stages are those of the last, NaN where a stage has none.
        """
        num_updates, facts = self.config.num_updates, self.points.facts
        if not self.points.is_whole:
            raise RunError(
                f"only {len(self.points.kept.x)} of the {facts.num_points} points of "
                "this run are here; --data FILE names the file with all"
            )
        names = self._names(state) if len(self.stages) > 1 else None
        report, history = reporter(progress, "training"), []

        def take(state, metrics):
            history.append(_filled(metrics, names))
            if on_chunk is not None:
                on_chunk(state, history[-1])

        for before, stage in zip((None, *self.stages), self.stages, strict=False):
            if int(state.step) >= stage.end and stage is not self.stages[-1]:
                continue
            if before is not None and int(state.step) == before.end:
                state = _begun(stage, state)
            state = self._stage(
                stage,
                state,
                on_chunk=take,
                progress=lambda done, _, text: report(done, num_updates, text),
                **options,
            ).state
        columns = history[0] if history else {}
        return Fit(state, {k: np.concatenate([h[k] for h in history]) for k in columns})

    def _stage(self, stage: Stage, state: TrainState, **options: Any) -> Fit:
        config = self.config
        return fit(
            self.keys[2],
            stage.objective,
            stage.optimizer,
            state,
            self.batches,
            stage.chain_init,
            num_updates=stage.end,
            batch_size=config.batch_size,
            num_chains=config.num_chains if stage.objective.uses_chains else None,
            data_noise=0.0 if stage.objective.adds_noise else config.noise,
            augment=shifts(stage.shift) if stage.shift else None,
            ema_decay=config.ema_decay,
            **{"rollback": RollbackPolicy(config.max_rollbacks), **options},
        )

    def _names(self, state: TrainState) -> list[str]:
        """The metrics of an update of the last stage."""
        batch = jax.tree.map(lambda x: x[: self.config.batch_size], self.batches)
        state = _begun(self.stages[-1], state)
        return list(jax.eval_shape(self.step(), self.keys[2], state, batch)[1])

    def step(self) -> Callable[..., tuple[TrainState, dict]]:
        """One update of the last stage, ``(key, state, batch)``."""
        last = self.stages[-1]
        return train_step(
            last.objective,
            last.optimizer,
            last.chain_init,
            num_chains=self.config.num_chains,
            ema_decay=self.config.ema_decay,
        )


def _begun(stage: Stage, state: TrainState) -> TrainState:
    """The state at the first update of a stage."""
    cast = lambda average, x: jnp.asarray(average, x.dtype)
    params = jax.tree.map(cast, state.ema, state.params)
    return state._replace(params=params, opt_state=stage.optimizer.init(params))


def _filled(
    metrics: dict[str, np.ndarray], names: list[str] | None
) -> dict[str, np.ndarray]:
    """The metrics of these names, NaN where there are none."""
    if names is None:
        return metrics
    none = np.full(len(metrics["loss"]), np.nan)
    return {name: metrics.get(name, none) for name in names}
