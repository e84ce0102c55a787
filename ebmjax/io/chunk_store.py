"""The chunks of a long computation on disk; stored chunks are not computed again.

A chunk is a pure function of the state before it.  Its file holds the state after it,
the totals so far and the collected values, so every file is both a result and a state
to resume from.  A damaged file is reported, and its chunk is computed again from the
previous one, with the same bytes.
"""

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax.io import run_directory
from ebmjax.io.serialization import CheckpointError, CorruptCheckpointError
from ebmjax.sampling import devices

CODE = (
    "the code of a function in kernel or collect has changed, or a number that it "
    "refers to"
)


class Interrupted(KeyboardInterrupt):
    """Stopped by SIGTERM, SIGHUP or Ctrl-C, after the chunk was finished, and saved
    where there is a checkpoint.

    Without a checkpoint ``result`` is what was computed until then, as the function
    would have returned it, or ``None``; at a prompt it is ``sys.last_value.result``.
    """

    def __init__(self, message: str, result: Any = None):
        super().__init__(message)
        self.result = result


class ChunkStore:
    """The files of one call, made by :meth:`at`; without a folder it stores nothing."""

    def __init__(
        self,
        path: Path | None,
        call: dict[str, Any],
        is_collecting: bool,
        is_interrupted: Callable[[], bool],
        backend: str = "npz",
    ):
        self.path, self.call, self.backend = path, call, backend
        self.is_collecting, self.is_interrupted = is_collecting, is_interrupted

    @staticmethod
    @contextlib.contextmanager
    def at(
        path: str | Path | None,
        call: dict[str, Any],
        *,
        is_collecting: bool,
        backend: str = "npz",
        numbers: Sequence[int] = (),
    ) -> Iterator["ChunkStore"]:
        """The store in a folder, locked; signals to stop wait for the end of a chunk.

        Args:
          path: the folder; made if missing.
          call: JSON values on which the result depends; a file of another call raises.
          is_collecting: chunks collect values, so that all files are kept, not only the
            last few.
          backend: for writing, of :data:`ebmjax.io.run_directory.BACKENDS`.
          numbers: of the signals that wait where there is no folder.
        """
        if path is None:
            with run_directory.postponed_stop(numbers) as is_interrupted:
                yield ChunkStore(None, call, is_collecting, is_interrupted)
            return
        path = Path(path)
        with contextlib.ExitStack() as stack:
            if devices.is_main():
                stack.enter_context(run_directory.lock(path))
            is_interrupted = stack.enter_context(run_directory.postponed_stop())
            yield ChunkStore(path, call, is_collecting, is_interrupted, backend)

    def first(self, steps: Sequence[int], like: Callable[[int], Any]) -> int:
        """The index of the first chunk: 0, or the newest on disk if nothing is
        collected."""
        if self.path is not None and not self.is_collecting:
            for i in reversed(range(len(steps))):
                if self.load(steps[i], functools.partial(like, i)) is not None:
                    return i
        return 0

    def load(self, step: int, like: Callable[[], Any]) -> Any | None:
        """The chunk that ends with a step, in the structure of ``like()``; ``None``
        without a valid file."""
        for path in (
            run_directory.files(self.path, step) if self.path is not None else ()
        ):
            try:
                return run_directory.load(
                    path, like(), check=functools.partial(self._compare, path)
                )
            except CorruptCheckpointError as error:
                checks.warn(f"{error}; its chunk is computed again", RuntimeWarning)
        return None

    def is_stopped(self) -> bool:
        """Whether any process got a signal to stop."""
        if self.path is None:
            return self.is_interrupted()
        return devices.any_of(self.is_interrupted())

    def save(self, step: int, chunk: Any) -> None:
        if self.path is not None:
            keep = None if self.is_collecting else run_directory.KEEP
            run_directory.save(
                self.path, step, chunk, keep=keep, backend=self.backend, call=self.call
            )

    def _compare(self, path, notes):
        found = notes.get("call", {})
        differences = [
            CODE if name == "code" else f"{name} was {found.get(name)!r}, is {value!r}"
            for name, value in self.call.items()
            if found.get(name) != value
        ]
        if differences:
            raise CheckpointError(
                f"{path} belongs to another call: {'; '.join(differences)}"
            )


def fingerprint(tree: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of a tree, typed keys included."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        dtype = getattr(leaf, "dtype", np.float64)  # a plain float has none
        is_key = jax.numpy.issubdtype(dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:16]
