"""Where a run of chains begins, and whether it may: finite energies, of this kernel, on
these devices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Array, Energy, Kernel, Key, Position, State, evaluate
from ebmjax.kernels.chains import parallel
from ebmjax.sampling import devices as dev
from ebmjax.sampling.coordinates import to_free

ATTEMPTS = 100  # to find a random start


@jax.jit
def _init(kernel, positions):
    return parallel(kernel).init(positions)


def begin(
    kernel: Kernel, positions: Position | State, mesh: jax.sharding.Mesh | None
) -> State:
    """The state of chains at positions ``[C, ...]``, constrained values where the
    energy is constrained, or a copy of the state of an earlier run; over devices.

    Raises:
      TypeError, ValueError: positions that are none, or outside of their supports; a
        state of another kernel or energy; an energy that is not finite where a chain
        starts, naming the chain.
    """
    if isinstance(positions, State):
        state = jax.tree.map(
            jnp.copy, positions
        )  # the chunks consume theirs, not the caller's
        wants = jax.eval_shape(_init, kernel, state.position)
        if jax.tree.structure(wants) != jax.tree.structure(state):
            raise TypeError(
                "positions is the state of another kernel; pass its position, "
                "state.position"
            )
        dev.check_divides(checks.num_chains(state), mesh, "the number of chains")
        state = dev.spread(state, mesh)
        check_energy(kernel, state, "positions is a state")
    else:
        positions = checks.position(to_free(kernel, positions))
        kernel.state_space.check(positions)
        if not kernel.is_parallel:
            one_point(positions, kernel.init)
        dev.check_divides(checks.num_chains(positions), mesh, "the number of chains")
        state = jax.tree.map(jnp.copy, _init(kernel, dev.spread(positions, mesh)))
    energy = np.asarray(dev.to_host(state.energy))
    bad = np.flatnonzero(~np.isfinite(energy))
    if len(bad):
        raise ValueError(
            f"energy must be finite where a chain starts, got {energy[bad[0]]} at "
            f"chain {bad[0]} ({len(bad)} of {len(energy)} chains)"
        )
    check_grad(state, "a chain starts")
    return state


def check_grad(state: State, where: str) -> None:
    """Raise, naming the chains, where the gradient of a state is not finite."""
    if state.grad is None:
        return
    leaves = [np.asarray(dev.to_host(g)) for g in jax.tree.leaves(state.grad)]
    rows = [np.isfinite(g).reshape(len(g), -1).all(axis=1) for g in leaves]
    bad = np.flatnonzero(~np.logical_and.reduce(rows))
    if len(bad):
        raise ValueError(
            f"the gradient of the energy must be finite where {where}, got NaN or "
            f"infinity at chain {bad[0]} ({len(bad)} of {len(rows[0])} chains); start "
            "it elsewhere"
        )


def check_energy(kernel: Kernel, state: State, what: str) -> None:
    """What was loaded is a cache under some energy; it must be this one."""
    now = np.asarray(dev.to_host(_init(kernel, state.position).energy), np.float64)
    then = np.asarray(dev.to_host(state.energy), np.float64)
    worst = int(np.argmax(np.abs(now - then) / (1 + np.abs(then))))
    if not abs(now[worst] - then[worst]) <= 1e-2 * (1 + abs(then[worst])):
        raise ValueError(
            f"{what} of another energy: where chain {worst} stands it was "
            f"{then[worst]:.6g}, and is {now[worst]:.6g}"
        )


def one_point(positions: Any, takes: Callable, name: str = "positions") -> None:
    """Warn where numbers ``[C]`` look like one point without its chain axis: ``takes``
    accepts them whole."""
    if any(np.ndim(x) != 1 for x in jax.tree.leaves(positions)):
        return
    try:
        jax.eval_shape(takes, positions)
    except (TypeError, ValueError, IndexError):
        return
    shape = np.shape(jax.tree.leaves(positions)[0])
    checks.warn(
        f"{name} of shape {shape} are {shape[0]} chains of one number each, but the "
        "energy takes them as one point, too; for one chain of that point add an axis: "
        "x[None]"
    )


def random_positions(
    key: Key,
    energy: Energy,
    num_chains: int,
    dim: int,
    *,
    reach: float = 2.0,
    with_grad: bool = True,
) -> tuple[Array, int]:
    """Points ``[C, D]`` uniform on (-reach, reach) with a finite energy (and gradient),
    and how many had to be drawn again.

    A point without is drawn again up to 100 times, as Stan does (Stan reference manual,
    "Initialization").

    Raises:
      ValueError: some chain has found no such point.

    >>> half_line = lambda x: jnp.where(x[0] > 0, x[0], jnp.inf)
    >>> x, num_redrawn = random_positions(jax.random.key(0), half_line, 8, 1)
    >>> bool((x > 0).all())
    True
    """
    num_redrawn, positions = 0, jnp.zeros((num_chains, dim))
    is_bad = np.ones(num_chains, bool)
    for attempt in range(ATTEMPTS):
        key_now = jax.random.fold_in(key, attempt)
        new = jax.random.uniform(
            key_now, (num_chains, dim), minval=-reach, maxval=reach
        )
        positions = jnp.where(is_bad[:, None], new, positions)
        is_bad = ~np.asarray(_is_start(energy, positions, with_grad))
        if not is_bad.any():
            return positions, num_redrawn
        num_redrawn += int(is_bad.sum())
    raise ValueError(
        f"no start with a finite energy was found in {ATTEMPTS} attempts on "
        f"(-{reach:g}, {reach:g}) for {is_bad.sum()} of {num_chains} chains; give "
        "positions"
    )


def _is_start(energy: Energy, positions: Position, with_grad: bool) -> Array:
    def one(x):
        state = evaluate(energy, x, with_grad=with_grad)
        is_finite = jnp.isfinite(state.energy)
        if with_grad:
            is_finite &= jnp.all(jnp.isfinite(state.grad))
        return is_finite

    return jax.vmap(one)(positions)
