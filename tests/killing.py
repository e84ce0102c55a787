"""Kills mutants: imports the library with one piece of text replaced, and calls the
test that should fail.

A mutant counts as killed only by an AssertionError, pytest's Failed, or the error that
its row names.  Any other error is accidental, of the mutant or of the call.
"""

import contextlib
import functools
import importlib
import importlib.machinery
import importlib.util
import inspect
import itertools
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
FIXTURES = {"key", "tmp_path", "monkeypatch"}  # that a killer may use
# not imported again
KEPT = {"__main__", "__mp_main__", "killing", "conftest", "mutants", "seeded_bugs"}


class TextIsGone(Exception):
    """The text of a mutant does not occur exactly once in its file."""


class NoSuchTest(Exception):
    """A killer that cannot run: an unknown parameter or fixture."""


class Mutant(NamedTuple):
    name: str
    file: str
    old: str
    new: str
    killer: str  # module:test or module:test:id, as pytest writes it in brackets
    error: str = ""  # a pattern of "Type: message", if an error of the library kills it


# --- the library with a bug ---------------------------------------------------------


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles one file with its text replaced, without the cache of byte code."""

    def __init__(self, name, path, mutant):
        super().__init__(name, path)
        self.mutant = mutant

    def get_code(self, fullname):
        source = Path(self.path).read_text()
        count = source.count(self.mutant.old)
        if count != 1:
            raise TextIsGone(
                f"{self.mutant.name}: its text stands {count} times in {self.path}"
            )
        return compile(
            source.replace(self.mutant.old, self.mutant.new), self.path, "exec"
        )


class _Finder:
    def __init__(self, mutant):
        self.mutant = mutant
        self.module = "ebmjax." + mutant.file.removesuffix(".py").replace("/", ".")

    def find_spec(self, name, path=None, target=None):
        if name != self.module:
            return None
        file = str(ROOT / "ebmjax" / self.mutant.file)
        return importlib.util.spec_from_file_location(
            name, file, loader=_Loader(name, file, self.mutant)
        )


def _is_ours(name, module):
    """The library, and what imports it: tests, their helpers, benchmarks."""
    top = name.split(".")[0]
    if top in ("ebmjax", "benchmarks"):
        return True
    is_test = str(getattr(module, "__file__", "")).startswith(str(TESTS))
    return is_test and top not in KEPT


@contextlib.contextmanager
def mutated(mutant: Mutant):
    """The library and its tests, imported again with the mutant."""
    kept = {n: m for n, m in list(sys.modules.items()) if _is_ours(n, m)}
    for name in kept:
        del sys.modules[name]
    finder = _Finder(mutant)
    sys.meta_path.insert(0, finder)
    folders = {TESTS, *(path.parent for path in TESTS.glob("*/test_*.py"))}
    paths = [*map(str, sorted(folders)), str(ROOT)]  # and the benchmarks
    sys.path[:0] = paths
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for path in paths:
            sys.path.remove(path)
        for name in [n for n, m in list(sys.modules.items()) if _is_ours(n, m)]:
            del sys.modules[name]
        sys.modules.update(kept)


def invariant(kernel, place="correlated_gaussian"):
    """The killer that verifies a kernel of the registry on a target."""
    return f"test_invariance:test_verification_case:{kernel} on {place}"


# --- the test that should fail ------------------------------------------------------


def find(killer: str) -> tuple[Any, dict[str, Any]]:
    """A test of ``tests/`` and its arguments but fixtures, by the id that pytest gives
    them."""
    module, name, *wanted = killer.split(":", 2)
    test = getattr(importlib.import_module(module), name, None)
    if test is None:
        raise NoSuchTest(killer)
    cases = _cases(test)
    if (wanted or [""])[0] not in cases:
        raise NoSuchTest(f"{killer}: its ids are {', '.join(cases)}")
    arguments = cases[(wanted or [""])[0]]
    needs = set(inspect.signature(test).parameters) - set(arguments) - FIXTURES
    if needs:
        raise NoSuchTest(f"{killer} needs the fixtures {', '.join(sorted(needs))}")
    return test, arguments


def _cases(test) -> dict[str, dict[str, Any]]:
    """Arguments by id, of all marks of ``parametrize``."""
    marks = [m for m in getattr(test, "pytestmark", []) if m.name == "parametrize"]
    cases = {}
    for row in itertools.product(*map(_rows, marks)):
        arguments = functools.reduce(lambda a, b: a | b, [r[1] for r in row], {})
        cases["-".join(r[0] for r in row)] = arguments
    return cases


def _rows(mark) -> list[tuple[str, dict[str, Any]]]:
    names, values = mark.args
    names = (
        [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)
    )
    ids, rows = mark.kwargs.get("ids"), []
    for i, value in enumerate(values):
        value = tuple(value) if len(names) > 1 else (value,)
        parts = [_id(v, f"{n}{i}", ids) for n, v in zip(names, value, strict=True)]
        text = "-".join(parts) if ids is None or callable(ids) else str(list(ids)[i])
        rows.append((text, dict(zip(names, value, strict=True))))
    return rows


def _id(value, otherwise, ids) -> str:
    if callable(ids):
        return str(ids(value))
    if isinstance(value, str | int | float | bool | None):
        return str(value)
    return getattr(value, "__name__", otherwise)


def call(killer: str) -> None:
    """Run one test as pytest would, with the fixtures that these tests use."""
    import jax
    from pytest import MonkeyPatch

    test, arguments = find(killer)
    with (
        warnings.catch_warnings(),
        tempfile.TemporaryDirectory() as folder,
        MonkeyPatch.context() as monkeypatch,
    ):
        warnings.simplefilter("ignore")
        fixtures = {
            "key": jax.random.key(20261123),
            "tmp_path": Path(folder),
            "monkeypatch": monkeypatch,
        }
        used = {
            n: fixtures[n]
            for n in inspect.signature(test).parameters
            if n not in arguments
        }
        test(**arguments, **used)


def verdict(mutant: Mutant) -> str:
    """``killed``, ``survives``, or an accidental error."""
    from _pytest.outcomes import Failed  # of pytest.raises, no Exception

    with mutated(mutant):
        try:
            call(mutant.killer)
        except (TextIsGone, NoSuchTest):
            raise
        except (AssertionError, Failed):
            return "killed"
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            return (
                "killed"
                if mutant.error and re.match(mutant.error, what)
                else f"died of {what}"
            )
    return "survives"
