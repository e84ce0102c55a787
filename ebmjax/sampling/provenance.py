"""A key that is used twice: a run that starts where another one with the same key
ended, or that ends where another one ended.

Chain ``c`` takes step ``t`` with noise that depends on the key, ``c`` and ``t`` alone.
So the same key, from where the first run ended and again from step 0, moves the chains
by the same noise: they meet the first run and repeat its draws.  Effective sample sizes
then count every draw twice.  From any other positions they may meet it, too, and that
is seen only at the end.
"""

from collections import deque
from typing import Any, NamedTuple

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Key, Position, State
from ebmjax.io.chunk_store import fingerprint

KEPT = 256  # runs
LOOKED_AT = 16  # chains whose positions are compared
COORDINATES = 64  # of each, where they are compared as numbers
CLOSE = 1e-5  # relative difference of chains that have met


class _Place(NamedTuple):
    """Positions of chains, as far as they are compared."""

    num_chains: int
    rows: tuple[str, ...]  # a digest of each of the first chains
    numbers: np.ndarray  # [C, D] the first coordinates of the first chains

    def is_same(self, other: "_Place") -> bool:
        """Whether the chains that both have are at the same positions."""
        num = min(len(self.rows), len(other.rows))
        return self.rows[:num] == other.rows[:num]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Place):
            return NotImplemented
        return (self.num_chains, self.rows) == (other.num_chains, other.rows)

    def is_met(self, other: "_Place") -> bool:
        """Whether half of the chains that both have are at nearly the same
        positions."""
        num = min(len(self.rows), len(other.rows))
        a, b = self.numbers[:num], other.numbers[:num]
        if a.shape != b.shape or not self.is_real:
            return False
        return bool(np.isclose(a, b, rtol=CLOSE, atol=0).all(axis=1).mean() >= 0.5)

    @property
    def is_real(self) -> bool:
        return bool((self.numbers != np.round(self.numbers)).any())


class _Run(NamedTuple):
    key: str
    start: _Place
    end: _Place
    steps: tuple[int, int]


_runs: deque[_Run] = deque(maxlen=KEPT)


def remember(key: Key, start: Any, end: Position, steps: tuple[int, int]) -> None:
    """Keep where a run over ``steps`` ended, unless it is where it started.

    Warns:
      where an earlier run with the key, over the same steps from other positions, ended
      at the same ones.
    """
    first, last = _place(start), _place(end)
    if first is None or last is None or first.rows == last.rows:
        return
    run = _Run(fingerprint(key), first, last, steps)
    for earlier in _runs:
        is_again = earlier.key == run.key and earlier.steps == steps
        if is_again and not earlier.start.is_same(first) and earlier.end.is_met(last):
            checks.warn(
                "key was used for an earlier run from other positions, and its chains "
                "end where those of this run end: the same noise has brought them "
                "together, and their draws repeat. Give each run its own key",
                RuntimeWarning,
            )
            break
    _runs.append(run)


def check_not_repeated(key: Key, positions: Any, steps: tuple[int, int]) -> None:
    """Raise where a run with this key and some of these steps ended at the positions,
    or where they are all draws ``[T, C, ...]`` of a run."""
    if not _runs:
        return
    name, start = fingerprint(key), _place(positions)
    last = _last_of(positions)
    for earlier in _runs:
        if last is not None and last.is_real and earlier.end == last:
            raise ValueError(
                "positions are the draws [T, C, ...] of an earlier run, of which each "
                "step would be a chain; give the last ones, draws[-1]"
            )
        if earlier.key != name or start is None or not earlier.end.is_same(start):
            continue
        # a part of the chains may have equal discrete positions by chance
        is_all = earlier.end.num_chains == start.num_chains or start.is_real
        if is_all and steps[0] < earlier.steps[1] and earlier.steps[0] < steps[1]:
            raise ValueError(
                "key was used for the run that ended at these positions, and the same "
                f"steps would use its noise again (steps {earlier.steps[0]} to "
                f"{earlier.steps[1]}): give start={earlier.steps[1]} to go on, or "
                "another key"
            )


def _place(positions: Any) -> _Place | None:
    """Of positions or states ``[C, ...]``; ``None`` where they are none, which is
    checked elsewhere."""
    positions = positions.position if isinstance(positions, State) else positions
    try:
        leaves = [_few(leaf) for leaf in jax.tree.leaves(positions)]
        num_chains = len(jax.tree.leaves(positions)[0])
        rows = zip(*leaves, strict=True)
        flat = [leaf.reshape(len(leaf), -1)[:, :COORDINATES] for leaf in leaves]
        numbers = np.concatenate(flat, axis=1).astype(np.float64)
    except (TypeError, ValueError, AttributeError, IndexError):
        return None
    return _Place(num_chains, tuple(fingerprint(row) for row in rows), numbers)


def _last_of(positions: Any) -> _Place | None:
    """The last entries along the first axis, as positions of their own."""
    leaves = jax.tree.leaves(positions)
    if isinstance(positions, State) or any(np.ndim(x) < 2 for x in leaves):
        return None
    return _place(jax.tree.map(lambda x: _on_host(x)[-1], positions))


def _on_host(leaf: Any) -> np.ndarray:  # without a program
    return np.asarray(leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf)


def _few(leaf: Any) -> np.ndarray:
    array = _on_host(leaf)[:LOOKED_AT]
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
