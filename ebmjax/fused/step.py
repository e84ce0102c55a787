"""One step of one chain as a jaxpr, that the kernel evaluates number by number."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ebmjax.base import Info, add, draw_noise, shapes_of
from ebmjax.kernels.chains import Parallel, Stacked
from ebmjax.kernels.free_coordinates import wrapping
from ebmjax.kernels.nuts_tree import IN_REGISTERS
from ebmjax.sampling.coordinates import collected


class Step(NamedTuple):
    """A jaxpr of numbers of the kernel, noise, leaves of the state, the infos so far,
    and the number of steps before."""

    jaxpr: Any
    numbers: list[Any]  # shapes
    is_own: list[bool]  # numbers of each chain
    noise: list[Any]  # shapes of its leaves; of keys, their words
    state: list[Any]
    info: list[Any]
    kept: list[Any]  # shapes of what is collected
    kept_tree: Any


def traced_step(kernel, numbers, noise, state, collect) -> Step:
    """The step of a kernel with these numbers, for noise and states of these shapes."""
    treedef, state_tree = jax.tree.structure(kernel.kernel), jax.tree.structure(state)
    is_stacked = isinstance(kernel, Stacked)
    is_own = list(kernel.is_stacked) if is_stacked else [False] * len(numbers)
    one = lambda x, own=True: jax.ShapeDtypeStruct(x.shape[own:], x.dtype)
    of_numbers = [one(x, own) for x, own in zip(numbers, is_own, strict=True)]
    of_state = [one(x) for x in jax.tree.leaves(state)]
    key = jax.eval_shape(lambda: jax.random.key(0))
    shapes = shapes_of(jax.tree.unflatten(state_tree, of_state).position)
    draw = lambda numbers, key: draw_noise(
        jax.tree.unflatten(treedef, numbers), key, shapes
    )
    drawn = jax.eval_shape(draw, of_numbers, key)
    is_key = [
        jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in jax.tree.leaves(drawn)
    ]
    of_noise = [
        jax.ShapeDtypeStruct(x.shape[2:], x.dtype) for x in jax.tree.leaves(noise)
    ]

    def move(numbers, noise, leaves):
        of_one = jax.tree.unflatten(treedef, numbers)
        pairs = zip(noise, is_key, strict=True)
        noise = [jax.random.wrap_key_data(x) if k else x for x, k in pairs]
        noise = jax.tree.unflatten(jax.tree.structure(drawn), noise)
        state, info = of_one.move(noise, jax.tree.unflatten(state_tree, leaves))
        return of_one, wrapping(of_one)(state), Info(*map(jnp.asarray, info))

    def step(numbers, noise, leaves, total, num_before):
        of_one, state, info = move(numbers, noise, leaves)
        total = Info(*total)
        gain = (info.acceptance_rate - total.acceptance_rate) / (num_before + 1)
        merged = add(total, info)._replace(acceptance_rate=total.acceptance_rate + gain)
        kept = _kept(of_one, collect, state, info)
        return jax.tree.leaves(state), list(merged), kept

    arguments = of_numbers, of_noise, of_state
    info = list(jax.eval_shape(lambda *a: move(*a)[2], *arguments))
    token = IN_REGISTERS.set(True)
    try:
        jaxpr, (_, _, kept) = jax.make_jaxpr(step, return_shape=True)(
            *arguments, info, jax.ShapeDtypeStruct((), jnp.int32)
        )
    finally:
        IN_REGISTERS.reset(token)
    kept, kept_tree = jax.tree.flatten(kept)
    return Step(jaxpr, of_numbers, is_own, of_noise, of_state, info, kept, kept_tree)


def _kept(kernel, collect, state, info):
    """What is collected of one chain, by a function that sees a chain axis."""
    longer = lambda tree: jax.tree.map(lambda x: x[None], tree)
    kept = collected(Parallel(kernel), collect)(longer(state), longer(info))
    return jax.tree.map(lambda x: x[0], kept)
