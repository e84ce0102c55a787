"""The initialisation of the chains of an update, which distinguishes the ways to train
with short chains.

    from_data()               contrastive divergence: at the batch (Hinton 2002)
    replay_buffer(draw, C)    persistent: from the last update     (Tieleman 2008)
    replay_buffer(draw, N, p) a buffer of N, of which C run at a time,
                              restarted with probability p         (Du & Mordatch 2019)
    from_noise(draw)          short runs: at fresh noise           (Nijkamp et al. 2019)

The buffer stores positions.  ``draw(key, n)`` gives ``n`` new ones, ``[n, ...]``;
that of :func:`near_data` begins a buffer at the data.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._tree import axpy, normal_like
from ebmjax._value import Value, function, number, static, value
from ebmjax.base import Array, Key, Position

Draw = Callable[[Key, int], Position]


class ChainInit(Value):
    """The initial positions of chains, and the buffer that stores them.

    ``ChainInit(init, draw, update, reset)`` makes one from four functions; those of the
    library are subclasses with fields.
    """

    def __new__(cls, *args: Any, **options: Any) -> "ChainInit":
        return object.__new__(_FunctionChainInit if cls is ChainInit else cls)

    def __init__(self, *args: Any, **options: Any):
        raise NotImplementedError  # every subclass is a dataclass and has its own

    def init(self, key: Key) -> Any:
        """The initial buffer; ``None`` if there is none."""
        return None

    def draw(
        self, key: Key, buffer: Any, batch: Position, num_chains: int
    ) -> tuple[Position, Any]:
        """Chains ``[C, ...]`` to run, and their places in the buffer."""
        raise NotImplementedError

    def update(self, buffer: Any, slots: Any, chains: Position) -> Any:
        """The buffer with the chains after they have run."""
        return buffer

    def reset(self, key: Key, batch: Position, num_chains: int) -> Position:
        """Positions at which non-finite chains restart, ``[C, ...]``."""
        raise NotImplementedError


@value
class _FunctionChainInit(ChainInit):
    """A ``ChainInit`` of four functions."""

    init: Callable[[Key], Any] = function()  # type: ignore[assignment]
    draw: Callable[..., tuple[Position, Any]] = function()
    update: Callable[[Any, Any, Position], Any] = function()  # type: ignore[assignment]
    reset: Callable[..., Position] = function()

    def __repr__(self) -> str:
        return super().__repr__().removeprefix("_Function")


@value
class FromData(ChainInit):
    """Made by :func:`from_data`."""

    def draw(self, key, buffer, batch, num_chains):
        return self.reset(key, batch, num_chains), None

    def reset(self, key, batch, num_chains):
        rows = jnp.arange(num_chains) % len(jax.tree.leaves(batch)[0])
        return jax.tree.map(lambda x: x[rows], batch)


def from_data() -> ChainInit:
    """Contrastive divergence: chains start at the first ``C`` points of the batch."""
    return FromData()


FROM_DATA = from_data()  # the default: objectives without chains ignore it


@value
class FromNoise(ChainInit):
    """Made by :func:`from_noise`."""

    fresh: Draw = function()

    def draw(self, key, buffer, batch, num_chains):
        return self.fresh(key, num_chains), None

    def reset(self, key, batch, num_chains):
        return self.fresh(key, num_chains)


def from_noise(draw: Draw) -> ChainInit:
    """Short runs: chains start at fresh noise."""
    checks.function(draw, "draw")
    return FromNoise(draw)


@value
class ReplayBuffer(ChainInit):
    """Made by :func:`replay_buffer`."""

    fresh: Draw = function()
    size: int = static()
    restart_probability: Any = number(default=0.0)

    def check(self):
        object.__setattr__(self, "size", checks.count(self.size, "size"))
        probability = self.restart_probability
        if not checks.is_traced(probability) and not 0 <= probability <= 1:
            raise ValueError(
                f"restart_probability must lie in [0, 1], got {probability}"
            )

    def init(self, key):
        return self.fresh(key, self.size)

    def draw(self, key, buffer, batch, num_chains):
        size = self.size
        if num_chains > size:
            raise ValueError(
                f"num_chains must be at most the buffer's size, {size}, got "
                f"{num_chains}"
            )
        lengths = {np.shape(x)[0] for x in jax.tree.leaves(buffer)}
        if lengths != {size}:  # an index beyond it would be clamped silently
            held = ", ".join(map(str, sorted(lengths))) or "none"
            raise ValueError(
                f"state.buffer must hold the {size} chains of chain_init, got {held}"
            )
        key_begin, key_slots, key_restart, key_fresh = jax.random.split(key, 4)
        stride = size // num_chains
        within = jax.random.randint(key_slots, (num_chains,), 0, stride)
        begin = jax.random.randint(key_begin, (), 0, size)
        slots = (begin + stride * jnp.arange(num_chains) + within) % size
        is_restarted = jax.random.bernoulli(
            key_restart, self.restart_probability, (num_chains,)
        )
        old = jax.tree.map(lambda x: x[slots], buffer)
        return rows(is_restarted, self.fresh(key_fresh, num_chains), old), slots

    def update(self, buffer, slots, chains):
        return jax.tree.map(lambda x, c: x.at[slots].set(c), buffer, chains)

    def reset(self, key, batch, num_chains):
        return self.fresh(key, num_chains)


def replay_buffer(draw: Draw, size: int, restart_probability: Any = 0.0) -> ChainInit:
    """A buffer of ``size`` chains; each update runs a random subset, without
    repetition.

    The buffer is divided into C blocks of neighbours with a random offset, and one
    chain of each block is chosen uniformly.  So all chains run equally often, and no
    sort is needed.

    Args:
      draw: fresh chains, ``draw(key, n)``.
      size: N, at least the number of chains per update; equal to it and
        ``restart_probability=0`` is persistent contrastive divergence.
      restart_probability: probability that a chain restarts before it runs.

    Raises:
      ValueError: a probability outside [0, 1]; when traced, more chains than the buffer
        holds, or a buffer of another size.

    >>> chains = replay_buffer(lambda key, n: jax.random.normal(key, (n, 2)), 1024)
    """
    checks.function(draw, "draw")
    return ReplayBuffer(draw, size, restart_probability)


@value
class NearData(Value):
    """Made by :func:`near_data`."""

    data: Position = number()
    noise: Any = number()

    def __call__(self, key: Key, n: int) -> Position:
        key_row, key_noise = jax.random.split(key)
        num = len(jax.tree.leaves(self.data)[0])
        return self.at(key_noise, jax.random.randint(key_row, (n,), 0, num))

    def at(self, key: Key, row: Array) -> Position:
        """Near the points of these rows."""
        x = jax.tree.map(lambda leaf: leaf[row], self.data)
        return axpy(self.noise, normal_like(key, x), x)


def near_data(data: Position, noise: float = 0.0) -> Draw:
    """Draws rows of the data with Gaussian noise, ``x[i] + noise xi``, for a buffer.

    For an energy that already fits the data locally, after score matching: chains from
    far away need thousands of steps to arrive, and until then the gradient of maximum
    likelihood is not that of the density.  Where chains do not cross between modes,
    their shares of the modes stay those of the data.

    Args:
      data: ``[N, ...]``, floating arrays; rows are drawn with replacement.
      noise: standard deviation, in the units of the data; that of the energy.

    Raises:
      ValueError: no rows, values that are not finite, a negative noise.
      TypeError: leaves that are not floating arrays.

    >>> chains = replay_buffer(near_data(jnp.zeros((100, 2)), 0.3), 1024)
    """
    data = checks.position(data, "data")
    checks.num_chains(data, "data")
    checks.positive(noise, "noise", zero=True)
    return NearData(data, noise)


def rows(condition: Array, if_true: Position, if_false: Position) -> Position:
    """Each row from one of two trees, by a condition ``[C]``."""
    return jax.tree.map(
        lambda a, b: jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b),
        if_true,
        if_false,
    )
