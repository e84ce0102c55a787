"""Parallel tempering: replicas along a path with non-reversible swaps of neighbours.

K replicas at ``0 = beta_0 < ... < beta_{K-1} = 1`` (Geyer 1991; Hukushima & Nemoto
1996).  Iteration t swaps the pairs (k, k + 1) with k + t even, each with probability
min(1, exp r),

    r = E_k(x_k) + E_{k+1}(x_{k+1}) - E_k(x_{k+1}) - E_{k+1}(x_k),

and then moves every replica by its own kernel.  Alternating pairs, in place of random
ones, make a replica move persistently in one direction, so that more replicas never
hurt (Syed, Bouchard-Cote, Deligiannidis & Doucet 2022, "Non-reversible parallel
tempering", JRSS B 84).  If the path has a base, the replica at beta = 0 is an
independent draw of it.

The ladder adapts to equal rejection rates r_k of the swaps, by interpolating their
cumulated sum, in rounds of doubled length (section 5).  The barrier, round trips and
log Z are estimated in :mod:`ebmjax.tempering.ladder`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import as_function
from ebmjax.base import Key, Position
from ebmjax.sampling import devices as dev
from ebmjax.sampling._chunks import length_of_parts
from ebmjax.sampling.loop import chain_keys
from ebmjax.sampling.progress import Progress, reporter
from ebmjax.tempering.annealing import MakeKernel
from ebmjax.tempering.annealing_programs import NUM_PARTS
from ebmjax.tempering.ladder import Tempered, tempered
from ebmjax.tempering.paths import Geometric, Path
from ebmjax.tempering.schedule import equal_lengths
from ebmjax.tempering.swaps import begin, iterate
from ebmjax.tempering.validation import (
    check_base,
    check_betas,
    check_kernel,
    check_path,
    check_starts,
    is_out_of_support,
)

FIRST_ROUND = 32  # iterations of the first round of adaptation
GAIN, DECAY = 1.0, 0.6  # of log step sizes on acceptance, t^-DECAY


def parallel_tempering(
    key: Key,
    path: Path,
    make_kernel: MakeKernel,
    num_iterations: int,
    step_size: float = 0.1,
    *,
    positions: Position | None = None,
    num_ladders: int = 8,
    num_replicas: int = 10,
    num_steps: int = 1,
    num_adapt: int = 500,
    target_acceptance: float = 0.65,
    betas: Any = None,
    devices: dev.Devices = None,
    progress: bool | Progress = False,
) -> Tempered:
    """Draws of the target from replicas that move between it and the base.

    The ladder and the step size of each replica adapt in ``num_adapt`` iterations,
    whose draws are discarded, and are then fixed.

    Args:
      key: one key.
      path: from a base to the target.
      positions: ``[C, ...]`` where the replicas of each ladder start, in place of
        ``num_ladders`` draws of the base; needed for a path without a base.
      make_kernel: ``(energy, step_size) -> kernel``; leaves its energy invariant.
      num_iterations: T, of a swap and ``num_steps`` transitions each.
      step_size: a first guess of all replicas.
      num_ladders: C, independent; errors come from their spread.
      num_replicas: K; twice the communication barrier is a good choice.
      num_steps: transitions between swaps.
      num_adapt: iterations of adaptation; with 0 the replicas start from the base, and
        the iterations until they follow their levels count in all results.
      target_acceptance: the acceptance rate to which step sizes adapt.
      betas: ``[K]``, initial values, in place of ``num_replicas``.
      devices: over which the K replicas are divided: a number, a list, or a mesh with
        an axis ``"chains"``.  Only swaps and their sums are communicated.
      progress: ``True`` for a bar (needs rich), or a function ``(done, total, text)``.
        The iterations then run in up to 40 calls of a program, with the same numbers.

    Raises:
      ValueError, TypeError: a bad argument, a path without a base and no positions, an
        energy that is NaN at a replica, replicas that are not a multiple of the
        devices, values that are traced.

    Warns of neighbours whose swaps are almost always rejected, of replicas that hardly
    move, of a base of smaller support than the target, and of a kernel that is not
    invariant.

    >>> found = parallel_tempering(key, path, eb.mala, 1000)  # doctest: +SKIP
    >>> found.log_z, found.communication_barrier  # doctest: +SKIP
    """
    checks.on_host(
        (key, path, step_size, positions, betas),
        "parallel_tempering",
        "the kernel of ebmjax.tempering.replica_exchange",
    )
    key, path = checks.key(key), check_path(path)
    make_kernel = as_function(make_kernel, "make_kernel")
    checks.positive(step_size, "step_size")
    checks.between(target_acceptance, "target_acceptance")
    checks.count(num_replicas, "num_replicas", least=2)
    num_iterations = checks.count(num_iterations, "num_iterations", least=2)
    for value, name in ((num_ladders, "num_ladders"), (num_steps, "num_steps")):
        checks.count(value, name)
    checks.count(num_adapt, "num_adapt", least=0)
    ladder = np.linspace(0, 1, num_replicas) ** 3 if betas is None else betas
    ladder = check_betas(ladder)
    mesh = dev.mesh_of(devices)
    dev.check_divides(len(ladder), mesh, "num_replicas")
    key_start, key_adapt, key_run = jax.random.split(dev.replicate(key, mesh), 3)
    x = _start(key_start, path, positions, num_ladders, len(ladder))
    check_kernel(make_kernel, path, step_size)
    x = dev.put_as(x, dev.divided(x, mesh, axis=1))
    log_sizes = _numbers(np.full(len(ladder), np.log(step_size)))
    options = {"make_kernel": make_kernel, "num_steps": num_steps, "mesh": mesh}
    target = jnp.asarray(target_acceptance, jnp.result_type(float))
    total = num_adapt + num_iterations
    report = functools.partial(_report, reporter(progress, "tempering"), total)
    start = begin(x, log_sizes)
    betas, state = _adapted(
        key_adapt, path, ladder, start, target, num_adapt, report, **options
    )
    keys, collected = chain_keys(key_run, len(_first(x))), []
    length = length_of_parts(num_iterations, NUM_PARTS) if progress else num_iterations
    for done in range(0, num_iterations, length):
        steps = np.arange(done, min(done + length, num_iterations))
        state, found = _collect(keys, path, _numbers(betas), state, steps, **options)
        collected.append(dev.to_host(found))
        if progress:
            report(num_adapt + done + len(steps), state, done + len(steps))
    state = dev.to_host(state)
    draws, energies = jax.tree.map(lambda *x: np.concatenate(x), *collected)
    is_outside = path.base is not None and is_out_of_support(path, draws)
    return tempered(
        state,
        draws,
        energies,
        betas,
        is_corrected=isinstance(path.energy, Geometric),
        is_outside=is_outside,
    )


def _report(report, total, done, state, num):
    """Progress, and the mean acceptance rate of swaps in ``num`` iterations."""
    rejection = np.asarray(dev.to_host(state.totals.rejection), np.float64)
    report(done, total, f"swaps {1 - rejection.mean() / num:.2f}")


def _adapted(key, path, betas, state, target, num_adapt, report, **options):
    """The ladder and replicas at it, with sums of zero, after rounds of adaptation."""
    done = 0
    for length in rounds(num_adapt):
        keys = chain_keys(jax.random.fold_in(key, done), len(_first(state.positions)))
        state = _adapt(keys, path, _numbers(betas), state, target, length, **options)
        done += length
        report(done, state, length)
        rejection, log_sizes = dev.to_host((state.totals.rejection, state.log_sizes))
        rejection = np.asarray(rejection, np.float64).mean(0) / length
        new = equal_lengths(betas, rejection, len(betas) - 1)
        log_sizes = np.interp(new, betas, np.asarray(log_sizes, np.float64))
        state, betas = begin(state.positions, _numbers(log_sizes)), new
    return betas, state


def rounds(num_adapt: int) -> list[int]:
    """Lengths of rounds, each twice the one before, that sum to ``num_adapt``."""
    lengths, length = [], FIRST_ROUND
    while num_adapt > 0:
        is_last = num_adapt < 3 * length
        lengths.append(num_adapt if is_last else length)
        num_adapt -= lengths[-1]
        length *= 2
    return lengths


# --- programs -------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames=("num_steps", "mesh"))
def _adapt(keys, path, betas, state, target, length, *, make_kernel, num_steps, mesh):
    def iteration(step, state):
        gain = GAIN / (1.0 + step) ** DECAY
        state, _ = iterate(
            path, make_kernel, num_steps, betas, keys, step, state, gain, target
        )
        return _placed(state, mesh)

    return jax.lax.fori_loop(0, length, iteration, state)


@functools.partial(jax.jit, static_argnames=("num_steps", "mesh"))
def _collect(keys, path, betas, state, steps, *, make_kernel, num_steps, mesh):
    def iteration(state, step):
        state, energies = iterate(
            path, make_kernel, num_steps, betas, keys, step, state, 0.0, 0.0
        )
        state = _placed(state, mesh)
        return state, (jax.tree.map(lambda x: x[:, -1], state.positions), energies)

    return jax.lax.scan(iteration, state, steps)


def _placed(state, mesh):
    """Positions ``[C, K, ...]`` with the replicas divided over the devices."""
    x = state.positions
    x = dev.constrain_as(x, dev.divided(x, mesh, axis=1))
    return state._replace(positions=x)


def _start(key, path, positions, num_ladders, num_replicas):
    if positions is None:
        if path.base is None:
            raise ValueError(
                "positions [C, ...] are needed for a path without a base, got None"
            )
        check_base(path)
        x = path.base.sample(key, num_ladders * num_replicas)
        shape = (num_ladders, num_replicas)
        return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), x)
    x = checks.position(positions)
    checks.num_chains(x)
    check_starts(path, x)
    repeat = lambda leaf: jnp.repeat(leaf[:, None], num_replicas, axis=1)
    return jax.tree.map(repeat, x)


def _numbers(betas):
    return jnp.asarray(betas, jnp.result_type(float))


def _first(x):
    return jax.tree.leaves(x)[0]
