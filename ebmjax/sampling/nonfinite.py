"""What went wrong in a run of chains: counted per chain, told at its end, and what is done about it.

    revert   a step to where the energy is NaN or infinite is undone (in compiled code, always)
    reinit   and a chain that never moved in a chunk is put where another chain is
    raise    and the first chunk with either is the last

``reinit`` rescues a run at a price: the chain that is copied counts twice.
"""

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

POLICIES = ("revert", "reinit", "raise")
FROZEN = 0.01  # a chain that never moved, and had this acceptance rate or less, is stuck and not unlucky
FEWEST = 10  # steps that can tell
BLURRED = 0.05  # nat: a difference of energies that is rounded by more than this biases the accept


class ChainFault(RuntimeError):
    """A chain that proposed NaN, or never moved, under ``on_fault="raise"``."""


class Totals(NamedTuple):
    """Of the steps so far, one entry a chain ``[C]``."""

    acceptance: np.ndarray  # sum over the steps after warm-up
    num_nonfinite: np.ndarray
    is_moved: np.ndarray  # in any step after warm-up
    num_restarted: np.ndarray
    last_rate: np.ndarray  # of the last chunk

    @staticmethod
    def zeros(num_chains: int) -> "Totals":
        none, rate = np.zeros(num_chains, np.int32), np.zeros(num_chains, np.float32)
        return Totals(rate, none, np.zeros(num_chains, bool), none, rate)


def count(
    totals: Totals, info, length: int, is_warmup: bool
) -> tuple[Totals, np.ndarray]:
    """The totals after a chunk, and which chains never moved in it."""
    rate, nonfinite, is_moved = (
        np.asarray(x)
        for x in (info.acceptance_rate, info.num_nonfinite, info.is_accepted)
    )
    totals = totals._replace(last_rate=rate)
    if not is_warmup:
        totals = totals._replace(
            acceptance=totals.acceptance + length * rate,
            num_nonfinite=totals.num_nonfinite + nonfinite,
            is_moved=totals.is_moved | is_moved,
        )
    return totals, ~is_moved & (rate <= FROZEN) & (length >= FEWEST)


def restart_lost(key, step, state, totals, is_lost, info, policy):
    """What the policy does after a chunk: nothing, chains put elsewhere, or an error."""
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
            f"({is_lost.sum()} chains never moved, {(nonfinite > 0).sum()} proposed such points)"
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
        num_restarted=totals.num_restarted + is_lost.astype(np.int32)
    )


def warn(totals: Totals, rate: np.ndarray, num_steps: int, energy) -> None:
    """Tell of chains that never moved, of proposals that were not finite, of energies beyond float32."""
    tell = lambda message: warnings.warn(message, RuntimeWarning, stacklevel=4)
    is_frozen = ~totals.is_moved & (rate <= FROZEN) & (num_steps >= FEWEST)
    if is_frozen.any():
        listed = ", ".join(str(c) for c in np.flatnonzero(is_frozen)[:5])
        tell(
            f"{is_frozen.sum()} of {len(is_frozen)} chains never moved in {num_steps} steps (chain "
            f"{listed}): the step size is too large, or the energy is not finite around them"
        )
    if totals.num_nonfinite.any():
        worst = int(np.argmax(totals.num_nonfinite))
        tell(
            f"{totals.num_nonfinite.sum()} proposals had an energy or a ratio of NaN or minus infinity and "
            f"were rejected; most in chain {worst}, {totals.num_nonfinite[worst]} of {num_steps}"
        )
    if totals.num_restarted.any():
        tell(
            f"{(totals.num_restarted > 0).sum()} chains never moved in a chunk and were put where others are"
        )
    size = float(np.median(np.abs(np.asarray(energy))))
    if size * float(jnp.finfo(energy.dtype).eps) > BLURRED:
        tell(
            f"energies are about {size:.2g}, where {energy.dtype} rounds their differences to "
            f"{size * float(jnp.finfo(energy.dtype).eps):.2g} nat: subtract a constant from the energy"
        )
