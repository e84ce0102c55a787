"""The program of an NVIDIA H100, compiled by XLA without one.

XLA needs a description of the card and its plug-in, no driver:

    pip install --no-deps jax-cuda12-pjrt==0.10.2 jax-cuda12-plugin==0.10.2

They are the extra ``gpu-report``; without their dependencies, the libraries of CUDA,
they are 180 MB, and nothing runs that would need those.  What is counted in such a
program: :mod:`benchmarks.gpu_counts`.
"""

import functools
import importlib.util
import os
from typing import Any
from unittest import mock

# without a card nothing runs, and the libraries of CUDA may be missing
os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")

VERSION = "0.10.2"
MISSING = (
    "the program of a GPU is compiled by the plug-in of JAX for CUDA 12, which is not "
    f"installed: pip install --no-deps jax-cuda12-pjrt=={VERSION} "
    f"jax-cuda12-plugin=={VERSION}"
)
CAUTION = (
    "compiled for an H100 that is not there: launches and bytes are counted, nothing "
    "is timed; the bound is launches x 2 us or bytes / 3.35 TB/s, whichever is larger"
)
_CARD = """gpu_device_info { threads_per_block_limit: 1024 threads_per_warp: 32
shared_memory_per_block: 49152 shared_memory_per_core: 233472
threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
cuda_compute_capability { major: 9 minor: 0 } registers_per_core_limit: 65536
registers_per_block_limit: 65536 } platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3" """


def is_available() -> bool:
    """Whether the plug-in is installed."""
    if importlib.util.find_spec("jax_plugins") is None:
        return False
    return importlib.util.find_spec("jax_plugins.xla_cuda12") is not None


@functools.cache
def topology(num_devices: int = 1) -> Any:
    """Of H100 cards that are not there.

    Raises:
      SystemExit: the plug-in is missing.
    """
    if not is_available():
        raise SystemExit(MISSING)
    flags = os.environ.get("XLA_FLAGS", "")
    if "autotune_level" not in flags:  # tuning needs the card
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_autotune_level=0".strip()
    from jax.experimental import topologies

    _discover()
    return topologies.get_topology_desc(
        platform="cuda",
        topology_name="",
        target_config=_CARD,
        topology=f"1x1x{num_devices}",
    )


@functools.cache
def _discover() -> None:
    import jax
    from jax._src import xla_bridge

    jax.config.update("jax_platforms", "cpu")
    jax.devices()
    if "cuda" not in xla_bridge._backend_factories:  # JAX may have found it itself
        xla_bridge.discover_pjrt_plugins()


def compiled(f: Any, *arguments: Any, num_devices: int = 1, rows: Any = None) -> Any:
    """``f`` compiled for H100 cards.  ``rows``: a tree of booleans like the arguments,
    which of them are divided over the cards along their first axis."""
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.array(topology(num_devices).devices), ("chains",))

    def described(x, is_divided):
        spec = PartitionSpec("chains") if is_divided else PartitionSpec()
        sharding = NamedSharding(mesh, spec)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    if rows is None:
        rows = jax.tree.map(lambda x: False, arguments)
    shapes = jax.eval_shape(lambda *a: a, *arguments)
    given = jax.tree.map(described, shapes, rows)
    with mock.patch.object(jax, "default_backend", lambda: "gpu"):
        # a function of its own, so that nothing traced for the CPU is found
        traced = jax.jit(lambda *a: f(*a)).trace(*given)
    return traced.lower(lowering_platforms=("cuda",)).compile()
