"""Compiled programs on disk, so that another process does not compile them again."""

import importlib.util
import os
import sys
from pathlib import Path

import jax

LARGEST_CACHE = 2**30  # bytes


def enable_compilation_cache(folder: str | Path | None = None) -> Path:
    """Keep compiled programs on disk, so that another process does not compile them
    again: JAX's persistent cache, for programs that took more than a tenth of a second
    and are compiled after this call.

    Where ``filelock`` is installed (it is with ``ebmjax[demo]``), processes that run at
    the same time take turns, and the folder stays below a gigabyte.  Without it nothing
    limits the folder, and a program that another process is just writing is compiled
    anew, with a warning of JAX.  The folder of ``JAX_COMPILATION_CACHE_DIR``, which
    other programs may use without a limit, gets none: JAX fails where both are written.

    Args:
      folder: where; by default that of ``JAX_COMPILATION_CACHE_DIR``, else ``ebmjax``
        in the user's cache: ``$XDG_CACHE_HOME``, ``~/Library/Caches``,
        ``%LOCALAPPDATA%`` or ``~/.cache``.

    Returns:
      the folder.

    Raises:
      OSError: the folder cannot be made.

    >>> import tempfile
    >>> folder = enable_compilation_cache(tempfile.mkdtemp())
    """
    shared = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    chosen = Path(folder or shared or _default())
    chosen.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(chosen))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    is_ours = not shared or chosen != Path(shared)
    if is_ours and importlib.util.find_spec("filelock") is not None:
        jax.config.update("jax_compilation_cache_max_size", LARGEST_CACHE)
    return chosen


def cache_by_default() -> None:
    """What the command line does: the cache is on unless the environment turns it off
    (``JAX_ENABLE_COMPILATION_CACHE=0``) or its folder cannot be written."""
    if not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        return
    try:
        enable_compilation_cache()
    except OSError:
        pass  # programs are compiled, as without it


def _default() -> Path:
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "ebmjax"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ebmjax"
    if sys.platform == "win32" and (base := os.environ.get("LOCALAPPDATA")):
        return Path(base) / "ebmjax" / "Cache"
    return Path.home() / ".cache" / "ebmjax"
