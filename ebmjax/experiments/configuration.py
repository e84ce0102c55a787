"""Reading a ``config.json``: a small regular file, its fields of the right types."""

import dataclasses
import json
from pathlib import Path
from typing import Any, get_type_hints

from ebmjax.experiments.build import RunError
from ebmjax.experiments.data.arrays import check_regular
from ebmjax.experiments.data.dataset import DataError

MOST_BYTES = 2**20


def read_json(path: Path, kind: type) -> dict[str, Any]:
    """The fields of a dataclass of names and numbers, with checked types.

    Raises:
      RunError: no such file, or a folder, a pipe, a very long file, or not JSON.
      ValueError, TypeError: JSON with other fields or types.
    """
    folder = path.parent
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is not a run: it is a file, not a folder")
    try:
        check_regular(path)
    except DataError as error:
        if "does not exist" not in str(error):
            raise RunError(f"{folder} is not a run: {error}") from None
        raise RunError(f"{folder} is not a run: it has no {path.name}") from None
    if path.stat().st_size > MOST_BYTES:
        raise RunError(f"{path} is not a configuration: it is longer than a megabyte")
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    except (RecursionError, MemoryError):
        raise ValueError("it is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("it is not an object of names and values")
    hints = get_type_hints(kind)
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"unknown fields {', '.join(unknown[:5])}")
    return {name: _typed(name, v, hints[name]) for name, v in values.items()}


def _typed(name: str, value: Any, hint: Any) -> Any:
    if hint in (bool, str) and type(value) is hint:
        return value
    if hint is int and type(value) is int:
        return value
    if hint is float and type(value) in (int, float):
        return float(value)
    is_list = isinstance(value, list) and all(type(v) is int for v in value)
    if hint not in (bool, str, int, float) and is_list:
        return tuple(value)
    raise TypeError(f"{name} is {str(value)[:40]!r}, a {type(value).__name__}")
