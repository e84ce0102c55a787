"""Which tests reach a line of the library: by the text alone, nothing runs.

A definition (a function, a class, a name of a module) reaches those that its text
names, and what they reach.  Names are looked up in the file itself, and otherwise among
all definitions of that name; a class reaches its methods.  The distance of a test is
the number of names between.

The tests of a line are those at the smallest distance from its definition, those that
reach little else first; tests of the package's own folder count as nearer.  Before them
come the tests that detect seeded bugs of the same file, the nearest bug first.
"""

import ast
import functools
import importlib
import math
import re
from pathlib import Path
from typing import NamedTuple

from syntax_mutants import PACKAGE, ROOT, Site

TESTS = ROOT / "tests"
IGNORED = ("test_mutants", "test_notebooks", "test_docs", "test_readme")
OF_DEVICES = "devices|orbax|chunk|replica"  # whose tests start processes, which is slow
MOST_DEFINITIONS = 8  # of a name; one with more says nothing
MOST_TESTS, MOST_MODULES = 30, 5  # of a mutant
FARTHEST = 7


class Definition(NamedTuple):
    """A function, a class or a name of a module."""

    path: Path
    name: str  # of a method with its class
    first: int
    last: int


def _of_file(path: Path):
    """The definitions of a file, each with the names in its text."""
    for node in ast.parse(path.read_text()).body:
        yield from _of_node(path, node, "")


def _of_node(path, node, outer):
    if isinstance(node, ast.If | ast.Try):
        for inner in node.body:
            yield from _of_node(path, inner, outer)
        return
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        names = [node.name]
    elif isinstance(node, ast.Assign):
        names = [n.id for t in node.targets for n in ast.walk(t) if _is_name(n)]
    elif isinstance(node, ast.AnnAssign) and not outer:
        names = [n.id for n in ast.walk(node.target) if _is_name(n)]
    else:
        return
    if outer and not isinstance(node, ast.FunctionDef):
        return  # a field belongs to its class
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    for name in names:
        text = [n.id for n in ast.walk(node) if _is_name(n)]
        text += [n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)]
        yield Definition(path, outer + name, first, node.end_lineno), set(text) - {name}
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            yield from _of_node(path, inner, f"{node.name}.")


def _is_name(node) -> bool:
    return isinstance(node, ast.Name)


@functools.cache
def graph() -> dict[Definition, list[Definition]]:
    """What each definition of the library and of the tests names."""
    paths = [*PACKAGE.rglob("*.py"), *TESTS.glob("**/test_*.py"), TESTS / "helpers.py"]
    paths += [TESTS / "bad_inputs.py"]
    names = {d: text for path in paths for d, text in _of_file(path)}
    by_name, by_file = {}, {}
    for definition in names:
        last = definition.name.split(".")[-1]
        by_file.setdefault((definition.path, last), []).append(definition)
        if TESTS not in definition.path.parents or "test_" not in definition.path.name:
            by_name.setdefault(last, []).append(definition)
    methods = {}
    for d in names:
        methods.setdefault((d.path, d.name.split(".")[0]), []).append(d)

    def named(definition):
        found = set()
        for name in names[definition]:
            here = by_file.get((definition.path, name))
            everywhere = by_name.get(name, [])
            if here:
                found.update(here)
            elif len(everywhere) <= MOST_DEFINITIONS:
                found.update(everywhere)
        found.update(methods.get((definition.path, definition.name), []))
        return sorted(found - {definition})

    return {definition: named(definition) for definition in names}


@functools.cache
def reached() -> dict[str, dict[Definition, tuple[int, int]]]:
    """By test: the distance of each definition, and how many are at most as far."""
    found = {}
    for test in graph():
        is_test = test.name.startswith("test_") and test.path.name.startswith("test_")
        is_test &= (
            test.path.stem not in IGNORED and test.path.parent.name != "benchmarks"
        )
        if is_test:
            id_ = f"{test.path.relative_to(ROOT)}::{test.name}"
            found[id_] = _distances(test)
    return found


def _distances(test):
    level, seen, distance = [test], {test: (0, 0)}, 0
    while level and distance < FARTHEST:
        distance += 1
        level = sorted({d for a in level for d in graph()[a]} - seen.keys())
        num = len(seen) + len(level)
        seen |= dict.fromkeys(level, (distance, num))
    return seen


@functools.cache
def _killers() -> list[tuple[str, int, str]]:
    """File, line and test of each seeded bug."""
    paths = {p.stem: str(p.relative_to(ROOT)) for p in TESTS.glob("**/test_*.py")}
    found = []
    for path in sorted((TESTS / "seeded_bugs").glob("*.py")):
        for mutant in importlib.import_module(f"seeded_bugs.{path.stem}").MUTANTS:
            text = (PACKAGE / mutant.file).read_text()
            line = text[: max(text.find(mutant.old), 0)].count("\n") + 1
            module, test, *case = mutant.killer.split(":", 2)
            id_ = f"{paths[module]}::{test}" + "".join(f"[{c}]" for c in case)
            found.append((mutant.file, line, id_))
    return found


def tests_of(site: Site) -> list[str]:
    """Tests that may detect a mutant, the likeliest first.  A name without brackets is
    a test with all its parameters."""
    near = [(abs(k[1] - site.line), k[2]) for k in _killers() if k[0] == site.file]
    chosen = [test for _, test in sorted(near)]
    path = PACKAGE / site.file
    holding = [d for d in graph() if d.path == path and d.first <= site.line <= d.last]
    holding.sort(key=lambda d: d.last - d.first)
    folder, stem = site.file.split("/")[0], path.stem.strip("_").split("_")[0]
    scores = {}
    for test, distances in reached().items():
        if "test_devices" in test and not re.search(OF_DEVICES, site.file):
            continue
        if holding and holding[0] in distances:
            distance, num = distances[holding[0]]
            scores[test] = distance + math.log10(num)
        elif any(d in distances for d in holding):
            scores[test] = 2.0 * FARTHEST
        elif f"tests/{folder}/" in test:  # by the command line, or a table
            scores[test] = FARTHEST
        else:
            continue
        scores[test] -= 1.5 * (f"tests/{folder}/" in test) + 1.0 * (stem in test)
    chosen += sorted(scores, key=scores.get)
    modules = list(dict.fromkeys(test.split("::")[0] for test in chosen))
    chosen = [t for t in chosen if t.split("::")[0] in modules[:MOST_MODULES]]
    return list(dict.fromkeys(chosen))[:MOST_TESTS]
