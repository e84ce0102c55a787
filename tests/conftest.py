"""Common settings.  Warnings of the library are errors unless a test expects them
(setup.cfg)."""

import gc
import os
import signal
import sys
from pathlib import Path

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # of nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

CACHE = (
    Path(__file__).parent.parent / ".pytest_cache" / "programs"
)  # the same program is compiled once
CACHE = Path(os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE)))
if worker := os.environ.get(
    "PYTEST_XDIST_WORKER"
):  # one per worker: a partially written file aborts its reader
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE / worker)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax  # noqa: E402
import pytest  # noqa: E402

MOST_MAPS = 20_000  # memory maps of a process; Linux ends it at 65,530


@pytest.fixture(autouse=True, scope="module")
def _programs_are_dropped_in_time():
    """Each compiled program holds memory maps, and two thousand tests hold too many."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(autouse=True)
def _calls_of_other_tests_are_forgotten():
    """Tests share keys and lambdas, of which the library warns in one program."""
    yield
    for module, name in (("provenance", "_runs"), ("recompiled", "_seen")):
        if found := sys.modules.get(f"ebmjax.sampling.{module}"):
            getattr(found, name).clear()


@pytest.fixture(scope="module")
def without_optimisations():
    """For tests of options and files; numbers are tested elsewhere."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()  # what was compiled here differs in the last bit


@pytest.fixture
def key():
    return jax.random.key(20261123)
