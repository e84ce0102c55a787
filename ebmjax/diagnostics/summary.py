"""What is wrong with a run, in words: a table of the draws and the verdict on their chains.

    stuck         chains that never moved;    copies   chains that repeat another, draw by draw
    divergences   steps whose error of H is above 1000 or not finite: the integrator lost the trajectory
    bfmi          sum_t (H_t - H_t-1)^2 / sum_t (H_t - mean)^2 of a chain, H_t = E + kinetic energy where step
                  t begins; where it is small, momenta change H too little to reach the tails (Betancourt
                  2016, arXiv:1604.00695)

These four work inside ``jit``.  The last two need the infos of a run: ``sample(..., collect=collect_stats)``.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Array, Info, Position
from ebmjax.diagnostics import convergence
from ebmjax.diagnostics.convergence import checked
from ebmjax.sampling.loop import Record
from ebmjax.sampling.sample import Samples, draws_of

LARGEST_RHAT, LEAST_ESS = 1.01, 400  # recommended by Vehtari et al. 2021
DIVERGENT = 1000.0  # nat; Stan's
LEAST_BFMI = 0.3


def stuck(draws: Position) -> Array:
    """Which chains never moved, ``[C]``, of draws ``[T, C, ...]`` on every leaf."""
    return ~jnp.any(
        jnp.stack([_any(x != x[:1], 1) for x in jax.tree.leaves(draws)]), axis=0
    )


def copies(draws: Position) -> Array:
    """Which chains repeat an earlier one bit for bit, ``[C]``, of draws ``[T, C, ...]`` on every leaf.

    Chains are told apart by two sums of their bits modulo 2^32 with random odd weights.
    """
    prints = [jnp.uint32(0)] * 2
    for i, leaf in enumerate(jax.tree.leaves(draws)):
        wide = leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
        bits = jax.lax.bitcast_convert_type(
            wide, jnp.uint32
        )  # of float64 two words, on a last axis
        for j in range(2):
            key = jax.random.fold_in(jax.random.key(2 * i + j), 0)
            weights = jax.random.bits(key, (len(bits), 1, *bits.shape[2:])) | 1
            axes = (0, *range(2, bits.ndim))
            prints[j] = prints[j] + jnp.sum(bits * weights, axis=axes, dtype=jnp.uint32)
    order = jnp.lexsort((jnp.arange(len(prints[0])), *prints))
    a, b = (p[order] for p in prints)
    is_same = (a[1:] == a[:-1]) & (b[1:] == b[:-1])
    return jnp.zeros(len(order), bool).at[order[1:]].set(is_same)


def divergences(info: Info) -> Array:
    """Steps of each chain that diverged, ``[C]``, of infos ``[T, C]``."""
    return jnp.sum(is_divergent(info), axis=0)


def is_divergent(info: Info) -> Array:
    return ~(info.energy_error <= DIVERGENT)


def bfmi(hamiltonian: Array) -> Array:
    """Of each chain, ``[C]``, of ``Info.hamiltonian`` ``[T, C]``; below 0.3 is poor."""
    centred = hamiltonian - hamiltonian.mean(
        axis=0
    )  # the differences keep their digits
    return jnp.sum(jnp.diff(centred, axis=0) ** 2, axis=0) / jnp.sum(centred**2, axis=0)


class Summary(NamedTuple):
    """What :func:`summary` found; prints as a table, with warnings in words."""

    names: list[str]
    columns: dict[str, np.ndarray]
    warnings: list[str]

    def __str__(self) -> str:
        width = max(4, *(len(name) for name in self.names))
        head = " " * width + "".join(f"{name:>10s}" for name in self.columns)
        forms = {
            name: "10.0f" if name.startswith("ess") else "10.4g"
            for name in self.columns
        }
        rows = [
            f"{name:{width}s}"
            + "".join(f"{x[i]:{forms[column]}}" for column, x in self.columns.items())
            for i, name in enumerate(self.names)
        ]
        return "\n".join([head, *rows, *(f"! {warning}" for warning in self.warnings)])


def summary(draws: Samples | Record | Position) -> Summary:
    """Mean, deviation, standard errors, quantiles, effective sample sizes and R-hat of each coordinate, and
    what is wrong with the chains.

    Args:
      draws: ``[T, C, ...]`` on every leaf, at least six draws; or :class:`~ebmjax.sampling.sample.Samples`.  If
        they were collected by ``collect_stats``, the sampler is judged, too.

    Raises:
      ValueError: fewer than six draws, or draws that are not finite.

    >>> print(summary(jax.random.normal(jax.random.key(0), (1000, 4, 2))))  # doctest: +SKIP
    """
    draws, info = draws_of(draws)
    draws = checks.position(draws, "draws")
    names, parts = [], []
    for path, leaf in jax.tree_util.tree_leaves_with_path(draws):
        parts.append(checked(leaf).reshape(*leaf.shape[:2], -1))
        base = jax.tree_util.keystr(path, simple=True, separator=".") or "x"
        shape = leaf.shape[2:]
        names += [base + (str(list(i)) if shape else "") for i in np.ndindex(*shape)]
    x = jnp.concatenate(parts, axis=2)
    columns = {name: np.asarray(values) for name, values in _table(x).items()}
    columns["5%"], columns["95%"] = columns.pop("tails")
    columns = {name: columns[name] for name in COLUMNS}
    found = (
        _of_chains(x)
        + ([] if info is None else _of_sampler(info))
        + _of_draws(names, columns)
    )
    return Summary(names, columns, found)


def assert_healthy(draws: Samples | Record | Position) -> Summary:
    """The summary, or ``RuntimeError`` with it where it has a warning."""
    found = summary(draws)
    if found.warnings:
        raise RuntimeError(f"the chains are not healthy\n{found}")
    return found


COLUMNS = (
    "mean",
    "sd",
    "mcse_mean",
    "mcse_sd",
    "5%",
    "95%",
    "ess_bulk",
    "ess_tail",
    "rhat",
)


@jax.jit
def _table(x) -> dict[str, Any]:
    measures = ("mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "rhat")
    return {
        "mean": x.mean(axis=(0, 1)),
        "sd": x.std(axis=(0, 1), ddof=1),
        "tails": jnp.quantile(x, jnp.array(convergence.TAILS), axis=(0, 1)),
        **{name: getattr(convergence, name)(x) for name in measures},
    }


def _of_chains(x) -> list[str]:
    found = []
    is_stuck, is_copy = np.asarray(jax.jit(stuck)(x)), np.asarray(jax.jit(copies)(x))
    if is_stuck.any():
        which = _few(np.flatnonzero(is_stuck))
        found.append(f"{is_stuck.sum()} of {len(is_stuck)} chains never moved: {which}")
    if is_copy.any():
        which = _few(np.flatnonzero(is_copy))
        found.append(
            f"{is_copy.sum()} chains are copies of another: {which}; give each its own key"
        )
    return found


def _of_sampler(info) -> list[str]:
    if not np.any(info.hamiltonian):  # no momenta, no trajectories
        return []
    found = []
    count = np.asarray(divergences(info))
    if count.any():
        found.append(
            f"{count.sum()} of {info.energy_error.size} steps diverged, in {np.sum(count > 0)} chains: a "
            "smaller step size, or other coordinates"
        )
    low = np.asarray(bfmi(info.hamiltonian)) < LEAST_BFMI
    if low.any():
        found.append(
            f"E-BFMI below {LEAST_BFMI} in {low.sum()} chains: momenta change the energy too little for "
            "these tails; other coordinates"
        )
    return found


def _of_draws(names, columns) -> list[str]:
    found = []
    bad = ~(columns["rhat"] <= LARGEST_RHAT)
    if bad.any():
        which = _few(np.array(names)[bad])
        found.append(
            f"R-hat above {LARGEST_RHAT} in {which}: the chains do not agree, or are too short"
        )
    for name in ("ess_bulk", "ess_tail"):
        small = ~(columns[name] >= LEAST_ESS)
        if small.any():
            found.append(
                f"{name} below {LEAST_ESS} in {_few(np.array(names)[small])}: run longer"
            )
    return found


def _any(condition, axis):
    """Over all axes but one."""
    return jnp.any(condition, axis=tuple(a for a in range(condition.ndim) if a != axis))


def _few(items) -> str:
    return ", ".join(str(i) for i in items[:5]) + (
        f" and {len(items) - 5} more" if len(items) > 5 else ""
    )
