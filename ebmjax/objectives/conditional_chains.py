"""Initial chains where batches hold labels or conditions beside their points.

of_points(chain_init)      chains of points; ``of_points(from_data())`` starts at the
                           batch, ``of_points(from_noise(draw))`` at noise
with_labels(draw, shares)  fresh points with labels, for chains that keep theirs
persistent_pairs(draw, N)  one chain a data point, which stays with its condition
                           (persistent contrastive divergence, Tieleman 2008, as for
                           conditional models: one chain a training case)
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import Value, function, number, part, static, value
from ebmjax.base import Array, Key
from ebmjax.objectives.batches import Labelled, check_pairs
from ebmjax.training.chain_init import ChainInit, Draw, NearData, rows

LEAST = 1e-30  # the least share whose logarithm is taken


@value
class OfPoints(ChainInit):
    """Made by :func:`of_points`."""

    chain_init: ChainInit = part()

    def init(self, key):
        return self.chain_init.init(key)

    def draw(self, key, buffer, batch, num_chains):
        return self.chain_init.draw(key, buffer, batch.point, num_chains)

    def update(self, buffer, slots, chains):
        return self.chain_init.update(buffer, slots, chains)

    def reset(self, key, batch, num_chains):
        return self.chain_init.reset(key, batch.point, num_chains)


def of_points(chain_init: ChainInit) -> ChainInit:
    """Chains of points, where batches are labelled."""
    return OfPoints(chain_init)


@value
class WithLabels(Value):
    """Made by :func:`with_labels`."""

    points: Draw = function()
    log_shares: Array = number()

    def __call__(self, key: Key, num: int) -> Labelled:
        key_point, key_label = jax.random.split(key)
        labels = jax.random.categorical(key_label, self.log_shares, shape=(num,))
        num_classes = len(self.log_shares)
        points = self.points(key_point, num)
        return Labelled(points, jax.nn.one_hot(labels, num_classes))


def with_labels(draw: Draw, shares: Any) -> Draw:
    """Fresh chains with labels, drawn with the shares ``[K]`` that the classes have in
    the data, ``data.label.mean(axis=0)``.

    Raises:
      ValueError: shares that are negative or do not sum to one.
    """
    checks.function(draw, "draw")
    checks.positive(shares, "shares", zero=True)
    shares = np.asarray(shares, np.float64)
    if shares.ndim != 1 or abs(shares.sum() - 1) > 1e-3:
        raise ValueError(
            f"shares must be [K] and sum to one, got shape {shares.shape}, sum "
            f"{shares.sum():.4g}"
        )
    log_shares = np.log(np.maximum(shares, LEAST)).astype(np.float32)
    return WithLabels(draw, log_shares)


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
        return self._begin(key, jnp.arange(self.num_points))

    def _begin(self, key, slots):
        """Fresh chains of these points."""
        if isinstance(self.fresh, NearData):
            return self.fresh.at(key, slots)
        return self.fresh(key, len(slots))

    def draw(self, key, buffer, batch, num_chains):
        check_pairs(batch)
        lengths = {np.shape(x)[0] for x in jax.tree.leaves(buffer)}
        if lengths != {self.num_points} or num_chains > len(batch.row):
            held = ", ".join(map(str, sorted(lengths))) or "none"
            raise ValueError(
                f"persistent_pairs keeps one chain a point, {self.num_points}, and "
                f"runs at most one a point of the batch, {len(batch.row)}; got a "
                f"buffer of {held} and num_chains {num_chains}"
            )
        key_restart, key_fresh = jax.random.split(key)
        slots = batch.row[:num_chains].astype(jnp.int32)
        is_restarted = jax.random.bernoulli(
            key_restart, self.restart_probability, (num_chains,)
        )
        old = jax.tree.map(lambda x: x[slots], buffer)
        return rows(is_restarted, self._begin(key_fresh, slots), old), slots

    def update(self, buffer, slots, chains):
        # a point that is twice in the batch keeps the first of its chains
        earlier = jnp.tril(slots[:, None] == slots[None, :], k=-1)
        slots = jnp.where(jnp.any(earlier, axis=1), self.num_points, slots)
        put = lambda x, c: x.at[slots].set(c, mode="drop")
        return jax.tree.map(put, buffer, chains)

    def reset(self, key, batch, num_chains):
        return self._begin(key, batch.row[:num_chains].astype(jnp.int32))


def persistent_pairs(
    draw: Draw, num_points: int, restart_probability: Any = 0.0
) -> ChainInit:
    """One chain a data point, which keeps its condition from update to update.

    Args:
      draw: fresh chains, ``draw(key, n)``; those of ``near_data`` of the N points each
        begin near the point whose condition they have.
      num_points: N, of the data.
      restart_probability: of a chain, before it runs.

    Raises:
      ValueError: a probability outside [0, 1]; when traced, more chains than points in
        a batch, or a buffer of another size.

    >>> chains = persistent_pairs(lambda key, n: jax.random.normal(key, (n, 2)), 1024)
    """
    checks.function(draw, "draw")
    if isinstance(draw, NearData):
        held = len(jax.tree.leaves(draw.data)[0])
        if held != num_points:
            raise ValueError(
                f"near_data must be of the num_points points, {num_points}, got {held}"
            )
    return PersistentPairs(draw, num_points, restart_probability)
