"""Sampling that a signal ends early, with the draws so far.

The chains run in chunks.  Ctrl-C, SIGTERM and SIGHUP wait for the end of a chunk, and
all draws until then are returned.  They are the same numbers as those of one
uninterrupted run.
"""

import warnings
from typing import Any

import jax
import numpy as np

from ebmjax.base import Kernel, Key, Position
from ebmjax.io import run_directory as folder
from ebmjax.sampling import nonfinite
from ebmjax.sampling.progress import reporter
from ebmjax.sampling.sample import sample
from ebmjax.sampling.samples import Samples

PIECES = 50


def sample_until_stopped(
    key: Key,
    kernel: Kernel,
    positions: Position,
    num_steps: int,
    *,
    thin: int = 1,
    collect: Any,
    progress: Any = True,
) -> Samples:
    """As :func:`ebmjax.sample`; its ``num_steps`` is the number of completed steps."""
    length = max(1, -(-num_steps // (PIECES * thin))) * thin
    report, done = reporter(progress, "sampling"), 0
    pieces: list[Samples] = []
    with folder.postponed_stop() as is_signalled, warnings.catch_warnings():
        # of a chunk: a chain may not move in a short chunk
        warnings.simplefilter("ignore", RuntimeWarning)
        while done < num_steps and not (pieces and is_signalled()):
            num = min(length, num_steps - done)
            start = pieces[-1].state if pieces else positions
            options = {"thin": thin, "collect": collect, "start": done}
            pieces.append(sample(key, kernel, start, num, **options))
            done += num
            rate = pieces[-1].acceptance_rate.mean()
            report(done, num_steps, f"acceptance {rate:.2f}")
    return _joined(pieces, done)


def _joined(pieces: list[Samples], done: int) -> Samples:
    lengths = np.diff([0, *(p.num_steps for p in pieces)])
    rates = np.stack([p.acceptance_rate for p in pieces])
    rate = np.average(rates, axis=0, weights=lengths)
    total = lambda name: np.sum([getattr(p, name) for p in pieces], axis=0)
    lost, restarted = total("num_nonfinite"), total("num_restarted")
    totals = nonfinite.Totals(rate * done, lost, rate > 0, restarted, rates[-1])
    nonfinite.warn(totals, rate, done, pieces[-1].state.energy)
    return pieces[-1]._replace(
        draws=jax.tree.map(lambda *x: np.concatenate(x), *(p.draws for p in pieces)),
        num_steps=done,
        acceptance_rate=rate,
        num_nonfinite=lost,
        num_restarted=restarted,
    )
