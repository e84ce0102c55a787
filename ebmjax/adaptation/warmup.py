"""Warm-up: step size, scales and length learned while the chains run, in one compiled loop.

    1. the approach: cheap steps (MALA where there is a gradient), each chain with a step size of its own that
       grows when it moves and shrinks when it does not, out of the far tails; until none falls any more
    2. steps of the kernel; after each, dual averaging of one step size over all chains; where some of them
       lag, because the target is narrower there, they set the pace; where the length of trajectories is
       free, by the harmonic mean of their acceptance
    3. at the end of each of a few growing windows, the scales of the target from the window's points, all
       chains pooled, become the mass:  S = eps C^(1/2),  C diagonal or dense; and the step size is halved or
       doubled until one cheap step is neither refused nor free
    4. where the kernel asks for a number of steps and none is given, the length of the trajectory by ChEES
    5. a last stretch with scales and length at rest, for the step size alone

It is the scheme of Stan's windows (Carpenter et al. 2017), with many chains in the place of many steps.  The
kernel that comes out has fixed parameters and leaves its target invariant; the steps until then are no
samples.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax._random import fold_in, fold_in_each, uniform
from ebmjax.adaptation.step_size import (
    Length,
    Moments,
    StepSize,
    chees,
    evenly,
    first_log_size,
    harmonic_mean,
    inverse_root,
    num_leapfrog_steps,
    whitened,
)
from ebmjax.base import (
    Array,
    Energy,
    Kernel,
    Key,
    Position,
    State,
    cast_like,
    evaluate,
    half_square,
    normal_like,
    select,
)
from ebmjax.kernels.combinators import parallel
from ebmjax.kernels.hamiltonian import hmc, leapfrog, trajectory
from ebmjax.kernels.langevin import mala
from ebmjax.kernels.metropolis import Proposal, metropolis
from ebmjax.sampling.loop import chain_keys

WINDOWS = (
    0.1,
    0.15,
    0.25,
    0.45,
    0.8,
)  # shares of the warm-up at which the scales are renewed
STEP_JITTER = 0.3  # of trajectories whose length is tuned
MOST_STEPS, FIRST_STEPS = 1024, 16  # of a trajectory; before the first scales are known
ROUND, LEAST_ROUNDS, MOST_ROUNDS = 25, 2, 20  # steps of the approach, and how often
FALL = 10.0  # nat beyond D in a round: a chain that falls further is still on its way
LARGEST_DENSE = 64  # coordinates up to which a dense mass is tried unasked: 3 D^2 products a leapfrog step


class Adapted(NamedTuple):
    """What the compiled part of a warm-up found."""

    step_size: (
        Any  # eps C^(1/2): a scalar, a tree like the position, or a matrix [D, D]
    )
    num_steps: Array | None  # of a trajectory, where that was free
    position: Position  # [C, ...] where the chains are now
    acceptance_rate: Array  # [T] of each step, the mean over chains; harmonic where the length was free
    num_grads: Array  # [] int32, of all chains together


class Learned(NamedTuple):
    """What a warm-up knows after a step."""

    state: State  # [C, ...]
    size: StepSize
    root: Array  # C^(1/2), [D] or [D, D]
    inverse_scale: Array  # its inverse
    pace: Array  # [C] acceptance rates, averaged over about ten steps
    moments: Moments  # of the window
    length: Length
    num_grads: Array


def adapt(
    key: Key,
    make_kernel: Callable[..., Kernel],
    energy: Energy,
    positions: Position,
    *,
    num_steps: int,
    target: Any,
    mass: str | None = "auto",
    step_size: Any = 1.0,
) -> Adapted:
    """The pure part of :func:`warm_up`, for use inside ``jit``; the kernel is then
    ``make_kernel(energy, adapted.step_size)``, for a free length with ``num_steps=adapted.num_steps`` and
    ``step_jitter=STEP_JITTER``."""
    num_chains = checks.num_chains(positions)
    keys, flat = chain_keys(key, num_chains), jax.vmap(lambda x: ravel_pytree(x)[0])
    unravel = ravel_pytree(jax.tree.map(lambda x: x[0], positions))[1]
    dim = flat(positions).shape[1]
    is_free, is_dense = (
        wants_length(make_kernel),
        mass == "dense" or (mass == "auto" and dim <= LARGEST_DENSE),
    )

    def scaled(size, root):
        return (
            size if mass is None else size * root if is_dense else unravel(size * root)
        )

    mean = harmonic_mean if is_free else jnp.mean

    def make(step_size, length):
        return (
            _with_end(energy, step_size, length)
            if is_free
            else make_kernel(energy, step_size)
        )

    def advance(kernel, state, t):
        noise = parallel(kernel).draw(
            jax.vmap(fold_in, (0, None))(keys, t), state.position
        )
        return noise, *parallel(kernel).move(noise, state)

    def begin_window(now: Learned, t) -> Learned:
        """The scales of the window that has ended, and a step size for them."""
        root = now.root if mass is None else now.moments.root(now.root)

        def rate(log_size):
            kernel = probe(energy, scaled(jnp.exp(log_size), root))
            return jnp.mean(
                advance(kernel, now.state, num_steps + t)[2].acceptance_rate
            )

        log_size, num_tries = first_log_size(rate, now.size.log_mean, target)
        new = now._replace(
            size=StepSize.begin(jnp.exp(log_size), num_chains),
            root=root,
            inverse_scale=inverse_root(root),
            moments=jax.tree.map(jnp.zeros_like, now.moments),
            num_grads=now.num_grads
            + num_tries * num_chains * (now.state.grad is not None),
        )
        return cast_like(new, now)

    def step(now: Learned, when):
        t, begins, is_first = when
        now = jax.lax.cond(begins, begin_window, lambda now, t: now, now, t)
        eps = jnp.exp(now.size.log_size)
        most = jnp.where(is_first, FIRST_STEPS, MOST_STEPS)
        num = num_leapfrog_steps(now.length.log_length, eps, evenly(t), most)
        noise, state, info = advance(make(scaled(eps, now.root), num), now.state, t)
        rate, pace = (
            mean(info.acceptance_rate),
            0.9 * now.pace + 0.1 * info.acceptance_rate,
        )
        lag = 1.0 if is_free else harmonic_mean(pace) / jnp.mean(pace)
        length = now.length
        if is_free:
            before, after = (
                whitened(flat(s.position), now.inverse_scale)
                for s in (now.state, state)
            )
            jump = chees(
                before,
                after,
                flat(state.momentum),
                num * eps * noise[0][1],
                info.is_accepted,
            )
            length = select(is_first, length, length.update(jump, eps * MOST_STEPS))
        new = Learned(
            state,
            now.size.update(rate * lag, target),
            now.root,
            now.inverse_scale,
            pace,
            now.moments.update(flat(state.position)),
            length,
            now.num_grads + jnp.sum(info.num_grads),
        )
        return cast_like(new, now), rate

    root = jnp.eye(dim) if is_dense else jnp.ones(dim)
    state = parallel(make(scaled(step_size, root), 1)).init(positions)
    probe = mala if state.grad is not None else make_kernel
    first = jnp.full(num_chains, jnp.log(step_size), jnp.float32)
    state, sizes, num_rounds = _approach(
        keys, partial(probe, energy), state, first, target, dim
    )
    now = Learned(
        state,
        StepSize.begin(jnp.exp(jnp.median(sizes)), num_chains),
        root,
        root,
        jnp.full(num_chains, target, jnp.float32),
        Moments.none(dim, is_dense=is_dense),
        Length.begin(1.0),
        num_chains * (1 + ROUND * num_rounds) * (state.grad is not None),
    )
    begins = np.zeros(num_steps, bool)
    begins[[0, *(max(2, round(share * num_steps)) for share in WINDOWS)]] = True
    is_first = np.cumsum(begins) == 1
    now, rates = jax.lax.scan(step, now, (jnp.arange(num_steps), begins, is_first))
    eps = jnp.exp(now.size.log_mean)
    num = (
        num_leapfrog_steps(now.length.log_mean, eps, 0.999, MOST_STEPS)
        if is_free
        else None
    )
    return Adapted(scaled(eps, now.root), num, now.state.position, rates, now.num_grads)


def wants_length(make_kernel) -> bool:
    """Whether the length of trajectories is left to the warm-up: for ``hmc`` itself."""
    return make_kernel is hmc


def _approach(keys, make_kernel, state: State, log_sizes: Array, target, dim: int):
    """Out of the tails: every chain for itself, with a step size of its own, until all have arrived."""

    def one(key, state, log_size):
        kernel = make_kernel(jnp.exp(log_size))
        state, info = kernel.move(kernel.draw(key, state.position), state)
        return cast_like(
            (state, log_size + info.acceptance_rate - target), (state, log_size)
        )

    def step(carry, t):
        return jax.vmap(one)(jax.vmap(fold_in, (0, None))(keys, t), *carry), None

    def again(carry):
        state, sizes, num, _ = carry
        times = 2**30 + num * ROUND + jnp.arange(ROUND)
        (new, new_sizes), _ = jax.lax.scan(step, (state, sizes), times)
        falls = state.energy - new.energy > FALL + dim
        is_refused = (
            sizes - new_sizes > 0.8 * ROUND * target
        )  # and its step still shrinks
        is_on = (num + 1 < LEAST_ROUNDS) | jnp.any(falls | is_refused)
        return new, new_sizes, num + 1, is_on & (num + 1 < MOST_ROUNDS)

    start = (state, log_sizes, jnp.int32(0), jnp.bool_(True))
    return jax.lax.while_loop(lambda carry: carry[-1], again, start)[:3]


def _with_end(energy, step_size, num_steps) -> Kernel:
    """Hamiltonian Monte Carlo with step jitter; its state keeps the momentum at a trajectory's end."""

    def init(position):
        state = evaluate(energy, position, with_grad=True)
        return state._replace(momentum=jax.tree.map(jnp.zeros_like, position))

    def draw(key, position):
        key_momentum, key_size = fold_in_each(key, 2)
        factor = 1 + STEP_JITTER * (2 * uniform(key_size) - 1)
        return normal_like(key_momentum, position), factor

    def propose(noise, state):
        momentum, factor = noise
        coefficients = tuple(factor * c for c in leapfrog)
        proposed, end = trajectory(
            energy, state, momentum, step_size, num_steps, integrator=coefficients
        )
        return proposed._replace(momentum=end), half_square(momentum) - half_square(end)

    kernel = metropolis(energy, Proposal(draw, propose, uses_grad=True))

    def move(noise, state):
        state, info = kernel.move(noise, state)
        return state, info._replace(num_grads=jnp.int32(num_steps))

    return Kernel(init, kernel.draw, move)
