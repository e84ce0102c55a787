"""The length of trajectories, by ChEES: the change in the estimator of the expected
square (Hoffman, Radul & Sountsov 2021, section 3).

It is the criterion of the norm in the place of its square, since on a bent target the
square is that of a few points far out:

    C(T) = E[(|x_T| - |x_0|)^2],

climbed by Adam on log T as long as  d log C / d log T > (1 - C / 2V)^2,  V = Var |x|:
while the ends of a trajectory are alike, a longer one must pay for its gradients.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ebmjax._value import value
from ebmjax.adaptation.base import Adapter
from ebmjax.adaptation.mass_matrix import whitened
from ebmjax.base import Array, cast_like

MEMORY = 0.8  # of what trajectories tell, a step
TINY = 1e-12
GOLDEN = 0.618034
MOST_STEPS, FIRST_STEPS = 1024, 16  # of a trajectory; in the first window
SHORTEST = 1e-3

RATE, DECAY, EPS = 0.05, 0.95, 1e-8  # of Adam, without momentum


class Jump(NamedTuple):
    """What the ends of trajectories of length T tell, over chains."""

    gain: Array  # T dC/dT
    square: Array  # C
    most: Array  # 2V, what C is between independent points

    def slope(self) -> Array:
        """d log C / d log T, less what it must be for a longer trajectory to pay."""
        square, most = jnp.maximum(self.square, TINY), jnp.maximum(self.most, TINY)
        return self.gain / square - jnp.maximum(1 - square / most, 0.0) ** 2


class Length(NamedTuple):
    """The length of a trajectory in time, in units of the whitened space."""

    log_length: Array
    log_mean: Array
    jump: Jump  # averaged over the last steps
    square: Array  # of the slopes, Adam's running mean
    num: Array  # [] int32 of updates
    num_climbed: Array  # [] of them since the length began here

    @staticmethod
    def begin(length: Any) -> "Length":
        log_length, zero = jnp.log(jnp.float32(length)), jnp.float32(0.0)
        jump = Jump(zero, zero, zero)
        return Length(log_length, log_length, jump, zero, jnp.int32(0), zero)

    def update(self, jump: Jump, longest: Array) -> "Length":
        """Up the slope, to at most the longest."""
        keep = lambda old, new: MEMORY * old + (1 - MEMORY) * jnp.nan_to_num(new)
        jump = jax.tree.map(keep, self.jump, jump)
        slope, count = jump.slope(), self.num_climbed + 1
        square = DECAY * self.square + (1 - DECAY) * slope**2
        size = jnp.sqrt(square / (1 - DECAY**count)) + EPS
        log_length = self.log_length + RATE * slope / size
        log_length = jnp.clip(log_length, jnp.log(SHORTEST), jnp.log(longest))
        log_mean = 0.1 * log_length + 0.9 * self.log_mean
        return Length(log_length, log_mean, jump, square, self.num + 1, count)


@value
class TrajectoryLengthAdapter(Adapter):
    """One length for all chains, climbed from the second window on.

    When the scales change, the length keeps what it was in the units of the positions
    (:class:`~ebmjax.adaptation.mass_matrix.MassMatrixAdapter` sees to that) and what
    the last trajectories showed is forgotten.
    """

    def init(self, tuning, num_chains):
        return Length.begin(jnp.exp(tuning.log_length))

    def begin_window(self, state, tuning, probe):
        is_climbed = state.num > 0  # before, the length was but a guess
        log_length = jnp.where(is_climbed, tuning.log_length, 0.0)
        new = Length.begin(jnp.exp(log_length))._replace(num=state.num)
        return cast_like(new, state), tuning._replace(log_length=log_length)

    def update(self, state, tuning, seen):
        before, after = (
            whitened(x, tuning.inverse_scale) for x in (seen.before, seen.after)
        )
        weight = seen.weight * seen.info.is_accepted.astype(seen.weight.dtype)
        jump = chees(before, after, seen.momentum, seen.time, weight)
        longest = jnp.exp(tuning.log_step_size) * MOST_STEPS
        new = state.update(jump, longest)
        new = jax.tree.map(lambda a, b: jnp.where(seen.is_first, a, b), state, new)
        return new, tuning._replace(log_length=new.log_length)

    def final(self, state, tuning):
        return tuning._replace(log_length=state.log_mean)


def num_leapfrog_steps(log_length: Array, eps: Array, up: Any, most: Any) -> Array:
    """The number of steps of a length, rounded up where what is left over is more than
    ``1 - up``."""
    number = jnp.floor(jnp.exp(log_length) / eps + up)
    return jnp.clip(number, 1, most).astype(jnp.int32)


def evenly(t: Any) -> Any:
    """The ``up`` of step ``t``: they fill [0, 1) evenly, so that lengths are right on
    average."""
    return (jnp.asarray(t, float) * GOLDEN) % 1.0


def chees(
    before: Array, after: Array, velocity: Array, time: Array, weight: Array
) -> Jump:
    """C and its gain: of whitened points ``[C, D]``, here centred, at the ends of
    trajectories of duration ``time`` ``[C]``, of the velocity at their end, and of a
    weight, such as acceptance."""
    share = weight / jnp.maximum(jnp.sum(weight), 1e-6)
    x, y = (points - (share @ points)[None] for points in (before, after))
    start, end = (jnp.sqrt(jnp.sum(z**2, axis=1) + TINY) for z in (x, y))
    rate = jnp.sum(y * velocity, axis=1) / end  # d|y|/dT, of a T that all share
    change = end - start
    both = share @ (start + end) / 2
    most = share @ ((start - both) ** 2 + (end - both) ** 2)
    return Jump(share @ (2 * change * rate * time), share @ change**2, most)
