"""Handling of non-finite and stuck chains: counted per chain, reported at the end.

    revert   a step to where the energy is NaN or infinite is undone (in compiled code,
             always)
    reinit   and a chain that never moved in a chunk is put where another chain is
    raise    and the first chunk with either is the last

``reinit`` biases the run: the chain that is copied counts twice.

Totals are sums in float64 and int64 on the host: exact over any number of steps.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks

POLICIES = ("revert", "reinit", "raise")
# a chain that never moved is stuck, and not unlucky, at this acceptance rate or below
FROZEN = 0.01
FEWEST = 10  # steps after which that is judged
FLOAT64 = (
    "; where that is rounding, of a Cholesky factor or the logarithm of a difference, "
    "float64 avoids it (jax_enable_x64)"
)
BLURRED = 0.05  # nat: energies that are rounded by more bias the acceptance


class ChainFault(RuntimeError):
    """A chain that proposed NaN, or never moved, under ``on_fault="raise"``."""


class Totals(NamedTuple):
    """Of the steps so far, one entry a chain ``[C]``."""

    acceptance: np.ndarray  # float64, sum over the steps after warm-up
    num_nonfinite: np.ndarray  # int64
    is_moved: np.ndarray  # in any step after warm-up
    num_restarted: np.ndarray  # int64
    last_rate: np.ndarray  # float64, of the last chunk

    @staticmethod
    def zeros(num_chains: int) -> "Totals":
        none, rate = np.zeros(num_chains, np.int64), np.zeros(num_chains, np.float64)
        return Totals(rate, none, np.zeros(num_chains, bool), none, rate)


def count(
    totals: Totals, info, length: int, is_warmup: bool
) -> tuple[Totals, np.ndarray]:
    """The totals after a chunk, and which chains never moved in it, ``[C]``."""
    rate, nonfinite, is_moved = (
        np.asarray(x)
        for x in (info.acceptance_rate, info.num_nonfinite, info.is_accepted)
    )
    totals = totals._replace(last_rate=rate.astype(np.float64))
    if not is_warmup:
        totals = totals._replace(
            acceptance=totals.acceptance + length * rate.astype(np.float64),
            num_nonfinite=totals.num_nonfinite + nonfinite,
            is_moved=totals.is_moved | is_moved,
        )
    return totals, ~is_moved & (rate <= FROZEN) & (length >= FEWEST)


def restart_lost(key, step, state, totals, is_lost, info, policy):
    """State and totals after the policy was applied to a chunk; may raise
    ChainFault."""
    nonfinite = np.asarray(info.num_nonfinite)
    if policy == "raise" and (is_lost.any() or nonfinite.any()):
        chain = int(np.argmax(is_lost if is_lost.any() else nonfinite))
        what = (
            "never moved"
            if is_lost.any()
            else f"proposed {nonfinite[chain]} points of energy NaN or -inf"
        )
        raise ChainFault(
            f"chain {chain} {what} in the chunk that began at step {step} "
            f"({is_lost.sum()} chains never moved, {(nonfinite > 0).sum()} proposed "
            "such points)"
        )
    if policy != "reinit" or not is_lost.any() or is_lost.all():
        return state, totals
    key = jax.random.fold_in(jax.random.fold_in(key, 2**32 - 1), step)
    weights = jnp.asarray(~is_lost, jnp.float32)
    donors = jax.random.choice(
        key, len(is_lost), (len(is_lost),), p=weights / weights.sum()
    )
    index = jnp.where(jnp.asarray(is_lost), donors, jnp.arange(len(is_lost)))
    moved = jax.tree.map(lambda x: jax.device_put(x[index], x.sharding), state)
    return moved, totals._replace(
        num_restarted=totals.num_restarted + is_lost.astype(np.int64)
    )


def warn(totals: Totals, rate: np.ndarray, num_steps: int, energy) -> None:
    """Warn of chains that never moved, of proposals that were not finite, of energies
    so large that float32 rounds their differences."""
    for message in _messages(totals, rate, num_steps, energy):
        checks.warn(message, RuntimeWarning)


def _messages(totals, rate, num_steps, energy):
    is_frozen = ~totals.is_moved & (rate <= FROZEN) & (num_steps >= FEWEST)
    if is_frozen.any():
        listed = ", ".join(str(c) for c in np.flatnonzero(is_frozen)[:5])
        yield (
            f"{is_frozen.sum()} of {len(is_frozen)} chains never moved in {num_steps} "
            f"steps (chain {listed}): the step size is too large, or the energy is not "
            "finite around them"
        )
    if totals.num_nonfinite.any():
        worst = int(np.argmax(totals.num_nonfinite))
        yield (
            f"{totals.num_nonfinite.sum()} proposals had an energy or a ratio of NaN "
            f"or minus infinity and were rejected; most in chain {worst}, "
            f"{totals.num_nonfinite[worst]} of {num_steps}"
            + FLOAT64
            * (energy.dtype != jnp.float64)
        )
    if totals.num_restarted.any():
        yield (
            f"{(totals.num_restarted > 0).sum()} chains never moved in a chunk and "
            "were put where others are"
        )
    size = float(np.median(np.abs(np.asarray(energy))))
    rounding = size * float(jnp.finfo(energy.dtype).eps)
    if rounding > BLURRED:
        yield (
            f"energies are about {size:.2g}, where {energy.dtype} rounds their "
            f"differences to {rounding:.2g} nat: subtract a constant from the energy"
        )
