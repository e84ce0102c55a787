"""The two launches: one draws the noise of many steps, the other takes the steps."""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from ebmjax._random import fold_in
from ebmjax.base import Info, draw_noise, shapes_of
from ebmjax.fused.kernel import stored, take_steps
from ebmjax.fused.step import traced_step
from ebmjax.sampling.loop import Run

NOISE_BYTES = 2**28  # of the noise that is drawn at once


class Launches:
    """Launches of one kernel, for states of one shape."""

    def __init__(self, keys, kernel, state, collect, thin, block, interpret):
        self.keys, self.kernel, self.thin = keys, kernel, thin
        self.block, self.interpret = block, interpret
        self.shapes = shapes_of(state.position)
        self.numbers = [jnp.asarray(x) for x in jax.tree.leaves(kernel.kernel)]
        self.state_tree = jax.tree.structure(state)
        noise = jax.eval_shape(lambda: self.noise(jnp.int32(0), 1))
        self.step = traced_step(kernel, self.numbers, noise, state, collect)

    def noise(self, first, length):
        """Of ``length`` steps, leaves ``[length, C, ...]``."""
        fold = jax.vmap(fold_in, (0, None))
        draw = lambda t: draw_noise(self.kernel, fold(self.keys, t), self.shapes)
        noise = jax.vmap(draw)(first + jnp.arange(length))
        return jax.tree.map(_words, noise)

    def all_steps(self, state, start, num_kept) -> Run:
        """In pieces whose noise fits."""
        size = sum(x.size * x.dtype.itemsize for x in self.step.noise)
        size *= len(self.keys) * self.thin
        piece = int(max(1, min(num_kept, NOISE_BYTES // max(size, 1))))
        info = [jnp.zeros((len(self.keys), *x.shape), x.dtype) for x in self.step.info]
        carry = jax.tree.leaves(state), info, jnp.int32(0)

        def next_piece(carry, _, length=piece):
            leaves, info, done = carry
            leaves, info, draws = self.piece(leaves, info, start, done, length)
            return (leaves, info, done + length * self.thin), draws

        num_pieces, rest = divmod(num_kept, piece)
        if num_pieces == 1:
            carry, draws = next_piece(carry, None)
        else:
            carry, draws = jax.lax.scan(next_piece, carry, None, length=num_pieces)
            draws = [x.reshape(-1, *x.shape[2:]) for x in draws]
        if rest:
            carry, last = next_piece(carry, None, rest)
            draws = [jnp.concatenate(x) for x in zip(draws, last, strict=True)]
        leaves, info, _ = carry
        return Run(
            jax.tree.unflatten(self.state_tree, leaves),
            jax.tree.unflatten(self.step.kept_tree, draws),
            Info(*info),
        )

    def piece(self, leaves, info, start, done, length):
        """Two launches."""
        noise = jax.tree.leaves(self.noise(start + done, length * self.thin))
        inputs = [done[None], *self.numbers, *noise, *leaves, *info]
        num_chains, step = len(self.keys), self.step
        kept = [((length, num_chains, *x.shape), x.dtype) for x in step.kept]
        last = [((num_chains, *x.shape), x.dtype) for x in (*step.state, *step.info)]
        shapes = [jax.ShapeDtypeStruct(s, stored(d)) for s, d in kept + last]

        def body(*refs):
            given, made = refs[: len(inputs)], refs[len(inputs) :]
            take_steps(step, given, made, length, self.thin, self.block)

        found = pl.pallas_call(
            body,
            out_shape=shapes,
            grid=(num_chains // self.block,),
            compiler_params=plgpu.CompilerParams(num_warps=1),
            interpret=self.interpret,
            name="fused_run",
        )(*[x.astype(stored(x.dtype)) for x in inputs])
        types = [d for _, d in kept + last]
        found = [x.astype(d) for x, d in zip(found, types, strict=True)]
        draws, found = found[: len(kept)], found[len(kept) :]
        return found[: len(leaves)], found[len(leaves) :], draws


def _words(x):
    """An array as it is; of keys, their words."""
    is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(x) if is_key else x
