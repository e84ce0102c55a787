"""A whole run in one launch of a GPU.

:func:`run` is :func:`ebmjax.sampling.loop.run` as one kernel written with Pallas: a block
of chains takes all steps with its state in registers, one thread per chain, and writes
the draws.  Keys and random numbers are those of ``run``; sums may round differently.  A
GPU otherwise launches several programs a step, some microseconds each, in which small
energies spend nearly all of their time.

The step is computed number by number (:mod:`ebmjax.fused.program`), so it is for energies
of up to some thousand operations.  A wide network or a large data set is refused, and so
is a primitive that has no rule.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from ebmjax import _validation as checks
from ebmjax._random import fold_in
from ebmjax._value import as_function
from ebmjax.base import Info, Key, State, add, draw_noise, shapes_of
from ebmjax.fused.entries import (
    Entries,
    entries,
    filled,
    flattened,
    flattened_like,
    scalar,
)
from ebmjax.fused.program import Program
from ebmjax.kernels.chains import Parallel, Stacked
from ebmjax.kernels.circles import wrapping
from ebmjax.sampling.loop import Collect, Run, collect_stats, discard, position_of

BOOL = np.dtype(bool)  # stored as int32
BLOCK = 32  # chains in a block: the threads of a warp
COLLECTED = tuple(map(as_function, (position_of, collect_stats, discard)))


def run(
    key: Key,
    kernel: Parallel | Stacked,
    state: State,
    num_steps: int,
    *,
    start: int | jax.Array = 0,
    thin: int = 1,
    collect: Collect = position_of,
    interpret: bool | None = None,
) -> Run:
    """``num_steps`` steps of many chains in one launch: pure, for use inside ``jit``.

    Args:
      key: one a chain, ``chain_keys(key, C)``.
      kernel: of ``parallel`` or ``stack``.
      state: from ``kernel.init``.
      num_steps: a multiple of ``thin``.
      start: steps already taken; the keys go on from there.
      thin: store every ``thin``-th step; the info of ``collect_stats`` is of that step.
      collect: ``position_of``, ``collect_stats`` or ``discard``.
      interpret: compute slowly what the kernel computes, without a GPU; by default where
        there is none.

    Returns:
      :class:`~ebmjax.sampling.loop.Run`.

    Raises:
      TypeError: a kernel of one chain, something else to collect, an energy with a
        primitive that has no rule, or too large.

    >>> kernel = parallel(mala(lambda x: 0.5 * jnp.sum(x**2), 0.5))
    >>> keys = chain_keys(jax.random.key(0), 4)
    >>> run(keys, kernel, kernel.init(jnp.zeros((4, 2))), 10).draws.shape
    (10, 4, 2)
    """
    keys = checks.keys(key)
    if not isinstance(kernel, Parallel | Stacked) or keys.ndim != 1:
        raise TypeError(
            "a fused run is of many chains: kernel must be of parallel(kernel) or "
            f"stack(...) and key one a chain, chain_keys(key, C); got {kernel!r} and "
            f"keys {keys.shape}"
        )
    check_threefry(keys)
    num_steps, thin = checks.count(num_steps, "num_steps"), checks.count(thin, "thin")
    if num_steps % thin:
        raise ValueError(
            f"num_steps must be a multiple of thin, got {num_steps} and thin {thin}"
        )
    collect = checked(collect)
    return steps(
        keys, kernel, state, start, collect, num_steps // thin, thin, interpret
    )


def checked(collect: Any) -> Collect:
    """What a fused run can collect.

    Raises:
      TypeError: anything else.
    """
    collect = as_function(collect, "collect") if callable(collect) else collect
    if collect not in COLLECTED:
        raise TypeError(
            "collect of a fused run must be position_of, collect_stats or discard, got "
            f"{collect!r}"
        )
    return collect


def check_threefry(keys: Key) -> None:
    """Raises for keys of another implementation."""
    if str(jax.random.key_impl(keys)) != "threefry2x32":
        raise TypeError(
            "a fused run computes threefry keys, jax.random.key(seed), got keys of "
            f"{jax.random.key_impl(keys)}"
        )


def steps(keys, kernel, state, start, collect, num_kept, thin, interpret=None) -> Run:
    """The steps, with chains added so that their number is a multiple of a block."""
    if interpret is None:
        interpret = jax.default_backend() != "gpu"
    num_chains = len(keys)
    block = min(BLOCK, 1 << (num_chains - 1).bit_length())
    missing = -num_chains % block
    if not missing:
        return _launch(
            keys, kernel, state, start, collect, num_kept, thin, block, interpret
        )
    longer = lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], missing, 0)])
    keys, state = jax.tree.map(longer, (keys, state))
    if isinstance(kernel, Stacked):
        kernel = _longer(kernel, longer)
    found = _launch(
        keys, kernel, state, start, collect, num_kept, thin, block, interpret
    )
    cut = lambda tree: jax.tree.map(lambda x: x[:num_chains], tree)
    draws = jax.tree.map(lambda x: x[:, :num_chains], found.draws)
    return Run(cut(found.state), draws, cut(found.info))


def _longer(kernel, longer):
    leaves, treedef = jax.tree.flatten(kernel.kernel)
    pairs = zip(leaves, kernel.is_stacked, strict=True)
    leaves = [longer(jnp.asarray(x)) if is_own else x for x, is_own in pairs]
    return Stacked(jax.tree.unflatten(treedef, leaves), kernel.is_stacked)


# --- the kernel ---------------------------------------------------------------------


class Step(NamedTuple):
    """One step of one chain as a jaxpr, of numbers of the kernel, words of the key, the
    step, leaves of the state, the infos so far, and the steps before."""

    jaxpr: Any
    numbers: list[Any]  # shapes
    is_own: list[bool]  # numbers of each chain
    state: list[Any]  # shapes of its leaves
    info: list[Any]
    kept: list[Any]  # shapes of what is collected
    kept_tree: Any


def _launch(keys, kernel, state, start, collect, num_kept, thin, block, interpret):
    numbers = [jnp.asarray(x) for x in jax.tree.leaves(kernel.kernel)]
    leaves, state_tree = jax.tree.flatten(state)
    step = _traced(kernel, numbers, state, collect)
    words = jax.random.key_data(keys)
    inputs = [words[:, 0], words[:, 1], jnp.asarray(start, jnp.int32)[None]]
    inputs += [*numbers, *leaves]
    num_chains = len(keys)
    kept = [((num_kept, num_chains, *x.shape), x.dtype) for x in step.kept]
    last = [((num_chains, *x.shape), x.dtype) for x in (*step.state, *step.info)]
    shapes = [
        jax.ShapeDtypeStruct(s, jnp.int32 if d == BOOL else d) for s, d in kept + last
    ]

    def body(*refs):
        _body(step, refs[: len(inputs)], refs[len(inputs) :], num_kept, thin, block)

    found = pl.pallas_call(
        body,
        out_shape=shapes,
        grid=(num_chains // block,),
        compiler_params=plgpu.CompilerParams(num_warps=1),
        interpret=interpret,
        name="fused_run",
    )(*inputs)
    found = [
        x != 0 if dtype == BOOL else x
        for x, (_, dtype) in zip(found, kept + last, strict=True)
    ]
    draws, found = found[: len(kept)], found[len(kept) :]
    state, info = found[: len(leaves)], found[len(leaves) :]
    return Run(
        jax.tree.unflatten(state_tree, state),
        jax.tree.unflatten(step.kept_tree, draws),
        Info(*info),
    )


def _traced(kernel, numbers, state, collect) -> Step:
    treedef = jax.tree.structure(kernel.kernel)
    is_stacked = isinstance(kernel, Stacked)
    is_own = list(kernel.is_stacked) if is_stacked else [False] * len(numbers)
    leaves, state_tree = jax.tree.flatten(state)

    def moved(numbers, words, t, leaves):
        of_one = jax.tree.unflatten(treedef, numbers)
        state = jax.tree.unflatten(state_tree, leaves)
        key = fold_in(jax.random.wrap_key_data(words), t)
        noise = draw_noise(of_one, key, shapes_of(state.position))
        state, info = of_one.move(noise, state)
        state = wrapping(of_one)(state)
        return of_one, state, Info(*map(jnp.asarray, info))

    def step(numbers, words, t, leaves, total, num_before):
        of_one, state, info = moved(numbers, words, t, leaves)
        total = Info(*total)
        gain = (info.acceptance_rate - total.acceptance_rate) / (num_before + 1)
        merged = add(total, info)._replace(acceptance_rate=total.acceptance_rate + gain)
        kept = _kept(of_one, collect, state, info)
        return jax.tree.leaves(state), list(merged), kept

    one = lambda x, own: jax.ShapeDtypeStruct(x.shape[1:] if own else x.shape, x.dtype)
    shapes = [one(x, own) for x, own in zip(numbers, is_own, strict=True)]
    of_state = [one(x, True) for x in leaves]
    integer = jax.ShapeDtypeStruct((), jnp.int32)
    words = jax.ShapeDtypeStruct((2,), jnp.uint32)
    arguments = shapes, words, integer, of_state
    info = list(jax.eval_shape(lambda *a: moved(*a)[2], *arguments))
    jaxpr, (_, _, kept) = jax.make_jaxpr(step, return_shape=True)(
        *arguments, info, integer
    )
    kept, kept_tree = jax.tree.flatten(kept)
    return Step(jaxpr, shapes, is_own, of_state, info, kept, kept_tree)


def _kept(kernel, collect, state, info):
    """What is collected of one chain, by a function that sees a chain axis."""
    from ebmjax.sampling.coordinates import collected

    longer = lambda tree: jax.tree.map(lambda x: x[None], tree)
    kept = collected(Parallel(kernel), collect)(longer(state), longer(info))
    return jax.tree.map(lambda x: x[0], kept)


def _body(step: Step, given, made, num_kept, thin, block) -> None:
    """What a block of chains does: read, take all steps, write."""
    rows = pl.ds(pl.program_id(0) * block, block)
    program = Program(block)
    first, second, begin, *given = given
    words, begin = entries([first[rows], second[rows]], (2,)), begin[0]
    numbers = [
        _read(ref, rows if is_own else None, x.shape)
        for ref, is_own, x in zip(given, step.is_own, step.numbers, strict=False)
    ]
    leaves = zip(given[len(numbers) :], step.state, strict=True)
    carry = [_read(ref, rows, x.shape) for ref, x in leaves]
    carry += [filled(x.dtype.type(0), x.shape) for x in step.info]
    flat, rebuild = flattened(carry, program.rows)
    size = len(carry)

    def one_step(t, flat):
        operands = [*numbers, words, scalar(begin + t), *rebuild(flat), scalar(t)]
        found = program.evaluate(step.jaxpr, operands)
        return flattened_like(found[:size], flat), found[size:]

    def kept_step(i, flat):
        first = i * thin
        if thin > 1:
            skip = lambda j, flat: one_step(first + j, flat)[0]
            flat = jax.lax.fori_loop(0, thin - 1, skip, flat)
        flat, kept = one_step(first + thin - 1, flat)
        for ref, x in zip(made, kept, strict=False):
            _write(ref, (i, rows), x, block)
        return flat

    last = rebuild(jax.lax.fori_loop(0, num_kept, kept_step, flat))
    for ref, x in zip(made[len(step.kept) :], last, strict=True):
        _write(ref, (rows,), x, block)


def _read(ref, rows, shape) -> Entries:
    before = () if rows is None else (rows,)
    return entries([ref[(*before, *where)] for where in np.ndindex(*shape)], shape)


def _write(ref, before, x: Entries, block) -> None:
    like = jax.ShapeDtypeStruct((block,), ref.dtype)
    for where in np.ndindex(*x.shape):
        [ref[(*before, *where)]] = flattened_like([scalar(x[where])], [like])
