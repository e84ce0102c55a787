"""Integrators of Hamiltonian dynamics (notes, eq. 19-20; Neal 2011).

The flow of  H(x, n) = E(x) + |n|^2 / 2  is followed in steps S by a symmetric
splitting: kicks  n -= c S^T grad E  of the momentum and drifts  x += c S n  of the
position in turn, by coefficients c that read the same both ways.  The leapfrog is
[1/2, 1, 1/2] (eq. 20).  Whatever the coefficients, the map keeps volume and is undone
by flipping n.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax.base import Energy, Position, State, axpy, moved, scale


class Integrator(tuple):
    """Coefficients of kick, drift, ..., drift, kick; each kind sums to one, and they
    read the same both ways.

    It is part of the structure of a kernel and no pytree of numbers.  Raises unless the
    coefficients are symmetric and sum to one.

    >>> Integrator((0.5, 1.0, 0.5)) == leapfrog
    True
    """

    def __new__(cls, coefficients: Any) -> "Integrator":
        if checks.is_traced(coefficients):
            raise TypeError(
                "the coefficients of an integrator are structure and cannot be traced; "
                "where they are bound to a function, write Integrator((...))"
            )
        new = super().__new__(cls, map(float, coefficients))
        _check_integrator(new)
        return new

    def __repr__(self) -> str:
        names = {leapfrog: "leapfrog", mclachlan: "mclachlan", yoshida: "yoshida"}
        return names.get(self, f"Integrator({tuple(self)})")


def _check_integrator(c: tuple[float, ...]) -> None:
    pairs = zip(c, c[::-1], strict=True)
    if len(c) % 2 == 0 or len(c) < 3 or any(abs(a - b) > 1e-12 for a, b in pairs):
        raise ValueError(
            "integrator must be kick, drift, ..., kick and read the same both ways, "
            f"got {tuple(c)}"
        )
    kicks, drifts = sum(c[::2]), sum(c[1::2])
    if abs(kicks - 1) > 1e-12 or abs(drifts - 1) > 1e-12:
        raise ValueError(
            "integrator must have kicks and drifts that sum to one, got "
            f"{kicks} and {drifts}"
        )


leapfrog = Integrator((0.5, 1.0, 0.5))

# minimises the leading error (McLachlan 1995, SIAM J. Sci. Comput. 16, 4.1)
_a = 0.1931833275037836
mclachlan = Integrator((_a, 0.5, 1 - 2 * _a, 0.5, _a))  # two gradients a step, order 2

# three leapfrogs of w, 1 - 2w, w (Yoshida 1990, Phys. Lett. A 150); order 4
_w = 1 / (2 - 2 ** (1 / 3))
yoshida = Integrator((_w / 2, _w, (1 - _w) / 2, 1 - 2 * _w, (1 - _w) / 2, _w, _w / 2))

# steps up to which a trajectory is no loop: on a GPU a turn is four launches and more,
# and with an elementwise gradient all steps fuse into one
UNROLLED = {"gpu": 16}


def trajectory(
    energy: Energy,
    state: State,
    momentum: Position,
    step_size: Any,
    num_steps: int | jax.Array,
    *,
    integrator: tuple = leapfrog,
) -> tuple[State, Position]:
    """Follow the flow of H for ``num_steps`` steps; one gradient a drift.

    Args:
      energy: of one point.
      state: with its gradient.
      momentum: in the shape of the position, standard normal units.
      step_size: eps M^(-1/2); a scalar, an array or tree that broadcasts, or ``Dense``.
      num_steps: at least 1; may be traced.
      integrator: coefficients of kick, drift, ..., kick.
    """
    first, last = integrator[0], integrator[-1]
    is_one = isinstance(num_steps, int) and num_steps == 1

    def kick(c, state, n):  # n -= c S^T grad E(x)
        return axpy(-c, scale(step_size, state.grad, transpose=True), n)

    def drift(c, state, n):  # x += c S n
        return moved(energy, state, axpy(c, scale(step_size, n), state.position))

    def step(i, carry):
        # after its first kick; its last is joined with the first of the next step
        state, n = carry
        inner = zip(integrator[1:-2:2], integrator[2:-1:2], strict=True)
        for c_drift, c_kick in inner:
            state = drift(c_drift, state, n)
            n = kick(c_kick, state, n)
        state = drift(integrator[-2], state, n)
        if isinstance(i, int):
            end = last if i + 1 == num_steps else last + first
        else:
            end = jnp.where(i + 1 < num_steps, last + first, last)
        return state, kick(end, state, n)

    carry = state, kick(first, state, momentum)
    if is_one:
        return step(0, carry)
    if isinstance(num_steps, int) and num_steps <= UNROLLED.get(
        jax.default_backend(), 0
    ):
        for i in range(num_steps):
            carry = step(i, carry)
        return carry
    return jax.lax.fori_loop(0, num_steps, step, carry)
