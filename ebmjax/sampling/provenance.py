"""A key that is used twice: a run that starts where another one with the same key ended.

Chain ``c`` takes step ``t`` with noise that depends on the key, ``c`` and ``t`` alone.
So the same key, from where the first run ended and again from step 0, moves the chains
by the same noise: they meet the first run and repeat its draws.  Effective sample sizes
then count every draw twice.
"""

from collections import OrderedDict
from typing import Any

import jax
import numpy as np

from ebmjax.base import Key, Position, State
from ebmjax.io.chunk_store import fingerprint

KEPT = 256  # runs
LOOKED_AT = 16  # chains whose positions are compared

_ends: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()


def remember(key: Key, start: Any, end: Position, steps: tuple[int, int]) -> None:
    """Keep where a run over ``steps`` ended, unless it is where it started."""
    start, end = (digest_of(start), digest_of(end))
    if start == end:
        return
    _ends[fingerprint(key), end] = steps
    while len(_ends) > KEPT:
        _ends.popitem(last=False)


def check_not_repeated(key: Key, positions: Any, steps: tuple[int, int]) -> None:
    """Raise where a run with this key and some of these steps ended at the positions."""
    if not _ends:
        return
    earlier = _ends.get((fingerprint(key), digest_of(positions)))
    if earlier and steps[0] < earlier[1] and earlier[0] < steps[1]:
        raise ValueError(
            "key was used for the run that ended at these positions, and the same steps "
            f"would use its noise again (steps {earlier[0]} to {earlier[1]}): give "
            f"start={earlier[1]} to go on, or another key"
        )


def digest_of(positions: Any) -> str:
    """Of the first few chains at positions or states ``[C, ...]``."""
    positions = positions.position if isinstance(positions, State) else positions
    try:
        return fingerprint(jax.tree.map(_few, positions))
    except (TypeError, AttributeError, IndexError):
        return ""  # not positions; what they should be is checked elsewhere


def _few(leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.Array):
        leaf = leaf.addressable_data(0)
    return np.asarray(leaf)[:LOOKED_AT]
