"""What :func:`~ebmjax.sampling.sample.sample` returns."""

from typing import Any, NamedTuple

import jax
import numpy as np

from ebmjax.base import Info, Position, State
from ebmjax.sampling.collect import Record


class Samples(NamedTuple):
    """What :func:`sample` returns."""

    # [T // thin, C, ...] what was collected, positions by default; or what was reduced
    draws: Any
    # [C, ...] the last state; with ``start=num_steps`` a run goes on from it bit
    # for bit
    state: State
    num_steps: int  # taken since step 0, warm-up included
    acceptance_rate: np.ndarray  # [C] mean over the steps after warm-up
    num_nonfinite: np.ndarray  # [C] proposals that were NaN or minus infinity
    num_restarted: np.ndarray  # [C] restarts of chains (``on_fault="reinit"``)
    support: Any = None  # of the positions in draws, where the energy is constrained

    def __repr__(self) -> str:
        shapes = jax.tree.map(np.shape, self.draws)
        rate = f"acceptance {self.acceptance_rate.mean():.2f}"
        return (
            f"Samples(draws {shapes}, {len(self.acceptance_rate)} chains, "
            f"{self.num_steps} steps, {rate})"
        )


def draws_of(found: Any) -> tuple[Position, Info | None]:
    """Draws ``[T, C, ...]``, and infos where they were kept: of samples, of a record,
    or as they are."""
    if isinstance(found, Samples):
        found = found.draws
    return (found.position, found.info) if isinstance(found, Record) else (found, None)
