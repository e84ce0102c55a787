"""Kernels that tune themselves while they run: their limit, and whether the gain
vanishes.

A chain that adapts with a constant gain has, in general, a stationary distribution that
differs from its target, however small the gain.  One whose adaptation diminishes
converges to the target (Roberts & Rosenthal 2007, "Coupling and ergodicity of adaptive
MCMC").  At finite k neither preserves the target, so that ``invariance`` rejects both.
Here chains run for many steps, and

    gain   the mean change of the adapted numbers per step must fall with time: at T it
           is compared with that at T / 4;
    law    the positions at T must follow the target, to the power of the number of
           chains.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Key
from ebmjax.verify.features import FAMILIES, Features, labels_of
from ebmjax.verify.pair import as_target
from ebmjax.verify.report import Finding, Report
from ebmjax.verify.running import Chains, Meter, chain_keys, name_of
from ebmjax.verify.statistics import Sums, rows_of, with_shares

NUM_WINDOWS = 16
FALL = 0.85  # of changes at T and T / 4: 4^-a for a gain t^-a, 1 if constant
EXACT = 10
KNOWN = {"position", "energy", "grad", "momentum", "logdensity", "logdensity_grad"}
FOR_EVER = (
    "The adaptation does not diminish, or the chains left their target.  Let the gain "
    "fall to zero, as t^-0.6 for instance, or stop adapting after a warm-up."
)


def adaptive(
    key: Key,
    kernel: Any,
    target: Any,
    *,
    adapted: Callable[[Any], Any] | None = None,
    num_chains: int = 4000,
    num_steps: int = 2000,
    alpha: float = 1e-6,
    complete: Callable[[Key, Any], Any] | None = None,
    name: str | None = None,
) -> Report:
    """Test whether a kernel that adapts converges to its target.

    Args:
      key: one key.
      kernel, target, complete, name: as of :func:`ebmjax.verify.invariance`.
      adapted: from a state to its adapted numbers, a tree; by default all floats of the
        state besides position, energy, gradient and momentum.
      num_chains: N.
      num_steps: T, a multiple of 16, long enough to adapt.
      alpha: the false-alarm rate.

    Raises:
      TypeError: a state without adapted numbers.
    """
    checks.count(num_steps, "num_steps", least=4 * NUM_WINDOWS)
    if num_steps % NUM_WINDOWS:
        raise ValueError(f"num_steps must be a multiple of 16, got {num_steps}")
    target = as_target(target)
    keys = jax.random.split(checks.key(key), 4)
    chains, meter = Chains(kernel, complete), Meter(target)
    read = _adapted if adapted is None else checks.function(adapted, "adapted")
    start = meter.sample(keys[0], num_chains)
    before = meter(start)
    chain = chain_keys(keys[1], 0, num_chains)
    states = chains.start(chain, start)
    if not jax.tree.leaves(read(states)):
        raise TypeError(
            "the state of the kernel holds no adapted numbers; say which they are with "
            f"adapted=, got {checks.describe(states)}"
        )
    states, changes = _run(chains, read, chain, states, num_steps // NUM_WINDOWS)
    after = meter(states.position)
    labels = labels_of(jax.tree.map(lambda leaf: leaf[0], start))
    features = Features(*before[:2], labels, FAMILIES, np.random.default_rng(0))
    rows = []
    findings = [_gain(changes)]
    if np.isfinite(after[0]).all():
        sums = _sums(features, before, after, meter, keys[2])
        rows = rows_of(sums, features, f", {num_steps} steps")
    else:
        findings.append(Finding("chains are finite", 0.0, 1.0, 0.0, family="check"))
    pair = {"before": before[0], "after": after[0]}
    return Report(
        f"limit of {name or name_of(kernel)} on {name_of(target)}",
        f"{num_chains} chains from exact draws, {num_steps} steps",
        tuple(with_shares(rows, findings, alpha)),
        alpha,
        {"kind": "invariance", "labels": labels, **pair},
        FOR_EVER,
    )


def _run(chains: Chains, read, keys, states, length: int):
    """The states after all windows, and the mean change of each."""
    window = chains.compiled(partial(_window, read, length), "window", length, read)
    changes = []
    for i in range(NUM_WINDOWS):
        states, change = window(keys, states, i * length)
        changes.append(float(change))
    return states, changes


def _sums(features: Features, before, after, meter: Meter, key) -> Sums:
    """Those of the chains, and of further exact draws."""
    sums = Sums(len(features.names))
    sums.add(features(*before), features(*after))
    for i in range(EXACT):
        exact = meter.sample(jax.random.fold_in(key, i), len(before[0]))
        sums.add_exact(features(*meter(exact)))
    return sums


def _gain(changes: list[float]) -> Finding:
    """The change per step around T over that around T / 4."""
    early = float(np.mean(changes[3:5]))
    late = float(np.mean(changes[-2:]))
    ratio = late / early if early > 0 else 0.0
    p_value = 1.0 if ratio < FALL else 0.0
    name = f"adaptation at the end over that at a quarter (vanishes: {ratio < FALL})"
    return Finding(name, ratio, 0.0, p_value, f"{FALL:g}", family="check")


def _window(read, length: int, kernel, keys, states, first):
    """``length`` steps, and the mean change of the adapted numbers per step."""

    def one(carry, t):
        states, total = carry
        new, _ = jax.vmap(lambda k, s: kernel.step(jax.random.fold_in(k, t), s))(
            keys, states
        )
        sizes = jax.tree.map(
            lambda a, b: jnp.mean(jnp.abs(a - b)), read(new), read(states)
        )
        change = sum(jax.tree.leaves(sizes))
        return (new, total + jnp.asarray(change, jnp.float32)), None

    times = first + jnp.arange(length)
    carry, _ = jax.lax.scan(one, (states, jnp.float32(0)), times)
    return carry[0], carry[1] / length


def _adapted(state: Any) -> list[Any]:
    """The floats of a state besides the known fields."""
    fields = getattr(state, "_fields", None) or getattr(state, "__dict__", ())
    names = [f for f in fields if f not in KNOWN]  # type: ignore[union-attr]
    leaves = jax.tree.leaves([getattr(state, f) for f in names])
    return [x for x in leaves if jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating)]
