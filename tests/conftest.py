"""What all tests share.  Warnings of the library are errors unless a test expects them (setup.cfg)."""

import os
from pathlib import Path

CACHE = (
    Path(__file__).parent.parent / ".pytest_cache" / "programs"
)  # the same program is compiled once
CACHE = Path(os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE)))
if worker := os.environ.get(
    "PYTEST_XDIST_WORKER"
):  # each its own: a file that is half written aborts its reader
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE / worker)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture
def key():
    return jax.random.key(20261123)
