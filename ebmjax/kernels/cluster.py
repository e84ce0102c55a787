"""Cluster moves of Ising and Potts lattices (:mod:`ebmjax.energies.lattice`).

Neighbours that are equal are joined with probability 1 - exp(-s), s the energy that an
equal pair saves (2 J for spins, J for levels); joined sites form clusters (Fortuin &
Kasteleyn 1972).  Given the bonds clusters are independent; in a field h, cluster C has

    P(value v)  proportional to  exp(sum_{i in C} h_i(v)).

    swendsen_wang   every cluster draws a value from that      (Swendsen & Wang 1987)
    wolff           the cluster of one random site takes another value, accepted with
                    probability min(1, exp(gain of its field)) (Wolff 1989)

Clusters are found inside ``jit``: each site points to a site of its cluster with a
smaller index, roots hook onto the smallest neighbour and pointers jump, until nothing
changes (Shiloach & Vishkin 1982; Zhang, Azad & Hu 2020, "FastSV").
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._inlined import inlined
from ebmjax._random import bits, fold_in, split, unit
from ebmjax._tree import differs
from ebmjax._value import function, value
from ebmjax.base import Array, Energy, Info, Kernel, State, select
from ebmjax.energies.differences import discrete_state, renewed
from ebmjax.energies.lattice import Ising, Potts
from ebmjax.energies.transforms import Tempered
from ebmjax.kernels.gibbs import pick
from ebmjax.spaces import space_of


class _OfClusters(Kernel):
    """What cluster kernels have in common."""

    energy: Energy
    rejects_nonfinite = True
    is_reversible = True

    def check(self):
        model, _ = lattice_of(self.energy)
        if not isinstance(model, Ising | Potts):
            raise TypeError(
                "cluster moves are of ising(...) and potts(...), got "
                f"{checks.describe(model)}"
            )
        coupling = model.coupling
        if not checks.is_traced(coupling) and not np.all(np.asarray(coupling) >= 0):
            raise ValueError(
                f"coupling must be at least 0 for clusters, got {coupling}"
            )

    @property
    def state_space(self):
        return space_of(self.energy)

    def init(self, position):
        return discrete_state(self.energy, self.state_space, position)

    def components(self, noise: Array, state: State) -> Array:
        """The label of the cluster of each site, ``[H W]``, the smallest of its
        sites."""
        model, temperature = lattice_of(self.energy)
        probability = -jnp.expm1(-model.bond_strength / temperature)
        x = state.position
        is_equal = [x == jnp.roll(x, -1, axis) for axis in (0, 1)]
        return labels(
            *(e & (u < probability) for e, u in zip(is_equal, noise, strict=True))
        )

    def site_energies(self, x: Array) -> Array:
        """Of the field, of every value of every site, ``[H W, K]``."""
        model, temperature = lattice_of(self.energy)
        return model.site_energies(x).reshape(x.size, -1) / temperature

    def finish(self, state: State, x: Array, rate: Any) -> tuple[State, Info]:
        """The new state; the old one under a coupling below 0, which is counted."""
        model, _ = lattice_of(self.energy)
        new = renewed(self.energy, self.state_space, state, x)
        is_valid = jnp.isfinite(new.energy) & (model.coupling >= 0)
        new = select(is_valid, new, state)
        zero = jnp.zeros_like(new.energy)
        return new, Info(
            acceptance_rate=jnp.where(is_valid, rate, zero),
            is_accepted=differs(new.position, state.position),
            energy_error=zero,
            num_nonfinite=jnp.int32(~is_valid),
            hamiltonian=zero,
        )


def lattice_of(energy: Energy) -> tuple[Any, Any]:
    """The lattice model of an energy, and its temperature."""
    if isinstance(energy, Tempered):
        model, temperature = lattice_of(energy.energy)
        return model, temperature * energy.temperature
    return energy, 1.0


@value
class SwendsenWang(_OfClusters):
    """Made by :func:`swendsen_wang`."""

    energy: Energy = function()

    def draw(self, key, shapes):
        return _unit(key, (3, *shapes.shape))

    def move(self, noise, state):
        x, space = state.position, self.state_space
        label = self.components(noise[:2], state)
        cost = self.site_energies(x)
        of_cluster = jnp.zeros_like(cost).at[label].add(cost)
        gaps = jnp.moveaxis(of_cluster[:, 1:] - of_cluster[:, :1], -1, 0)
        index = pick(noise[2].ravel(), gaps)[label]
        new = space.value(index, x.dtype).reshape(x.shape)
        return self.finish(state, new, 1.0)


def swendsen_wang(energy: Energy) -> Kernel:
    """All clusters of a lattice draw new values; O(H W log(H W)) operations a step.

    Args:
      energy: ``ising(...)`` or ``potts(...)`` with a coupling of at least 0, or one of
        them tempered.

    Raises:
      TypeError, ValueError: any other energy; a coupling below 0.

    >>> from ebmjax.energies.lattice import ising
    >>> kernel = swendsen_wang(ising(0.44))
    """
    return SwendsenWang(energy)


@value
class Wolff(_OfClusters):
    """Made by :func:`wolff`."""

    energy: Energy = function()

    def draw(self, key, shapes):
        key_bonds, key_site, key_rest = split(key, 3)
        site = jax.random.randint(inlined(key_site), (), 0, shapes.size)
        shift = jax.random.randint(
            inlined(key_rest), (), 1, self.state_space.num_values
        )
        accept = _unit(fold_in(key_rest, 1), ())
        return _unit(key_bonds, (2, *shapes.shape)), site, shift, accept

    def move(self, noise, state):
        bonds, site, shift, u = noise
        x, space = state.position, self.state_space
        label = self.components(bonds, state)
        is_cluster = (label == label[site]).reshape(x.shape)
        old = space.index(x).ravel()[site]
        new = (old + shift) % space.num_values
        cost = self.site_energies(x)
        rise = jnp.sum(jnp.where(is_cluster.ravel(), cost[:, new] - cost[:, old], 0.0))
        rate = jnp.exp(-jnp.maximum(rise, 0.0))
        moved = jnp.where(is_cluster & (u <= rate), space.value(new, x.dtype), x)
        return self.finish(state, moved, rate)


def wolff(energy: Energy) -> Kernel:
    """The cluster of one random site takes another value.

    Costs as much as :func:`swendsen_wang`: all bonds are drawn, as compiled code has no
    loops of unknown length that are cheaper.  Args and errors as of that.

    >>> from ebmjax.energies.lattice import potts
    >>> kernel = wolff(potts(3, 1.0))
    """
    return Wolff(energy)


def labels(is_down: Array, is_right: Array) -> Array:
    """Connected components of a periodic lattice, ``[H W]`` int32.

    Args:
      is_down: ``[H, W]`` bool, whether a site is joined with the one below.
      is_right: with the one to the right.

    Returns:
      For each site the smallest index of its component.
    """
    shape, num = is_down.shape, is_down.size
    is_up, is_left = jnp.roll(is_down, 1, 0), jnp.roll(is_right, 1, 1)
    bonds = (is_down, -1, 0), (is_right, -1, 1), (is_up, 1, 0), (is_left, 1, 1)

    def smallest(f):
        """Of the labels of a site and of those joined with it."""
        grid = f.reshape(shape)
        found = grid
        for is_joined, shift, axis in bonds:
            other = jnp.roll(grid, shift, axis)
            found = jnp.where(is_joined, jnp.minimum(found, other), found)
        return found.ravel()

    def round_of(carry):
        f, _ = carry
        least = smallest(f)
        hooked = f.at[f].min(least)  # roots onto the smallest label of a neighbour
        new = jnp.minimum(hooked, least)
        new = new[new]
        return new, jnp.any(new != f)

    start = jnp.arange(num, dtype=jnp.int32), jnp.bool_(True)
    return jax.lax.while_loop(lambda carry: carry[1], round_of, start)[0]


def _unit(key, shape):
    size = 1
    for length in shape:
        size *= length
    return unit(bits(key, size)).reshape(shape)
