"""Initial positions of the chains of a user's energy: rows of a file, random points, or
what the module of the energy says."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax.base import Energy, Key, Position
from ebmjax.cli.app import warn
from ebmjax.energies.constrained import Constrained, supports_of
from ebmjax.experiments.data.arrays import check_fits, read_array
from ebmjax.sampling.coordinates import constrained_of
from ebmjax.sampling.initialization import random_positions
from ebmjax.spaces import REAL, Space

REACH = 2.0  # random starts are uniform on (-REACH, REACH), as in Stan
NUM_CHAINS = 4


def initial_positions(
    key: Key,
    name: str,
    energy: Energy,
    num_chains: int | None,
    dim: int | None,
    path: Path | None,
    space: Space,
) -> Position:
    """Positions ``[C, ...]``: of a file, random ones of ``dim`` coordinates, or those
    of the module of the energy ``name``."""
    checks.function(energy, name)
    if dim is not None and path is not None:
        raise ValueError("give either --dim or --start")
    if path is not None:
        return _of_file(path, num_chains)
    num_chains = num_chains or NUM_CHAINS
    check_fits(64 * num_chains * (dim or 1), "--num-chains times --dim")
    if dim is not None and space != REAL:
        index = jax.random.randint(key, (num_chains, dim), 0, space.num_values)
        return space.value(index)
    if dim is not None:
        return _random(key, energy, num_chains, dim)
    return _of_module(key, sys.modules[name.partition(":")[0]], num_chains)


def _of_file(path: Path, num_chains: int | None) -> Position:
    rows = read_array(path)
    if rows.ndim == 0 or rows.dtype.kind not in "fiu":
        raise ValueError(
            f"{path} must hold numbers [C, ...], got {checks.describe(rows)}"
        )
    if num_chains not in (None, len(rows)):
        raise ValueError(
            f"--num-chains is {num_chains}, and {path} has {len(rows)} rows"
        )
    return checks.position(jnp.asarray(rows, float), str(path))


def _random(key: Key, energy: Energy, num_chains: int, dim: int) -> Position:
    """Uniform free coordinates, drawn again where the energy is not finite."""
    positions, num_redrawn = random_positions(
        key, energy, num_chains, _num_free(energy, dim), reach=REACH, with_grad=False
    )
    if isinstance(energy, Constrained):
        positions = constrained_of(energy, positions)
    if num_redrawn:
        warn(f"{num_redrawn} random starts had no finite energy and were drawn again")
    return positions


def _num_free(energy: Energy, dim: int) -> int:
    """Free coordinates of a vector of so many."""
    if not isinstance(energy, Constrained):
        return dim
    supports = supports_of(energy.support)
    if energy.support is not supports[0] or supports[0].event_ndims > 1:
        raise ValueError(
            "--dim is of an energy of one vector; for a tree of supports, or matrices, "
            "put a function initial(key, n) or a point start beside the energy"
        )
    (num,) = supports[0].free_shape((dim,))
    if num < 1:
        raise ValueError(f"--dim must be at least 2 for {supports[0]}, got {dim}")
    return num


def _of_module(key: Key, module: Any, num_chains: int) -> Position:
    """The user's ``initial(key, n)``, or copies of the user's point ``start``."""
    if hasattr(module, "initial"):
        positions = checks.position(module.initial(key, num_chains), "initial(key, n)")
        if checks.num_chains(positions, "initial(key, n)") != num_chains:
            raise ValueError(
                "initial(key, n) must return n points, got "
                f"{checks.num_chains(positions)} for {num_chains}"
            )
        return positions
    if hasattr(module, "start"):
        point = checks.position(module.start, "start")
        return jax.tree.map(
            lambda x: jnp.broadcast_to(x, (num_chains, *x.shape)), point
        )
    raise ValueError(
        f"initial positions are missing: --dim D, --start FILE.npy, or in "
        f"{module.__name__} a function initial(key, n) or a point start"
    )
