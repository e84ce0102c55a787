"""Gibbs sweeps of discrete states: bits, spins, levels.

Each site is drawn from its conditional,

    P(x_i = v | rest) = exp(-d_i(v; x)) / sum_w exp(-d_i(w; x)),
    d_i(v; x) = E(x with x_i = v) - E(x)

All sites of a block are drawn at once where the energy has blocks (lattices,
:mod:`ebmjax.energies.pairwise`), else the sites in turn, by the differences of the
energy where it has them (:mod:`ebmjax.energies.local`), else by N (K - 1) energies.

A sweep has detailed balance for each site in its turn and so leaves exp(-E) invariant
(Geman & Geman 1984).  A position outside the state space has infinite energy, so that a
run does not start there.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._random import bits, unit
from ebmjax._tree import differs
from ebmjax._value import function, static, value
from ebmjax.base import Array, Energy, Info, Kernel, State, scalar, select
from ebmjax.energies.differences import discrete_state, renewed
from ebmjax.energies.local import blocks_of, difference_of
from ebmjax.spaces import Space, chosen


@value
class Gibbs(Kernel):
    """Made by :func:`gibbs`."""

    energy: Energy = function()
    space: Space | None = static(default=None)
    rejects_nonfinite = True

    def check(self):
        chosen(self.space, self.energy)

    @property
    def state_space(self):
        return chosen(self.space, self.energy)

    def init(self, position):
        return discrete_state(self.energy, self.state_space, position)

    def draw(self, key, shapes):
        return uniforms(key, shapes)

    def move(self, noise, state):
        blocks = blocks_of(self.energy)
        if blocks is None:
            return self._in_turn(noise, state)
        return self._by_blocks(blocks, noise, state)

    def _by_blocks(self, blocks, noise, state):
        sites, noise = list(blocks.split(state.position)), noise.ravel()
        start = 0
        for i, site in enumerate(sites):
            u = noise[start : start + site.size].reshape(site.shape)
            index = pick(u, blocks.conditional(tuple(sites), i))
            new = self.state_space.value(index, site.dtype)
            sites[i] = jax.lax.optimization_barrier(new)  # computed once
            start += site.size
        x = blocks.join(tuple(sites))
        if blocks.energy is None or state.grad is not None:
            new = renewed(self.energy, self.state_space, state, x)
        else:
            energy = blocks.energy(tuple(sites)).astype(state.energy.dtype)
            new = state._replace(position=x, energy=energy)
        is_valid = jnp.isfinite(new.energy)
        info = gibbs_info(state, new)._replace(num_nonfinite=jnp.int32(~is_valid))
        return select(is_valid, new, state), info

    def _in_turn(self, noise, state):
        local, energy_of = difference_of(self.energy), scalar(self.energy)
        shape, space = state.position.shape, self.state_space
        shifts, noise = jnp.arange(1, space.num_values), noise.ravel()

        def update(site, carry):
            x, energy, num_nonfinite = carry
            others = (space.index(x[site]) + shifts) % space.num_values
            others = space.value(others, x.dtype)

            def difference(v):
                if local is not None:
                    return local(x.reshape(shape), site, v)
                return energy_of(x.at[site].set(v).reshape(shape)) - energy

            gaps = jax.vmap(difference)(others).astype(energy.dtype)
            is_valid = gaps > -jnp.inf  # neither NaN nor minus infinity
            k = pick(noise[site], jnp.where(is_valid, gaps, jnp.inf))
            v = jnp.append(x[site], others)[k]
            energy = energy + jnp.append(jnp.zeros_like(energy), gaps)[k]
            num_nonfinite += jnp.sum(~is_valid, dtype=jnp.int32)
            return x.at[site].set(v), energy, num_nonfinite

        carry = state.position.ravel(), state.energy, jnp.int32(0)
        x, _, num_nonfinite = jax.lax.fori_loop(0, noise.size, update, carry)
        new = renewed(self.energy, space, state, x.reshape(shape))
        return new, gibbs_info(state, new)._replace(num_nonfinite=num_nonfinite)


def gibbs(energy: Energy, space: Space | None = None) -> Kernel:
    """A sweep over all sites, each from its conditional.

    Costs N (K - 1) energies; as many differences for an energy that has them; one
    evaluation of all conditionals a block for an energy that has blocks.  A site is not
    moved to where the energy is NaN or minus infinity; counted.

    Args:
      energy: of one position.
      space: BITS, SPINS or levels(K); that of the energy by default, else bits.

    Raises:
      TypeError: an energy of another space.

    >>> gibbs(lambda x: -jnp.sum(x))
    Gibbs(energy=<lambda>)
    """
    return Gibbs(energy, space)


def uniforms(key: Any, shapes: Any) -> Array:
    """A number in (0, 1] for each site of one array, in float32."""
    if not hasattr(shapes, "shape"):
        raise TypeError(
            "a kernel of discrete states moves one array, got "
            f"{checks.describe(shapes)}; use within for an entry of a tree"
        )
    u = unit(bits(key, math.prod(shapes.shape))).reshape(shapes.shape)
    return jax.lax.optimization_barrier(u)  # computed once, not in each use


def pick(u: Array, gaps: Array) -> Array:
    """0, ..., K - 1 with probabilities proportional to 1, exp(-gaps), by uniform
    numbers.

    ``gaps [K - 1, *u.shape]`` are the energies of the values after the first, less its
    own.
    """
    if len(gaps) == 1:
        return (u < jax.nn.sigmoid(-gaps[0])).astype(jnp.int32)
    lowest = jnp.minimum(jnp.min(gaps, axis=0), 0.0)
    weights = [jnp.exp(lowest), *jnp.exp(lowest - gaps)]
    total = sum(weights[1:], weights[0])
    index, below = jnp.zeros(jnp.shape(u), jnp.int32), jnp.zeros_like(total)
    for weight in weights[:-1]:
        below = below + weight
        index += u * total > below
    return index


def gibbs_info(old: State, new: State) -> Info:
    """Of a step that nothing rejects."""
    return Info(
        acceptance_rate=jnp.ones_like(new.energy),
        is_accepted=differs(new.position, old.position),
        energy_error=jnp.zeros_like(new.energy),
        num_nonfinite=jnp.int32(~jnp.isfinite(new.energy)),
        hamiltonian=jnp.zeros_like(new.energy),
    )
