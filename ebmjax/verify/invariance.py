"""Exact-start tests (Gandy & Scott 2020, arXiv:2001.06465, section 2.1).

Chains that start at exact draws of the target must still follow it after k steps.  They
are independent by construction, so that p-values need no burn-in, no effective sample
size and no tolerance.  The statistics are those of :mod:`ebmjax.verify.features`; the
tests are the regression and the bound on rare events of
:mod:`ebmjax.verify.statistics`; a round of them is :class:`ebmjax.verify.trial.Trial`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Key
from ebmjax.verify.features import FAMILIES
from ebmjax.verify.pair import as_target, blame, is_of_library
from ebmjax.verify.report import Report
from ebmjax.verify.running import Chains, Meter, name_of
from ebmjax.verify.sequential import NUM_ROUNDS, sequential
from ebmjax.verify.trial import Trial

STATISTICS = (
    *FAMILIES,
    "products",
    "ks",
    "ties",
    "witness",
    "dependence",
    "rare",
)
GROUPS = {"moments": ("means", "variances", "correlations", "products")}
NUMBERS = 2_000_000  # numbers in the first batch of exact draws, over all dimensions


def invariance(
    key: Key,
    kernel: Any,
    target: Any,
    *,
    num_chains: int | None = None,
    num_steps: int | Sequence[int] = (1, 20, 200),
    statistics: Sequence[str] = STATISTICS,
    alpha: float = 1e-6,
    num_rounds: int = NUM_ROUNDS,
    functions: Mapping[str, Callable[[Any], Any]] | None = None,
    complete: Callable[[Key, Any], Any] | None = None,
    name: str | None = None,
) -> Report:
    """Test whether chains that start at exact draws keep the distribution.

    Args:
      key: one key.
      kernel: anything with ``init(position)`` and ``step(key, state) -> (state, info)``
        whose state has a ``position``: a kernel of this library, or of BlackJAX.
      target: anything with ``energy`` and ``sample(key, n)``, exact independent draws
        ``[n, ...]``; or the pair ``(energy, sample)``.  A pair of the user's own is
        checked first, :func:`ebmjax.verify.pair`.
      num_chains: N of the first round; later rounds have four times as many.  By
        default 100,000 up to 20 dimensions, fewer beyond, at least 20,000.
      num_steps: k, or several, after which a run is tested.
      statistics: some of :data:`STATISTICS`; "moments" stands for four of them.
      alpha: the false-alarm rate, of all rounds together.
      num_rounds: the largest number of rounds for a doubtful p-value; 1 for a test of
        fixed size.
      functions: further functions of one position by name, each a scalar.
      complete: ``complete(key, state) -> state`` draws the other parts of a state from
        their exact distribution: a persistent momentum, for instance.
      name: of the kernel, for the title.

    Returns:
      A :class:`Report`.

    Raises:
      TypeError, ValueError: for bad arguments; a sample of another size than asked for.

    >>> report = invariance(jax.random.key(0), mala(target.energy, 0.5), target)
    ... # doctest: +SKIP
    """
    key = checks.key(key)
    if num_chains is not None:
        checks.count(num_chains, "num_chains", least=100)
    is_one = np.ndim(num_steps) == 0
    looks = [num_steps] if is_one else list(num_steps)  # type: ignore[arg-type]
    looks = sorted({checks.count(k, "num_steps") for k in looks})
    target = as_target(target)
    trial = Trial(
        Chains(kernel, complete),
        Meter(target, functions),
        looks,
        _statistics(statistics),
        name or name_of(kernel),
    )
    num_chains = num_chains or default_chains(target)
    if not is_of_library(target):
        report = blame(jax.random.fold_in(key, 1), target, num_chains, alpha / 2)
        if report.is_failed:
            return report
    if num_rounds == 1:
        report = trial(key, num_chains=num_chains, alpha=alpha)
    else:
        report = sequential(
            trial, key, num_chains=num_chains, alpha=alpha, num_rounds=num_rounds
        )
    return report


def default_chains(target: Any) -> int:
    """N for a target, by its dimension."""
    one = jax.tree.leaves(target.sample(jax.random.key(0), 1))
    dim = sum(np.size(leaf) for leaf in one)
    return int(min(100_000, max(20_000, NUMBERS // dim)))


def _statistics(names) -> tuple[str, ...]:
    names = [n for name in names for n in GROUPS.get(name, (name,))]
    for name in names:
        checks.one_of(name, "statistics", STATISTICS)
    return tuple(dict.fromkeys(names))
