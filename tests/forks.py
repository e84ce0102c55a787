"""A process that runs tests with a mutant, or without one.

It is a fork of the one that asks, which has imported JAX and nothing of ebmjax.  Python
processes that the tests start import the mutant, too.
"""

import contextlib
import json
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import syntax_mutants
from syntax_mutants import ROOT, VARIABLE, Site

ALLOWED = 180.0  # seconds of a test, or of the import
IN_SUBPROCESSES = """import sys
sys.path.insert(0, {folder!r})
import syntax_mutants
sys.path.pop(0)
syntax_mutants.install()
"""


class Outcome(NamedTuple):
    """Of the tests of a process."""

    status: int | None  # of pytest, None if a test did not end
    failed: tuple[str, ...]  # tests
    running: str  # the last test that began
    message: str  # of the first failure


class Messenger:
    """A plugin of pytest: runs given tests in their order while the budget of CPU
    lasts, and reports to the parent."""

    def __init__(self, tests, pipe, budget):
        self.order = {test: i for i, test in enumerate(tests)}
        self.pipe, self.budget, self.begin = pipe, budget, time.process_time()

    def send(self, what, test, message=""):
        os.write(self.pipe, (json.dumps([what, test, message[-300:]]) + "\n").encode())

    def pytest_collection_modifyitems(self, items):
        places, seen = {}, {}
        for item in items:
            name = item.nodeid.split("[")[0]
            keys = item.nodeid, name, name.split("::")[0]
            found = next((self.order[k] for k in keys if k in self.order), None)
            if found is not None:
                num = seen[name] = seen.get(name, 0) + 1
                places[item] = found + (num if item.nodeid not in self.order else 0)
        items[:] = sorted(places, key=places.get)

    def pytest_runtest_protocol(self, item):
        if time.process_time() > self.begin + self.budget:
            item.session.shouldstop = "the budget is used up"

    def pytest_runtest_logstart(self, nodeid, location):
        self.send("start", nodeid)

    def pytest_runtest_logreport(self, report):
        self._failure(report)

    def pytest_collectreport(self, report):
        self._failure(report)

    def _failure(self, report):
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            message = getattr(crash, "message", report.longreprtext)
            self.send("failed", report.nodeid or "import", message)


def in_a_process(child: Callable[[int], int]) -> Outcome:
    """The outcome of ``child(pipe)`` in a fork of this process, which has imported JAX
    and nothing of ebmjax."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with tempfile.TemporaryDirectory() as folder:
        process = os.fork()
        if process == 0:
            _run_child(child, writing, folder)
        os.close(writing)
        try:
            return _followed(process, reading)
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


def _followed(process, reading) -> Outcome:
    failed, running, message, rest = [], "", "", b""
    end = time.monotonic() + ALLOWED
    while True:
        select.select([reading], [], [], 0.05)
        done, status = os.waitpid(process, os.WNOHANG)  # before the last words are read
        *rows, rest = (rest + _read(reading)).split(b"\n")
        for what, test, text in map(json.loads, rows):
            if what == "start":
                running, end = test, time.monotonic() + ALLOWED
            else:
                message = message or text
                failed.append(test)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return Outcome(code, tuple(failed), running, message)
        if time.monotonic() > end:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return Outcome(None, tuple(failed), running, "")


def _read(pipe) -> bytes:
    found = b""
    with contextlib.suppress(BlockingIOError):
        while part := os.read(pipe, 1 << 16):
            found += part
    return found


def run_tests(site: Site | None, tests, budget: float, *flags) -> Outcome:
    """Run tests, with a mutant or without."""

    def child(pipe):
        if site is not None:
            os.environ[VARIABLE] = f"{site.file}:{site.number}"
            syntax_mutants.install()
        modules = dict.fromkeys(test.split("::")[0] for test in tests)
        return pytest.main(
            ["-q", "-p", "no:cacheprovider", *flags, *modules],
            plugins=[Messenger(tests, pipe, budget)],
        )

    return in_a_process(child)
