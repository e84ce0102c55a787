"""Devices: one mesh axis, ``"chains"``; the compiler does the rest (``AxisType.Auto``).

Chains are independent: the first axis of positions, states and keys is divided over the
mesh, and since the key of a chain does not depend on where it runs, neither do its
random numbers: with threefry keys, the default.  Numbers of rbg keys depend on how many
are drawn together (:func:`check_key`).  Parameters and data are the same everywhere; a
batch is divided too, and the gradient of its mean is averaged by the compiler.

With several processes (``jax.distributed``) every one of them makes the same calls with
the same arguments; process 0 alone writes to disk.  docs/clusters.md says how to start
them and what happens when one dies.
"""

import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ebmjax import _validation as checks

AXIS = "chains"
LOOPBACK = "127.0.0.1:12321"
HEARTBEAT = 30  # seconds without one, after which a process counts as dead
Devices = Mesh | Sequence[jax.Device] | int | None


def mesh_of(devices: Devices) -> Mesh | None:
    """A mesh with an axis ``"chains"``: of devices, of a number of them, the caller's
    own; or none.

    Raises:
      ValueError, TypeError: no such devices, or a mesh without that axis.
    """
    if devices is None:
        return None
    if isinstance(devices, Mesh):
        if AXIS not in devices.axis_names:
            raise ValueError(
                f"devices as a mesh must have an axis {AXIS!r}, got axes "
                f"{devices.axis_names}"
            )
        return devices
    if not isinstance(devices, Sequence):
        number = checks.count(devices, "devices")
        devices = jax.devices()[:number]
        if len(devices) < number:
            raise ValueError(
                f"devices must be at most the number there are, {len(devices)}, got "
                f"{number}"
            )
    if not devices or not all(isinstance(d, jax.Device) for d in devices):
        raise TypeError(
            f"devices must be a mesh, a number, or a list of devices, got {devices!r}"
        )
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def check_divides(number: int, mesh: Mesh | None, name: str) -> None:
    """Raise unless ``number`` is a multiple of the devices on the axis."""
    size = 1 if mesh is None else mesh.shape[AXIS]
    if number % size:
        raise ValueError(
            f"{name} must be a multiple of the number of devices, got {number} on "
            f"{size} devices; the nearest are {number // size * size or size} and "
            f"{(number // size + 1) * size}"
        )


def check_key(key: jax.Array) -> None:
    """Warn where random numbers depend on how many chains and steps are drawn together.

    JAX promises equal numbers under ``vmap`` for threefry alone: with rbg and
    unsafe_rbg keys 1000 steps are not 600 and then 400, and a chain depends on the
    number of chains.
    """
    impl = str(jax.random.key_impl(key))
    if "rbg" in impl:
        checks.warn(
            f"keys of {impl} give other numbers for another number of chains, chunks "
            "or devices; for the same ones pass jax.random.key(seed, "
            "impl='threefry2x32')",
            UserWarning,
        )


def rows(mesh: Mesh | None) -> NamedSharding | None:
    """The first axis divided over the mesh."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec(AXIS))


def spread(tree: Any, mesh: Mesh | None) -> Any:
    """Put a tree of arrays ``[C, ...]`` on the mesh, each device its rows."""
    return put(tree, rows(mesh))


def replicate(tree: Any, mesh: Mesh | None) -> Any:
    """Put a tree of arrays on the mesh, the same on every device."""
    return put(tree, None if mesh is None else NamedSharding(mesh, PartitionSpec()))


def put_as(tree: Any, like: Any) -> Any:
    """Put a tree where :func:`divided` says."""
    return jax.tree.map(lambda leaf, place: put(leaf, place.sharding), tree, like)


def constrain_as(tree: Any, like: Any) -> Any:
    """The same within ``jit``."""

    def one(leaf, place):
        if place.sharding is None:
            return leaf
        return jax.lax.with_sharding_constraint(leaf, place.sharding)

    return jax.tree.map(one, tree, like)


def constrain(tree: Any, mesh: Mesh | None) -> Any:
    """Within ``jit``: divide the first axis of every leaf over the mesh."""
    return tree if mesh is None else jax.lax.with_sharding_constraint(tree, rows(mesh))


def divided(
    tree: Any, mesh: Mesh | None, *, axis: int = 0, length: int | None = None
) -> Any:
    """The shapes of a tree, each with its place on the mesh: an axis divided over it.

    Where that axis does not divide, or has not the ``length``, the leaf is the same on
    every device.
    """

    def one(leaf):
        leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
        if mesh is None:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        size = leaf.shape[axis] if leaf.ndim > axis else 1
        is_divided = size % mesh.shape[AXIS] == 0 and length in (None, size)
        spec = PartitionSpec(*[None] * axis, AXIS) if is_divided else PartitionSpec()
        return jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec)
        )

    return jax.tree.map(one, tree)


def to_host(tree: Any) -> Any:
    """The same tree with every shard here, of all processes; typed keys stay what they
    are."""

    def gather(leaf):
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return leaf
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(
                gather(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf)
            )
        if leaf.is_fully_replicated:
            return np.asarray(leaf)
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(gather, tree)


def connect() -> Mesh:
    """Join the processes of one run and return the mesh of all their devices; call it
    before anything else of JAX.

    Reads ``JAX_COORDINATOR_ADDRESS`` (127.0.0.1:12321), ``JAX_NUM_PROCESSES`` and
    ``JAX_PROCESS_ID``; where neither of the last two is set JAX asks SLURM, Open MPI,
    Kubernetes or the Cloud TPU.  The coordinator listens at its own address alone,
    loopback by default, unless ``JAX_COORDINATOR_BIND_ADDRESS`` is set.
    """
    read = {
        n: os.environ.get(f"JAX_{n}")
        for n in ("NUM_PROCESSES", "PROCESS_ID", "COORDINATOR_ADDRESS")
    }
    number, index, address = read.values()
    if (number is None) != (index is None):
        raise ValueError(
            "JAX_NUM_PROCESSES and JAX_PROCESS_ID must be set both or neither"
        )
    if number is None or index is None:
        jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT)
    else:
        if not (number.isdecimal() and index.isdecimal() and int(index) < int(number)):
            raise ValueError(
                "JAX_PROCESS_ID must be a number below JAX_NUM_PROCESSES, got "
                f"{index!r} of {number!r}"
            )
        address = address or LOOPBACK
        jax.distributed.initialize(
            address,
            int(number),
            int(index),
            coordinator_bind_address=os.environ.get(
                "JAX_COORDINATOR_BIND_ADDRESS", address
            ),
            heartbeat_timeout_seconds=HEARTBEAT,
        )
    mesh = mesh_of(jax.devices())
    assert mesh is not None
    return mesh


def is_main() -> bool:
    """Whether this process writes."""
    return jax.process_index() == 0


def any_of(is_true: bool) -> bool:
    """Whether it is true in any process."""
    if jax.process_count() == 1:
        return is_true
    return bool(np.any(multihost_utils.process_allgather(np.array(is_true))))


def wait(name: str) -> None:
    """Until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def put(tree: Any, sharding: NamedSharding | None) -> Any:
    """Put a tree of arrays on devices of this process and of others; unchanged without
    a sharding."""
    if sharding is None:
        return tree

    def one(leaf):
        if jax.process_count() == 1:
            return jax.device_put(leaf, sharding)
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(
                one(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf)
            )
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return jax.device_put(leaf, sharding)
        array = np.asarray(leaf)
        return jax.make_array_from_callback(
            array.shape, sharding, lambda index: array[index]
        )

    return jax.tree.map(one, tree)
