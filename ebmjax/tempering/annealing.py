"""Chains along a path, with their importance weights: the program of
:mod:`ebmjax.tempering.ais`."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from scipy import special

from ebmjax.base import CHAINS, Array, Energy, Kernel, Key, Position, cast_like
from ebmjax.diagnostics._two_float import two_sum
from ebmjax.sampling.collect import discard
from ebmjax.sampling.loop import chain_keys, run
from ebmjax.tempering.paths import Path
from ebmjax.tempering.weights import AnnealedWeights

MakeKernel = Callable[[Energy, Any], Kernel]
DRIFT = 5.0  # standard errors by which energies of target samples may drift
LEAST_DRIFT = 1e-4  # in units of the energies, or the rounding error


class _Chains(NamedTuple):
    positions: Position  # [C, ...]
    total: Array  # [C] log weights
    rest: Array  # [C] their rounding error
    before: Array  # [C] energies of the target at the start
    relaxed: Array  # [C] energies after the first transitions at the target
    num_nonfinite: Array
    num_grads: Array

    def weighed(self, log_weight: Array) -> "_Chains":
        new = two_sum(self.total, log_weight)
        rest = jnp.where(jnp.isfinite(new.high), self.rest + new.low, 0.0)
        return self._replace(total=new.high, rest=rest)


def anneal(
    key: Key,
    path: Path,
    make_kernel: MakeKernel,
    betas: Array,
    step_sizes: Any,
    positions: Position,
    *,
    num_steps: int = 1,
    num_relax: int = 0,
    is_reversed: bool = False,
) -> AnnealedWeights:
    """:func:`~ebmjax.tempering.ais.annealed_importance_sampling` from given positions;
    pure, unchecked."""
    move = functools.partial(
        advance, key, path, make_kernel, betas, step_sizes, num_steps, num_relax
    )
    steps = steps_of(len(betas), num_relax, is_reversed)
    end, acceptance = move(steps, start_of(path, positions), is_reversed=is_reversed)
    at_base = make_kernel(path(betas[0]), jax.tree.map(lambda s: s[0], step_sizes))
    return weights_of(at_base, end, acceptance, num_relax, is_reversed)


def start_of(path: Path, positions: Position) -> _Chains:
    energies = jax.vmap(path(1.0))(positions)
    zero = jnp.zeros_like(energies)
    return _Chains(
        positions, zero, zero, energies, energies, jnp.int32(0), jnp.int32(0)
    )


def steps_of(num_betas: int, num_relax: int, is_reversed: bool) -> tuple[Array, Array]:
    """The number and the level of each step; a reverse run begins with ``num_relax``
    steps at the target."""
    levels = jnp.arange(1, num_betas)
    if is_reversed:
        levels = jnp.concatenate([jnp.full(num_relax, num_betas - 1), levels[::-1]])
    return jnp.arange(len(levels)), levels


def advance(
    key: Key,
    path: Path,
    make_kernel: MakeKernel,
    betas: Array,
    step_sizes: Any,
    num_steps: int,
    num_relax: int,
    steps: tuple[Array, Array],
    chains: _Chains,
    *,
    is_reversed: bool,
) -> tuple[_Chains, Array]:
    """The chains after some of the steps, and the acceptance rate at each."""
    keys = chain_keys(key, len(chains.total))
    to_level = jax.vmap(
        functools.partial(explore, path, make_kernel, num_steps),
        (0, 0, None, None, None),
        axis_name=CHAINS,
    )
    work = jax.vmap(path.work, (None, None, 0))
    size_at = lambda t: jax.tree.map(lambda s: s[t], step_sizes)

    def level(start: _Chains, step):
        c = start
        i, t = step  # the number of the step, the level
        below, beta = betas[t - 1], betas[t]
        if not is_reversed:
            c = c.weighed(-work(below, beta, c.positions))
        moved = to_level(keys, c.positions, beta, size_at(t), i * num_steps)
        positions, energy, info = moved
        c = c._replace(
            positions=positions,
            num_nonfinite=c.num_nonfinite + jnp.sum(info.num_nonfinite),
            num_grads=c.num_grads + jnp.sum(info.num_grads),
        )
        if is_reversed:
            to = jnp.where(i < num_relax, beta, below)
            relaxed = jnp.where(i == num_relax - 1, energy, c.relaxed)
            c = c._replace(relaxed=relaxed).weighed(-work(beta, to, positions))
        return cast_like(c, start), jnp.mean(info.acceptance_rate)

    return jax.lax.scan(level, chains, steps)


def weights_of(
    at_base: Kernel, end: _Chains, acceptance: Array, num_relax: int, is_reversed: bool
) -> AnnealedWeights:
    """The weights after all steps; ``at_base`` is the kernel of the base."""
    return AnnealedWeights(
        end.total + end.rest,
        end.positions,
        acceptance[num_relax:],
        end.num_nonfinite,
        end.num_grads,
        jnp.where(num_relax > 0, _drift(end.before, end.relaxed), 0.0),
        is_reversed,
        at_base.is_reversible,
    )


def _drift(before: Array, after: Array) -> Array:
    """The mean change of energies ``[C]`` in standard errors."""
    change = after - before
    floor = LEAST_DRIFT * (1 + jnp.mean(jnp.abs(before)))
    num = len(change)
    error = jnp.std(change) / max(num - 1, 1) ** 0.5 + floor / DRIFT
    return jnp.mean(change) / error


def drift_limit(num_chains: int) -> float:
    """Student's quantile of the probability of ``DRIFT`` standard errors of a normal;
    infinity of one chain, whose error is unknown."""
    if num_chains < 2:
        return float("inf")
    return float(-special.stdtrit(num_chains - 1, special.ndtr(-DRIFT)))


def explore(path, make_kernel, num_steps, key, position, beta, step_size, start):
    """``num_steps`` transitions of a chain at ``beta``: position, energy, info."""
    kernel = make_kernel(path(beta), step_size)
    state, _, info = run(
        key, kernel, kernel.init(position), num_steps, start=start, collect=discard
    )
    return state.position, state.energy, info
