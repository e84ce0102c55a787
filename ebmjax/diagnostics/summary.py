"""A table of statistics of draws, and issues of their chains in words.

:func:`summary` works on the host, in float64, and compiles nothing.  Inside ``jit``
there are single checks: :func:`stuck` and :func:`copies` of draws, :func:`divergences`
and :func:`bfmi` of the infos of a run, ``sample(..., collect=collect_stats)``.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _table
from ebmjax import _validation as checks
from ebmjax.base import Position
from ebmjax.diagnostics import _chain_issues, _circular, _draw_issues, _sampler_issues
from ebmjax.diagnostics._chain_health import (
    bfmi,
    copies,
    divergences,
    is_divergent,
    stuck,
)
from ebmjax.diagnostics._draw_issues import LARGEST_RHAT, LEAST_ESS
from ebmjax.diagnostics._sampler_issues import DIVERGENT, LEAST_BFMI
from ebmjax.energies.constrained import constrain, matched
from ebmjax.sampling.collect import Record, discard
from ebmjax.sampling.samples import Samples

__all__ = [
    "DIVERGENT",
    "LARGEST_RHAT",
    "LEAST_BFMI",
    "LEAST_ESS",
    "Summary",
    "assert_healthy",
    "bfmi",
    "copies",
    "divergences",
    "is_divergent",
    "stuck",
    "summary",
]

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
MOST_ROWS = 20


class Summary(NamedTuple):
    """The result of :func:`summary`; prints as a table, with warnings in words."""

    names: list[str]  # of the coordinates, D
    columns: dict[str, np.ndarray]  # [D] each, float64
    warnings: list[str]

    def __str__(self) -> str:
        title, rows = self._rows()
        table = _table.text(
            self._columns(rows), [self.names[i] for i in rows], formats=FORMATS
        )
        return "\n".join([*title, table, *(f"! {w}" for w in self.warnings)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        title, rows = self._rows()
        table = _table.html(
            self._columns(rows), [self.names[i] for i in rows], formats=FORMATS
        )
        warnings = [f"! {w}" for w in self.warnings]
        return _table.paragraphs(title) + table + _table.paragraphs(warnings)

    def _rows(self) -> tuple[list[str], np.ndarray]:
        """All coordinates, or the worst of many, with a line that says so."""
        number = len(self.names)
        if number <= MOST_ROWS:
            return [], np.arange(number)
        rhat = np.nan_to_num(self.columns["rhat"], nan=np.inf)
        order = np.lexsort((self.columns["ess_bulk"], -rhat))[:MOST_ROWS]
        title = f"{MOST_ROWS} of {number} coordinates, those of the largest R-hat"
        return [title], order

    def _columns(self, rows) -> dict[str, np.ndarray]:
        return {name: values[rows] for name, values in self.columns.items()}


FORMATS = {"ess_bulk": ".0f", "ess_tail": ".0f"}


def summary(draws: Samples | Record | Position, *, support: Any = None) -> Summary:
    """Mean, deviation, standard errors, quantiles, effective sample sizes and R-hat of
    each coordinate, and what is wrong with the chains.

    Args:
      draws: ``[T, C, ...]`` on every leaf, at least six draws; or
        :class:`~ebmjax.sampling.samples.Samples`.  If they were collected by
        ``collect_stats``, energies and the sampler are judged, too.
      support: of the positions, as :func:`~ebmjax.constrain` takes it; by default that
        of the samples.  Of :func:`~ebmjax.supports.periodic` coordinates mean and
        deviation are circular, and R-hat and effective sample sizes those of sine and
        cosine; entries that are the same at all points, such as zeros of a triangle,
        are left out.

    Returns:
      :class:`Summary`; its columns are float64, whatever the draws.

    Raises:
      ValueError: fewer than six draws, or draws that are not finite.
      TypeError: draws of another structure than their support.

    >>> draws = jax.random.normal(jax.random.key(0), (1000, 4, 2))
    >>> print(summary(draws))  # doctest: +SKIP
    """
    if isinstance(draws, Samples):
        support = draws.support if support is None else support
        draws = draws.draws
    record = draws if isinstance(draws, Record) else None
    position = draws if record is None else record.position
    names, leaves = _leaves(position)
    flat = [x.reshape(*x.shape[:2], -1) for x in leaves]
    x = flat[0] if len(flat) == 1 else np.concatenate(flat, axis=2)
    period, low, is_fixed = _of_support(support, position, leaves)
    if is_fixed.any():
        x, period, low = x[:, :, ~is_fixed], period[~is_fixed], low[~is_fixed]
        names = [name for name, fixed in zip(names, is_fixed, strict=True) if not fixed]
    x, columns, spreads = _circular.merge(x, period, low)
    found = _chain_issues.of_chains(leaves)
    if record is not None:
        found += _of_record(record)
    judged = columns | {"sd": np.where(period > 0, 0.0, columns["sd"])}
    found += _draw_issues.of_draws(np.array(names), x, judged, spreads)
    chosen = {name: columns[name] for name in COLUMNS}
    return Summary(names, chosen, found)  # type: ignore[call-arg]


def assert_healthy(
    draws: Samples | Record | Position, *, support: Any = None
) -> Summary:
    """The summary; raises ``RuntimeError`` with it where it has a warning."""
    found = summary(draws, support=support)
    if found.warnings:
        raise RuntimeError(f"the chains are not healthy\n{found}")
    return found


def _of_record(record: Record) -> list[str]:
    """Issues of the energies and of the sampler."""
    info = record.info
    shape = np.shape(info.energy_error)
    stats = info.energy_error, info.num_nonfinite, info.hamiltonian, info.num_grads
    of_steps = (np.broadcast_to(np.asarray(s), shape) for s in stats)
    found = _sampler_issues.of_energy(np.asarray(record.energy))
    return found + _sampler_issues.of_sampler(_sampler_issues.Stats(*of_steps))


def _of_support(support, position, leaves) -> tuple[np.ndarray, ...]:
    """Of each coordinate ``[D]``: its period, 0 where there is none, where its range
    begins, and whether it is the same at all points."""
    supports: list = [None] * len(leaves)
    if support is not None:
        support = constrain(discard, support).support  # type: ignore[arg-type]
        supports = matched(support, position, "draws")
    found = []
    for s, x in zip(supports, leaves, strict=True):
        shape = x.shape[2:]
        ends = (s.period, s.low) if s is not None and s.is_periodic else (0.0, 0.0)
        is_fixed = s is not None and s.is_fixed(shape)
        entries = *(np.asarray(end, np.float64) for end in ends), is_fixed
        found.append([np.ravel(np.broadcast_to(e, shape)) for e in entries])
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def _leaves(draws) -> tuple[list[str], list[np.ndarray]]:
    """Names of the coordinates, and the leaves ``[T, C, ...]`` on the host, all
    finite."""
    names, leaves = [], []
    checks.on_host(draws, "summary", "the functions of ebmjax.diagnostics.convergence")
    for path, leaf in jax.tree_util.tree_leaves_with_path(draws):
        where = "draws" + jax.tree_util.keystr(path)
        if not jnp.issubdtype(getattr(leaf, "dtype", np.dtype(object)), jnp.floating):
            raise TypeError(f"{where} must be floating, got {checks.describe(leaf)}")
        x = np.asarray(leaf)
        if x.ndim < 2 or len(x) < 6 or not x.size:
            raise ValueError(
                "draws must be [T, C, ...] with at least 6 steps, got "
                f"{checks.describe(leaf)}"
            )
        if x.dtype.kind == "V":  # bfloat16 and similar types
            x = x.astype(np.float32)
        checks.finite_rows(x, where)
        leaves.append(x)
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "x"
        shape = x.shape[2:]
        names += [name + (str(list(i)) if shape else "") for i in np.ndindex(*shape)]
    if not leaves:
        raise TypeError(
            f"draws must be an array or a tree of arrays, got {checks.describe(draws)}"
        )
    if len({x.shape[:2] for x in leaves}) > 1:
        shapes = [x.shape for x in leaves]
        raise ValueError(
            f"draws must be [T, C, ...] on every leaf, got shapes {shapes}"
        )
    return names, leaves
