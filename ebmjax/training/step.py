"""One update of training: chains from where they start, an objective, a step of the optimiser.

What is not finite changes nothing but a count: such an update is skipped, and a chain that ends where the
energy is not finite is restarted.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ebmjax import _validation as checks
from ebmjax.base import Array, Key, Position, select
from ebmjax.objectives import Chains, Loss, Params
from ebmjax.sampling import devices as dev
from ebmjax.training.chain_init import FROM_DATA, ChainInit, rows


class TrainState(NamedTuple):
    """Everything a run needs to go on, but the data and the key."""

    params: Params
    ema: Params  # the exponential moving average of the parameters, for evaluation
    opt_state: Any
    buffer: Any  # of chains: positions
    step_size: Array  # []
    step: Array  # [] int32, updates done
    num_skipped: Array  # [] int32, updates that were not finite
    num_restarted: Array  # [] int32, chains that were not
    lr_scale: Array  # [] what the optimiser's updates are multiplied by; shrinks at a roll-back
    num_rollbacks: Array  # [] int32


def init_state(
    key: Key,
    params: Params,
    optimizer: optax.GradientTransformation,
    chain_init: ChainInit = FROM_DATA,
    step_size: float = 0.1,
) -> TrainState:
    """The state before the first update; objectives without chains need neither chain_init nor a step size."""
    key = checks.key(key)
    _check_optimizer(optimizer)
    checks.instance(chain_init, ChainInit, "chain_init", "ebmjax.training.chain_init")
    params = checks.position(params, "params")
    checks.positive(step_size, "step_size")
    zero, one = jnp.int32(0), jnp.float32(1)
    opt_state, buffer = optimizer.init(params), chain_init.init(key)
    return TrainState(
        params,
        params,
        opt_state,
        buffer,
        jnp.float32(step_size),
        zero,
        zero,
        zero,
        one,
        zero,
    )


def train_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    chain_init: ChainInit,
    *,
    num_chains: int,
    ema_decay: float = 0.999,
    mesh: jax.sharding.Mesh | None = None,
) -> Callable[[Key, TrainState, Position], tuple[TrainState, dict]]:
    """One update as a pure function ``(key, state, batch) -> (state, metrics)``.

    Step size and learning rate (``lr_scale``) are numbers in the state: another value compiles nothing.
    """
    checks.function(loss, "loss")
    _check_optimizer(optimizer)
    checks.instance(chain_init, ChainInit, "chain_init", "ebmjax.training.chain_init")
    checks.count(num_chains, "num_chains")
    if not 0 <= ema_decay < 1:
        raise ValueError(f"ema_decay must lie in [0, 1), got {ema_decay}")

    def step(key, state, batch):
        key_take, key_loss, key_fresh = jax.random.split(key, 3)
        position, slots = chain_init.draw(key_take, state.buffer, batch, num_chains)
        position = checks.position(position, "chains of chain_init")
        if checks.num_chains(position, "chains of chain_init") != num_chains:
            raise ValueError(
                f"chain_init must give {num_chains} chains, got {checks.num_chains(position)}"
            )
        chains = Chains(dev.constrain(position, mesh), state.step_size)
        (value, (chains, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(
            state.params, key_loss, batch, chains
        )
        is_broken = _any_nan(chains.position)
        position = rows(
            is_broken, chain_init.reset(key_fresh, batch, num_chains), chains.position
        )
        grad_norm = optax.tree.norm(grads)
        is_finite = (
            jnp.isfinite(value)
            & jnp.isfinite(grad_norm)
            & jnp.isfinite(chains.step_size)
        )

        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        updates = jax.tree.map(lambda u: (state.lr_scale * u).astype(u.dtype), updates)
        is_finite &= jnp.isfinite(optax.tree.norm(updates))
        params = optax.apply_updates(state.params, updates)
        decay = jnp.minimum(
            ema_decay, (1 + state.step) / (10 + state.step)
        )  # short memory at the start
        ema = jax.tree.map(
            lambda e, p: (decay * e + (1 - decay) * p).astype(e.dtype),
            state.ema,
            params,
        )
        params, ema, opt_state, step_size = select(
            is_finite,
            (params, ema, opt_state, chains.step_size),
            (state.params, state.ema, state.opt_state, state.step_size),
        )
        buffer = chain_init.update(state.buffer, slots, position)
        state = TrainState(
            params,
            ema,
            opt_state,
            dev.constrain_as(buffer, dev.divided(buffer, mesh)),
            step_size,
            state.step + 1,
            state.num_skipped + ~is_finite,
            state.num_restarted
            + jnp.sum(is_broken, dtype=jnp.int32)
            + metrics.get("num_broken", 0),
            state.lr_scale,
            state.num_rollbacks,
        )
        extent = jnp.max(
            jnp.stack([jnp.max(jnp.abs(x)) for x in jax.tree.leaves(position)])
        )
        own = {
            "loss": value,
            "grad_norm": grad_norm,
            "chain_extent": extent,
            "is_skipped": ~is_finite,
        }
        own["lr_scale"] = state.lr_scale
        return state, {**own, **metrics}

    return step


def _check_optimizer(optimizer):
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(f"optimizer must be of Optax, got {checks.describe(optimizer)}")


def _any_nan(position):
    flags = [
        jnp.isnan(x).reshape(len(x), -1).any(axis=1) for x in jax.tree.leaves(position)
    ]
    return functools.reduce(jnp.logical_or, flags)
