"""The library's own proofs: its kernels on targets of every kind, and controls that must be rejected
(those of bits: ``tests/test_binary.py``).

    python -m ebmjax selftest

runs them on whatever machine this is.  A proof is a function ``(key, num_chains=, alpha=) -> Report``.
"""

import functools
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import targets
from ebmjax.base import Energy, Kernel, Key
from ebmjax.energies.transforms import temper
from ebmjax.kernels.combinators import cycle, mixture, repeat
from ebmjax.kernels.hamiltonian import hmc, leapfrog, mclachlan, yoshida
from ebmjax.kernels.langevin import mala, ula, underdamped_langevin
from ebmjax.kernels.nuts import nuts
from ebmjax.kernels.random_walk import random_walk
from ebmjax.targets import Target
from ebmjax.verify.integrators import integrator
from ebmjax.verify.examples import drifted, gibbs, ring, tree_target, wide_independence
from ebmjax.verify.invariance import invariance, rank
from ebmjax.verify.report import Report
from ebmjax.verify.sequential import sequential
from ebmjax.verify.stationary_laws import baoab_law, ula_law

Proof = Callable[..., Report]


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


KERNELS: dict[str, Callable[[Place], Kernel]] = {
    "random_walk": lambda p: random_walk(p.target.energy, 2 * p.step_size),
    "random_walk, diagonal": lambda p: random_walk(
        p.target.energy, 2 * p.step_size * _slope(p.target.dim)
    ),
    "random_walk, dense": lambda p: random_walk(
        p.target.energy, 2 * p.step_size, covariance=_dense(p.target.dim)
    ),
    "independence": lambda p: wide_independence(p.target),
    "metropolis, asymmetric": lambda p: drifted(p.target.energy, 2 * p.step_size),
    "mala": lambda p: mala(p.target.energy, p.step_size),
    "mala, dense": lambda p: mala(
        p.target.energy, p.step_size, covariance=_dense(p.target.dim)
    ),
    "hmc": lambda p: hmc(p.target.energy, p.step_size, 5),
    "hmc, jitter": lambda p: hmc(p.target.energy, p.step_size, 8, jitter=True),
    "hmc, step jitter": lambda p: hmc(p.target.energy, p.step_size, 5, step_jitter=0.3),
    "hmc, diagonal mass": lambda p: hmc(
        p.target.energy, p.step_size, 4, mass=_slope(p.target.dim)
    ),
    "hmc, dense mass": lambda p: hmc(
        p.target.energy, p.step_size, 4, mass=_dense(p.target.dim)
    ),
    "hmc, mclachlan": lambda p: hmc(
        p.target.energy, 1.5 * p.step_size, 3, integrator=mclachlan
    ),
    "hmc, yoshida": lambda p: hmc(p.target.energy, p.step_size, 3, integrator=yoshida),
    "nuts": lambda p: nuts(p.target.energy, p.step_size, max_depth=6),
    "nuts, dense mass": lambda p: nuts(
        p.target.energy, p.step_size, mass=_dense(p.target.dim), max_depth=4
    ),
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

REVERSIBLE = (
    "random_walk",
    "metropolis, asymmetric",
    "mala",
    "hmc",
    "hmc, jitter",
    "nuts",
    "independence",
    "mixture",
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


def verification_cases(*, is_quick: bool = False) -> dict[str, Proof]:
    """Every proof by name; ``is_quick`` leaves out variants of the same code."""
    found: dict[str, Proof] = {}
    places = (
        ("correlated_gaussian", "two_modes", "rosenbrock", "double_well")
        if is_quick
        else tuple(PLACES)
    )
    for kernel_name in QUICK if is_quick else KERNELS:
        for place_name in places:
            found[f"{kernel_name} on {place_name}"] = _proof(
                invariance, kernel_name, place_name
            )
    for kernel_name in QUICK[1:4] if is_quick else REVERSIBLE:
        found[f"{kernel_name}, reversibility"] = _proof(rank, kernel_name, "rosenbrock")
    found["within, a sweep over a tree"] = functools.partial(
        invariance, kernel=gibbs(), target=tree_target(), name="a sweep of within"
    )
    precisions, step_size = (0.5, 1.0, 3.0), 0.7
    energy = _quadratic(precisions)
    found["ula against its own law"] = functools.partial(
        invariance,
        kernel=ula(energy, step_size),
        target=ula_law(precisions, step_size),
        name="ula",
    )
    law, complete = baoab_law(precisions, step_size)
    found["underdamped_langevin against its own law"] = functools.partial(
        invariance,
        kernel=underdamped_langevin(energy, step_size),
        target=law,
        complete=complete,
        name="underdamped_langevin",
    )
    found["metropolis on a ring of 7 states"] = lambda key, **_: ring()
    point = np.array([0.5, 1.0, -0.3])
    for name, coefficients, order in (
        ("leapfrog", leapfrog, 2),
        ("mclachlan", mclachlan, 2),
        ("yoshida", yoshida, 4),
    ):
        found[f"{name}, an integrator"] = functools.partial(
            _integrator_proof, point=point, coefficients=coefficients, order=order
        )
    return found


def controls() -> dict[str, Proof]:
    """Kernels that are wrong, each to be rejected."""
    place = PLACES["rosenbrock"]
    energy, h = place.target.energy, place.step_size
    wrong = {
        "ula taken for exact": ula(energy, h),
        "a forgotten Hastings ratio": drifted(energy, 2 * h, with_ratio=False),
        "mala at temperature 1.1": mala(temper(energy, 1.1), h),
    }
    return {
        name: functools.partial(
            invariance, kernel=kernel, target=place.target, name=name
        )
        for name, kernel in wrong.items()
    }


class Outcome(NamedTuple):
    name: str
    report: Report
    is_right: bool  # a proof passed, or a control was rejected
    seconds: float


def run_suite(
    key: Key, *, is_quick: bool = True, num_chains: int = 20_000, alpha: float = 1e-4
) -> Iterator[tuple[int, int, Outcome]]:
    """Run all proofs, with a rate of false alarms of at most ``alpha`` for all together, and all controls.

    Yields ``(number, total, outcome)``.
    """
    found, wrong = verification_cases(is_quick=is_quick), controls()
    total = len(found) + len(wrong)
    for i, (name, test) in enumerate([*found.items(), *wrong.items()]):
        begin = time.perf_counter()
        report = sequential(
            test,
            jax.random.fold_in(key, i),
            num_chains=num_chains,
            alpha=alpha / len(found),
        )
        is_right = report.is_passed == (name in found)
        yield i + 1, total, Outcome(name, report, is_right, time.perf_counter() - begin)


def _proof(test, kernel_name, place_name) -> Proof:
    """The kernel is built when it is proved: a table of proofs costs nothing."""
    place = PLACES[place_name]

    def proof(key, **options):
        return test(
            key, KERNELS[kernel_name](place), place.target, name=kernel_name, **options
        )

    return proof


def _integrator_proof(key, *, point, coefficients, order, **_) -> Report:
    return integrator(
        targets.double_well(3).energy, point, coefficients=coefficients, order=order
    )


def _quadratic(precisions) -> Energy:
    a = jnp.asarray(precisions, jnp.float32)
    return lambda x: 0.5 * jnp.sum(a * x**2)
