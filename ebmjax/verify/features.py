"""Families of functions of a point; a test compares their means.

Coordinates are scaled, ``s = clip((x - center) / width, -5, 5)``, by quantiles of exact
draws, so that every function is bounded and has all moments, whatever the tails of the
target; ``s`` has mean zero under the target.

    means, variances     s_i,  s_i^2
    correlations         s_i s_j: all pairs up to D = 8 here, beyond in `products`
    projections          along random directions and principal axes, and their squares
    triples              monomials of degree three and four: all, or at random
    angles               cos m a, sin m a, m = 1..8, of pairs, whitened
    tails                |s_i| > 2, 3, 4;  E beyond 2, 3, 4 of its widths
    fourier              cos(w . s + b), w normal at three bandwidths
                         (Rahimi & Recht 2007, "Random features")
    energy               E and E^2, scaled and clipped as coordinates are
    functions            those of the user
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from math import comb
from typing import Any, NamedTuple

import jax
import numpy as np

CLIP = 5.0
TAILS = (2, 3, 4)
HARMONICS = range(1, 9)
FEW = 8  # coordinates up to which all pairs are columns
MAX_COORDINATES = 20  # largest size of families that grow with D
NUM_FOURIER = 24
NUM_DIRECTIONS = 4
FAMILIES = (
    "means",
    "variances",
    "correlations",
    "projections",
    "triples",
    "angles",
    "tails",
    "fourier",
    "energy",
)

Columns = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (s [N, D], e [N]) -> [N, M]


class Block(NamedTuple):
    """Functions of one family; in the user's units f is ``offset + unit f``."""

    family: str
    names: list[str]
    columns: Columns
    offset: Any = 0.0
    unit: Any = 1.0


class Scaling(NamedTuple):
    """Center and width of each coordinate, from exact draws."""

    center: np.ndarray
    width: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.clip(self.unclipped(x), -CLIP, CLIP)

    def unclipped(self, x: np.ndarray) -> np.ndarray:
        return (x - self.center) / self.width


