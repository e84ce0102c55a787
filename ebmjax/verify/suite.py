"""The verification cases of the library: its kernels on several targets, and controls
that must be rejected (kernels of bits: on a finite space, by simulation).

    python -m ebmjax selftest

runs them on this machine.  A case is a function
``(key, num_chains=, alpha=) -> Report``. Kernels come from
:mod:`ebmjax.kernels.registry` (:mod:`ebmjax.verify.suite_kernels`); a kernel that is
added there is verified here.
"""

import functools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import targets
from ebmjax.base import Energy, Key
from ebmjax.energies import boltzmann, enumeration
from ebmjax.energies.transforms import temper
from ebmjax.kernels import registry
from ebmjax.kernels.integrators import leapfrog, mclachlan, yoshida
from ebmjax.kernels.langevin import mala, ula, underdamped_langevin
from ebmjax.spaces import BITS, REAL
from ebmjax.verify.examples import drifted, gibbs, ring, tree_target
from ebmjax.verify.finite import counted_balance
from ebmjax.verify.integrators import integrator
from ebmjax.verify.invariance import STATISTICS, invariance
from ebmjax.verify.promises import rejects_nonfinite
from ebmjax.verify.report import Report
from ebmjax.verify.reversibility import rank
from ebmjax.verify.sequential import sequential
from ebmjax.verify.stationary_laws import baoab_law, ula_law
from ebmjax.verify.suite_kernels import (
    KERNELS,
    PLACES,
    QUICK,
    QUICK_PLACES,
    REVERSIBLE,
)

Case = Callable[..., Report]
MOST_AT_ONCE = 4  # cases
NUM_STEPS = 20  # of the cases; a single step besides costs another program
STEPPED = tuple(s for s in STATISTICS if s != "rare")


def verification_cases(*, is_quick: bool = False) -> dict[str, Case]:
    """Every case by name; ``is_quick`` omits variants of the same code."""
    found: dict[str, Case] = {}
    for kernel_name in QUICK if is_quick else KERNELS:
        for place_name in QUICK_PLACES if is_quick else PLACES:
            name = f"{kernel_name} on {place_name}"
            found[name] = _case(invariance, kernel_name, place_name)
    for kernel_name in QUICK[1:4] if is_quick else REVERSIBLE:
        name = f"{kernel_name}, reversibility"
        found[name] = _case(rank, kernel_name, "rosenbrock")
    found["within, a sweep over a tree"] = functools.partial(
        _invariance, kernel=gibbs(), target=tree_target(), name="a sweep of within"
    )
    return found | _laws() | _integrators() | _finite(is_quick)


def _laws() -> dict[str, Case]:
    """Unadjusted kernels against their own laws."""
    precisions, step_size = (0.5, 1.0, 3.0), 0.7
    energy = _quadratic(precisions)
    law, complete = baoab_law(precisions, step_size)
    return {
        "ula against its own law": functools.partial(
            _invariance,
            kernel=ula(energy, step_size),
            target=ula_law(precisions, step_size),
            name="ula",
        ),
        "underdamped_langevin against its own law": functools.partial(
            _invariance,
            kernel=underdamped_langevin(energy, step_size),
            target=law,
            complete=complete,
            name="underdamped_langevin",
        ),
    }


def _integrators() -> dict[str, Case]:
    point = np.array([0.5, 1.0, -0.3])
    rows = (
        ("leapfrog", leapfrog, 2),
        ("mclachlan", mclachlan, 2),
        ("yoshida", yoshida, 4),
    )
    return {
        f"{name}, an integrator": functools.partial(
            _integrator_case, point=point, coefficients=coefficients, order=order
        )
        for name, coefficients, order in rows
    }


