"""The kernels of the library by name; the only table of kernels.

Warm-up, verification, benchmarks and the command line read it.  A new kernel needs a
line here: then it is verified on every target (:mod:`ebmjax.verify.suite`), and it can
be tuned, used in training and named on the command line.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ebmjax.base import Energy, Kernel
from ebmjax.energies.boltzmann import RBM
from ebmjax.energies.lattice import ising
from ebmjax.kernels.barker import barker
from ebmjax.kernels.cluster import swendsen_wang, wolff
from ebmjax.kernels.discrete_langevin import dmala, dula
from ebmjax.kernels.flip import flip
from ebmjax.kernels.gibbs import gibbs
from ebmjax.kernels.hamiltonian import AUTO, hmc
from ebmjax.kernels.integrators import mclachlan, yoshida
from ebmjax.kernels.langevin import mala, ula, underdamped_langevin
from ebmjax.kernels.locally_balanced import gibbs_with_gradients, locally_balanced
from ebmjax.kernels.nuts import nuts
from ebmjax.kernels.random_walk import random_walk
from ebmjax.kernels.rbm_gibbs import rbm_gibbs
from ebmjax.spaces import Space


class Entry(NamedTuple):
    """A kernel of an energy and a step size, ``make(energy, step_size)``."""

    make: Callable[..., Kernel]
    is_exact: bool = True  # leaves exp(-energy) invariant
    has_step_size: bool = True
    training: dict[str, Any] | None = None  # options in training, if it is for training
    case: dict[str, Any] = {}  # options in a verification case
    relative_step: float = 1.0  # in verification cases, to the leapfrog's step
    variants: dict[str, dict[str, Any]] = {}  # further cases, options by name
    # makes an energy that it is of, where it is not of all energies of its space
    example: Callable[[], Any] | None = None

    def training_kernel(self, energy: Energy, step_size: Any) -> Kernel:
        """The kernel as training runs it."""
        return self.kernel(energy, step_size, **(self.training or {}))

    def kernel(self, energy: Energy, step_size: Any, **options: Any) -> Kernel:
        """The kernel, with its step size if it has one."""
        arguments = (energy, step_size) if self.has_step_size else (energy,)
        return self.make(*arguments, **options)

    def properties(self) -> Kernel:
        """A kernel of no particular energy, to read what it promises."""
        energy = _flat if self.example is None else self.example()
        return self.kernel(energy, 1.0, **self.case)


def _flat(x: Any) -> Any:
    return 0.0 * x.sum()


def _lattice() -> Any:
    return ising(0.2, 0.1)


def _rbm() -> RBM:
    rng = np.random.default_rng(1)
    return RBM(
        *(  # type: ignore[arg-type]
            rng.normal(size=s).astype(np.float32) for s in ((4, 3), 4, 3)
        )
    )


SLOPED, DENSE = "sloped", "dense"  # covariances that a target makes

KERNELS: dict[str, Entry] = {
    "random_walk": Entry(
        random_walk,
        relative_step=2.0,
        variants={"diagonal": {"step_size": SLOPED}, "dense": {"covariance": DENSE}},
    ),
    "mala": Entry(mala, training={}, variants={"dense": {"covariance": DENSE}}),
    "barker": Entry(barker, training={}, relative_step=1.5),
    "hmc": Entry(
        hmc,
        training={"num_steps": 5},
        case={"num_steps": 5},
        variants={
            "jitter": {"num_steps": 8, "jitter": True},
            "step jitter": {"step_jitter": 0.3},
            "diagonal mass": {"num_steps": 4, "covariance": SLOPED},
            "dense mass": {"num_steps": 4, "covariance": DENSE},
            "mclachlan": {"num_steps": 3, "integrator": mclachlan},
            "yoshida": {"num_steps": 3, "integrator": yoshida},
        },
    ),
    "nuts": Entry(
        nuts,
        case={"max_depth": 6},
        variants={"dense mass": {"covariance": DENSE, "max_depth": 4}},
    ),
    "ula": Entry(ula, training={}, is_exact=False),
    "underdamped_langevin": Entry(underdamped_langevin, is_exact=False),
    "gibbs": Entry(gibbs, training={}, has_step_size=False),
    "flip": Entry(flip, has_step_size=False),
    "rbm_gibbs": Entry(rbm_gibbs, training={}, has_step_size=False, example=_rbm),
    "locally_balanced": Entry(locally_balanced, training={}, has_step_size=False),
    "gibbs_with_gradients": Entry(
        gibbs_with_gradients, training={}, has_step_size=False
    ),
    "dmala": Entry(dmala, training={}),
    "dula": Entry(dula, training={}, is_exact=False),
    "swendsen_wang": Entry(swendsen_wang, has_step_size=False, example=_lattice),
    "wolff": Entry(wolff, has_step_size=False, example=_lattice),
}


def of_space(
    space: Space, *, is_exact: bool | None = None, is_general: bool = True
) -> dict[str, Entry]:
    """The kernels whose default state space is ``space``; all discrete kernels are
    those of bits.

    ``is_general`` leaves out those of a lattice or of a restricted Boltzmann machine.
    """
    return {
        name: entry
        for name, entry in KERNELS.items()
        if entry.properties().state_space == space
        and is_exact in (None, entry.is_exact)
        and not (is_general and entry.example)
    }


def special() -> dict[str, Entry]:
    """The kernels of energies of one form, which ``example`` makes."""
    return {name: entry for name, entry in KERNELS.items() if entry.example}


__all__ = ["AUTO", "DENSE", "KERNELS", "SLOPED", "Entry", "of_space", "special"]
