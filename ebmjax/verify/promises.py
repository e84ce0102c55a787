"""Test whether a kernel rejects non-finite points.

The energy is ``|x|^2 / 2`` with three forbidden regions: +inf for ``x[0] > 1`` (a hard
boundary of the support), NaN for ``x[0] < -1``, -inf where ``|x[1]| > 3``.  No state
may ever hold a position there or an energy that is not finite.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Energy, Kernel, Key
from ebmjax.verify.report import Report, exact
from ebmjax.verify.running import Chains, chain_keys

BROKEN = (
    "The kernel moves to points whose energy is not finite.  Let its move return the "
    "old state there, or wrap it in reject_nonfinite(kernel)."
)


def claims_to_reject(kernel: Any) -> bool:
    """Whether a kernel claims to reject non-finite points."""
    return isinstance(kernel, Kernel) and bool(kernel.rejects_nonfinite)


def walls(x: Any) -> Any:
    """The energy, of one point ``[2]``."""
    energy = 0.5 * jnp.sum(x**2)
    energy = jnp.where(x[0] > 1, jnp.inf, energy)
    energy = jnp.where(x[0] < -1, jnp.nan, energy)
    return jnp.where(jnp.abs(x[1]) > 3, -jnp.inf, energy)


def rejects_nonfinite(
    key: Key,
    make_kernel: Callable[[Energy], Any],
    *,
    num_chains: int = 2000,
    num_steps: int = 50,
    name: str = "the kernel",
) -> Report:
    """Run a kernel on an energy with hard boundaries and regions of NaN.

    Args:
      key: one key.
      make_kernel: from an energy of one point ``[2]`` to the kernel, such as
        ``lambda e: mala(e, 1.5)``; steps of about 1 reach the boundaries.
      num_chains, num_steps: of the run.
      name: of the kernel, for the title.

    Returns:
      A report.  A kernel that makes no such claim and enters a region is INCONCLUSIVE;
      one that claims to reject and enters fails.
    """
    kernel = checks.function(make_kernel, "make_kernel")(walls)
    key_start, key_run = jax.random.split(checks.key(key))
    low, high = jnp.array([-1.0, -2.0]), jnp.array([1.0, 2.0])
    start = jax.random.uniform(key_start, (num_chains, 2), minval=low, maxval=high)
    keys, chains = chain_keys(key_run, 0, num_chains), Chains(kernel)
    states = chains.start(keys, start)
    step = chains.segment(1)
    num_outside = num_energies = 0
    is_moved = np.zeros(2, bool)
    for t in range(num_steps):
        states, moved = step(keys, states, t)
        is_moved |= np.asarray(moved)
        energies = np.asarray(jax.vmap(walls)(states.position))
        num_outside += int((~np.isfinite(energies)).sum())
        kept = np.asarray(getattr(states, "energy", energies))
        num_energies += int((~np.isfinite(kept)).sum())
    claims = claims_to_reject(kernel)
    findings = (
        exact("positions where the energy is not finite", num_outside, 0),
        exact("states whose energy is not finite", num_energies, 0),
    )
    untested = "" if is_moved.any() else "no chain ever moved"
    if not claims and (num_outside or num_energies):
        findings = tuple(  # type: ignore[assignment]
            f._replace(p_value=1.0) for f in findings
        )
        untested = (
            "the kernel enters regions without a finite energy, and does not claim to "
            "reject them; wrap it in reject_nonfinite"
        )
    return Report(
        f"rejection of non-finite points by {name}",
        f"{num_chains} chains, {num_steps} steps, claims to reject: {claims}",
        findings,
        suggestion=BROKEN,
        untested=untested,
    )
