"""Mutation testing: small random changes of the library, and whether a test detects
them.

    python tests/mutation.py --num 300 --seed 1            a random sample, hours of CPU
    python tests/mutation.py --files verify/report.py      every mutant of some files
    python tests/mutation.py --list --num 5                shows them and runs none

A mutant is one node of the syntax tree changed (``syntax_mutants``).  A process of its
own imports the library with it and runs the tests that execute its statement
(``covering``), the likeliest first, until a test fails.  A mutant is killed if a test or
the import fails.  A test that does not end is run again without the change: only if it
ends in half of the time is the mutant killed by a loop.

First each test module runs once without a mutant: tests that fail then are not used.
Outcomes are kept in a file, a line each, and a call goes on where the last one stopped;
``--part 0/2`` does every second mutant.  Survivors are written to
``mutation_survivors.md``; each is either equivalent or shows a missing test.

It is meant for a schedule, not for CI.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("MPLBACKEND", "agg")

import covering
import pytest
import syntax_mutants
from syntax_mutants import PACKAGE, ROOT, VARIABLE, Site

KILLED = ("killed", "does not end")
ALLOWED = 40.0, 8.0  # seconds of a test, and times its seconds without a mutant
SHARED = "jax flax optax chex scipy.stats hypothesis matplotlib.pyplot sklearn"
IN_SUBPROCESSES = """import sys
sys.path.insert(0, {folder!r})
import syntax_mutants
sys.path.pop(0)
syntax_mutants.install()
"""


class Outcome(NamedTuple):
    """Of the tests of a process."""

    status: int | None  # of pytest, None if a test did not end
    test: str  # the one that failed or did not end
    message: str


# --- a process that runs tests --------------------------------------------------------


class Messenger:
    """A plugin of pytest: runs given tests in their order, and reports to the parent."""

    def __init__(self, tests, pipe):
        self.order = {test: i for i, test in enumerate(tests)}
        self.pipe = pipe

    def send(self, what, test, message=""):
        os.write(self.pipe, (json.dumps([what, test, message[-300:]]) + "\n").encode())

    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if item.nodeid in self.order]
        items.sort(key=lambda item: self.order[item.nodeid])

    def pytest_runtest_logstart(self, nodeid, location):
        self.send("start", nodeid)

    def pytest_runtest_logreport(self, report):
        self._failure(report)

    def pytest_collectreport(self, report):
        self._failure(report)

    def _failure(self, report):
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.send("failed", report.nodeid, str(getattr(crash, "message", crash)))


def in_a_process(child: Callable[[int], int], allowed: Callable[[str], float]):
    """The outcome of ``child(pipe)`` in a fork of this process, which has imported JAX
    and nothing of ebmjax.  ``allowed`` is the seconds of a test, or of the import of all.
    """
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with tempfile.TemporaryDirectory() as folder:
        process = os.fork()
        if process == 0:
            _run_child(child, writing, folder)
        os.close(writing)
        try:
            return _followed(process, reading, allowed)
        finally:
            os.close(reading)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)  # what the tests have left


def _run_child(child, writing, folder):
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.chdir(ROOT)
    Path(folder, "sitecustomize.py").write_text(
        IN_SUBPROCESSES.format(folder=str(ROOT / "tests"))
    )
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    os.environ |= {"PYTHONPATH": f"{folder}:{ROOT}", "TMPDIR": folder}
    tempfile.tempdir = folder
    code = 1
    try:
        code = child(writing)
    finally:
        os._exit(int(code))


def _followed(process, reading, allowed) -> Outcome:
    test, message, failed, rest = "", "", "", b""
    end = time.monotonic() + allowed("")
    while True:
        select.select([reading], [], [], 0.05)
        done, status = os.waitpid(process, os.WNOHANG)  # before the last words are read
        *rows, rest = (rest + _read(reading)).split(b"\n")
        for what, name, text in map(json.loads, rows):
            if what == "start":
                test, end = name, time.monotonic() + allowed(name)
            elif not failed:
                failed, message = name or "import", text
        if done:
            return Outcome(os.waitstatus_to_exitcode(status), failed or test, message)
        if time.monotonic() > end:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return Outcome(None, test, "")


def _read(pipe) -> bytes:
    found = b""
    with contextlib.suppress(BlockingIOError):
        while part := os.read(pipe, 1 << 16):
            found += part
    return found


def run_tests(site: Site | None, tests: dict[str, float]) -> Outcome:
    """Run tests, with a mutant or without, until one fails."""

    def child(pipe):
        if site is not None:
            os.environ[VARIABLE] = f"{site.file}:{site.number}"
            syntax_mutants.install()
        modules = dict.fromkeys(test.split("::")[0] for test in tests)
        return pytest.main(
            ["-x", "-q", "-p", "no:cacheprovider", *modules],
            plugins=[Messenger(tests, pipe)],
        )

    return in_a_process(child, lambda t: ALLOWED[0] + ALLOWED[1] * tests.get(t, 10.0))


def measure(name: str, path: Path, limit: float) -> None:
    """Run a test module without a mutant, for a limited time, and write which lines each
    test executes."""

    def child(pipe):
        recorder = covering.Recorder(limit)
        code = pytest.main(["-q", "-p", "no:cacheprovider", name], plugins=[recorder])
        row = json.dumps(recorder.found(name))
        with path.open("a") as file:
            file.write(row + "\n")
        return code

    begin = time.perf_counter()
    outcome = in_a_process(child, lambda _: 5 * limit)
    print(f"{name}: {outcome.status}, {time.perf_counter() - begin:.0f} s", flush=True)


def verdict(site: Site, tests: dict[str, float], passed) -> tuple[str, str, str]:
    """``killed``, ``does not end``, ``survives``, ``out of time``, ``no test`` or
    ``error`` (of pytest); by which test; its message."""
    if not tests:
        return "no test", "", ""
    status, test, message = run_tests(site, tests)
    if status is not None:
        if status in (0, 5):
            return "survives", "", ""
        is_known = test in passed or test not in tests
        if is_known or run_tests(None, {test: tests[test]}).status == 0:
            return "killed" if test else "error", test, message
        return "error", test, "fails without the mutant"
    few = {test: tests[test]} if test else tests
    begin = time.monotonic()
    status = run_tests(None, few).status
    is_short = time.monotonic() - begin < (ALLOWED[0] + sum(few.values())) / 2
    return "does not end" if status == 0 and is_short else "out of time", test, ""


# --- the results ----------------------------------------------------------------------


def write(results: list[tuple[Site, str]], path: Path, arguments) -> None:
    """The survivors as a table, and a summary."""
    num_killed = sum(found in KILLED for _, found in results)
    lines = [
        "# Survivors of mutation testing",
        "",
        f"{len(results)} mutants, {num_killed} killed "
        f"(`python tests/mutation.py {' '.join(arguments)}`).",
        "",
        "| file | line | text | change | outcome | judgement |",
        "|---|---|---|---|---|---|",
    ]
    for site, found in results:
        if found not in KILLED:
            rows = (PACKAGE / site.file).read_text().splitlines()
            text = rows[site.line - 1].strip().replace("|", "\\|")
            row = f"`{site.file}`", site.line, f"`{text}`", site.what, found, ""
            lines.append("| " + " | ".join(map(str, row)) + " |")
    path.write_text("\n".join(lines) + "\n")


def chosen(files: list[str], num: int | None, seed: int) -> list[Site]:
    """All mutants of some files, or a random sample of them."""
    files = files or sorted(
        str(p.relative_to(PACKAGE))
        for p in PACKAGE.rglob("*.py")
        if p.name != "__main__.py"
    )
    found = [s for f in files for s in syntax_mutants.sites(f)]
    if num is None:
        return found
    return random.Random(seed).sample(found, min(num, len(found)))


def recorded(path: Path) -> dict[Site, str]:
    """The outcomes so far."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {Site(*row[0]): row[1] for row in map(json.loads, lines)}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, help="how many, at random; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", nargs="*", help="below ebmjax/; all by default")
    parser.add_argument("--budget", type=float, default=60, help="seconds of tests")
    parser.add_argument("--limit", type=float, default=300, help="seconds of a module")
    parser.add_argument("--part", default="0/1", help="I/N: each Nth mutant from I")
    parser.add_argument("--out", type=Path, default=ROOT / "mutation_survivors.md")
    parser.add_argument("--list", action="store_true", help="run none")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the child, too
    todo = chosen(options.files, options.num, options.seed)
    if options.list:
        print(*map(json.dumps, todo), sep="\n")
        return 0
    for name in SHARED.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    lines = options.out.with_name(options.out.stem + "_tests.jsonl")
    for name in sorted(set(covering.test_modules()) - _names(lines)):
        measure(name, lines, options.limit)
    modules = covering.read(lines)
    passed = {test for module in modules for test, _, _ in module.tests}
    record = options.out.with_suffix(".jsonl")
    first, step = map(int, options.part.split("/"))
    for site in todo[first::step]:
        if site in recorded(record):
            continue
        begin = time.perf_counter()
        tests = covering.tests_of(site, modules, options.budget)
        row = site, *verdict(site, tests, passed)
        with record.open("a") as file:
            file.write(json.dumps(row) + "\n")
        done = recorded(record)
        seconds = time.perf_counter() - begin
        print(f"{len(done)}/{len(todo)} {seconds:.0f} s", *map(json.dumps, row))
        sys.stdout.flush()
        write([(s, done[s]) for s in todo if s in done], options.out, arguments)
    return 0


def _names(path: Path) -> set[str]:
    return {module.name for module in covering.read(path)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
