"""A chunk of updates as one compiled program: each draws a batch, augments it, adds
noise to it, and steps."""

import functools

import jax
import jax.numpy as jnp

from ebmjax._random import inlined_on_gpu, split_on_gpu
from ebmjax.objectives.batches import noisy, points_of, with_points
from ebmjax.sampling import devices as dev


@functools.partial(jax.jit, static_argnames=("chunk", "batch_size"))
def updates(step, data_noise, augment, key, state, data, num, *, chunk, batch_size):
    """``num`` updates, at most ``chunk``, and their metrics ``[chunk]``: one program
    for every number."""
    num_points = len(jax.tree.leaves(data)[0])

    def update(state):
        folded = jax.random.fold_in(key, state.step)
        key_batch, key_noise, key_step = split_on_gpu(folded, 3)
        index = jax.random.randint(
            inlined_on_gpu(key_batch), (batch_size,), 0, num_points
        )
        batch = jax.tree.map(lambda x: x[index], data)
        if augment is not None:
            key_augment = jax.random.fold_in(folded, 3)  # the fourth of its split
            batch = with_points(batch, augment(key_augment, points_of(batch)))
        if data_noise is not None:
            batch = noisy(key_noise, batch, data_noise)
        return step(key_step, state, dev.constrain(batch, step.mesh))

    def body(i, carry):
        state, rows = carry
        state, metrics = update(state)
        return state, jax.tree.map(lambda row, x: row.at[i].set(x), rows, metrics)

    _, shapes = jax.eval_shape(update, state)
    empty = jax.tree.map(lambda x: jnp.zeros((chunk, *x.shape), x.dtype), shapes)
    return jax.lax.fori_loop(0, num, body, (state, empty))
