"""One update of training: initial chains, an objective, a step of the optimiser.

Non-finite values change only a count: an update with a non-finite loss or gradient is
skipped, and a chain that ends at a non-finite energy is restarted.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ebmjax import _validation as checks
from ebmjax._value import Value, number, part, static, value
from ebmjax.base import Array, Key, Position, select
from ebmjax.objectives.base import Chains, Loss, Objective, Params, as_objective
from ebmjax.sampling import devices as dev
from ebmjax.training.chain_init import FROM_DATA, ChainInit, rows
from ebmjax.training.optimizer import Optimizer, as_optimizer, traceable


class TrainState(NamedTuple):
    """The state of a run; with the data and the key it determines the rest of the
    run."""

    params: Params
    ema: Params  # moving average of the parameters, in float32 or wider, for evaluation
    opt_state: Any
    buffer: Any  # of chains: positions
    step_size: Array  # []
    step: Array  # [] int32, updates done
    num_skipped: Array  # [] int32, updates skipped because they were not finite
    num_restarted: Array  # [] int32, chains restarted because they were not finite
    lr_scale: Array  # [] multiplies the optimiser's updates; shrinks at a roll-back
    num_rollbacks: Array  # [] int32

    def __repr__(self) -> str:
        if checks.is_traced(self):
            return f"TrainState({', '.join(self._fields)})"
        num_params = sum(np.size(x) for x in jax.tree.leaves(self.params))
        return (
            f"TrainState({int(self.step)} updates, {num_params:,} parameters, step "
            f"size {float(self.step_size):.3g}, {int(self.num_skipped)} skipped, "
            f"{int(self.num_rollbacks)} roll-backs)"
        )


def init_state(
    key: Key,
    params: Params,
    optimizer: Any,
    chain_init: ChainInit = FROM_DATA,
    step_size: float = 0.1,
) -> TrainState:
    """The state before the first update.

    Args:
      key: one key, for the buffer of chains.
      params: the trained parameters, of the energy or from ``objective.init``.
      optimizer: an ``optax.GradientTransformation``.
      chain_init: where chains start; not needed by objectives without chains.
      step_size: of the chains in the first update; not needed without chains.

    Raises:
      TypeError, ValueError: parameters that are not floating arrays (batch statistics
        for example), or a step size that is not positive.

    >>> key, adam = jax.random.key(0), optax.adam(1e-3)  # doctest: +SKIP
    >>> state = init_state(key, params, adam)  # doctest: +SKIP
    """
    key = checks.key(key)
    optimizer = as_optimizer(optimizer)
    checks.instance(chain_init, ChainInit, "chain_init", "ebmjax.training.chain_init")
    checks.parameters(params)
    params = checks.position(params, "params")
    checks.positive(step_size, "step_size")
    wide = lambda x: jnp.array(x, jnp.promote_types(x.dtype, jnp.float32), copy=True)
    return TrainState(  # type: ignore[call-arg]
        params,
        jax.tree.map(wide, params),
        optimizer.init(params),
        chain_init.init(key),
        jnp.float32(step_size),
        *(jnp.int32(0) for _ in range(3)),
        jnp.float32(1),
        jnp.int32(0),
    )


@value
class TrainStep(Value):
    """One update, ``step(key, state, batch) -> (state, metrics)``; made by
    :func:`train_step`."""

    objective: Objective = part()
    optimizer: Optimizer = part()
    chain_init: ChainInit = part()
    num_chains: int = static()
    ema_decay: Any = number()
    mesh: Any = static(default=None)

    def __call__(
        self, key: Key, state: TrainState, batch: Position
    ) -> tuple[TrainState, dict]:
        key_draw, key_loss, key_reset = jax.random.split(key, 3)
        position, slots = self.chain_init.draw(
            key_draw, state.buffer, batch, self.num_chains
        )
        position = checks.position(position, "chains of chain_init")
        if (got := checks.num_chains(position, "chains of chain_init")) != (
            self.num_chains
        ):
            raise ValueError(
                f"chain_init must give {self.num_chains} chains, got {got}"
            )
        chains = Chains(dev.constrain(position, self.mesh), state.step_size)
        gradient = jax.value_and_grad(self.objective.loss, has_aux=True)
        (value, (chains, metrics)), grads = gradient(
            state.params, key_loss, batch, chains
        )
        is_broken = _any_nan(chains.position)
        fresh = self.chain_init.reset(key_reset, batch, self.num_chains)
        position = rows(is_broken, fresh, chains.position)

        learned, is_finite, grad_norm = self._learn(
            state, value, grads, chains.step_size
        )
        params, ema, opt_state, step_size = learned
        buffer = self.chain_init.update(state.buffer, slots, position)
        num_broken = jnp.sum(is_broken, dtype=jnp.int32) + metrics.get("num_broken", 0)
        new = TrainState(
            params,
            ema,
            opt_state,
            dev.constrain_as(buffer, dev.divided(buffer, self.mesh)),
            step_size,
            state.step + 1,
            state.num_skipped + jnp.int32(~is_finite),
            state.num_restarted + num_broken,
            state.lr_scale,
            state.num_rollbacks,
        )
        own = {
            "loss": value,
            "grad_norm": grad_norm,
            "chain_extent": _extent(position),
            "is_skipped": ~is_finite,
            "lr_scale": state.lr_scale,
        }
        return new, {**own, **metrics}

    def _learn(self, state, value, grads, step_size):
        """Parameters, their average, the optimiser's state and the step size after the
        update, or unchanged if anything is not finite."""
        grad_norm = optax.tree.norm(grads)
        is_finite = jnp.isfinite(value) & jnp.isfinite(grad_norm)
        is_finite &= jnp.isfinite(step_size)
        updates, opt_state = self.optimizer.update(
            grads, state.opt_state, state.params, value
        )
        updates = scaled_updates(updates, self.objective.update_scale, state.lr_scale)
        is_finite &= jnp.isfinite(optax.tree.norm(updates))
        params = optax.apply_updates(state.params, updates)
        # a short memory at the start
        decay = jnp.minimum(self.ema_decay, (1 + state.step) / (10 + state.step))
        average = lambda e, p: (decay * e + (1 - decay) * p).astype(e.dtype)
        ema = jax.tree.map(average, state.ema, params)
        before = (state.params, state.ema, state.opt_state, state.step_size)
        after = (params, ema, opt_state, step_size)
        return select(is_finite, after, before), is_finite, grad_norm


def train_step(
    objective: Objective | Loss,
    optimizer: Any,
    chain_init: ChainInit = FROM_DATA,
    *,
    num_chains: int,
    ema_decay: float = 0.999,
    mesh: jax.sharding.Mesh | None = None,
    params: Params | None = None,
) -> TrainStep:
    """One update as a pure function ``(key, state, batch) -> (state, metrics)``.

    It is a pytree whose numbers are leaves: as an argument of a compiled function, a
    new learning rate, weight or decay compiles nothing.  ``params`` is optional; with
    it the optimiser is checked before compilation.

    Raises:
      TypeError, ValueError: naming the argument, what it got and what it wants.

    >>> step = train_step(objective, optax.adam(1e-3), num_chains=256)  # doctest: +SKIP
    """
    optimizer = as_optimizer(optimizer)
    if params is not None:
        optimizer = traceable(optimizer, params)
    checks.instance(chain_init, ChainInit, "chain_init", "ebmjax.training.chain_init")
    checks.count(num_chains, "num_chains")
    if not checks.is_traced(ema_decay) and not 0 <= ema_decay < 1:
        raise ValueError(f"ema_decay must lie in [0, 1), got {ema_decay}")
    objective = as_objective(objective)
    return TrainStep(objective, optimizer, chain_init, num_chains, ema_decay, mesh)


def scaled_updates(updates: Any, update_scale: Any, lr_scale: Array) -> Any:
    """Updates times the scale of their part, a tree prefix, and of the run."""
    times = lambda c, tree: jax.tree.map(
        lambda u: (lr_scale * c * u).astype(u.dtype), tree
    )
    return jax.tree.map(times, update_scale, updates)


def _any_nan(position):
    flags = [jnp.isnan(x).reshape(len(x), -1).any(1) for x in jax.tree.leaves(position)]
    return functools.reduce(jnp.logical_or, flags)


def _extent(position):
    return jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in jax.tree.leaves(position)]))
