"""Augmentation of images, of data and of chains alike.

Shifts by whole pixels, each of (2 s + 1)^2 equally likely: training then learns the
density of images at a random place.  Chains cannot find the other places by small
steps, so that some of them are shifted, too, before they run, as Du, Li, Tenenbaum &
Mordatch (2021, "Improved contrastive divergence training of energy-based models",
section 3.2) transform the chains of their buffer.  A shift leaves the learned density
where it should be: it does not depend on the place.

    fit(..., augment=shifts(2))                    the points of each batch
    shifted_chains(replay_buffer(draw, 1024), 2)   a tenth of the chains of each update
"""

from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import Value, number, part, static, value
from ebmjax.base import Array, Key
from ebmjax.objectives.batches import points_of, with_points
from ebmjax.training.chain_init import ChainInit, rows


@value
class Shifts(Value):
    """Made by :func:`shifts`."""

    most: int = static()

    def check(self):
        object.__setattr__(self, "most", checks.count(self.most, "most"))

    def __call__(self, key: Key, images: Array) -> Array:
        if images.ndim not in (3, 4):
            raise ValueError(
                "shifts are of images [N, H, W] or [N, H, W, channels], got shape "
                f"{images.shape}"
            )
        size = 2 * self.most + 1
        offsets = jax.random.randint(key, (len(images), 2), 0, size)
        pad = [(self.most, self.most)] * 2 + [(0, 0)] * (images.ndim - 3)

        def one(image, offset):
            start = (*offset, *[0] * (image.ndim - 2))
            return jax.lax.dynamic_slice(
                jnp.pad(image, pad, mode="edge"), start, image.shape
            )

        return jax.vmap(one)(images, offsets)


def shifts(most: int) -> Shifts:
    """Random shifts by up to ``most`` pixels to each side, ``augment(key, images)``.

    Pixels that come in are those of the edge.

    Raises:
      TypeError, ValueError: unless ``most`` is a positive whole number; when traced,
        points that are no images.

    >>> shifts(2)(jax.random.key(0), jnp.zeros((5, 8, 8))).shape
    (5, 8, 8)
    """
    return Shifts(most)


@value
class ShiftedChains(ChainInit):
    """Made by :func:`shifted_chains`."""

    chain_init: ChainInit = part()
    shift: Shifts = part()
    probability: Any = number()

    def check(self):
        checks.instance(self.chain_init, ChainInit, "chain_init", "ebmjax.training")
        probability = self.probability
        if not checks.is_traced(probability) and not 0 <= probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], got {probability}")

    def init(self, key):
        return self.chain_init.init(key)

    def draw(self, key, buffer, batch, num_chains):
        key_draw, key_which, key_shift = jax.random.split(key, 3)
        chains, slots = self.chain_init.draw(key_draw, buffer, batch, num_chains)
        is_shifted = jax.random.bernoulli(key_which, self.probability, (num_chains,))
        points = points_of(chains)
        moved = rows(is_shifted, self.shift(key_shift, points), points)
        return with_points(chains, moved), slots

    def update(self, buffer, slots, chains):
        return self.chain_init.update(buffer, slots, chains)

    def reset(self, key, batch, num_chains):
        return self.chain_init.reset(key, batch, num_chains)


def shifted_chains(
    chain_init: ChainInit, most: int, probability: Any = 0.1
) -> ChainInit:
    """Chains of images, of which some are shifted before they run.

    Args:
      chain_init: where chains start.
      most: pixels to each side, as of :func:`shifts`.
      probability: of a chain, in each update.
    """
    return ShiftedChains(chain_init, Shifts(most), probability)
