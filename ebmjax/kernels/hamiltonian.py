"""Hamiltonian Monte Carlo (notes, 2.1.3; Duane et al. 1987; Neal 2011).

The position x gets a momentum p and the pair the energy (notes, eq. 16-18)

    H(x, p) = E(x) + 1/2 p^T M^-1 p,      dx/dt = M^-1 p,      dp/dt = -grad E(x)            (eq. 19)

The flow of H keeps H and volume and is undone by flipping p.  It is followed in steps of size eps by a
symmetric splitting: kicks of the momentum and drifts of the position in turn, by coefficients that read the
same both ways.  The leapfrog is [1/2, 1, 1/2] (eq. 20).  Whatever the coefficients, the map keeps volume and
is undone by flipping p; hence the ratio H(x, p) - H(x*, p*) makes it exact.

Momenta are kept in units in which they are standard normal,  n = M^(-1/2) p,  so that the mass is part of the
step size:  S = eps M^(-1/2),  x += S n,  n -= S^T grad E.  A large mass is a small step.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._random import fold_in_each, uniform
from ebmjax.base import (
    Energy,
    Kernel,
    Position,
    State,
    axpy,
    careful,
    half_square,
    moved,
    normal_like,
    scale,
)
from ebmjax.kernels.metropolis import Proposal, metropolis

Integrator = tuple[
    float, ...
]  # kick, drift, kick, ..., drift, kick; kicks and drifts each sum to one

leapfrog: Integrator = (0.5, 1.0, 0.5)

_a = 0.1931833275037836  # minimises the leading error (McLachlan 1995, SIAM J. Sci. Comput. 16, 4.1)
mclachlan: Integrator = (
    _a,
    0.5,
    1 - 2 * _a,
    0.5,
    _a,
)  # two gradients a step, of order 2

_w = 1 / (
    2 - 2 ** (1 / 3)
)  # three leapfrogs of w, 1 - 2w, w (Yoshida 1990, Phys. Lett. A 150)
yoshida: Integrator = (
    _w / 2,
    _w,
    (1 - _w) / 2,
    1 - 2 * _w,
    (1 - _w) / 2,
    _w,
    _w / 2,
)  # of order 4


def trajectory(
    energy: Energy,
    state: State,
    momentum: Position,
    step_size: Any,
    num_steps: int | jax.Array,
    *,
    integrator: Integrator = leapfrog,
) -> tuple[State, Position]:
    """Follow the flow of H for ``num_steps`` steps; one gradient a drift.

    Args:
      energy: of one point.
      state: with its gradient.
      momentum: in the shape of the position, standard normal units.
      step_size: eps M^(-1/2); a scalar, an array or tree that broadcasts, or a matrix ``[D, D]``.
      num_steps: at least 1; may be traced.
      integrator: coefficients of kick, drift, ..., kick.
    """

    first, last, is_one = (
        integrator[0],
        integrator[-1],
        isinstance(num_steps, int) and num_steps == 1,
    )

    def kick(c, state, n):  # n -= c S^T grad E(x)
        return axpy(-c, scale(step_size, state.grad, transpose=True), n)

    def drift(c, state, n):  # x += c S n
        return moved(energy, state, axpy(c, scale(step_size, n), state.position))

    def step(
        i, carry
    ):  # a step after its first kick; its last comes in one with the first of the next
        state, n = carry
        for c_drift, c_kick in zip(integrator[1:-2:2], integrator[2:-1:2], strict=True):
            state = drift(c_drift, state, n)
            n = kick(c_kick, state, n)
        state = drift(integrator[-2], state, n)
        return state, kick(
            last if is_one else jnp.where(i + 1 < num_steps, last + first, last),
            state,
            n,
        )

    carry = state, kick(first, state, momentum)
    return step(0, carry) if is_one else jax.lax.fori_loop(0, num_steps, step, carry)


def hmc(
    energy: Energy,
    step_size: Any,
    num_steps: int | jax.Array,
    *,
    mass: Any = None,
    integrator: Integrator = leapfrog,
    jitter: bool = False,
    step_jitter: float = 0.0,
) -> Kernel:
    """Hamiltonian Monte Carlo with a fresh momentum at each step; ``num_steps`` gradients with leapfrog.

    Args:
      energy: of one point, differentiable.
      step_size: eps; a scalar, an array or tree that broadcasts to the position (a diagonal mass matrix of
        1 / step_size^2), or a matrix ``[D, D]``.
      num_steps: L, steps of the integrator; may be traced.
      mass: M of eq. 16, ``[D]`` or ``[D, D]``; ``step_size`` is then a scalar.
      integrator: ``leapfrog``, ``mclachlan``, ``yoshida`` or your own symmetric coefficients.
      jitter: take a number of steps drawn uniformly from 1..L each time, which breaks the resonances of a
        fixed length (Mackenzie 1989); (L + 1) / 2 steps on the average.
      step_jitter: or draw the step size each time, uniformly within that share of eps to either side (Neal
        2011, 5.4.2.2): against resonances, too, and many chains together still take L steps each, not the
        longest of many lengths.

    Raises:
      ValueError: a step size that is not positive, a share outside [0, 1), a mass that is not positive
        definite, coefficients that are not symmetric; TypeError: a number of steps that is not whole.

    >>> kernel = hmc(lambda x: 0.5 * jnp.sum(x**2), 0.3, 10)
    """
    if not checks.is_traced(num_steps):
        num_steps = checks.count(num_steps, "num_steps")
    _check_integrator(integrator)
    if not 0 <= step_jitter < 1:
        raise ValueError(f"step_jitter must lie in [0, 1), got {step_jitter}")
    step = with_mass(step_size, mass)

    def draw(key, position):
        if not (jitter or step_jitter):
            return normal_like(key, position), None, None
        key_momentum, key_length, key_size = fold_in_each(key, 3)
        length = (
            jax.random.randint(key_length, (), 1, num_steps + 1) if jitter else None
        )
        factor = 1 + step_jitter * (2 * uniform(key_size) - 1) if step_jitter else None
        return normal_like(key_momentum, position), length, factor

    def propose(noise, state):
        momentum, length, factor = noise
        length = num_steps if length is None else length
        coefficients = (
            integrator if factor is None else tuple(factor * c for c in integrator)
        )
        proposed, end = trajectory(
            energy, state, momentum, step, length, integrator=coefficients
        )
        return proposed, half_square(momentum) - half_square(end)

    kernel = metropolis(energy, Proposal(draw, propose, uses_grad=True))

    def move(noise, state):
        (momentum, length, _), _ = noise
        new, info = kernel.move(noise, state)
        num_grads = (len(integrator) // 2) * (num_steps if length is None else length)
        start = state.energy + half_square(momentum)
        return new, info._replace(hamiltonian=start, num_grads=jnp.int32(num_grads))

    return kernel._replace(move=careful(move))


def with_mass(step_size, mass):
    """S = eps M^(-1/2): with M = L L^T, momentum p = L n, so that x moves by eps L^-T n."""
    checks.step_size(step_size)
    if mass is None:
        return step_size
    checks.scalar_step(step_size, "mass")
    checks.covariance(mass, "mass")
    mass = jnp.asarray(mass)
    if mass.ndim == 1:
        return step_size / jnp.sqrt(mass)
    return step_size * jnp.linalg.inv(jnp.linalg.cholesky(mass)).T


def _check_integrator(coefficients):
    c = tuple(coefficients)
    if (
        len(c) % 2 == 0
        or len(c) < 3
        or any(abs(a - b) > 1e-12 for a, b in zip(c, c[::-1], strict=True))
    ):
        raise ValueError(
            f"integrator must be kick, drift, ..., kick and read the same both ways, got {c}"
        )
    kicks, drifts = sum(c[::2]), sum(c[1::2])
    if abs(kicks - 1) > 1e-12 or abs(drifts - 1) > 1e-12:
        raise ValueError(
            f"integrator must have kicks and drifts that sum to one, got {kicks} and {drifts}"
        )