def _finite(is_quick: bool) -> dict[str, Case]:
    """Kernels of discrete states on 16 states, a ring of seven, walls and regions of
    NaN."""
    found: dict[str, Case] = {
        "metropolis on a ring of 7 states": lambda key, **_: ring()
    }
    energy = spins()
    for name, entry in registry.of_space(BITS, is_exact=True).items():
        found[f"{name} on 16 states"] = functools.partial(
            _counted, kernel=entry.kernel(energy, 1.0), energy=energy, name=name
        )
    for name, entry in registry.special().items():
        found[f"{name} on 16 states"] = functools.partial(_special, entry, name=name)
    if not is_quick:
        for name, entry in registry.of_space(REAL).items():
            found[f"{name}, rejection of non-finite points"] = functools.partial(
                _walls, entry=entry, name=name
            )
    return found


def spins() -> Energy:
    """Of four bits; all pairs and each bit count."""
    rng = np.random.default_rng(4)
    w = jnp.asarray(rng.normal(size=(4, 4)), jnp.float32)
    return lambda x: x @ w @ x


def _special(entry, key, *, name, **options) -> Report:
    """A kernel of lattices or of a restricted Boltzmann machine, on its example."""
    model, kernel = entry.example(), entry.properties()
    is_lattice = kernel.state_space != BITS
    energy = model if is_lattice else functools.partial(boltzmann.rbm, model)
    shape = (2, 2) if is_lattice else (4,)
    states = enumeration.grid(kernel.state_space, shape)
    return _counted(
        key, kernel=kernel, energy=energy, name=name, states=states, **options
    )


def _counted(key, *, kernel, energy, name, alpha, states=None, **_) -> Report:
    is_reversible = bool(kernel.is_reversible)
    return counted_balance(
        key,
        kernel,
        energy,
        enumeration.states(4) if states is None else states,
        num_chains=4000,
        alpha=alpha,
        is_reversible=is_reversible,
        name=name,
    )


def _walls(key, *, entry, name, **_) -> Report:
    return rejects_nonfinite(
        key, lambda e: entry.kernel(e, 1.0, **entry.case), name=name
    )


def controls() -> dict[str, Case]:
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
            _invariance, kernel=kernel, target=place.target, name=name
        )
        for name, kernel in wrong.items()
    }


class Outcome(NamedTuple):
    name: str
    report: Report
    is_right: bool  # a case passed, or a control was rejected
    seconds: float


def run_suite(
    key: Key, *, is_quick: bool = True, num_chains: int = 20_000, alpha: float = 1e-4
) -> Iterator[tuple[int, int, Outcome]]:
    """Run all cases, at a false-alarm rate of at most ``alpha`` in all, and all
    controls; several at once, since most of their time is compilation.

    Yields ``(number, total, outcome)`` in order.
    """
    found, wrong = verification_cases(is_quick=is_quick), controls()

    def outcome(i, name, test):
        begin = time.perf_counter()
        report = sequential(
            test,
            jax.random.fold_in(key, i),
            num_chains=num_chains,
            alpha=alpha / len(found),
        )
        is_right = report.is_passed == (name in found)
        return Outcome(name, report, is_right, time.perf_counter() - begin)

    cases = enumerate([*found.items(), *wrong.items()])
    pool = ThreadPoolExecutor(MOST_AT_ONCE)
    try:
        running = [pool.submit(outcome, i, *case) for i, case in cases]
        for number, future in enumerate(running, 1):
            yield number, len(running), future.result()
    finally:  # also where the caller stops before the end
        pool.shutdown(cancel_futures=True)


def _invariance(key, **options) -> Report:
    """One round, for ``sequential`` to repeat."""
    return invariance(
        key, num_steps=NUM_STEPS, statistics=STEPPED, **{"num_rounds": 1, **options}
    )


def _case(test, kernel_name, place_name) -> Case:
    """A case; the kernel is built only when it is verified."""
    place = PLACES[place_name]
    test = _invariance if test is invariance else test

    def case(key, **options):
        kernel = KERNELS[kernel_name](place)
        return test(
            key, kernel=kernel, target=place.target, name=kernel_name, **options
        )

    return case


def _integrator_case(key, *, point, coefficients, order, **_) -> Report:
    return integrator(
        targets.double_well(3).energy, point, coefficients=coefficients, order=order
    )


def _quadratic(precisions) -> Energy:
    a = jnp.asarray(precisions, jnp.float32)
    return lambda x: 0.5 * jnp.sum(a * x**2)
