"""All steps of a run in two launches of a GPU.

:func:`run` is :func:`ebmjax.sampling.loop.run` with the noise of many steps drawn in one
launch and the steps taken in another, a kernel written with Pallas: a block of chains
takes all of them with its state in registers, one thread per chain, and writes the draws.
Keys and random numbers are those of ``run``; sums may round differently.  A GPU otherwise
launches several programs a step, some microseconds each, in which small energies spend
nearly all of their time.

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
    flattened,
    flattened_like,
    scalar,
)
from ebmjax.fused.program import Program
from ebmjax.kernels.chains import Parallel, Stacked
from ebmjax.kernels.circles import wrapping
from ebmjax.sampling.collect import Collect, collect_stats, discard, position_of
from ebmjax.sampling.coordinates import collected
from ebmjax.sampling.loop import Run

BOOL = np.dtype(bool)  # stored as int32
NOISE_BYTES = 2**28  # of the noise that is drawn at once
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
    """``num_steps`` steps of many chains in two launches: pure, for use inside ``jit``.

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
    num_steps, thin = checks.thinned(num_steps, thin)
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
    if missing:
        longer = lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], missing, 0)])
        keys, state = jax.tree.map(longer, (keys, state))
        kernel = _longer(kernel, longer) if isinstance(kernel, Stacked) else kernel
    launch = _Launch(keys, kernel, state, collect, thin, block, interpret)
    found = launch.all_steps(state, jnp.asarray(start, jnp.int32), num_kept)
    if not missing:
        return found
    cut = lambda tree: jax.tree.map(lambda x: x[:num_chains], tree)
    draws = jax.tree.map(lambda x: x[:, :num_chains], found.draws)
    return Run(cut(found.state), draws, cut(found.info))


def _longer(kernel, longer):
    leaves, treedef = jax.tree.flatten(kernel.kernel)
    pairs = zip(leaves, kernel.is_stacked, strict=True)
    leaves = [longer(jnp.asarray(x)) if is_own else x for x, is_own in pairs]
    return Stacked(jax.tree.unflatten(treedef, leaves), kernel.is_stacked)


# --- the launches -------------------------------------------------------------------


class Step(NamedTuple):
    """One step of one chain as a jaxpr, of numbers of the kernel, noise, leaves of the
    state, the infos so far, and the number of steps before."""

    jaxpr: Any
    numbers: list[Any]  # shapes
    is_own: list[bool]  # numbers of each chain
    noise: list[Any]  # shapes of its leaves; of keys, their words
    state: list[Any]
    info: list[Any]
    kept: list[Any]  # shapes of what is collected
    kept_tree: Any


class _Launch:
    """Launches of one kernel, for states of one shape."""

    def __init__(self, keys, kernel, state, collect, thin, block, interpret):
        self.keys, self.kernel, self.thin = keys, kernel, thin
        self.block, self.interpret = block, interpret
        self.shapes = shapes_of(state.position)
        self.numbers = [jnp.asarray(x) for x in jax.tree.leaves(kernel.kernel)]
        self.state_tree = jax.tree.structure(state)
        noise = jax.eval_shape(lambda: self.noise(jnp.int32(0), 1))
        self.step = _traced(kernel, self.numbers, noise, state, collect)

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
        shapes = [jax.ShapeDtypeStruct(s, _stored(d)) for s, d in kept + last]

        def body(*refs):
            given, made = refs[: len(inputs)], refs[len(inputs) :]
            _body(step, given, made, length, self.thin, self.block)

        found = pl.pallas_call(
            body,
            out_shape=shapes,
            grid=(num_chains // self.block,),
            compiler_params=plgpu.CompilerParams(num_warps=1),
            interpret=self.interpret,
            name="fused_run",
        )(*[x.astype(_stored(x.dtype)) for x in inputs])
        types = [d for _, d in kept + last]
        found = [x.astype(d) for x, d in zip(found, types, strict=True)]
        draws, found = found[: len(kept)], found[len(kept) :]
        return found[: len(leaves)], found[len(leaves) :], draws


def _words(x):
    """An array as it is; of keys, their words."""
    is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(x) if is_key else x


def _stored(dtype):
    return jnp.int32 if dtype == BOOL else dtype


def _traced(kernel, numbers, noise, state, collect) -> Step:
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
    jaxpr, (_, _, kept) = jax.make_jaxpr(step, return_shape=True)(
        *arguments, info, jax.ShapeDtypeStruct((), jnp.int32)
    )
    kept, kept_tree = jax.tree.flatten(kept)
    return Step(jaxpr, of_numbers, is_own, of_noise, of_state, info, kept, kept_tree)


def _kept(kernel, collect, state, info):
    """What is collected of one chain, by a function that sees a chain axis."""
    longer = lambda tree: jax.tree.map(lambda x: x[None], tree)
    kept = collected(Parallel(kernel), collect)(longer(state), longer(info))
    return jax.tree.map(lambda x: x[0], kept)


# --- the kernel ---------------------------------------------------------------------


def _body(step: Step, given, made, num_kept, thin, block) -> None:
    """What a block of chains does: read, take all steps, write."""
    rows = pl.ds(pl.program_id(0) * block, block)
    program = Program(block)
    done, given = given[0][0], list(given[1:])
    take = lambda shapes: [given.pop(0) for _ in shapes]
    numbers = [
        _read(ref, (rows,) if is_own else (), x)
        for ref, is_own, x in zip(
            take(step.numbers), step.is_own, step.numbers, strict=True
        )
    ]
    noise = take(step.noise)
    last = [*step.state, *step.info]
    carry = [_read(ref, (rows,), x) for ref, x in zip(take(last), last, strict=True)]
    flat, rebuild = flattened(carry, program.rows)

    def one_step(t, flat):
        pairs = zip(noise, step.noise, strict=True)
        drawn = [_read(ref, (t, rows), x) for ref, x in pairs]
        operands = [*numbers, *drawn, *rebuild(flat), scalar(done + t)]
        found = program.evaluate(step.jaxpr, operands)
        return flattened_like(found[: len(last)], flat), found[len(last) :]

    def kept_step(i, flat):
        first = i * thin
        if thin > 1:
            skip = lambda j, flat: one_step(first + j, flat)[0]
            flat = jax.lax.fori_loop(0, thin - 1, skip, flat)
        flat, kept = one_step(first + thin - 1, flat)
        for ref, x in zip(made, kept, strict=False):
            _write(ref, (i, rows), x, block)
        return flat

    flat = jax.lax.fori_loop(0, num_kept, kept_step, flat)
    for ref, x in zip(made[len(step.kept) :], rebuild(flat), strict=True):
        _write(ref, (rows,), x, block)


def _read(ref, before, x) -> Entries:
    items = [ref[(*before, *where)] for where in np.ndindex(*x.shape)]
    items = [i != 0 for i in items] if x.dtype == BOOL else items
    return entries(items, x.shape)


def _write(ref, before, x: Entries, block) -> None:
    like = jax.ShapeDtypeStruct((block,), ref.dtype)
    for where in np.ndindex(*x.shape):
        [ref[(*before, *where)]] = flattened_like([scalar(x[where])], [like])
