"""A run chunk by chunk, from the chunk store where it has them.

Between chunks there is progress, a checkpoint and Ctrl-C, so that no callback is needed
in compiled code.
"""

import functools
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ebmjax._value import as_function
from ebmjax.base import Kernel, Key, State
from ebmjax.io.chunk_store import ChunkStore, Interrupted
from ebmjax.sampling import _chunk_programs as programs
from ebmjax.sampling import devices as dev
from ebmjax.sampling._chunks import Chunk, Steps
from ebmjax.sampling._kept_draws import KeptDraws
from ebmjax.sampling.collect import Collect, Reducer, discard
from ebmjax.sampling.initialization import check_energy
from ebmjax.sampling.loop import chain_keys
from ebmjax.sampling.nonfinite import Totals, count, restart_lost, warn
from ebmjax.sampling.progress import Progress, reporter
from ebmjax.sampling.samples import Samples

WITHOUT_FILES = (
    ": the draws until then are the result of this exception, sys.last_value.result at "
    "a prompt; go on from its state, with its num_steps as start"
)
DISCARD = as_function(discard)


class ChunkedRun:
    """The chains of one call of ``sample``, between its chunks."""

    def __init__(
        self,
        key: Key,
        kernel: Kernel,
        state: State,
        collect: Collect | Reducer,
        steps: Steps,
        chunks: list[Chunk],
        *,
        mesh: jax.sharding.Mesh | None,
        on_fault: str,
        program: Callable[..., Any],
        is_in_place: bool,
    ):
        self.key, self.kernel, self.state, self.collect = key, kernel, state, collect
        self.steps, self.chunks, self.mesh = steps, chunks, mesh
        self.on_fault, self.program = on_fault, program
        num_chains = len(state.energy)
        self.keys = dev.spread(chain_keys(key, num_chains), mesh)
        self.totals = Totals.zeros(num_chains)
        self.kept = KeptDraws(steps.num_steps // steps.thin, is_in_place)
        self.reduced = None
        if self.is_reducing:
            self.reduced = programs.nothing_reduced(kernel, collect, self.keys, state)

    @property
    def is_reducing(self) -> bool:
        return isinstance(self.collect, Reducer)

    def run(
        self,
        call: dict[str, Any],
        path: str | Path | None,
        backend: str,
        progress: bool | Progress,
    ) -> Samples:
        """All chunks in turn; ``call`` is what the store compares.

        Raises:
          Interrupted: by a signal, after a chunk.
        """
        report = reporter(progress, "sampling")
        is_loaded = False
        with self._store(call, path, backend) as store:
            ends = [chunk.end for chunk in self.chunks]
            first = store.first(ends, lambda i: self._shapes(self.chunks[i]))
            for chunk in self.chunks[first:]:
                found = store.load(chunk.end, functools.partial(self._shapes, chunk))
                if found is None:
                    if is_loaded:
                        self._check_loaded(store)
                    found = self._computed(chunk)
                    store.save(chunk.end, found)
                    is_loaded = False
                else:
                    is_loaded = True
                self._take(chunk, found)
                report(*self._progress(chunk))
                if store.is_stopped() and chunk.end < self.steps.end:
                    self._stop(chunk, store)
            if is_loaded:
                self._check_loaded(store)
        samples = self._samples(self.steps.end)
        energy = dev.to_host(self.state.energy)
        warn(self.totals, samples.acceptance_rate, self.steps.num_steps, energy)
        return samples

    def _store(self, call, path, backend):
        is_collecting = not self.is_reducing and bool(
            path and jax.tree.leaves(self._shapes(self.chunks[-1])[1])
        )
        numbers = _interrupts() if len(self.chunks) > 1 else ()
        return ChunkStore.at(
            path, call, is_collecting=is_collecting, backend=backend, numbers=numbers
        )

    def _program(self, program, chunk: Chunk) -> Callable[..., Any]:
        """A chunk's program as a function of the state, the step and what is
        reduced."""
        what = DISCARD if chunk.is_warmup else self.collect
        thin = 1 if chunk.is_warmup else self.steps.thin
        sizes = {"num_steps": chunk.length, "thin": thin}
        return functools.partial(program, self.kernel, what, self.keys, **sizes)

    def _shapes(self, chunk: Chunk) -> Any:
        """The shapes of what the store keeps of a chunk."""
        kept = None if chunk.is_warmup else self.reduced
        program = self._program(programs.chunk, chunk)
        after, draws, _ = jax.eval_shape(program, self.state, 0, kept)
        axis, num_chains = 0 if self.is_reducing else 1, len(self.state.energy)
        draws = dev.divided(draws, self.mesh, axis=axis, length=num_chains)
        return dev.divided(after, self.mesh), draws, self.totals

    def _computed(self, chunk: Chunk) -> Any:
        """The state after a chunk, its draws, and the totals."""
        kept = None if chunk.is_warmup else self.reduced
        program = self._program(self.program, chunk)
        state, draws, info = program(self.state, chunk.begin, kept)
        info = dev.to_host(info)
        totals, is_lost = count(self.totals, info, chunk.length, chunk.is_warmup)
        state, totals = restart_lost(
            self.key, chunk.begin, state, totals, is_lost, info, self.on_fault
        )
        return state, draws, totals

    def _take(self, chunk: Chunk, found: Any) -> None:
        """Go on from a chunk, computed or loaded."""
        self.state, draws, totals = found
        self.totals = jax.tree.map(np.asarray, totals)
        if self.is_reducing and not chunk.is_warmup:
            self.reduced = draws
        elif not chunk.is_warmup:
            self.kept.add(draws)

    def _progress(self, chunk: Chunk) -> tuple[int, int, str]:
        rate = f"acceptance {self.totals.last_rate.mean():.2f}"
        text = rate + " warm-up" * chunk.is_warmup
        return chunk.end - self.steps.start, self.steps.total, text

    def _check_loaded(self, store: ChunkStore) -> None:
        check_energy(self.kernel, self.state, f"{store.path} is a run")

    def _stop(self, chunk: Chunk, store: ChunkStore) -> None:
        where = f"stopped after step {chunk.end} of {self.steps.end}"
        if store.path is None:
            found = None if chunk.is_warmup else self._samples(chunk.end)
            raise Interrupted(where + WITHOUT_FILES, found)
        raise Interrupted(
            f"{where}, saved in {store.path}; make the same call again to go on"
        )

    def _samples(self, end: int) -> Samples:
        """What is known after the chunk that ends there."""
        draws = self.reduced if self.is_reducing else self.kept.draws()
        num_steps = end - self.steps.start - self.steps.num_warmup
        totals = self.totals
        rate = totals.acceptance / num_steps
        lost, restarted = totals.num_nonfinite, totals.num_restarted
        return Samples(draws, self.state, end, rate, lost, restarted)


def _interrupts() -> list[int]:
    """SIGINT, where its handler is Python's own: others are left alone."""
    is_main = threading.current_thread() is threading.main_thread()
    is_own = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return [signal.SIGINT] if is_main and is_own else []
