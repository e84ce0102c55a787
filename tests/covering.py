"""Which tests execute a line of the library, and how long each takes.

Each test module runs once, in a process of its own, under the package ``coverage``, for
a limited time; of a test with parameters the first and the last run.  A line of a file
in JSON keeps what was found.  A test module runs again when its text or the library has
changed.

The tests of a mutant are those that execute its statement, then these tests with other
parameters, and then the other tests of their modules: these may check what a fixture or
an earlier test computed.  Of a
constant, a default or a table, which only the import executes, they are the tests that
execute the function, or a line that names the constant.  Short tests that execute few
lines come first.
"""

import ast
import hashlib
import json
import re
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from syntax_mutants import PACKAGE, ROOT, Site

IGNORED = r"test_mutants|test_false_alarms|tests/docs|tests/benchmarks"


class Module(NamedTuple):
    """What a run of a test module has shown."""

    name: str
    digest: str
    tests: list[tuple[str, float, int]]  # that passed: seconds, lines executed
    others: list[str]  # did not run
    lines: dict[str, dict[str, str]]  # by file and line: the tests, bits of a number


def test_modules() -> list[str]:
    """All test modules but those that last longest and those of other folders."""
    found = (str(p.relative_to(ROOT)) for p in (ROOT / "tests").glob("**/test_*.py"))
    return sorted(name for name in found if not re.search(IGNORED, name))


def digest(name: str) -> str:
    """Of the library and a test module."""
    shared = [ROOT / "tests" / n for n in ("conftest.py", "helpers.py")]
    total = hashlib.sha256()
    for path in [*sorted(PACKAGE.rglob("*.py")), *shared, ROOT / name]:
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def without_parameters(test: str) -> str:
    return test.split("[")[0]


class Recorder:
    """A plugin of pytest: the lines and seconds of each test."""

    def __init__(self, limit: float):
        import coverage

        self.coverage = coverage.Coverage(
            data_file=None, config_file=False, include=[f"{PACKAGE}/*"]
        )
        self.seconds, self.bad, self.all = {}, set(), []
        self.end = time.perf_counter() + limit
        self.coverage.start()

    def pytest_collection_modifyitems(self, items):
        self.all = [item.nodeid for item in items]
        first = {without_parameters(i.nodeid): i for i in reversed(items)}
        last = {without_parameters(i.nodeid): i for i in items}
        kept = [*first.values(), *last.values()]
        items[:] = [item for item in items if item in kept]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item, nextitem):
        if time.perf_counter() > self.end:
            item.session.shouldstop = "the time is over"
        self.coverage.switch_context(item.nodeid)
        begin = time.perf_counter()
        done = yield
        self.seconds[item.nodeid] = time.perf_counter() - begin
        return done

    def pytest_runtest_logreport(self, report):
        if report.outcome != "passed":
            self.bad.add(report.nodeid)

    def found(self, name: str) -> Module:
        self.coverage.stop()
        passed = {t: 1 << i for i, t in enumerate(set(self.seconds) - self.bad)}
        data, lines, size = self.coverage.get_data(), {}, dict.fromkeys(passed, 0)
        for file in data.measured_files():
            of_file = lines[str(Path(file).relative_to(PACKAGE))] = {}
            for line, tests in data.contexts_by_lineno(file).items():
                tests = [t for t in set(tests) if t in passed]
                for test in tests:
                    size[test] += 1
                if tests:
                    of_file[str(line)] = hex(sum(passed[t] for t in tests))
        tests = [(t, round(self.seconds[t], 3), size[t]) for t in passed]
        others = [t for t in self.all if t not in self.seconds]
        return Module(name, digest(name), tests, others, lines)


def read(path: Path) -> list[Module]:
    """The records that are up to date."""
    rows = path.read_text().splitlines() if path.exists() else []
    by_name = {row[0]: Module(*row) for row in map(json.loads, rows)}
    known = set(test_modules())
    return [
        m for m in by_name.values() if m.name in known and m.digest == digest(m.name)
    ]


# --- the tests of a mutant ------------------------------------------------------------


def _lines(tree: ast.Module, line: int) -> tuple[range, str]:
    """The lines of the statement or function around a line, and the name that it
    defines if only the import executes it."""
    path, body = [], tree.body
    while inner := [n for n in body if _first(n) <= line <= n.end_lineno]:
        path.append(inner[0])
        body = [n for n in ast.iter_child_nodes(inner[0]) if isinstance(n, ast.stmt)]
        if isinstance(inner[0], ast.Try):
            body += [s for h in inner[0].handlers for s in h.body]
    node = path[-1]
    if isinstance(node, ast.FunctionDef):  # a default, a decorator
        return range(node.body[0].lineno, node.end_lineno + 1), ""
    is_imported = not any(isinstance(n, ast.FunctionDef) for n in path)
    name = ""
    if is_imported and isinstance(node, ast.Assign | ast.AnnAssign):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        name = getattr(target, "id", "")
    end = node.body[0].lineno if hasattr(node, "body") else node.end_lineno + 1
    return range(node.lineno, max(end, node.lineno + 1)), name


def _first(node) -> int:
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def executing(site: Site, modules: list[Module]) -> set[str]:
    """Tests that execute the statement of a mutant, or use the name that it defines."""
    text = (PACKAGE / site.file).read_text()
    lines, name = _lines(ast.parse(text), site.line)
    places = {site.file: {str(n) for n in lines}}
    if name:
        for path in PACKAGE.rglob("*.py"):
            rows = enumerate(path.read_text().splitlines(), 1)
            naming = {str(n) for n, row in rows if re.search(rf"\b{name}\b", row)}
            if naming and (path == PACKAGE / site.file or not name.islower()):
                file = str(path.relative_to(PACKAGE))
                places[file] = places.get(file, set()) | naming
    found = _tests(places, modules)
    return found or _tests({site.file: None}, modules)


def _tests(places, modules) -> set[str]:
    found = set()
    for module in modules:
        bits = 0
        for file, lines in places.items():
            executed = module.lines.get(file, {})
            for line in executed if lines is None else lines & executed.keys():
                bits |= int(executed[line], 16)
        found |= {t for i, (t, _, _) in enumerate(module.tests) if bits >> i & 1}
    return found


def tests_of(site: Site, modules: list[Module], budget: float) -> dict[str, float]:
    """Tests that may detect a mutant and take no longer than a budget, with their
    seconds."""
    first, tests = executing(site, modules), {}
    for module in modules:
        if any(test in first for test, _, _ in module.tests):
            measured = {t: (seconds, size, t) for t, seconds, size in module.tests}
            by_name = {without_parameters(t): f for t, f in measured.items()}
            alike = {t: by_name.get(without_parameters(t)) for t in module.others}
            tests |= measured | {t: f for t, f in alike.items() if f}
    second = {t for t in tests if tests[t][2] in first} - first
    cost = lambda t: (tests[t][0] + 0.1) * max(tests[t][1], 1) ** 0.5
    chosen, total = {}, 0.0
    for part in (first, second, set(tests) - first - second):
        for test in sorted(part, key=cost):
            if total + tests[test][0] <= budget or not chosen:
                chosen[test] = tests[test][0]
                total += tests[test][0]
    return chosen
