"""Annealed importance sampling, forward and reverse: lower and upper bounds on log Z.

Neal 2001, "Annealed importance sampling".  Along a path ``E_0, ..., E_L``, with
kernels ``T_t`` that leave ``exp(-E_t)`` invariant,

    forward   x_0 ~ exp(-E_0);  for t = 1..L:
                  log w += E_{t-1}(x) - E_t(x),   x ~ T_t(x, .)
    reverse   x ~ exp(-E_L);    for t = L..1:
                  x ~ T_t(x, .),   log w += E_t(x) - E_{t-1}(x)

Then ``E w = Z_L / Z_0`` forward and ``Z_0 / Z_L`` in reverse, exactly, for any such
kernels and any schedule that is fixed beforehand.  By Jensen ``log w`` is a stochastic
lower bound on the log of its mean: forward runs bound log Z from below and reverse runs
bound it from above (Grosse, Ghahramani & Adams 2015, "Sandwiching the marginal
likelihood using bidirectional Monte Carlo").  With perfect transitions

    E log w = log Z_L/Z_0 - sum_t KL(pi_{t-1} || pi_t)      forward
    E log w = log Z_0/Z_L - sum_t KL(pi_t || pi_{t-1})      in reverse.

The upper bound needs exact draws of the target.  It is invalid for chains that have
missed a mode, which no test of the chains alone can detect.  A drift of their energies
is detected and reported.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import as_function
from ebmjax.base import Dense, Key, Position
from ebmjax.sampling.progress import Progress, reporter
from ebmjax.tempering.annealing import MakeKernel, drift_limit
from ebmjax.tempering.annealing_programs import annealed
from ebmjax.tempering.paths import Path
from ebmjax.tempering.validation import (
    check_base,
    check_betas,
    check_kernel,
    check_path,
    check_positions,
    check_support,
)
from ebmjax.tempering.weights import AnnealedWeights

FEW_CHAINS = 10.0  # an effective sample size below this is reported


def annealed_importance_sampling(
    key: Key,
    path: Path,
    make_kernel: MakeKernel,
    betas: Any,
    step_sizes: Any = 1.0,
    *,
    num_chains: int = 256,
    num_steps: int = 1,
    positions: Position | None = None,
    is_reversed: bool = False,
    num_relax: int = 20,
    progress: bool | Progress = False,
) -> AnnealedWeights:
    """Chains from the base to the target, or in reverse, with their importance weights.

    One compiled program; its memory does not grow with the number of levels.

    Args:
      key: one key.
      path: :func:`~ebmjax.tempering.paths.geometric` or a :class:`Path` with a base.
      make_kernel: ``(energy, step_size) -> kernel``, such as ``eb.mala``.
      betas: ``[L + 1]``, rising from 0 to 1.
      step_sizes: one number, or a tree of ``[L + 1, ...]``.  Both are what
        :func:`~ebmjax.tempering.schedule.pilot` returns.  A schedule adapted to these
        chains makes the weights biased.
      num_chains: C, of a forward run.
      num_steps: transitions per level.
      positions: ``[C, ...]`` exact draws of the target, for a reverse run.
      is_reversed: run from the target to the base.
      num_relax: transitions at the target that a reverse run begins with; the drift
        of the energies is measured over them, and not if there are none.
      progress: ``True`` for a bar (needs rich), or a function ``(done, total, text)``.
        The levels then run in up to 40 calls of a program, with the same numbers.

    Raises:
      ValueError, TypeError: a schedule that does not run from 0 to 1, no base, a base
        of another shape or of smaller support than the target, a ``make_kernel`` that
        makes no kernel, weights that are NaN, no chain with a positive weight, values
        that are traced.

    Warns of a small effective sample size, of positions whose energies drift, and of a
    kernel that is not invariant.

    >>> path = geometric(gaussian(jnp.zeros(2), 3.0), energy)  # doctest: +SKIP
    >>> schedule = pilot(key_pilot, path, eb.mala, 0.5)  # doctest: +SKIP
    >>> found = annealed_importance_sampling(key, path, eb.mala, *schedule)
    ... # doctest: +SKIP
    >>> found.log_z, found.bound()  # doctest: +SKIP
    """
    checks.on_host(
        (key, path, betas, step_sizes, positions),
        "annealed_importance_sampling",
        "ebmjax.tempering.annealing.anneal",
    )
    key, path = checks.key(key), check_path(path)
    make_kernel = as_function(make_kernel, "make_kernel")
    betas = check_betas(betas)
    step_sizes = _steps(step_sizes, len(betas))
    num_chains = checks.count(num_chains, "num_chains")
    checks.count(num_steps, "num_steps")
    checks.count(num_relax, "num_relax", least=0)
    check_base(path)
    check_kernel(make_kernel, path, jax.tree.map(lambda s: s[0], step_sizes))
    if is_reversed:
        if positions is None:
            raise ValueError(
                "positions must be draws of the target [C, ...] for a reverse run, "
                "got None"
            )
        positions = checks.position(positions)
        num_chains = checks.num_chains(positions)
        check_positions(path, positions)
    elif positions is not None:
        raise ValueError("positions belong to a reverse run: is_reversed=True")
    title = "annealing back" if is_reversed else "annealing"
    report = reporter(progress, title)
    found = annealed(
        report if progress else None,
        key,
        path,
        make_kernel,
        jnp.asarray(betas, jnp.result_type(float)),
        step_sizes,
        positions,
        num_chains=num_chains,
        num_steps=num_steps,
        num_relax=num_relax if is_reversed else 0,
    )
    found = found._replace(
        is_reversed=is_reversed, is_reversible=bool(found.is_reversible)
    )
    _report(path, found)
    return found


def _steps(step_sizes, num):
    """A tree of ``[L + 1, ...]``; a number is used for all levels."""
    if isinstance(step_sizes, Dense):
        raise TypeError(
            "step_sizes must be one number or a tree of [L + 1, ...], got Dense; make "
            "it in make_kernel: lambda energy, s: eb.mala(energy, Dense(s * root))"
        )
    if isinstance(step_sizes, list | tuple) and not any(map(np.ndim, step_sizes)):
        step_sizes = np.asarray(step_sizes)
    checks.positive(step_sizes, "step_sizes")
    if not isinstance(step_sizes, dict | list | tuple) and np.ndim(step_sizes) == 0:
        return jnp.full(num, step_sizes, jnp.result_type(float))
    for leaf in jax.tree.leaves(step_sizes):
        if np.shape(leaf)[:1] != (num,):
            raise ValueError(
                f"step_sizes must be one number or [L + 1, ...] with L + 1 = {num}, "
                f"got shape {np.shape(leaf)}"
            )
    return jax.tree.map(lambda s: jnp.asarray(s, jnp.result_type(float)), step_sizes)


def _report(path, found: AnnealedWeights) -> None:
    log_weights = np.asarray(found.log_weights)
    is_nan = np.isnan(log_weights)
    if is_nan.any():
        raise ValueError(
            f"energy must not be NaN along the path: chains "
            f"{np.flatnonzero(is_nan)[:5].tolist()} of {len(log_weights)} have no "
            "weight"
        )
    if not (log_weights > -np.inf).any():
        raise ValueError(
            "no chain has a weight left: the energy was infinite at every chain; use "
            "more levels or a base inside the support of the target"
        )
    if not found.is_reversed:
        check_support(path, found.positions, "final positions")
    ess = found.effective_sample_size
    if ess < min(FEW_CHAINS, len(log_weights) / 2):
        checks.warn(
            f"few chains carry the weights: {ess:.1f} effective of "
            f"{len(log_weights)}; the bound holds, the estimate is poor. Use more "
            "levels or steps"
        )
    if abs(found.drift) > drift_limit(len(log_weights)):
        checks.warn(
            f"positions are not draws of the target: their mean energy moves by "
            f"{found.drift:+.0f} standard errors under its kernel, so that the reverse "
            "run bounds nothing; run the chains for longer"
        )
