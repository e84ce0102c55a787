"""Families of functions of a point, made from exact draws; their means are compared.

    means, variances     s_i,  s_i^2
    correlations         s_i s_j: all pairs up to D = 8 here, beyond in `products`
    projections          along random directions and principal axes, and their squares
    triples              monomials of degree three and four: all, or at random
    angles               cos m a, sin m a, m = 1..8, of pairs, whitened
    tails                |s_i| > 2, 3, 4;  E beyond 2, 3, 4 of its widths
    fourier              cos(w . s + b), w normal at three bandwidths
                         (Rahimi & Recht 2007, "Random features")
    energy               E and E^2, scaled and clipped as coordinates are

with s the coordinates of :mod:`ebmjax.verify.scaling`.
"""

import itertools
from collections.abc import Callable, Iterator
from math import comb
from typing import Any, NamedTuple

import numpy as np

from ebmjax.verify.scaling import CLIP, Scaling

TAILS = (2, 3, 4)
HARMONICS = range(1, 9)
FEW = 8  # coordinates up to which all pairs are columns
MAX_COORDINATES = 20  # largest size of families that grow with D
NUM_FOURIER = 24
NUM_DIRECTIONS = 4

Columns = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (s [N, D], e [N]) -> [N, M]


class Block(NamedTuple):
    """Functions of one family; in the user's units f is ``offset + unit f``."""

    family: str
    names: list[str]
    columns: Columns
    offset: Any = 0.0
    unit: Any = 1.0


class Draws(NamedTuple):
    """Exact draws of a target, from which functions are made."""

    s: np.ndarray  # [N, D] scaled and clipped
    labels: list[str]  # of the coordinates
    scaling: Scaling
    energy_scaling: Scaling

    @property
    def dim(self) -> int:
        return self.s.shape[1]


def means(draws: Draws, rng) -> Iterator[Block]:
    center, width = draws.scaling
    names = [f"mean of {n}" for n in draws.labels]
    yield Block("means", names, lambda s, e: s, center, width)


def variances(draws: Draws, rng) -> Iterator[Block]:
    names = [f"variance of {n}" for n in draws.labels]
    yield Block("variances", names, lambda s, e: s**2, 0, draws.scaling.width**2)


def correlations(draws: Draws, rng) -> Iterator[Block]:
    if 1 < len(draws.labels) <= FEW:
        i, j = np.triu_indices(len(draws.labels), 1)
        names = [
            f"product of {draws.labels[a]} and {draws.labels[b]}"
            for a, b in zip(i, j, strict=True)
        ]
        unit = draws.scaling.width[i] * draws.scaling.width[j]
        yield Block("correlations", names, lambda s, e: s[:, i] * s[:, j], 0, unit)


def projections(draws: Draws, rng) -> Iterator[Block]:
    s, dim = draws.s, draws.dim
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
    yield Block("projections", [f"mean along {n}" for n in names], lambda s, e: s @ v.T)
    yield Block(
        "projections",
        [f"variance along {n}" for n in names],
        lambda s, e: np.clip(s @ v.T, -CLIP, CLIP) ** 2,
    )


def triples(draws: Draws, rng) -> Iterator[Block]:
    chosen = [*_monomials(draws.dim, 3, rng), *_monomials(draws.dim, 4, rng)]
    names = [f"mean of {' '.join(draws.labels[i] for i in m)}" for m in chosen]

    def columns(s, e):
        short = np.clip(s, -2.5, 2.5)
        return np.stack([short[:, list(m)].prod(axis=1) for m in chosen], axis=1)

    yield Block("triples", names, columns)


def angles(draws: Draws, rng) -> Iterator[Block]:
    pairs = list(itertools.combinations(range(draws.dim), 2))
    if len(pairs) > 10:
        pairs = [pairs[i] for i in rng.choice(len(pairs), 10, replace=False)]
    for i, j in pairs:
        root = np.linalg.cholesky(np.cov(draws.s[:, [i, j]].T) + 1e-9 * np.eye(2))
        whiten = np.linalg.inv(root).T.astype(np.float32)
        where = f"the angle of ({draws.labels[i]}, {draws.labels[j]})"
        names = [f"{f} of {m} times {where}" for f in ("cos", "sin") for m in HARMONICS]

        def columns(s, e, i=i, j=j, whiten=whiten):
            y = s[:, [i, j]] @ whiten
            z = (y[:, 0] + 1j * y[:, 1]).astype(np.complex64)
            z = z / np.maximum(np.abs(z), 1e-30)
            turns = np.cumprod(np.tile(z[:, None], len(HARMONICS)), axis=1)
            return np.concatenate([turns.real, turns.imag], axis=1)

        yield Block("angles", names, columns)


def tails(draws: Draws, rng) -> Iterator[Block]:
    chosen = some(draws.dim, rng)
    levels = np.array(TAILS)
    names = [f"|{draws.labels[i]}| beyond {t} sd" for i in chosen for t in TAILS]
    names += [f"energy beyond {t} widths" for t in TAILS]

    def columns(s, e):
        sizes = np.concatenate([np.abs(s[:, chosen]), e[:, :1]], axis=1)
        beyond = sizes[:, :, None] > levels
        return beyond.reshape(len(s), -1)

    yield Block("tails", names, columns)


def fourier(draws: Draws, rng) -> Iterator[Block]:
    bandwidths = np.resize([0.7, 1.5, 3.0], NUM_FOURIER)[:, None]
    w = rng.normal(size=(NUM_FOURIER, draws.dim)) * bandwidths
    w /= np.sqrt(min(draws.dim, 4))
    b = rng.uniform(0, 2 * np.pi, NUM_FOURIER).astype(np.float32)
    w = w.astype(np.float32)
    names = [f"random Fourier feature {i + 1}" for i in range(NUM_FOURIER)]
    yield Block("fourier", names, lambda s, e: np.cos(s @ w.T + b))


def energy(draws: Draws, rng) -> Iterator[Block]:
    center, width = (float(v[0]) for v in draws.energy_scaling)
    yield Block("energy", ["mean of the energy"], lambda s, e: e[:, :1], center, width)
    names = ["variance of the energy"]
    yield Block("energy", names, lambda s, e: e[:, :1] ** 2, 0, width**2)


MAKERS: dict[str, Callable[[Draws, np.random.Generator], Iterator[Block]]] = {
    f.__name__: f
    for f in (
        means,
        variances,
        correlations,
        projections,
        triples,
        angles,
        tails,
        fourier,
        energy,
    )
}


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
