"""The program of an NVIDIA H100, compiled by XLA without one, and what can be counted in
it: launches, bytes, collectives.

XLA needs a description of the card and its plug-in, no driver:

    pip install --no-deps jax-cuda12-pjrt==0.10.2 jax-cuda12-plugin==0.10.2

They are the extra ``gpu-report``; without their dependencies, the libraries of CUDA,
they are 180 MB, and nothing runs that would need those.  A launch is a fusion, a copy, a
call of a library or an update of a slice outside of a fusion; what is in the body of a
loop counts as often as the loop turns, with one more for its condition where XLA knows
the number of turns, and a row of its own where it does not.
"""

import collections
import functools
import importlib.util
import os
import re
from typing import Any, NamedTuple
from unittest import mock

# without a card nothing runs, and the libraries of CUDA may be missing
os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")

VERSION = "0.10.2"
BANDWIDTH, LAUNCH = 3.35e12, 2e-6  # bytes a second of an H100 SXM; seconds of a launch
MISSING = (
    "the program of a GPU is compiled by the plug-in of JAX for CUDA 12, which is not "
    f"installed: pip install --no-deps jax-cuda12-pjrt=={VERSION} "
    f"jax-cuda12-plugin=={VERSION}"
)
CAUTION = (
    "compiled for an H100 that is not there: launches and bytes are counted, nothing is "
    "timed; the bound is launches x 2 us or bytes / 3.35 TB/s, whichever is larger"
)
_CARD = """gpu_device_info { threads_per_block_limit: 1024 threads_per_warp: 32
shared_memory_per_block: 49152 shared_memory_per_core: 233472 threads_per_core_limit: 2048
core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
clock_rate_ghz: 1.98 device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
cuda_compute_capability { major: 9 minor: 0 } registers_per_core_limit: 65536
registers_per_block_limit: 65536 } platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3" """
_LAUNCHED = ("fusion", "custom-call", "copy", "copy-start", "dynamic-update-slice")
_LAUNCHED += ("dynamic-slice", "sort", "reduce", "broadcast", "concatenate", "iota")
_LAUNCHED += ("transpose", "slice", "convert", "select", "add", "dot", "pad", "gather")
_COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute")
_COLLECTIVES += ("reduce-scatter",)


class Counts(NamedTuple):
    """Of one run of a program."""

    launches: float
    unknown_loops: dict[str, float]  # launches a turn of loops of unknown length
    bytes: float  # read and written by the launches of the known loops
    temporary: int  # bytes
    collectives: dict[str, float]

    def bound(self) -> float:
        """Seconds below which a run does not come: the larger of launches of two
        microseconds each and bytes over the bandwidth.  A bound, not a measurement."""
        return max(self.launches * LAUNCH, self.bytes / BANDWIDTH)


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


def counts(program: Any) -> Counts:
    """Of a compiled program."""
    bodies = _computations(program.as_text())
    total: collections.Counter = collections.Counter()
    unknown: dict[str, float] = {}
    entry = next(name for name, body in bodies.items() if body.is_entry)
    _walk(bodies, entry, 1.0, total, unknown)
    memory = program.memory_analysis()
    return Counts(
        total["launches"],
        unknown,
        total["bytes"],
        int(memory.temp_size_in_bytes),
        {name: total[name] for name in _COLLECTIVES if total[name]},
    )


class _Body(NamedTuple):
    is_entry: bool
    lines: list[str]
    sizes: dict[str, float]  # bytes of each instruction


def _computations(text: str) -> dict[str, _Body]:
    bodies: dict[str, _Body] = {}
    body = None
    for line in text.splitlines():
        start = re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line)
        if start and not line.startswith(" "):
            body = bodies[start.group(2)] = _Body(bool(start.group(1)), [], {})
        elif body is not None and " = " in line:
            body.lines.append(line)
            name = line.split(" = ")[0].replace("ROOT", "").strip().lstrip("%")
            body.sizes[name] = _bytes(_type(line))
    return bodies


def _walk(bodies, name, times, total, unknown):
    body = bodies[name]
    for line in body.lines:
        kind = _kind(line)
        called = dict(re.findall(r"(body|condition|calls|to_apply)=%?([\w.\-]+)", line))
        base = kind.removesuffix("-start")
        if base in _COLLECTIVES:
            total[base] += times
            total["launches"] += times
        elif kind == "while":
            turns = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            if turns:
                number = int(turns.group(1)) * times
                _walk(bodies, called["body"], number, total, unknown)
                _walk(bodies, called["condition"], number, total, unknown)
                total["launches"] += number
            else:
                inner: collections.Counter = collections.Counter()
                _walk(bodies, called["body"], 1.0, inner, unknown)
                _walk(bodies, called["condition"], 1.0, inner, unknown)
                unknown[called["body"]] = inner["launches"] + 1
        elif kind == "conditional":
            names = re.findall(r"branch_computations=\{([^}]*)\}", line)
            branches = names[0].replace("%", "").split(", ") if names else []
            branches += re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", line)
            found = []
            for branch in branches:  # the larger of the branches
                inner = collections.Counter()
                _walk(bodies, branch, times, inner, unknown)
                found.append(inner)
            total += max(found, key=lambda c: c["launches"], default={})
            total["launches"] += times
        elif kind == "call":
            _walk(bodies, called["to_apply"], times, total, unknown)
        elif kind in _LAUNCHED:
            total["launches"] += times
            total["bytes"] += times * _moved(bodies, body, line, kind, called)


def _moved(bodies, body, line, kind, called) -> float:
    """Bytes that a launch reads and writes; of a fusion that updates a slice in place,
    the slice and not the whole."""
    result = _bytes(_type(line))
    operands = [
        body.sizes.get(name, 0.0)
        for name in re.findall(r"%([\w.\-]+)", line.split(" = ", 1)[1].split("), ")[0])
    ]
    inner = bodies.get(called.get("calls", ""))
    if kind == "dynamic-update-slice":
        return 2 * min(operands[1:2] or [result])
    if inner is not None:
        for inside in inner.lines:
            if _kind(inside) in ("dynamic-update-slice", "dynamic-slice"):
                whole = _bytes(_type(inside))
                names = re.findall(r"%([\w.\-]+)", inside.split(" = ", 1)[1])
                if _kind(inside) == "dynamic-slice":
                    source = inner.sizes.get(names[0], 0.0)
                    operands = [whole if o == source else o for o in operands]
                else:
                    update = inner.sizes.get(names[1], 0.0)
                    operands = [update if o == whole else o for o in operands]
                    result = max(result - whole, 0.0) + update
    return result + sum(operands)


def _kind(line: str) -> str:
    found = re.search(r" = .*?[\])}] ([a-z][a-z\-]*)\(", line)
    return found.group(1) if found else ""


def _type(line: str) -> str:
    found = re.search(r" = (.*?) [a-z][a-z\-]*\(", line)
    return found.group(1) if found else ""


_WIDTH = {
    "pred": 1,
    "s8": 1,
    "u8": 1,
    "bf16": 2,
    "f16": 2,
    "s64": 8,
    "u64": 8,
    "f64": 8,
}


def _bytes(text: str) -> float:
    total = 0.0
    for kind, shape in re.findall(r"([a-z]+\d*)\[([\d,]*)\]", text):
        size = 1
        for length in filter(None, shape.split(",")):
            size *= int(length)
        total += size * _WIDTH.get(kind, 4)
    return total
