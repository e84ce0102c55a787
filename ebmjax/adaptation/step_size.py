"""What warm-up learns, piece by piece: a step size, the scales of the target, the length of a trajectory.

Each piece is a state and pure functions on it, and takes what all chains saw in a step, pooled: with hundreds
of chains one step says what a single chain learns in hundreds.

    step size       dual averaging (Nesterov 2009; Hoffman & Gelman 2014, section 3.2) to acceptance delta:
                    log eps_t = mu - sqrt(t) / gamma  1 / (t + t0)  sum_{i <= t} (delta - a_i),
                    log eps   = the average of them with weights t^-kappa
    scales          covariance over chains and steps, merged as of Chan, Golub & LeVeque 1979; correlations
                    drawn towards none by  lambda = sum_{i != j} Var(r_ij) / sum_{i != j} r_ij^2
                    (Schaefer & Strimmer 2005, target D), so that a dense mass is as dense as the points can
                    tell
    length          ChEES, the change in the estimator of the expected square (Hoffman, Radul & Sountsov
                    2021, section 3), of the norm in the place of its square, since on a bent target the
                    square is that of a few points far out:  C(T) = E[(|x_T| - |x_0|)^2],  climbed by Adam on
                    log T as long as  d log C / d log T > (1 - C / 2V)^2,  V = Var |x|:  while the ends of a
                    trajectory are alike, a longer one must pay for its gradients
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ebmjax.base import Array, cast_like

GAMMA, T0, KAPPA = 0.05, 10.0, 0.75  # gamma of one chain
LARGEST_GAMMA = 0.25  # the acceptance of many chains together is hardly noise; steps that leap would be
PRIOR = 5.0  # draws that the scales of before are worth, beside those of a window
SLOWEST = 0.05  # acceptance of a chain that is waited for
MEMORY = 0.8  # of what trajectories tell, a step
TINY = 1e-12
GOLDEN = 0.618034
MOST_TRIES = 60  # to find a first step size
NEIGHBOURS = 5.0  # draws of a chain that say together what one independent draw says


# --- step size --------------------------------------------------------------------------------------------


class StepSize(NamedTuple):
    """Dual averaging."""

    log_size: Array  # of the next step
    log_mean: Array  # what has been learned
    center: Array
    total: Array  # of target - acceptance
    num: Array  # of updates
    gamma: Array

    @staticmethod
    def begin(size: Any, num_chains: int) -> "StepSize":
        """From a first guess."""
        log_size, zero = jnp.log(jnp.float32(size)), jnp.float32(0.0)
        gamma = jnp.float32(min(GAMMA * num_chains**0.5, LARGEST_GAMMA))
        return StepSize(log_size, log_size, log_size, zero, zero, gamma)

    def update(self, acceptance: Array, target: float | Array) -> "StepSize":
        count = self.num + 1
        total = self.total + target - jnp.nan_to_num(acceptance)
        log_size = self.center - jnp.sqrt(count) / self.gamma * total / (count + T0)
        weight = count**-KAPPA
        log_mean = weight * log_size + (1 - weight) * self.log_mean
        return StepSize(log_size, log_mean, self.center, total, count, self.gamma)


def first_log_size(rate, log_size: Array, target: Array) -> tuple[Array, Array]:
    """Doubled while the rate is above the target, or halved while below, to between the last two; and how
    many rates that took."""

    def again(carry):
        log_size, change, num, _ = carry
        way = jnp.where(rate(log_size) > target, 1.0, -1.0) * jnp.log(2.0)
        is_on = (num == 0) | (way == change)
        found = (
            log_size + jnp.where(is_on, way, -change / 2),
            way,
            num + 1,
            is_on & (num < MOST_TRIES),
        )
        return cast_like(found, carry)

    start = (log_size, jnp.float32(0.0), jnp.int32(0), jnp.bool_(True))
    found, _, num, _ = jax.lax.while_loop(lambda carry: carry[-1], again, start)
    return found, num


def harmonic_mean(rates: Array) -> Array:
    """Over chains: small where any of them lags; as Hoffman, Radul & Sountsov 2021 have it."""
    return 1 / jnp.mean(1 / jnp.maximum(rates, SLOWEST))


# --- scales -----------------------------------------------------------------------------------------------


class Moments(NamedTuple):
    """Number, mean and sum of squares (or of products) of points ``[D]``."""

    num: Array
    mean: Array  # [D]
    squares: Array  # [D] or [D, D]

    @staticmethod
    def none(dim: int, *, is_dense: bool) -> "Moments":
        return Moments(
            jnp.float32(0.0), jnp.zeros(dim), jnp.zeros((dim, dim) if is_dense else dim)
        )

    def update(self, x: Array) -> "Moments":
        """With points ``[C, D]``, those that are not finite left out."""
        is_finite = jnp.isfinite(x).all(axis=1)
        num = jnp.sum(is_finite).astype(x.dtype)
        x = jnp.where(is_finite[:, None], x, 0.0)
        mean = jnp.sum(x, axis=0) / jnp.maximum(num, 1)
        centred = jnp.where(is_finite[:, None], x - mean, 0.0)
        count, delta = self.num + num, mean - self.mean
        weight = num / jnp.maximum(count, 1)
        if self.squares.ndim == 1:
            squares = jnp.sum(centred**2, axis=0) + delta**2 * self.num * weight
        else:
            squares = centred.T @ centred + jnp.outer(delta, delta) * self.num * weight
        return Moments(count, self.mean + weight * delta, self.squares + squares)

    def root(self, before: Array) -> Array:
        """S with S S^T the covariance: standard deviations ``[D]`` or a Cholesky factor ``[D, D]``.  The
        deviations are drawn towards those of before, in the logarithm, and stay where nothing moved."""
        weight = self.num / (self.num + PRIOR)
        covariance = self.squares / jnp.maximum(self.num - 1, 1)
        is_dense = self.squares.ndim == 2
        variances = jnp.diag(covariance) if is_dense else covariance
        last = jnp.linalg.norm(before, axis=1) if is_dense else before
        log_scale = weight * 0.5 * jnp.log(variances) + (1 - weight) * jnp.log(last)
        scale = jnp.where(variances > 0, jnp.exp(log_scale), last)
        if not is_dense:
            return scale
        root = scale[:, None] * jnp.linalg.cholesky(self._correlations(covariance))
        return jnp.where(jnp.isfinite(root).all(), root, before)

    def _correlations(self, covariance: Array) -> Array:
        """Correlations ``[D, D]``, shrunk."""
        scale = jnp.sqrt(jnp.diag(covariance))
        of_pair = jnp.outer(scale, scale)
        r = jnp.where(
            (of_pair > 0) & ~jnp.eye(len(scale), dtype=bool), covariance / of_pair, 0.0
        )
        variance = (1 - r**2) ** 2 / jnp.maximum(self.num / NEIGHBOURS - 1, 1)
        noise = jnp.sum(jnp.triu(variance, 1)) / jnp.maximum(
            jnp.sum(jnp.triu(r**2, 1)), 1e-6
        )
        return (1 - jnp.minimum(noise, 1.0)) * r + jnp.eye(len(scale))


def inverse_root(root: Array) -> Array:
    """S^-1, ``[D]`` or ``[D, D]``."""
    return (
        1 / root
        if root.ndim == 1
        else jax.scipy.linalg.solve_triangular(root, jnp.eye(len(root)), lower=True)
    )


def whitened(x: Array, inverse_scale: Array) -> Array:
    """S^-1 x of points ``[C, D]``."""
    return x * inverse_scale if inverse_scale.ndim == 1 else x @ inverse_scale.T


# --- length -----------------------------------------------------------------------------------------------


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
    opt_state: Any

    @staticmethod
    def begin(length: Any) -> "Length":
        log_length, zero = jnp.log(jnp.float32(length)), jnp.float32(0.0)
        return Length(
            log_length, log_length, Jump(zero, zero, zero), _CLIMB.init(log_length)
        )

    def update(self, jump: Jump, longest: Array) -> "Length":
        """Up the slope, to at most the longest."""
        keep = lambda old, new: MEMORY * old + (1 - MEMORY) * jnp.nan_to_num(new)
        jump = jax.tree.map(keep, self.jump, jump)
        step, opt_state = _CLIMB.update(-jump.slope(), self.opt_state)
        log_length = jnp.clip(self.log_length + step, jnp.log(1e-3), jnp.log(longest))
        log_mean = 0.1 * log_length + 0.9 * self.log_mean
        return Length(log_length, log_mean, jump, opt_state)


def num_leapfrog_steps(log_length: Array, eps: Array, up: Any, most: Any) -> Array:
    """The number of steps of a length, rounded up where what is left over is more than ``1 - up``."""
    return jnp.clip(jnp.floor(jnp.exp(log_length) / eps + up), 1, most).astype(
        jnp.int32
    )


def evenly(t: Any) -> Any:
    """The ``up`` of step ``t``: they fill [0, 1) evenly, so that lengths are right on the average."""
    return (t * GOLDEN) % 1.0


_CLIMB = optax.adam(0.05, b1=0.0, b2=0.95)


def chees(
    before: Array, after: Array, velocity: Array, time: Array, weight: Array
) -> Jump:
    """C and its gain: of whitened points ``[C, D]``, here centred, at the ends of trajectories of duration
    ``time`` ``[C]``, of the velocity at their end, and of a weight, such as acceptance."""
    share = weight / jnp.maximum(jnp.sum(weight), 1e-6)
    x, y = (points - share @ points for points in (before, after))
    start, end = (jnp.sqrt(jnp.sum(z**2, axis=1) + TINY) for z in (x, y))
    change, rate = (
        end - start,
        jnp.sum(y * velocity, axis=1) / end,
    )  # d|y|/dT, of a T that all share
    both = share @ (start + end) / 2
    most = share @ ((start - both) ** 2 + (end - both) ** 2)
    return Jump(share @ (2 * change * rate * time), share @ change**2, most)
