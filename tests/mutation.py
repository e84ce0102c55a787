"""Mutation testing: small random changes of the library, and whether a test detects
them.

    python tests/mutation.py --num 300 --seed 1            a random sample, hours of CPU
    python tests/mutation.py --files verify/report.py      every mutant of some files
    python tests/mutation.py --list --num 5                shows them and runs none

A mutant is one node of the syntax tree changed (``syntax_mutants``).  A process of its
own imports the library with it and runs the tests that reach its definition
(``reaching``), the likeliest first, until one fails or the seconds of CPU are used up.
A mutant is killed if a test or the import fails.  A test that does not end is run again
without the change: only if it ends in half of the time is the mutant killed by a loop.
In the end the tests that failed run once without a mutant: if one fails then, too, its
mutants are called unclear.

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
import signal
import sys
import time
from pathlib import Path

os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("MPLBACKEND", "agg")

import reaching
import syntax_mutants
from forks import ALLOWED, run_tests
from syntax_mutants import PACKAGE, ROOT, Site

KILLED = ("killed", "does not end")
# imported before the fork; none starts a backend of JAX, whose threads a fork loses
SHARED = "jax flax optax chex scipy.stats hypothesis matplotlib.pyplot sklearn"


def verdict(site: Site, budget: float) -> tuple[str, str, str]:
    """``killed``, ``does not end``, ``survives``, ``out of time``, ``no test`` or
    ``error`` (of pytest); by which test; its message."""
    tests = reaching.tests_of(site)
    if not tests:
        return "no test", "", ""
    found = run_tests(site, tests, budget, "-x")
    if found.failed:
        return "killed", found.failed[0], found.message
    if found.status is None:
        begin = time.monotonic()
        again = run_tests(None, [found.running or tests[0]], budget)
        is_short = time.monotonic() - begin < ALLOWED / 2
        is_loop = again.status == 0 and is_short
        return "does not end" if is_loop else "out of time", found.running, ""
    if found.status < 0:
        return "killed", found.running, f"signal {-found.status}"
    return "survives" if found.status in (0, 2, 5) else "error", "", str(found.status)


def unclear(rows: list[tuple], path: Path) -> set[str]:
    """Tests that detected a mutant and fail without one."""
    lines = path.read_text().splitlines() if path.exists() else []
    known = dict(map(json.loads, lines))
    tests = {row[2] for row in rows if row[1] in KILLED and "::" in row[2]}
    if todo := sorted(tests - known.keys()):
        found = run_tests(None, todo, float("inf"))
        if found.status not in (0, 1):
            raise RuntimeError(f"tests without a mutant ended with {found.status}")
        failed = found.failed
        known |= {test: test not in failed for test in todo}
        path.write_text("".join(json.dumps(item) + "\n" for item in known.items()))
    return {test for test in tests if not known[test]}


# --- the results --------------------------------------------------------------------


def write(rows: list[tuple], path: Path, arguments, bad=()) -> None:
    """The survivors as a table, and a summary."""
    alive = [r for r in rows if r[1] not in KILLED or r[2] in bad]
    lines = [
        "# Survivors of mutation testing",
        "",
        f"{len(rows)} mutants, {len(rows) - len(alive)} killed "
        f"(`python tests/mutation.py {' '.join(arguments)}`).",
        "",
        "| file | line | text | change | outcome | judgement |",
        "|---|---|---|---|---|---|",
    ]
    for site, found, test, _ in alive:
        text = (PACKAGE / site.file).read_text().splitlines()[site.line - 1].strip()
        found = "unclear" if test in bad else found
        text = text.replace("|", "\\|")
        row = f"`{site.file}`", str(site.line), f"`{text}`", site.what, found, ""
        lines.append("| " + " | ".join(row) + " |")
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


def recorded(path: Path) -> dict[Site, tuple]:
    """The outcomes so far: site, outcome, test, message."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [(Site(*row[0]), *row[1:]) for row in map(json.loads, lines)]
    return {row[0]: row for row in rows}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, help="how many, at random; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", nargs="*", help="below ebmjax/; all by default")
    parser.add_argument("--budget", type=float, default=40, help="seconds of CPU")
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
    record = options.out.with_suffix(".jsonl")
    first, step = map(int, options.part.split("/"))
    for site in todo[first::step]:
        if site in recorded(record):
            continue
        begin = time.perf_counter()
        row = site, *verdict(site, options.budget)
        with record.open("a") as file:
            file.write(json.dumps(row) + "\n")
        done = recorded(record)
        seconds = time.perf_counter() - begin
        print(f"{len(done)}/{len(todo)} {seconds:.0f} s", *map(json.dumps, row))
        sys.stdout.flush()
        write([done[s] for s in todo if s in done], options.out, arguments)
    rows = [row for site, row in recorded(record).items() if site in todo]
    bad = unclear(rows, record.with_suffix(".tests"))
    write(rows, options.out, arguments, bad)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
