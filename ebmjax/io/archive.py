"""Arrays in ``.npz`` archives, and ``.npy``: sizes that are claimed are checked before they
are read.

An archive is written as ``numpy.savez`` writes it, uncompressed, so that no member can
be larger than the file.  A header that claims more bytes than there are, a compressed
member, or two members of one name are refused with a ``ValueError``: nothing is
allocated on the word of a header.
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
)  # that reading the bytes of an archive may raise, whatever they are


def write(
    file: BinaryIO, arrays: Mapping[str, np.ndarray], comment: bytes = b""
) -> None:
    """Write an archive of plain arrays, no pickle."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(name + ".npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)
        archive.comment = comment


def names(file: BinaryIO) -> list[str]:
    """Of the arrays in an archive whose members fit in the file."""
    return list(_members(file))


def read(file: BinaryIO, wanted: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of those names, or all of them.

    Raises:
      ValueError, KeyError, BadZipFile and others of :data:`DAMAGES`: it is no such archive.
    """
    members = _members(file)
    found = {}
    with zipfile.ZipFile(file) as archive:
        for name in members if wanted is None else wanted:
            with archive.open(members[name]) as member:
                found[name] = read_array(member, members[name].file_size, name)
    return found


def read_array(file: Any, size: int, name: str = "it") -> np.ndarray:
    """An array in the format of NumPy, of a file that has ``size`` bytes from here."""
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
    """By name, without ``.npy``."""
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
