"""Hamiltonian Monte Carlo (notes, 2.1.3; Duane et al. 1987; Neal 2011).

The position x gets a momentum p and the pair the energy (notes, eq. 16-18)

    H(x, p) = E(x) + 1/2 p^T M^-1 p,   dx/dt = M^-1 p,   dp/dt = -grad E(x)   (eq. 19)

Its flow keeps H and volume and is undone by flipping p.  The integrators that follow it
(:mod:`ebmjax.kernels.integrators`) keep volume and are undone so, too; hence the ratio
H(x, p) - H(x*, p*) makes the move exact.

Momenta are kept in units in which they are standard normal,  n = M^(-1/2) p,  so that
the mass is part of the step size:  S = eps C^(1/2),  C = M^-1,  x += S n,
n -= S^T grad E.  The best C is the covariance of the target (Neal 2011, 5.4.2.4).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._inlined import inlined
from ebmjax._random import fold_in_each, uniform
from ebmjax._value import count, function, is_number, number, static, value
from ebmjax.base import (
    Array,
    Energy,
    Kernel,
    Position,
    half_square,
    normal_like,
    preconditioned,
)
from ebmjax.kernels.integrators import Integrator, leapfrog, trajectory
from ebmjax.kernels.metropolis import MetropolisKernel
from ebmjax.kernels.proposal import Proposal

AUTO = "auto"  # a number of steps that warm_up learns


class Noise(NamedTuple):
    """The noise of a trajectory."""

    momentum: Position
    length: Array | None  # [] int32 number of steps, where it is random
    factor: Array | None  # [] of the step size, where it is random


@value
class Hamiltonian(Proposal):
    """The end of a trajectory with a fresh momentum."""

    energy: Energy = function()
    step_size: Any = number()
    num_steps: int | Array = count()
    integrator: Integrator = static(default=leapfrog)
    jitter: bool = static(default=False)
    step_jitter: Any = number(default=None)
    keep_momentum: bool = static(default=False)
    uses_grad = True

    def draw(self, key, shapes):
        if not (self.jitter or self.step_jitter is not None):
            return Noise(normal_like(key, shapes), None, None)
        key_momentum, key_length, key_size = fold_in_each(key, 3)
        length = factor = None
        if self.jitter:
            length = jax.random.randint(inlined(key_length), (), 1, self.num_steps + 1)
        if self.step_jitter is not None:
            factor = 1 + self.step_jitter * (2 * uniform(key_size) - 1)
        return Noise(normal_like(key_momentum, shapes), length, factor)

    def propose(self, noise, state):
        momentum, length, factor = noise
        integrator: tuple = self.integrator
        if factor is not None:
            integrator = tuple(factor * c for c in integrator)
        length = self.num_steps if length is None else length
        proposed, end = trajectory(
            self.energy, state, momentum, self.step_size, length, integrator=integrator
        )
        if self.keep_momentum:
            proposed = proposed._replace(momentum=end)
        return proposed, half_square(momentum) - half_square(end)


@value
class HMC(MetropolisKernel):
    """Made by :func:`hmc`."""

    energy: Energy = function()
    step_size: Any = number()
    num_steps: int | Array | str = count()
    integrator: Integrator = static(default=leapfrog)
    jitter: bool = static(default=False)
    step_jitter: Any = number(default=None)
    keep_momentum: bool = static(default=False)
    acceptance_target = 0.651  # Beskos et al. 2013

    def check(self):
        checks.step_size(self.step_size)
        if isinstance(self.num_steps, str):
            checks.one_of(self.num_steps, "num_steps", (AUTO,))
            if self.jitter:
                raise ValueError(
                    'jitter draws from 1..num_steps and needs a number, got num_steps="'
                    'auto"; trajectories whose length is learned jitter their step size'
                )
        elif not is_number(self.num_steps):
            steps = checks.count(self.num_steps, "num_steps")
            object.__setattr__(self, "num_steps", steps)
        else:
            checks.counts(self.num_steps, "num_steps")
        object.__setattr__(self, "integrator", Integrator(self.integrator))
        if self.step_jitter is not None and not checks.is_traced(self.step_jitter):
            if not 0 <= self.step_jitter < 1:
                raise ValueError(
                    f"step_jitter must lie in [0, 1), got {self.step_jitter}"
                )
        object.__setattr__(self, "jitter", bool(self.jitter))

    @property
    def proposal(self):
        if isinstance(self.num_steps, str):
            raise TypeError(
                'num_steps="auto" is learned by warm_up(key, hmc, energy, positions); '
                "a kernel that runs needs a whole number"
            )
        return Hamiltonian(
            self.energy,
            self.step_size,
            self.num_steps,
            self.integrator,
            self.jitter,
            self.step_jitter,
            self.keep_momentum,
        )

    @property
    def needs_grad(self):
        return True

    @property
    def is_trajectory(self):
        # of one whose length was tuned; of others it is part of the program
        return is_number(self.num_steps) or (
            self.step_jitter is not None and self.num_steps != AUTO
        )

    def init(self, position):
        state = super().init(position)
        if not self.keep_momentum:
            return state
        return state._replace(momentum=jax.tree.map(jnp.zeros_like, position))

    def move(self, noise, state):
        new, info = super().move(noise, state)
        (momentum, length, _), _ = noise
        length = self.num_steps if length is None else length
        num_grads = jnp.int32((len(self.integrator) // 2) * length)
        start = state.energy + half_square(momentum)
        return new, info._replace(hamiltonian=start, num_grads=num_grads)


def with_momentum(kernel: Kernel) -> Kernel:
    """A kernel of :func:`hmc` whose states have the momentum at the end of the last
    trajectory that was accepted; another one unchanged."""
    if not isinstance(kernel, HMC) or kernel.keep_momentum:
        return kernel
    return kernel.replace(keep_momentum=True)


def with_any_length(kernel: Kernel) -> Kernel:
    """A kernel of :func:`hmc` whose number of steps is an array, which may change;
    another one unchanged."""
    if not isinstance(kernel, HMC) or not isinstance(kernel.num_steps, int):
        return kernel
    return kernel.replace(num_steps=np.int32(kernel.num_steps))


def factor_of(noise: Any) -> Array | None:
    """What the noise of a step of :func:`hmc` has multiplied its step size with;
    ``None`` where that is not random, and of other kernels."""
    is_ours = isinstance(noise, tuple) and isinstance(noise[0], Noise)
    return noise[0].factor if is_ours else None


def hmc(
    energy: Energy,
    step_size: Any,
    num_steps: int | jax.Array | str,
    *,
    covariance: Any = None,
    integrator: Integrator = leapfrog,
    jitter: bool = False,
    step_jitter: Any = None,
) -> Kernel:
    """Hamiltonian Monte Carlo with a fresh momentum at each step; ``num_steps``
    gradients with leapfrog.

    Args:
      energy: of one point, differentiable.
      step_size: eps; a scalar, an array or tree that broadcasts to the position (a
        diagonal mass matrix of 1 / step_size^2), or ``Dense(matrix)``.
      num_steps: L, steps of the integrator.  An ``int`` is part of the program; an
        array is a number that may change.  ``"auto"`` leaves it to
        :func:`ebmjax.warm_up`.
      covariance: an estimate C of the target's, ``[D]`` or ``[D, D]``; the mass of eq.
        16 is its inverse, and ``step_size`` a scalar.
      integrator: ``leapfrog``, ``mclachlan``, ``yoshida`` or other symmetric
        coefficients.
      jitter: take a number of steps drawn uniformly from 1..L each time, which breaks
        the resonances of a fixed length (Mackenzie 1989); (L + 1) / 2 steps on average.
      step_jitter: draw the step size each time, uniformly within that share of eps to
        either side (Neal 2011, 5.4.2.2): against resonances, too, and chains that run
        together still take L steps each.

    Raises:
      ValueError: a step size that is not positive, a share outside [0, 1), a
        covariance that is not positive definite, coefficients that are not symmetric.
      TypeError: a number of steps that is not whole.

    >>> hmc(lambda x: 0.5 * jnp.sum(x**2), 0.3, 10)
    HMC(energy=<lambda>, step_size=0.3, num_steps=10)
    """
    if isinstance(step_jitter, int | float) and step_jitter == 0:
        step_jitter = None
    step = preconditioned(step_size, covariance)
    return HMC(energy, step, num_steps, integrator, jitter, step_jitter)
