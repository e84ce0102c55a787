"""Warm-up of many conditions at once, each tuned for itself.

``warm_up_each`` is :func:`ebmjax.warm_up` on E(., c_b) for every row c_b of the
conditions, in one compiled program: step size, covariance and length are those of
condition b alone.  What comes out is one kernel a chain, for :func:`ebmjax.sample`;
chain k of condition b is chain b C + k.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._random import fold_in
from ebmjax._value import as_function
from ebmjax.adaptation.checks import (
    check_adapted,
    check_covariance,
    covariance_of,
    steps_of,
    target_of,
)
from ebmjax.adaptation.warmup import adapt, with_length
from ebmjax.base import Energy, Kernel, Key, Position, evaluate
from ebmjax.energies.conditional import ConditionalEnergy, as_condition, condition
from ebmjax.kernels.chains import Stacked
from ebmjax.sampling.initialization import check_grad


class TunedEach(NamedTuple):
    """What :func:`warm_up_each` found, for B conditions of C chains."""

    kernel: Stacked  # one kernel a chain, B C of them
    step_size: Any  # [B] or [B, ...], of each condition
    num_steps: np.ndarray | None  # [B] of a trajectory, where that was free
    position: Position  # [B C, ...] where the chains are now
    acceptance_rate: np.ndarray  # [B, T] of each step
    is_lost: np.ndarray  # [B, C] bool, chains far above the others of their condition
    num_grads: int  # gradients that it took, of all chains together

    def __repr__(self) -> str:
        num, chains = self.is_lost.shape
        size = f"{num} conditions of {chains} chains"
        return f"TunedEach({size}, {self.num_grads} gradients)"


def warm_up_each(
    key: Key,
    make_kernel: Callable[..., Kernel],
    energy: ConditionalEnergy,
    conditions: Any,
    positions: Position,
    *,
    num_steps: int | None = None,
    target: float | None = None,
    covariance: str | None = "auto",
    step_size: float = 1.0,
) -> TunedEach:
    """Tune a kernel for each of many conditions, in one program.

    Condition b gets the numbers that ``warm_up(fold_in(key, b), make_kernel,
    condition(energy, c_b), positions[b])`` finds.  Other conditions of the same shape
    compile nothing.

    Args:
      key: one key.
      make_kernel: as of :func:`ebmjax.warm_up`.
      energy: ``energy(x, c)`` of one point and one condition.
      conditions: ``[B, ...]`` on every leaf.
      positions: where the chains start, ``[B, C, ...]`` on every leaf.
      num_steps, target, covariance, step_size: as of :func:`ebmjax.warm_up`; for C
        chains.

    Returns:
      :class:`TunedEach`, for ``sample(key, tuned.kernel, tuned.position, 1000)`` and
      :func:`ebmjax.summary_each`.

    Raises:
      ValueError: numbers of conditions and positions that differ, a start whose energy
        or gradient is not finite, naming condition and chain.
      RuntimeError: a step size that is not finite in the end.

    Warns:
      for each condition as :func:`ebmjax.warm_up`, naming it.

    >>> energy = lambda x, c: 0.5 * jnp.sum((x - c) ** 2) * jnp.exp(c)
    >>> c = jnp.linspace(-2, 2, 5)
    >>> tuned = warm_up_each(jax.random.key(0), mala, energy, c, jnp.ones((5, 8, 2))
    ...                      )  # doctest: +SKIP
    """
    checks.on_host((key, positions, conditions), "warm_up_each", "vmap of adapt")
    key, make_kernel = checks.key(key), with_length(make_kernel)
    energy = as_function(energy, "energy")
    conditions = as_condition(conditions, "conditions")
    positions = checks.position(positions)
    num, num_chains = _numbers(conditions, positions)
    checks.positive(step_size, "step_size")
    num_steps = steps_of(num_steps, num_chains)
    check_covariance(covariance)
    first = jax.tree.map(lambda c: c[0], conditions)
    template = make_kernel(condition(energy, first), jnp.float32(step_size))
    checks.instance(template, Kernel, "kernel", "make_kernel of an energy")
    covariance = covariance_of(template, covariance)
    target = target_of(template, target)
    starts = _evaluated(energy, conditions, positions, template.needs_grad)
    _check_starts(starts, num_chains)
    keys = jax.vmap(lambda b: fold_in(key, b))(jnp.arange(num))
    numbers = jnp.float32(target), jnp.float32(step_size)
    found = _compiled(
        keys,
        make_kernel,
        energy,
        conditions,
        positions,
        *numbers,
        num_steps,
        covariance,
    )
    _check_each(found, energy, conditions, positions, target)
    kernel = _one_a_chain(found, make_kernel, energy, conditions, num_chains)
    flat = lambda x: x.reshape(num * num_chains, *x.shape[2:])
    return TunedEach(
        kernel,
        found.step_size,
        None if found.num_steps is None else np.asarray(found.num_steps),
        jax.tree.map(flat, found.position),
        np.asarray(found.acceptance_rate),
        np.asarray(found.is_lost),
        int(np.sum(found.num_grads)),
    )


def _numbers(conditions, positions) -> tuple[int, int]:
    """B and C."""
    num = checks.num_chains(conditions, "conditions")
    shapes = {np.shape(x)[:2] for x in jax.tree.leaves(positions)}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise ValueError(
            "positions must be [B, C, ...] on every leaf, the chains of each "
            f"condition, got shapes {sorted(shapes)}"
        )
    got, num_chains = shapes.pop()
    if got != num:
        raise ValueError(
            f"positions must be of as many conditions as conditions has rows, {num}, "
            f"got {got}"
        )
    return num, num_chains


@functools.partial(jax.jit, static_argnames="with_grad")
def _evaluated(energy, conditions, positions, with_grad):
    def chains(c, x):
        given = condition(energy, c)
        return jax.vmap(lambda x: evaluate(given, x, with_grad=with_grad))(x)

    return jax.vmap(chains)(conditions, positions)


def _check_starts(starts, num_chains) -> None:
    bad = np.argwhere(~np.isfinite(np.asarray(starts.energy)))
    if len(bad):
        b, c = bad[0]
        raise ValueError(
            "the energy must be finite where the chains start; it is not at chain "
            f"{c} of condition {b} ({len(bad)} of {starts.energy.size} chains): start "
            "them elsewhere"
        )
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), starts)
    check_grad(flat, f"the chains start (chain b {num_chains} + k is k of condition b)")


def _check_each(found, energy, conditions, positions, target) -> None:
    """The checks of one warm-up on each, with its number in the message."""
    row = lambda tree, b: jax.tree.map(lambda x: np.asarray(x)[b], tree)
    for b in range(len(found.is_lost)):
        one, c = row(found, b), row(conditions, b)
        check_adapted(
            condition(energy, c),
            one,
            row(positions, b),
            target,
            where=f"condition {b}: ",
        )


def _one_a_chain(found, make_kernel, energy, conditions, num_chains) -> Stacked:
    """The kernels of all conditions, each repeated for its chains.

    Only leaves that depend on the condition are stacked: traced ones, inside ``vmap``.
    """
    known: dict[str, Any] = {}

    def own_leaves(adapted, c):
        kernel = adapted.kernel(make_kernel, condition(energy, c))
        leaves, known["treedef"] = jax.tree.flatten(kernel)
        known["is_own"] = tuple(isinstance(x, jax.core.Tracer) for x in leaves)
        known["shared"] = [x for x in leaves if not isinstance(x, jax.core.Tracer)]
        return [x for x in leaves if isinstance(x, jax.core.Tracer)]

    own = iter(jax.vmap(own_leaves)(found, conditions))
    shared = iter(known["shared"])
    leaves = [
        jnp.repeat(next(own), num_chains, axis=0) if is_own else next(shared)
        for is_own in known["is_own"]
    ]
    return Stacked(jax.tree.unflatten(known["treedef"], leaves), known["is_own"])


@functools.partial(jax.jit, static_argnames=("num_steps", "covariance"))
def _compiled(
    keys,
    make_kernel,
    energy,
    conditions,
    positions,
    target,
    step_size,
    num_steps,
    covariance,
):
    def one(key, c, x):
        given: Energy = condition(energy, c)
        return adapt(
            key,
            make_kernel,
            given,
            x,
            num_steps=num_steps,
            covariance=covariance,
            target=target,
            step_size=step_size,
        )

    return jax.vmap(one)(keys, conditions, positions)
