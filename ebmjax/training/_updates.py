"""A chunk of updates as one compiled program: each draws a batch, augments it, adds
noise to it, and steps."""

import functools

import jax
import jax.numpy as jnp

from ebmjax.objectives.batches import noisy, points_of, with_points
from ebmjax.sampling import devices as dev


@functools.partial(jax.jit, static_argnames=("chunk", "batch_size"))
def updates(step, data_noise, augment, key, state, data, num, *, chunk, batch_size):
    """``num`` updates, at most ``chunk``, and their metrics ``[chunk]``: one program
    for every number."""
    num_points = len(jax.tree.leaves(data)[0])

    def update(state):
        folded = jax.random.fold_in(key, state.step)
        key_batch, key_noise, key_step = jax.random.split(folded, 3)
        index = jax.random.randint(key_batch, (batch_size,), 0, num_points)
        batch = jax.tree.map(lambda x: x[index], data)
        if augment is not None:
            key_augment = jax.random.fold_in(folded, 3)  # the fourth of its split
            batch = with_points(batch, augment(key_augment, points_of(batch)))
        if data_noise is not None:
            batch = noisy(key_noise, batch, data_noise)
        return step(key_step, state, dev.constrain(batch, step.mesh))

    _, shapes = jax.eval_shape(update, state)
    packed = Packed(shapes)

    def body(i, carry):
        state, rows = carry
        state, metrics = update(state)
        write = lambda row, x: row.at[i].set(x)
        return state, jax.tree.map(write, rows, packed.arrays(metrics))

    rows = [
        jnp.zeros((chunk, *x.shape), x.dtype)
        for x in jax.eval_shape(packed.arrays, shapes)
    ]
    state, rows = jax.lax.fori_loop(0, num, body, (state, rows))
    return state, packed.tree(rows)


class Packed:
    """Numbers of one type as one array: a row of them is one write, which on a GPU is
    one launch.  Metrics that are arrays have one each."""

    def __init__(self, metrics):
        leaves, self.treedef = jax.tree.flatten(metrics)
        groups: dict = {}
        for i, x in enumerate(leaves):
            groups.setdefault((str(x.dtype), i if x.shape else None), []).append(i)
        self.groups = list(groups.values())

    def arrays(self, metrics):
        """An array of each group, ``[M, ...]``."""
        leaves = jax.tree.leaves(metrics)
        return [jnp.stack([leaves[i] for i in group]) for group in self.groups]

    def tree(self, rows):
        """The metrics of rows ``[chunk, M, ...]`` of each group, ``[chunk, ...]``."""
        places = [
            (i, g, j) for g, of in enumerate(self.groups) for j, i in enumerate(of)
        ]
        return self.treedef.unflatten([rows[g][:, j] for _, g, j in sorted(places)])
