"""The kernels that the suite verifies, and the targets on which it runs them.

They are those of :mod:`ebmjax.kernels.registry`, with each of their variants, and some
compositions.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ebmjax import targets
from ebmjax.base import Kernel
from ebmjax.kernels import registry
from ebmjax.kernels.combinators import cycle, mixture, repeat
from ebmjax.kernels.hamiltonian import hmc
from ebmjax.kernels.langevin import mala
from ebmjax.kernels.random_walk import random_walk
from ebmjax.spaces import REAL
from ebmjax.targets import Target
from ebmjax.verify.examples import drifted, wide_independence


class Place(NamedTuple):
    """A target and the leapfrog step that suits it."""

    target: Target
    step_size: float


PLACES: dict[str, Place] = {
    "correlated_gaussian": Place(targets.correlated_gaussian(), 0.45),
    "two_modes": Place(targets.two_modes(), 0.8),
    "eight_gaussians": Place(targets.eight_gaussians(), 0.25),
    "rosenbrock": Place(targets.rosenbrock(), 0.15),
    "banana": Place(targets.banana(3), 0.8),
    "double_well": Place(targets.double_well(3), 0.35),
}


def _slope(dim: int) -> np.ndarray:
    return np.linspace(0.7, 1.3, dim)


def _dense(dim: int) -> np.ndarray:
    return 0.7 * np.eye(dim) + 0.3


def _from_registry(name: str, options: dict) -> Callable[[Place], Kernel]:
    entry = registry.KERNELS[name]

    def make(place: Place) -> Kernel:
        step, dim = entry.relative_step * place.step_size, place.target.dim
        chosen = {**entry.case, **options}
        for key, value in chosen.items():
            if isinstance(value, str) and value == registry.DENSE:
                chosen[key] = _dense(dim)
            elif isinstance(value, str) and value == registry.SLOPED:
                chosen[key] = _slope(dim)
        if "step_size" in chosen:
            step = step * chosen.pop("step_size")
        return entry.kernel(place.target.energy, step, **chosen)

    return make


def _kernels() -> dict[str, Callable[[Place], Kernel]]:
    """Every exact kernel of real points and its variants, and some compositions."""
    found: dict[str, Callable[[Place], Kernel]] = {}
    for name, entry in registry.of_space(REAL, is_exact=True).items():
        found[name] = _from_registry(name, {})
        for variant, options in entry.variants.items():
            found[f"{name}, {variant}"] = _from_registry(name, options)
    return found | {
        "independence": lambda p: wide_independence(p.target),
        "metropolis, asymmetric": lambda p: drifted(p.target.energy, 2 * p.step_size),
        "cycle": lambda p: cycle(
            random_walk(p.target.energy, 2 * p.step_size),
            hmc(p.target.energy, p.step_size, 3),
        ),
        "mixture": lambda p: mixture(
            [
                random_walk(p.target.energy, 2 * p.step_size),
                mala(p.target.energy, p.step_size),
            ],
            [0.3, 0.7],
        ),
        "repeat": lambda p: repeat(mala(p.target.energy, p.step_size), 3),
    }


KERNELS = _kernels()
REVERSIBLE = tuple(
    name
    for name, make in KERNELS.items()
    if make(PLACES["rosenbrock"]).is_reversible and name not in ("mala, dense",)
)
QUICK = (
    "random_walk",
    "metropolis, asymmetric",
    "mala",
    "hmc",
    "hmc, dense mass",
    "nuts",
    "cycle",
)
QUICK_PLACES = ("correlated_gaussian", "two_modes", "rosenbrock", "double_well")
