"""A user's arrays: ``.npy`` and ``.npz``, without pickle, with checks of the headers.

The shape in a header must agree with the size of the file before memory is allocated,
and the array must fit into the memory of the machine.
"""

import math
import os
import stat
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ebmjax.experiments.data.dataset import DataError

LABELS = ("y", "label", "labels", "class", "classes", "target", "targets")
POINTS = ("x", "data", "images", "points")


def check_regular(path: Path) -> None:
    """Raise :class:`DataError` unless a path is a regular file that can be opened.

    A pipe would wait for a writer, and a device such as ``/dev/zero`` never ends.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read: {why}") from None
    if stat.S_ISDIR(mode):
        raise DataError(f"{path} is a folder")
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is not a regular file, but a pipe or a device")


def memory() -> int:
    """Bytes of memory of this machine; a very large number if unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**62


def check_fits(num_bytes: int, what: str) -> None:
    """Raise :class:`DataError` if an array is larger than the memory."""
    if num_bytes > memory():
        raise DataError(
            f"{what} needs {num_bytes / 2**30:,.1f} GiB, and this machine has "
            f"{memory() / 2**30:,.1f} GiB of memory"
        )


def read_array(path: str | Path) -> np.ndarray:
    """The array of a ``.npy`` file, of any dtype but objects, in native byte order.

    Raises:
      DataError: no regular file, not an array, pickled objects, or a header that
        claims more than the file has.
    """
    path = Path(path)
    check_regular(path)
    try:
        with open(path, "rb") as file:
            return _array_of(file, path.stat().st_size, str(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Points, labels (or None) and the names of the arrays that are not used.

    The file holds one array; or one named ``x`` (``data``, ``images``, ``points``)
    and optional labels named ``y`` (``label``, ``class``, ``target``).
    """
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as file:
            members = {
                i.filename.removesuffix(".npy"): i
                for i in file.infolist()
                if i.filename.endswith(".npy")
            }
            point, label = _chosen(path, list(members))
            read = lambda name: _member(file, members[name], f"{path}[{name}]")
            labels = read(label) if label else None
            left_out = [n for n in members if n not in (point, label)]
            return read(point), labels, left_out
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and lzma each have their own
        raise DataError(f"{path} is not a readable .npz: {error}") from None


def read_array_of(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz``, by name, with the checks of :func:`read_npz`."""
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as file:
            return {
                i.filename.removesuffix(".npy"): _member(file, i, str(path))
                for i in file.infolist()
            }
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and lzma each have their own
        raise DataError(f"{path} is not a readable .npz: {error}") from None


def _chosen(path, names):
    lower = {n.lower(): n for n in reversed(names)}
    label = next((lower[n] for n in LABELS if n in lower), None)
    point = next((lower[n] for n in POINTS if n in lower), None)
    if point is None and len(names) == 1:
        return names[0], None
    if point is None and len(names) == 2 and label is not None:
        point = next(n for n in names if n != label)
    if point is None:
        listed = ", ".join(names[:10]) or "nothing"
        raise DataError(f"{path} must hold one array, or x and y; got {listed}")
    return point, label


def _member(file, info, what):
    with file.open(info) as member:
        return _array_of(member, info.file_size, what)


def _array_of(file: BinaryIO | Any, size: int, what: str) -> np.ndarray:
    try:
        shape, is_fortran, dtype, start = _header(file)
    except OSError:
        raise
    except Exception as error:  # numpy's parser of headers raises many types
        message = f"{what} is not a plain .npy array: {str(error)[:120]}"
        raise DataError(message) from None
    if dtype.hasobject:
        raise DataError(f"{what} is not a plain .npy array: it holds Python objects")
    num = math.prod(shape)
    claimed = start + num * dtype.itemsize
    if claimed != size:
        raise DataError(
            f"{what} is not a plain .npy array: its header claims shape {shape} of "
            f"{dtype}, {claimed:,} bytes, and it has {size:,}"
        )
    check_fits(2 * claimed, what)
    flat = np.frombuffer(bytearray(file.read(size - start)), dtype, count=num)
    array = flat.reshape(shape, order="F" if is_fortran else "C")
    native = dtype.newbyteorder("=")
    return array if dtype == native and not is_fortran else array.astype(native)


def _header(file):
    """Shape, order, dtype of a ``.npy`` and the byte at which its numbers begin."""
    fmt, version = np.lib.format, np.lib.format.read_magic(file)
    readers = {(1, 0): fmt.read_array_header_1_0, (2, 0): fmt.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the format")
    shape, is_fortran, dtype = readers[version](file)
    if any(n < 0 for n in shape):
        raise ValueError(f"its header claims shape {shape}")
    return shape, is_fortran, dtype, file.tell()
