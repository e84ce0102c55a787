"""Arrays in ``.npz`` archives, and ``.npy``; sizes in headers are checked before
reading.

An archive is written as by ``numpy.savez``, uncompressed, so no member can be larger
than the file.  A header that claims more bytes than the file has, a compressed member,
or two members of one name raise a ``ValueError`` before memory is allocated.
"""

import math
import os
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

DAMAGES = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    EOFError,
    SyntaxError,
    RecursionError,
    MemoryError,
    NotImplementedError,
    zipfile.BadZipFile,
    zipfile.zlib.error,  # type: ignore[attr-defined]
)  # exceptions of reading arbitrary bytes as an archive


def write(
    file: BinaryIO, arrays: Mapping[str, np.ndarray], comment: bytes = b""
) -> None:
    """Write an archive of plain arrays, without pickle."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(name + ".npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)
        archive.comment = comment


def names(file: BinaryIO) -> list[str]:
    """The names of the arrays in an archive whose members fit in the file."""
    return list(_members(file))


def read(file: BinaryIO, wanted: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of those names, or all of them.

    Raises:
      ValueError, KeyError, BadZipFile and others of :data:`DAMAGES`: not a valid
        archive.
    """
    members = _members(file)
    found = {}
    with zipfile.ZipFile(file) as archive:
        for name in members if wanted is None else wanted:
            with archive.open(members[name]) as member:
                found[name] = read_array(member, members[name].file_size, name)
    return found


def read_array(file: Any, size: int, name: str = "it") -> np.ndarray:
    """An array in NumPy's format, from a file with ``size`` more bytes."""
    start = file.tell()
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"{name} has format {version} of NumPy")
    header = (
        npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    )
    shape, is_fortran, dtype = header(file)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects")
    claimed, there = math.prod(shape) * dtype.itemsize, size - (file.tell() - start)
    if min(shape, default=0) < 0 or claimed > there:
        raise ValueError(f"{name} claims {claimed} bytes and has {there}")
    flat = np.frombuffer(file.read(claimed), dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C").copy()


def _members(file) -> dict[str, zipfile.ZipInfo]:
    """The members by name, without ``.npy``."""
    size = file.seek(0, os.SEEK_END)
    found: dict[str, zipfile.ZipInfo] = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed")
            if name in found:
                raise ValueError(f"{name} is there twice")
            found[name] = member
    claimed = sum(member.file_size for member in found.values())
    if claimed > size:
        raise ValueError(f"its members claim {claimed} bytes, and it has {size}")
    return found
