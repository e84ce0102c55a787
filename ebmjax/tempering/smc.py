"""Sequential Monte Carlo along a path, with adaptive temperatures.

Del Moral, Doucet & Jasra 2006, "Sequential Monte Carlo samplers", with the weights of
their section 3.3.2.3 (MCMC kernels), and no state wasted (Dau & Chopin 2022,
"Waste-free sequential Monte Carlo", algorithm 2).  M = N (P + 1) draws of the base are
the first population; then

    1. the next beta is the one at which the weights  w = exp(E_beta(x) - E_beta'(x))
       have an effective sample size of ``ess`` M, or 1 (Jasra et al. 2011, section 3)
    2. log Z += log (1/M) sum w
    3. systematic resampling of N (Carpenter, Clifford & Fearnhead 1999)
    4. P = ``num_steps`` transitions of each at beta', whose acceptance moves the step
       size, here at beta = 0 before the first level, too; all N (P + 1) states are the
       next population, where the usual algorithm keeps the N last

until beta = 1.  ``E Z^`` is Z for a fixed schedule; with an adaptive one bias and
variance are O(1/N) (Beskos, Jasra, Kantas & Thiery 2016).  Independent repeats give the
standard error of log Z.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import as_function
from ebmjax.base import CHAINS, Array, Key, Position, cast_like
from ebmjax.sampling.loop import chain_keys
from ebmjax.tempering import weights
from ebmjax.tempering.ais import MakeKernel
from ebmjax.tempering.paths import Path, check_base, check_path

NUM_BISECTIONS = 40
GAIN = 0.5  # largest change of the log step size per transition
FIRST_GAIN = 1.6  # the same at the base, decreasing as 1 / (1 + i / 2)
REACH = 1e4  # largest ratio of the step size to its first guess
LEAST_ADVANCE = 1e-6  # smallest increase of beta per level


class Particles(NamedTuple):
    """Of one run; of several, fields of arrays have a leading axis ``[R]``."""

    positions: Position  # [N (P + 1), ...] at beta = 1
    log_z: Any  # log Z_1 / Z_0
    standard_error: float  # over repeats; NaN of one
    betas: np.ndarray  # [K + 1] from 0 to 1
    step_sizes: np.ndarray  # [K + 1]
    lengths: np.ndarray  # [K] sd of the log weights of each level
    acceptance_rate: np.ndarray  # [K]
    num_grads: int  # of all particles

    @property
    def num_levels(self) -> int:
        return len(self.lengths)


class _Carry(NamedTuple):
    positions: Position
    beta: Array
    log_size: Array
    log_z: Array
    level: Array
    betas: Array
    log_sizes: Array
    lengths: Array
    acceptance: Array
    num_grads: Array


def sequential_monte_carlo(
    key: Key,
    path: Path,
    make_kernel: MakeKernel,
    step_size: float = 0.1,
    *,
    num_particles: int = 500,
    num_steps: int = 10,
    ess: float = 0.5,
    target_acceptance: float = 0.8,
    max_levels: int = 500,
    num_repeats: int = 1,
) -> Particles:
    """Particles moved from the base to the target, and log Z.

    Args:
      key: one key.
      path: with a base.
      make_kernel: ``(energy, step_size) -> kernel``.
      step_size: a first guess; each transition moves its logarithm up where the
        acceptance rate of the particles is above ``target_acceptance``, else down.
      num_particles: N, resampled at each level.
      num_steps: P, transitions of each at a level, whose states are all kept.
      ess: effective sample size that a level keeps, a share in (0, 1).
      target_acceptance: in (0, 1).
      max_levels: the run raises if beta = 1 needs more levels.
      num_repeats: R independent runs in one program.  Then ``log_z`` is the log of the
        mean of their Z, ``standard_error`` is measured, positions are those of all,
        ``[R N (P + 1), ...]``, and the levels are those of the first.

    Raises:
      ValueError, TypeError: a bad argument; no base; no particle with a positive
        weight; beta = 1 is not reached in ``max_levels``.

    >>> found = sequential_monte_carlo(key, path, eb.mala, 0.5, num_repeats=8)
    ... # doctest: +SKIP
    >>> found.log_z, found.standard_error  # doctest: +SKIP
    """
    key, path = checks.key(key), check_path(path)
    make_kernel = as_function(make_kernel, "make_kernel")
    checks.positive(step_size, "step_size")
    for value, name in ((ess, "ess"), (target_acceptance, "target_acceptance")):
        checks.between(value, name)
    num_particles = checks.count(num_particles, "num_particles", least=2)
    checks.count(num_steps, "num_steps")
    checks.count(max_levels, "max_levels")
    checks.count(num_repeats, "num_repeats")
    check_base(path)
    ends = _program(
        jax.random.split(key, num_repeats),
        path,
        jnp.asarray(step_size, jnp.result_type(float)),
        jnp.asarray(ess, jnp.result_type(float)),
        jnp.asarray(target_acceptance, jnp.result_type(float)),
        make_kernel=make_kernel,
        num_particles=num_particles,
        num_steps=num_steps,
        max_levels=max_levels,
    )
    return _found(ends, max_levels)


@functools.partial(
    jax.jit, static_argnames=("num_particles", "num_steps", "max_levels")
)
def _program(keys, path, step_size, ess, target, **options):
    return jax.vmap(lambda key: _run(key, path, step_size, ess, target, **options))(
        keys
    )


def _run(
    key,
    path,
    step_size,
    ess,
    target,
    *,
    make_kernel,
    num_particles,
    num_steps,
    max_levels,
):
    key_base, key_resample, key_move = jax.random.split(key, 3)
    keys = chain_keys(key_move, num_particles)
    first_log_size = jnp.log(step_size)
    lowest, highest = (first_log_size + sign * jnp.log(REACH) for sign in (-1, 1))

    def transition(key, state, beta, log_size, step):
        kernel = make_kernel(path(beta), jnp.exp(log_size))
        return kernel.step(jax.random.fold_in(key, step), state)

    def transitions(x, beta, log_size, first):
        """``num_steps`` transitions; each adapts the step size to its acceptance
        rate."""
        each = jax.vmap(transition, (0, 0, None, None, None), axis_name=CHAINS)

        def step(carry, i):
            states, log_size = carry
            states, info = each(keys, states, beta, log_size, first + i)
            rate = jnp.mean(info.acceptance_rate)
            gain = jnp.where(first == 0, FIRST_GAIN / (1 + i / 2), GAIN)
            error = jnp.nan_to_num(rate) - target
            error /= jnp.where(error > 0, 1 - target, target)  # in [-1, 1]
            log_size += gain * error
            new = jnp.clip(log_size, lowest, highest).astype(carry[1].dtype)
            visited = states.position, rate, jnp.sum(info.num_grads)
            return (states, new), visited

        init = lambda x: make_kernel(path(beta), jnp.exp(log_size)).init(x)
        start = jax.vmap(init)(x), log_size
        (_, log_size), (later, rates, num_grads) = jax.lax.scan(
            step, start, jnp.arange(num_steps)
        )
        join = lambda x, y: jnp.concatenate([x[None], y]).reshape(-1, *x.shape[1:])
        x = jax.tree.map(join, x, later)
        return x, log_size, jnp.mean(rates), jnp.sum(num_grads)

    def level(s: _Carry):
        is_first = s.level < 0  # at the base, for the step size
        log_w, beta = next_level(path, s.positions, s.beta, ess)
        log_w = jnp.where(is_first, 0.0, log_w)
        beta = jnp.where(is_first, s.beta, beta)
        mean = jax.nn.logsumexp(log_w) - jnp.log(len(log_w))
        key = jax.random.fold_in(key_resample, s.level)
        rows = systematic(key, log_w, num_particles)
        x = jax.tree.map(lambda leaf: leaf[rows], s.positions)
        first = (s.level + 1) * num_steps
        x, log_size, rate, num_grads = transitions(x, beta, s.log_size, first)
        i = jnp.maximum(s.level, 0)
        new = _Carry(
            x,
            beta,
            log_size,
            s.log_z + jnp.where(is_first, 0.0, mean),
            s.level + 1,
            s.betas.at[s.level + 1].set(beta),
            s.log_sizes.at[s.level + 1].set(log_size),
            s.lengths.at[i].set(_length(log_w)),
            s.acceptance.at[i].set(rate),
            s.num_grads + num_grads,
        )
        return cast_like(new, s)

    def is_on(s: _Carry):
        return (s.beta < 1) & (s.level < max_levels) & jnp.isfinite(s.log_z)

    number = jnp.result_type(float)
    start = _Carry(
        path.base.sample(key_base, num_particles * (num_steps + 1)),
        jnp.zeros((), number),
        first_log_size,
        jnp.zeros((), number),
        jnp.int32(-1),
        jnp.zeros(max_levels + 1, number),
        jnp.full(max_levels + 1, first_log_size),
        jnp.zeros(max_levels, number),
        jnp.zeros(max_levels, number),
        jnp.int32(0),
    )
    return jax.lax.while_loop(is_on, level, start)


def next_level(path: Path, positions: Position, beta: Array, ess: Array):
    """Log weights ``[N]`` and the beta whose effective sample size is ``ess`` N."""
    num = len(jax.tree.leaves(positions)[0])
    work = jax.vmap(path.work, (None, None, 0))

    def share(new):
        log_w = -work(beta, new, positions)
        log_w = jnp.where(jnp.isnan(log_w), -jnp.inf, log_w)
        total = 2 * jax.nn.logsumexp(log_w) - jax.nn.logsumexp(2 * log_w)
        return jnp.exp(total) / num

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        is_enough = share(middle) >= ess
        return jnp.where(is_enough, middle, low), jnp.where(is_enough, high, middle)

    one = jnp.ones_like(beta)
    low, _ = jax.lax.fori_loop(0, NUM_BISECTIONS, halve, (beta, one))
    low = jnp.minimum(jnp.maximum(low, beta + LEAST_ADVANCE), one)
    new = jnp.where(share(one) >= ess, one, low)
    log_w = -work(beta, new, positions)
    return jnp.where(jnp.isnan(log_w), -jnp.inf, log_w), new


def systematic(key: Key, log_weights: Array, num: int | None = None) -> Array:
    """Indices ``[N]`` of N draws by weights ``[M]`` with one uniform number: particle i
    has floor or ceil of N w_i / sum w children, N w_i / sum w on the average."""
    num = len(log_weights) if num is None else num
    total = jnp.cumsum(jax.nn.softmax(log_weights))
    places = (jnp.arange(num) + jax.random.uniform(key)) / num * total[-1]
    rows = jnp.searchsorted(total, places, side="right")
    return jnp.minimum(rows, len(log_weights) - 1)


def _length(log_w):
    is_finite = jnp.isfinite(log_w)
    return jnp.std(jnp.where(is_finite, log_w, 0.0), where=is_finite)


def _found(ends: _Carry, max_levels: int) -> Particles:
    log_z = np.asarray(ends.log_z, np.float64)
    if not np.isfinite(log_z).all():
        raise ValueError(
            "no particle has a weight left: the energy is infinite or NaN at every "
            "one; use more particles or a base inside the support of the target"
        )
    if not (np.asarray(ends.beta) == 1).all():
        raise ValueError(
            f"the path is not finished in max_levels = {max_levels} levels: it got to "
            f"beta = {float(np.min(ends.beta)):.3g}; use more levels or a nearer base"
        )
    num = int(ends.level[0])
    rates = np.asarray(ends.acceptance[0, :num])
    if rates[num // 2 :].mean() < 0.05:
        checks.warn(
            f"particles hardly move: acceptance {rates[num // 2 :].mean():.2g} in the "
            "last levels; use more steps a level or a smaller step_size"
        )
    is_one = len(log_z) == 1
    return Particles(
        jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), ends.positions),
        float(weights.log_mean_exp(log_z)),
        float("nan") if is_one else weights.standard_error(log_z),
        np.asarray(ends.betas[0, : num + 1], np.float64),
        np.exp(np.asarray(ends.log_sizes[0, : num + 1], np.float64)),
        np.asarray(ends.lengths[0, :num], np.float64),
        rates,
        int(np.sum(ends.num_grads)),
    )
