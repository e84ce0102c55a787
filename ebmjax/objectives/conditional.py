"""Training of p(x | c) from pairs of a point and its condition.

    conditional_likelihood   maximum likelihood of points given their conditions, with
                             chains at the conditions of the batch
    over_pairs               an objective without chains that is a mean over points
                             (score matching, noise contrastive), each given its
                             condition

With chain i at the condition c_i of a point x_i of the batch,

    loss = mean_i [E(x_i, c_i) - E(sg x'_i, c_i)],    x'_i ~ p(x | c_i),

whose gradient is minus that of the mean log p(x_i | c_i).  A function of c alone that
is added to the energy cancels, as it must: were chains at other conditions than the
batch, the loss would fall without end along it.

:func:`persistent_pairs` keeps one chain a data point, which stays with its condition
(persistent contrastive divergence, Tieleman 2008, as for conditional models: one chain
a training case).  ``of_points(from_data())`` starts at the batch,
``of_points(from_noise(draw))`` at noise (:func:`ebmjax.objectives.joint.of_points`).

Noise contrastive estimation with noise q(x): ``ranking`` needs no Z(c) (Ma & Collins
2018, section 3); in ``binary`` the network learns log Z(c) itself (Mnih & Teh 2012).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import function, number, static, value
from ebmjax.base import Array, Energy, Kernel, Position, scalar
from ebmjax.energies.conditional import AtCondition
from ebmjax.energies.transforms import temper
from ebmjax.kernels.conditional import conditioned
from ebmjax.objectives import noise_contrastive as nce
from ebmjax.objectives.base import MeanOverPoints, Objective, optional
from ebmjax.objectives.likelihood import MaximumLikelihood
from ebmjax.training.chain_init import ChainInit, Draw, rows

MOST_PAIRS = 2**24  # whole numbers that float32 holds
MEANS = (MeanOverPoints, nce.Binary, nce.Ranking, nce.Conditional)


class Pairs(NamedTuple):
    """Points and their conditions."""

    point: Position  # [N, ...]
    condition: Any  # [N, ...]
    row: Array  # [N] which row of the data; whole numbers as floats


def pairs(points: Any, conditions: Any) -> Pairs:
    """Points ``[N, ...]`` and conditions ``[N, ...]``, ready to train on.

    Whole conditions, ``[N]`` labels from 0, become one-hot rows.

    Raises:
      TypeError, ValueError: no numbers, not finite, another number of conditions than
      of
        points, labels below 0.

    >>> pairs(jnp.zeros((3, 2)), np.array([0, 2, 1])).condition.shape
    (3, 3)
    """
    points = checks.position(points, "points")
    num = checks.num_chains(points, "points")
    if num > MOST_PAIRS:
        raise ValueError(f"points must be at most {MOST_PAIRS}, got {num}")
    conditions = jax.tree.map(_floating, conditions)
    conditions = checks.position(conditions, "conditions")
    got = checks.num_chains(conditions, "conditions")
    if got != num:
        raise ValueError(f"conditions must be one a point, {num}, got {got}")
    return Pairs(points, conditions, jnp.arange(num, dtype=jnp.float32))


def _floating(leaf):
    array = np.asarray(leaf) if not isinstance(leaf, jax.Array) else leaf
    if array.ndim == 1 and array.dtype.kind in "iub":
        labels = np.asarray(array)
        if labels.size and labels.min() < 0:
            raise ValueError(f"labels must be at least 0, got {labels.min()}")
        return jax.nn.one_hot(labels, int(labels.max(initial=0)) + 1)
    return leaf


# --- maximum likelihood -------------------------------------------------------------


@value
class ConditionalLikelihood(MaximumLikelihood):
    """Made by :func:`conditional_likelihood`."""

    def points(self, batch):
        _check_batch(batch)
        return batch.point

    def kernel(self, params, batch, chains):
        energy = functools.partial(scalar(self.energy), params)
        c = _of_chains(batch.condition, chains.position)
        make = lambda e: self.make_kernel(temper(e, self.temperature), chains.step_size)
        return conditioned(make, energy, c)

    def energies(self, params, batch, chains):
        """Of the data at the conditions of the chains and of the chains, ``[C]``."""
        of_pairs = jax.vmap(functools.partial(scalar(self.energy), params))
        c = _of_chains(batch.condition, chains)
        data = of_pairs(_of_chains(batch.point, chains), c)
        return data, of_pairs(chains, c)


def conditional_likelihood(
    energy: Callable[..., Array],
    make_kernel: Callable[[Energy, Array], Kernel],
    num_steps: int,
    *,
    regularisation: Any = 0.0,
    temperature: Any = 1.0,
    acceptance_target: Any = None,
    adaptation_rate: Any = 0.05,
) -> Objective:
    """Maximum likelihood of points given their conditions.

    Batches are :class:`Pairs`, chains are points: chain i runs at the condition of row
    i of the batch (i modulo B).  Where there are fewer chains than points, the points
    beyond do not count in this update.

    Args:
      energy: ``energy(params, x, c)`` of one point and its condition.
      make_kernel, num_steps, regularisation, temperature, acceptance_target,
      adaptation_rate: as of :func:`ebmjax.maximum_likelihood`.

    Raises:
      TypeError: when traced, a batch that is not :class:`Pairs`, a kernel that does not
        keep its energy as a field.

    >>> objective = conditional_likelihood(network.apply, mala, 20)  # doctest: +SKIP
    """
    return ConditionalLikelihood(
        energy,
        make_kernel,
        num_steps,
        optional(regularisation),
        temperature,
        acceptance_target,
        adaptation_rate,
        at_the_same_conditions,
    )


def at_the_same_conditions(batch: Pairs, chains: Any, is_finite: Array) -> Any:
    """Means over chains that are finite, and over the data at their conditions."""
    num = jnp.sum(is_finite)  # NaN where none is left
    mean = lambda values: jnp.sum(jnp.where(is_finite, values, 0.0)) / num
    return mean, mean


@value
class PersistentPairs(ChainInit):
    """Made by :func:`persistent_pairs`."""

    fresh: Draw = function()
    num_points: int = static()
    restart_probability: Any = number(default=0.0)

    def check(self):
        num = checks.count(self.num_points, "num_points")
        object.__setattr__(self, "num_points", num)
        probability = self.restart_probability
        if not checks.is_traced(probability) and not 0 <= probability <= 1:
            raise ValueError(
                f"restart_probability must lie in [0, 1], got {probability}"
            )

    def init(self, key):
        return self.fresh(key, self.num_points)

    def draw(self, key, buffer, batch, num_chains):
        _check_batch(batch)
        lengths = {np.shape(x)[0] for x in jax.tree.leaves(buffer)}
        if lengths != {self.num_points} or num_chains > len(batch.row):
            held = ", ".join(map(str, sorted(lengths))) or "none"
            raise ValueError(
                f"persistent_pairs keeps one chain a point, {self.num_points}, and runs "
                f"at most one a point of the batch, {len(batch.row)}; got a buffer of "
                f"{held} and num_chains {num_chains}"
            )
        key_restart, key_fresh = jax.random.split(key)
        slots = batch.row[:num_chains].astype(jnp.int32)
        is_restarted = jax.random.bernoulli(
            key_restart, self.restart_probability, (num_chains,)
        )
        old = jax.tree.map(lambda x: x[slots], buffer)
        return rows(is_restarted, self.fresh(key_fresh, num_chains), old), slots

    def update(self, buffer, slots, chains):
        # a point that is twice in the batch keeps the first of its chains
        earlier = jnp.tril(slots[:, None] == slots[None, :], k=-1)
        slots = jnp.where(jnp.any(earlier, axis=1), self.num_points, slots)
        put = lambda x, c: x.at[slots].set(c, mode="drop")
        return jax.tree.map(put, buffer, chains)

    def reset(self, key, batch, num_chains):
        return self.fresh(key, num_chains)


def persistent_pairs(
    draw: Draw, num_points: int, restart_probability: Any = 0.0
) -> ChainInit:
    """One chain a data point, which keeps its condition from update to update.

    Args:
      draw: fresh chains, ``draw(key, n)``.
      num_points: N, of the data.
      restart_probability: of a chain, before it runs.

    Raises:
      ValueError: a probability outside [0, 1]; when traced, more chains than points in
      a
        batch, or a buffer of another size.

    >>> chains = persistent_pairs(lambda key, n: jax.random.normal(key, (n, 2)), 1024)
    """
    checks.function(draw, "draw")
    return PersistentPairs(draw, num_points, restart_probability)


# --- objectives without chains ------------------------------------------------------


@value
class OverPairs(Objective):
    """Made by :func:`over_pairs`."""

    make: Callable[..., Objective] = function()
    energy: Callable[..., Array] = function()

    def check(self):
        made = self.make(self.energy)
        if not isinstance(made, MEANS):
            raise TypeError(
                "make must return an objective without chains that is a mean over "
                "points: of score_matching, noise_contrastive or energy_discrepancy; "
                f"got {made!r}; with chains, conditional_likelihood"
            )

    @property
    def adds_noise(self):
        return self.make(self.energy).adds_noise

    @property
    def update_scale(self):
        return self.make(self.energy).update_scale

    def at(self, c):
        """The objective of points given c."""
        return self.make(AtCondition(self.energy, c))

    def init(self, key, params, data=None):
        first = (
            jax.tree.map(lambda x: x[0], data.condition) if data is not None else 0.0
        )
        point = data.point if data is not None else None
        return self.at(first).init(key, params, point)

    def energy_params(self, params):
        return self.make(self.energy).energy_params(params)

    def loss(self, params, key, batch, chains):
        _check_batch(batch)

        def one(key, x, c):
            x = jax.tree.map(lambda leaf: leaf[None], x)
            value, (_, metrics) = self.at(c).loss(params, key, x, None)
            return value, metrics

        keys = jax.random.split(key, len(batch.row))
        values, metrics = jax.vmap(one)(keys, batch.point, batch.condition)
        metrics = jax.tree.map(jnp.mean, metrics) | {"loss_spread": jnp.std(values)}
        return jnp.mean(values), (chains, metrics)


def over_pairs(
    make: Callable[..., Objective], energy: Callable[..., Array]
) -> Objective:
    """The mean of an objective over pairs, each point given its condition.

    Args:
      make: from an energy ``energy(params, x)`` to an objective, ``sliced`` or
        ``partial(ranking, noise=fitted_normal(x))``.
      energy: ``energy(params, x, c)``.

    Raises:
      TypeError: an objective that is no mean over points, or has chains; when traced, a
        batch that is not :class:`Pairs`.

    >>> from ebmjax.objectives.score_matching import sliced
    >>> energy = lambda params, x, c: params * jnp.sum((x - c) ** 2)
    >>> objective = over_pairs(sliced, energy)
    """
    checks.function(make, "make")
    return OverPairs(make, energy)


def _of_chains(tree, chains):
    """The rows of a batch that belong to the chains, ``[C, ...]``."""
    num = len(jax.tree.leaves(chains)[0])
    index = jnp.arange(num) % len(jax.tree.leaves(tree)[0])
    return jax.tree.map(lambda x: x[index], tree)


def _check_batch(batch):
    if not isinstance(batch, Pairs):
        raise TypeError(
            f"batch must be Pairs, of pairs(points, conditions), got "
            f"{checks.describe(batch)}"
        )
