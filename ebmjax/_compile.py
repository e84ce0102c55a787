"""How a program is compiled: for a short run by what compiles fast, and kept on disk.

On a CPU XLA spends most of its time on machine code.  Where the numbers to compute are
few (:func:`work`) the host picks level 1 of optimisation, with which the draws tried
were the same bits.  Its gain is within the noise of what was measured (2026-11-26).
Level 0 compiles faster and changes bits, so it is not used.

``xla_cpu_use_fusion_emitters=False`` compiles faster, too, and is not used: in jaxlib
0.10.2 it compiles a sweep of Gibbs by blocks wrongly (``tests/test_discrete.py``).
"""

import importlib.util
import math
import os
import sys
from pathlib import Path
from typing import Any

import jax

SMALL_RUN = 2e7  # numbers of all steps of a run, one gradient each
SMALL_WARMUP = 5e8  # of a warm-up, whose program is larger
FASTER = {"xla_backend_optimization_level": 1}
LARGEST_CACHE = 2**30  # bytes
PRODUCTS = 8  # products of a matrix product that take as long as another number


def short(f: Any, options: dict[str, Any], **how: Any) -> Any:
    """A jitted function again, compiled with other options; ``how`` as it was jitted."""
    return jax.jit(f.__wrapped__, compiler_options=options, **how)


def is_short(size: float, limit: float) -> bool:
    """Whether a run of ``size`` numbers is compiled by the faster way."""
    is_short_run = size < limit
    return is_short_run and jax.default_backend() == "cpu" and _is_known()


def _is_known() -> bool:
    """Whether this jaxlib knows the options."""
    if not _known:
        try:
            jax.jit(lambda x: x, compiler_options=FASTER).lower(0.0).compile()
            _known.append(True)
        except Exception:  # the type of the error depends on the version of jaxlib
            _known.append(False)
    return _known[0]


_known: list[bool] = []


def work(f: Any, *arguments: Any, loops: int = 1) -> float:
    """The numbers that a call of a jitted function computes, counted in its jaxpr; loops
    of unknown length count ``loops`` times."""
    return _size(f.trace(*arguments).jaxpr.jaxpr, loops)


def _size(jaxpr, loops) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        inner = [_size(p, loops) for p in _jaxprs(parameters)]
        if inner:
            total += sum(inner) * parameters.get("length", loops ** (name == "while"))
            continue
        size = sum(math.prod(v.aval.shape) for v in equation.outvars)
        if name == "dot_general":
            (contracted, _), _ = parameters["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            size *= max(math.prod(shape[i] for i in contracted) / PRODUCTS, 1)
        elif name == "conv_general_dilated":
            size *= max(math.prod(equation.invars[1].aval.shape[1:]) / PRODUCTS, 1)
        total += size
    return total


def num_equations(jaxpr: Any) -> int:
    """Of a jaxpr and of all jaxprs in it."""
    inner = [num_equations(p) for e in jaxpr.eqns for p in _jaxprs(e.params)]
    return len(jaxpr.eqns) + sum(inner)


def _jaxprs(parameters):
    for parameter in parameters.values():
        for item in parameter if isinstance(parameter, tuple | list) else (parameter,):
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item


# --- on disk ------------------------------------------------------------------------


def enable_compilation_cache(folder: str | Path | None = None) -> Path:
    """Keep compiled programs on disk, so that another process does not compile them
    again: JAX's persistent cache, for programs that took more than a tenth of a second
    and are compiled after this call.

    Where ``filelock`` is installed (it is with ``ebmjax[demo]``), processes that run at
    the same time take turns, and the folder stays below a gigabyte.  Without it nothing
    limits the folder, and a program that another process is just writing is compiled
    anew, with a warning of JAX.

    Args:
      folder: where; by default that of ``JAX_COMPILATION_CACHE_DIR``, else ``ebmjax`` in
        the user's cache: ``$XDG_CACHE_HOME``, ``~/Library/Caches``, ``%LOCALAPPDATA%``
        or ``~/.cache``.

    Returns:
      the folder.

    Raises:
      OSError: the folder cannot be made.

    >>> import tempfile
    >>> folder = enable_compilation_cache(tempfile.mkdtemp())
    """
    chosen = Path(folder or os.environ.get("JAX_COMPILATION_CACHE_DIR") or _default())
    chosen.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(chosen))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if importlib.util.find_spec("filelock") is not None:
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
