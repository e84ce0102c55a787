"""All functions of a point whose means a test compares: for one target.

They are those of the chosen :mod:`families <ebmjax.verify.families>`, and those of the
user.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ebmjax.verify.families import MAKERS, Block, Draws
from ebmjax.verify.scaling import scaling_of

FAMILIES = tuple(MAKERS)


class Features:
    """The functions for one target, made from exact draws of it.

    Args:
      x, energies: exact draws, ``[N, D]`` and ``[N]``.
      labels: of the coordinates.
      families: which of :data:`FAMILIES`.
      rng: of random directions, pairs and frequencies.
      functions: names of the user's functions, the columns of ``extra``.
      extra: their values at ``x``, ``[N, F]``.
    """

    def __init__(
        self,
        x: np.ndarray,
        energies: np.ndarray,
        labels: Sequence[str],
        families: Sequence[str],
        rng: np.random.Generator,
        functions: Mapping[str, Any] | None = None,
        extra: np.ndarray | None = None,
    ):
        self.labels = list(labels)
        self.scaling = scaling_of(x)
        self.energy_scaling = scaling_of(energies[:, None])
        if functions:
            self.extra_scaling = scaling_of(extra)  # type: ignore[arg-type]
        draws = Draws(self.scaling(x), self.labels, self.scaling, self.energy_scaling)
        self.blocks: list[Block] = []
        for family in families:
            if family in MAKERS:
                self.blocks += MAKERS[family](draws, rng)
        if functions:
            self.blocks.append(self._of_user(list(functions)))
        self.names = [n for b in self.blocks for n in b.names]
        self.families = [b.family for b in self.blocks for _ in b.names]
        self.offsets = _spread(self.blocks, lambda b: b.offset)
        self.units = _spread(self.blocks, lambda b: b.unit)
        values = self(x, energies, extra)
        self.ranges = np.ptp(values, axis=0) if len(self.names) else np.zeros(0)
        is_tail = np.array(self.families, dtype=object) == "tails"
        self.ranges[is_tail] = 1.0  # even if these draws do not reach it

    def __call__(self, x, energies, extra=None) -> np.ndarray:
        """Their values ``[N, M]`` at positions ``[N, D]`` with energies ``[N]``."""
        s = self.scaling(x).astype(np.float32)
        e = self.energy_scaling(np.nan_to_num(energies, nan=np.inf)[:, None])
        if extra is not None:
            e = np.concatenate([e, self.extra_scaling(extra)], axis=1)
        e = e.astype(np.float32)
        columns = [b.columns(s, e) for b in self.blocks]
        if not columns:
            return np.zeros((len(x), 0), np.float32)
        return np.concatenate(columns, axis=1, dtype=np.float32)

    def _of_user(self, names):
        return Block(
            "functions",
            [f"mean of {n}" for n in names],
            lambda s, e: e[:, 1:],
            *self.extra_scaling,
        )


def _spread(blocks, value) -> np.ndarray:
    parts = [np.broadcast_to(value(b), (len(b.names),)) for b in blocks]
    return np.concatenate(parts).astype(float) if parts else np.zeros(0)


def labels_of(position: Any) -> list[str]:
    """``x[1]``, ``scale``, ``values[2]``: one label per coordinate of a position."""
    labels = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(position):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "x"
        shape = np.shape(leaf)
        if not shape:
            labels.append(name)
        for index in np.ndindex(*shape) if shape else ():
            labels.append(f"{name}[{','.join(map(str, index))}]")
    return labels
