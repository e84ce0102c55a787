"""Exact-start tests: chains that start at exact draws of the target must still follow it (Gandy & Scott 2020,
arXiv:2001.06465, sections 2.1 and 2.2).

The chains are independent of each other by construction, so that p-values need no burn-in, no effective
sample size and no tolerance.

``invariance``  N chains, k steps.  Paired: the mean of f(x_k) - f(x_0) is zero for every f; where the kernel
    is reversible the difference is symmetric about zero besides, so that the normal approximation holds far
    into its tails.  Two samples: x_k against fresh exact draws, Kolmogorov and Smirnov, coordinate by
    coordinate.
``rank``  for reversible kernels: an exact draw is put at a place j ~ U(0..L) and the chain run L - j steps on
    and j steps back with the same kernel.  Then j is independent of the chain, and the rank of f(x_j) in it
    uniform.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.special import chdtrc

from ebmjax import _validation as checks
from ebmjax.base import Energy, Key
from ebmjax.sampling.loop import chain_keys
from ebmjax.verify import statistics as _stats
from ebmjax.verify.report import Finding, Report

BIASED = (
    "The chains left their target.  What it usually is: a Hastings ratio that is missing or has its "
    "arguments swapped, a sign in the energy, noise that is used twice, no Metropolis correction."
)


def invariance(
    key: Key,
    kernel: Any,
    target: Any,
    *,
    num_chains: int = 20_000,
    num_steps: int = 20,
    statistics: Sequence[str] = _stats.STATISTICS,
    alpha: float = 1e-6,
    complete: Callable[[Key, Any], Any] | None = None,
    name: str | None = None,
) -> Report:
    """Do chains that start at exact draws stay exact?

    Args:
      key: one key.
      kernel: anything with ``init(position)`` and ``step(key, state) -> (state, info)``, whose state has a
        ``position``: a kernel of this library, or of BlackJAX.
      target: anything with ``sample(key, n)``, exact and independent draws ``[n, ...]``, and ``energy``.
      num_chains: N.
      num_steps: k.
      statistics: some of ``moments`` (of coordinates and of neighbouring pairs), ``projections`` (on random
        directions), ``energy``, ``ks``.
      alpha: the rate of false alarms.
      complete: ``complete(key, state) -> state`` draws what a state holds beyond the position from its exact
        law, a momentum that persists for instance.
      name: of the kernel, for the title.

    Returns:
      A :class:`Report`.

    >>> report = invariance(jax.random.key(0), mala(target.energy, 0.5), target)  # doctest: +SKIP
    >>> print(report)  # doctest: +SKIP
    """
    checks.count(num_chains, "num_chains", least=100)
    checks.count(num_steps, "num_steps")
    for statistic in statistics:
        if statistic not in _stats.STATISTICS:
            raise ValueError(
                f"statistics must be among {', '.join(_stats.STATISTICS)}, got {statistic!r}"
            )
    key_start, key_run, key_fresh, key_directions = jax.random.split(checks.key(key), 4)
    start = target.sample(key_start, num_chains)
    fresh = target.sample(key_fresh, num_chains)
    if (num := checks.num_chains(start, "target.sample(key, n)")) != num_chains:
        raise ValueError(
            f"target.sample(key, n) must give n draws, {num_chains}, got {num}"
        )
    end = _advance(_hashable(kernel), num_steps, complete, key_run, start)
    before, after, exact = (_flat(x) for x in (start, end, fresh))

    findings = [_stats.moved(before, after), _stats.finite(after)]
    if findings[1].p_value > 0:
        energies = [_energies(target.energy, x) for x in (start, end, fresh)]
        directions = _stats.directions(key_directions, before.shape[1])
        names, (f_before, f_after) = _stats.features(
            statistics, before, after, energies, directions
        )
        findings += _stats.paired(names, f_before, f_after, alpha)
        if "ks" in statistics:
            labels = [*_stats.coordinate_names(exact.shape[1]), "E"]
            samples = zip(
                labels, [*after.T, energies[1]], [*exact.T, energies[2]], strict=True
            )
            findings += [
                _stats.ks(f"KS of {name}", a, b, alpha) for name, a, b in samples
            ]
    return Report(
        f"invariance of {_name(target)} under {name or _name(kernel)}",
        f"{num_chains} chains from exact draws, {num_steps} steps",
        tuple(findings),
        alpha,
        {"before": exact, "after": after, "kind": "invariance"},
        BIASED,
    )


def rank(
    key: Key,
    kernel: Any,
    target: Any,
    *,
    num_chains: int = 20_000,
    num_steps: int = 15,
    alpha: float = 1e-6,
    name: str | None = None,
) -> Report:
    """Is the kernel reversible with respect to the target?

    Args: as :func:`invariance`; ``num_steps`` is L, the length of a chain.
    """
    checks.count(num_chains, "num_chains", least=20 * (num_steps + 1))
    key_start, key_on, key_back, key_place, key_ties = jax.random.split(
        checks.key(key), 5
    )
    start = target.sample(key_start, num_chains)
    place = np.asarray(jax.random.randint(key_place, (num_chains,), 0, num_steps + 1))
    chains = [
        _flat_path(_path(_hashable(kernel), num_steps, k, start))
        for k in (key_on, key_back)
    ]
    origin = _flat(start)
    functions: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda x, i=i: x[..., i] for i in range(min(origin.shape[1], 6))
    ]
    names = list(_stats.coordinate_names(origin.shape[1]))[: len(functions)]
    names.append("|x - median|^2")
    middle = np.median(origin, axis=0)
    functions.append(lambda x: ((x - middle) ** 2).sum(axis=-1))

    findings, histograms = [], {}
    times = np.arange(1, num_steps + 1)[:, None]
    is_used = (times <= num_steps - place, times <= place)
    uniform = np.asarray(jax.random.uniform(key_ties, (num_chains,)))
    for label, f in zip(names, functions, strict=True):
        value = f(origin)
        below, ties = np.zeros(num_chains, int), np.zeros(num_chains, int)
        for path, used in zip(chains, is_used, strict=True):
            other = f(path)
            below += ((other < value) & used).sum(axis=0)
            ties += ((other == value) & used).sum(axis=0)
        ranks = below + np.floor(uniform * (ties + 1)).astype(int)
        counts = np.bincount(ranks, minlength=num_steps + 1)
        mean = num_chains / (num_steps + 1)
        distance = float(((counts - mean) ** 2 / mean).sum())
        p_value = float(chdtrc(num_steps, distance))
        findings.append(Finding(f"rank of {label}", distance, num_steps, p_value))
        histograms[label] = counts
    findings.append(_stats.moved(origin, chains[0][-1]))
    return Report(
        f"reversibility of {name or _name(kernel)} on {_name(target)}",
        f"{num_chains} chains of {num_steps} steps around an exact draw; chi squares of ranks",
        tuple(findings),
        alpha,
        {"ranks": histograms, "kind": "rank"},
        BIASED,
    )


# --- running ----------------------------------------------------------------------------------------------


class _Pair(tuple):
    """``(init, step)``, hashable: what is compiled for."""


def _hashable(kernel) -> _Pair:
    if not (hasattr(kernel, "init") and hasattr(kernel, "step")):
        raise TypeError(
            f"kernel must have init and step, got {checks.describe(kernel)}"
        )
    return _Pair((kernel.init, kernel.step))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _advance(pair, num_steps, complete, key, positions):
    return _scan(pair, num_steps, complete, key, positions, keep=False)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _path(pair, num_steps, key, positions):
    return _scan(pair, num_steps, None, key, positions, keep=True)


def _scan(pair, num_steps, complete, key, positions, *, keep):
    """Any kernel, so by its ``step``; the keys are those of :func:`ebmjax.run`."""
    init, step = pair
    keys = chain_keys(key, len(jax.tree.leaves(positions)[0]))
    states = jax.vmap(init)(positions)
    if complete is not None:
        states = jax.vmap(complete)(
            jax.vmap(lambda k: jax.random.fold_in(k, 2**31))(keys), states
        )

    def one(states, t):
        states, _ = jax.vmap(lambda k, s: step(jax.random.fold_in(k, t), s))(
            keys, states
        )
        return states, states.position if keep else None

    states, path = jax.lax.scan(one, states, jnp.arange(num_steps))
    return path if keep else states.position


@functools.partial(jax.jit, static_argnums=0)
def _energy_of(energy: Energy, positions):
    return jax.vmap(energy)(positions)


def _energies(energy, positions) -> np.ndarray:
    return np.asarray(_energy_of(energy, positions), np.float64)


def _flat(positions) -> np.ndarray:
    return np.asarray(jax.vmap(lambda x: ravel_pytree(x)[0])(positions), np.float64)


def _flat_path(path) -> np.ndarray:
    return np.asarray(
        jax.vmap(jax.vmap(lambda x: ravel_pytree(x)[0]))(path), np.float64
    )


def _name(thing) -> str:
    name = getattr(thing, "name", None) or getattr(thing, "__name__", None)
    return name if isinstance(name, str) else "the kernel"