def scaling_of(x: np.ndarray) -> Scaling:
    """From exact draws ``[N, D]``: quantiles, and the mean of the clipped values."""
    low, middle, high = np.quantile(x, [0.16, 0.5, 0.84], axis=0)
    width = (high - low) / 2
    width = np.where(width > 0, width, x.std(axis=0))
    width = np.where(width > 0, width, 1.0)
    clipped = np.clip((x - middle) / width, -CLIP, CLIP)
    return Scaling(middle + width * clipped.mean(axis=0), width)


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
        self.num_functions = len(functions or {})
        if functions:
            self.extra_scaling = scaling_of(extra)  # type: ignore[arg-type]
        s = self.scaling(x)
        makers = {name: getattr(self, f"_{name}") for name in FAMILIES}
        self.blocks: list[Block] = []
        for family in families:
            if family in makers:
                self.blocks += makers[family](s, rng)
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

    def _means(self, s, rng):
        center, width = self.scaling
        names = [f"mean of {n}" for n in self.labels]
        yield Block("means", names, lambda s, e: s, center, width)

    def _variances(self, s, rng):
        names = [f"variance of {n}" for n in self.labels]
        yield Block("variances", names, lambda s, e: s**2, 0, self.scaling.width**2)

    def _correlations(self, s, rng):
        if 1 < len(self.labels) <= FEW:
            i, j = np.triu_indices(len(self.labels), 1)
            names = [
                f"product of {self.labels[a]} and {self.labels[b]}"
                for a, b in zip(i, j, strict=True)
            ]
            unit = self.scaling.width[i] * self.scaling.width[j]
            yield Block("correlations", names, lambda s, e: s[:, i] * s[:, j], 0, unit)

    def _projections(self, s, rng):
        dim = s.shape[1]
        if dim == 1:
            return
        v = rng.normal(size=(NUM_DIRECTIONS, dim))
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        names = [f"random direction {i + 1}" for i in range(len(v))]
        _, axes = np.linalg.eigh(np.cov(s.T))
        ends = sorted({0, 1, dim - 2, dim - 1} & set(range(dim)))
        names += [f"principal axis {dim - i}" for i in ends]
        v = np.concatenate([v, axes.T[ends]])
        v = v / np.maximum((s @ v.T).std(axis=0), 1e-6)[:, None]
        v = v.astype(np.float32)
        yield Block(
            "projections", [f"mean along {n}" for n in names], lambda s, e: s @ v.T
        )
        yield Block(
            "projections",
            [f"variance along {n}" for n in names],
            lambda s, e: np.clip(s @ v.T, -CLIP, CLIP) ** 2,
        )

    def _triples(self, s, rng):
        chosen = [*_monomials(s.shape[1], 3, rng), *_monomials(s.shape[1], 4, rng)]
        names = [f"mean of {' '.join(self.labels[i] for i in m)}" for m in chosen]

        def columns(s, e):
            short = np.clip(s, -2.5, 2.5)
            return np.stack([short[:, list(m)].prod(axis=1) for m in chosen], axis=1)

        yield Block("triples", names, columns)

    def _angles(self, s, rng):
        pairs = list(itertools.combinations(range(s.shape[1]), 2))
        if len(pairs) > 10:
            pairs = [pairs[i] for i in rng.choice(len(pairs), 10, replace=False)]
        for i, j in pairs:
            root = np.linalg.cholesky(np.cov(s[:, [i, j]].T) + 1e-9 * np.eye(2))
            whiten = np.linalg.inv(root).T.astype(np.float32)
            where = f"the angle of ({self.labels[i]}, {self.labels[j]})"
            names = [
                f"{f} of {m} times {where}" for f in ("cos", "sin") for m in HARMONICS
            ]

            def columns(s, e, i=i, j=j, whiten=whiten):
                y = s[:, [i, j]] @ whiten
                z = (y[:, 0] + 1j * y[:, 1]).astype(np.complex64)
                z = z / np.maximum(np.abs(z), 1e-30)
                turns = np.cumprod(np.tile(z[:, None], len(HARMONICS)), axis=1)
                return np.concatenate([turns.real, turns.imag], axis=1)

            yield Block("angles", names, columns)

    def _tails(self, s, rng):
        chosen = some(s.shape[1], rng)
        levels = np.array(TAILS)
        names = [f"|{self.labels[i]}| beyond {t} sd" for i in chosen for t in TAILS]
        names += [f"energy beyond {t} widths" for t in TAILS]

        def columns(s, e):
            sizes = np.concatenate([np.abs(s[:, chosen]), e[:, :1]], axis=1)
            beyond = sizes[:, :, None] > levels
            return beyond.reshape(len(s), -1)

        yield Block("tails", names, columns)

    def _fourier(self, s, rng):
        dim = s.shape[1]
        bandwidths = np.resize([0.7, 1.5, 3.0], NUM_FOURIER)[:, None]
        w = rng.normal(size=(NUM_FOURIER, dim)) * bandwidths / np.sqrt(min(dim, 4))
        b = rng.uniform(0, 2 * np.pi, NUM_FOURIER).astype(np.float32)
        w = w.astype(np.float32)
        names = [f"random Fourier feature {i + 1}" for i in range(NUM_FOURIER)]
        yield Block("fourier", names, lambda s, e: np.cos(s @ w.T + b))

    def _energy(self, s, rng):
        center, width = (float(v[0]) for v in self.energy_scaling)
        yield Block(
            "energy", ["mean of the energy"], lambda s, e: e[:, :1], center, width
        )
        yield Block(
            "energy",
            ["variance of the energy"],
            lambda s, e: e[:, :1] ** 2,
            0,
            width**2,
        )

    def _of_user(self, names):
        return Block(
            "functions",
            [f"mean of {n}" for n in names],
            lambda s, e: e[:, 1:],
            *self.extra_scaling,
        )


def some(dim: int, rng: np.random.Generator, most: int = MAX_COORDINATES) -> np.ndarray:
    """All coordinates, or a random choice of ``most`` of them."""
    if dim <= most:
        return np.arange(dim)
    return np.sort(rng.choice(dim, most, replace=False))


def _monomials(dim, degree, rng, most=40):
    """Index tuples: all with repetition if they are few, else random distinct ones."""
    if comb(dim + degree - 1, degree) <= most:
        found = itertools.combinations_with_replacement(range(dim), degree)
        return [m for m in found if degree == 3 or len(set(m)) > 1]
    if comb(dim, degree) <= most:
        return list(itertools.combinations(range(dim), degree))
    return [tuple(rng.choice(dim, degree, replace=False)) for _ in range(most)]


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
