"""The compiled programs of a chunk: the state is donated, and numbers are arguments."""

import functools

import jax

from ebmjax.kernels.chains import parallel
from ebmjax.kernels.combinators import reject_nonfinite
from ebmjax.sampling.collect import Reducer
from ebmjax.sampling.coordinates import collected
from ebmjax.sampling.loop import no_info, run

_HOW = {
    "static_argnames": ("num_steps", "thin"),
    "donate_argnames": ("state", "reduced"),
}


@functools.partial(jax.jit, **_HOW)
def chunk(kernel, collect, keys, state, start, reduced, *, num_steps, thin):
    """The steps of a chunk; ``reduced`` is what a reducer had found before."""
    if isinstance(collect, Reducer):
        collect = collect.continued(reduced)
    chains = parallel(reject_nonfinite(kernel))
    collect = collected(chains, collect)
    return run(keys, chains, state, num_steps, start=start, thin=thin, collect=collect)


@functools.partial(jax.jit, **_HOW)
def fused_chunk(kernel, collect, keys, state, start, reduced, *, num_steps, thin):
    """The same in two launches of a GPU."""
    from ebmjax.fused import run as fused_run  # Pallas takes a while to import

    chains = parallel(reject_nonfinite(kernel))
    return fused_run.steps(keys, chains, state, start, collect, num_steps // thin, thin)


@jax.jit
def nothing_reduced(kernel, collect, keys, state):
    """What a reducer begins with."""
    chains = parallel(kernel)
    return collected(chains, collect).init(state, no_info(chains, keys, state))
