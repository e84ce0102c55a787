"""A digest of the functions in a value: their code and the numbers that they refer to.

Two lambdas print alike.  What tells them apart in another process is their byte code,
their defaults, and the numbers in their closures and among the names of their module.
Line numbers and addresses do not count, and neither do plain numbers in a list or a
dict, which may be counters.  Another version of Python has other byte code, and so
another digest.
"""

import dataclasses
import functools
import hashlib
import types
from typing import Any

from ebmjax._value import Function, Partial, Value, is_number
from ebmjax.io.chunk_store import fingerprint

PLAIN = str | int | float | complex | None


def code_digest(*items: Any) -> str:
    """16 hexadecimal digits, of values, functions, and trees of them."""
    digest = hashlib.sha256()
    for item in items:
        _add(digest, item, set())
    return digest.hexdigest()[:16]


def _add(digest: Any, item: Any, seen: set[int]) -> None:
    if isinstance(item, Function):
        item = item.unwrap()
    if id(item) in seen:
        return
    if isinstance(item, types.FunctionType):
        seen.add(id(item))
        _add_function(digest, item, seen)
    elif isinstance(item, types.MethodType):
        _add(digest, item.__func__, seen)
        _add(digest, item.__self__, seen)
    elif isinstance(item, functools.partial | Partial):
        keywords = tuple(item.keywords[name] for name in sorted(item.keywords))
        _add(digest, (item.func, *item.args, *keywords), seen)
    elif isinstance(item, Value):
        fields = dataclasses.fields(item)  # type: ignore[arg-type]
        _add(digest, tuple(getattr(item, f.name) for f in fields), seen)
    elif isinstance(item, tuple):
        for entry in item:
            _add(digest, entry, seen)
    elif isinstance(item, list | dict):
        seen.add(id(item))
        names = range(len(item)) if isinstance(item, list) else sorted(item, key=str)
        for entry in (item[name] for name in names):
            if not isinstance(entry, PLAIN):
                _add(digest, entry, seen)
    elif is_number(item):
        digest.update(fingerprint(item).encode())
    elif isinstance(item, PLAIN):
        digest.update(repr(item).encode())
    else:
        digest.update(type(item).__qualname__.encode())


def _add_function(digest: Any, f: types.FunctionType, seen: set[int]) -> None:
    if (f.__module__ or "").startswith("ebmjax."):
        digest.update(f.__qualname__.encode())
        return
    _add_code(digest, f.__code__)
    options = tuple((f.__kwdefaults__ or {}).values())
    _add(digest, (*(f.__defaults__ or ()), *options), seen)
    for cell in f.__closure__ or ():
        try:
            _add(digest, cell.cell_contents, seen)
        except ValueError:  # an empty cell
            digest.update(b"empty")
    for name in _names(f.__code__):
        item = f.__globals__.get(name)
        is_own = getattr(item, "__globals__", None) is f.__globals__
        if is_own or is_number(item) or isinstance(item, PLAIN):
            _add(digest, item, seen)


def _add_code(digest: Any, code: types.CodeType) -> None:
    digest.update(code.co_code)
    digest.update(repr((code.co_names, code.co_varnames)).encode())
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _add_code(digest, constant)
        elif isinstance(constant, frozenset):
            digest.update(repr(sorted(map(repr, constant))).encode())
        else:
            digest.update(repr(constant).encode())


def _names(code: types.CodeType) -> list[str]:
    inner = [_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return sorted({*code.co_names, *(name for names in inner for name in names)})
