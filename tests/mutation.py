"""Mutation testing: small random changes of the library, and whether a test detects
them.

    python tests/mutation.py --num 300 --seed 1            a random sample, hours of CPU
    python tests/mutation.py --files verify/report.py      every mutant of some files
    python tests/mutation.py --list --num 5                shows them and runs none

A mutant is one node of the syntax tree changed: an operator, a comparison, a constant,
an index, a condition negated, a call dropped, a return of an argument.  Its file is
compiled from the changed tree in a process of its own; no file on disk changes.  The
process runs the test modules that import the module, directly or by a name of the top
level, until a test fails.  A mutant is killed if a test or the import fails.  One that
does not end is run again without the change: only if that ends in half of the time is
the mutant killed by a loop.

Outcomes are kept in a file, a line each, and a call goes on where the last one stopped;
``--part 0/2`` does every second mutant.  Survivors are written to
``mutation_survivors.md``; each is either equivalent or shows a missing test.

It is meant for a schedule, not for CI.
"""

import argparse
import ast
import copy
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ebmjax"
VARIABLE = "EBMJAX_MUTANT"  # "file:number", read by ``install``
SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.Pow: ast.Mult, ast.Mod: ast.Mult, ast.FloorDiv: ast.Mult, ast.MatMult: ast.Add,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
KILLED = ("killed", "does not end")
MOST_MODULES = 6
MESSAGES = {"fail", "describe", "ValueError", "TypeError", "Issue", "warn", "print"}


class Site(NamedTuple):
    """A node and its replacement."""

    file: str  # below ebmjax/
    number: int
    line: int
    what: str


class _Walker(ast.NodeTransformer):
    """Counts the sites of a tree, and changes a given one."""

    def __init__(self, wanted: int = -1):
        self.wanted, self.found, self.depth = wanted, [], 0

    def _site(self, node, what, change):
        number = len(self.found)
        self.found.append((number, node.lineno, what))
        return change(copy.deepcopy(node)) if number == self.wanted else node

    def visit_FunctionDef(self, node):
        node.args = self.generic_visit(node.args)
        body = node.body
        has_docstring = ast.get_docstring(node) is not None
        kept = body[:1] if has_docstring else []
        node.body = kept + [self.visit(s) for s in body[len(kept) :]]
        return node

    def visit_Raise(self, node):
        return node  # messages

    def visit_AnnAssign(self, node):
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_arg(self, node):
        return node

    def visit_JoinedStr(self, node):
        return node

    def visit_Call(self, node):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in MESSAGES:
            return node
        node = self.generic_visit(node)
        if len(node.args) == 1 and not node.keywords:
            drop = lambda n: n.args[0]
            return self._site(node, f"{name}(x) becomes x", drop)
        return node

    def visit_BinOp(self, node):
        return self._operator(self.generic_visit(node))

    def visit_BoolOp(self, node):
        return self._operator(self.generic_visit(node))

    def _operator(self, node):
        new = SWAPS.get(type(node.op))
        if new is None:
            return node
        what = f"{type(node.op).__name__} becomes {new.__name__}"
        return self._site(node, what, lambda n: _set(n, op=new()))

    def visit_Compare(self, node):
        node = self.generic_visit(node)
        new = SWAPS[type(node.ops[0])]
        what = f"{type(node.ops[0]).__name__} becomes {new.__name__}"
        return self._site(node, what, lambda n: _set(n, ops=[new(), *n.ops[1:]]))

    def visit_UnaryOp(self, node):
        node = self.generic_visit(node)
        what = f"{type(node.op).__name__} is dropped"
        return self._site(node, what, lambda n: n.operand)

    def visit_If(self, node):
        node = self.generic_visit(node)
        negate = lambda n: _set(n, test=ast.UnaryOp(ast.Not(), n.test))
        return self._site(node, "the condition is negated", negate)

    def visit_Subscript(self, node):
        node = self.generic_visit(node)
        is_index = isinstance(node.slice, ast.Constant) and isinstance(
            node.slice.value, int
        )
        if not is_index:
            return node
        value = node.slice.value
        new = 1 if value == 0 else 0
        return self._site(
            node,
            f"[{value}] becomes [{new}]",
            lambda n: _set(n, slice=ast.Constant(new)),
        )

    def visit_Constant(self, node):
        value = node.value
        if isinstance(value, bool):
            return self._site(
                node, f"{value} becomes {not value}", lambda n: _set(n, value=not value)
            )
        if isinstance(value, int | float):
            new = value + 1 if isinstance(value, int) else value * 1.5 + (value == 0)
            return self._site(
                node, f"{value} becomes {new}", lambda n: _set(n, value=new)
            )
        return node


def _set(node, **fields):
    for name, value in fields.items():
        setattr(node, name, value)
    return node


def sites(file: str) -> list[Site]:
    """All mutants of a file."""
    walker = _Walker()
    walker.visit(ast.parse((PACKAGE / file).read_text()))
    return [Site(file, *found) for found in walker.found]


def changed(file: str, number: int) -> ast.Module:
    """The syntax tree of a file with one site changed."""
    tree = _Walker(number).visit(ast.parse((PACKAGE / file).read_text()))
    return ast.fix_missing_locations(tree)


# --- in the process of the mutant ---------------------------------------------------------


def install() -> None:
    """Make the library import the mutant named in the environment."""
    import importlib.machinery
    import importlib.util

    file, number = os.environ[VARIABLE].rsplit(":", 1)
    name = "ebmjax." + file.removesuffix(".py").replace("/", ".")
    name = name.removesuffix(".__init__")

    class Loader(importlib.machinery.SourceFileLoader):
        def get_code(self, fullname):
            return compile(changed(file, int(number)), self.path, "exec")

    class Finder:
        def find_spec(self, fullname, path=None, target=None):
            if fullname != name:
                return None
            place = str(PACKAGE / file)
            return importlib.util.spec_from_file_location(
                fullname, place, loader=Loader(fullname, place)
            )

    sys.meta_path.insert(0, Finder())


# --- in the process that runs them --------------------------------------------------------


def tests_of(file: str) -> list[str]:
    """Test modules that name a module, or a name of the top level that it defines."""
    module = "ebmjax." + file.removesuffix(".py").replace("/", ".")
    tree = ast.parse((PACKAGE / file).read_text())
    names = {
        n.name
        for n in tree.body
        if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")
    }
    last, package = module.rsplit(".", 1)[-1], module.rsplit(".", 1)[0]
    found = []
    for path in sorted((ROOT / "tests").glob("**/test_*.py")):
        text = path.read_text()
        is_named = module in text or f"from {package} import" in text and last in text
        calls = [f"eb.{n}(" for n in names] + [
            f"{package.split('.')[-1]}.{n}(" for n in names
        ]
        if is_named or any(c in text for c in calls):
            found.append(str(path.relative_to(ROOT)))
    return sorted(found, key=lambda p: last.split("_")[0] not in p)[:MOST_MODULES]


def verdict(site: Site, limit: float) -> str:
    """``killed``, ``does not end``, ``survives``, ``out of time`` or ``no test``."""
    tests = tests_of(site.file)
    if not tests:
        return "no test"
    code = in_a_process(site, tests, limit)
    if code is not None:
        return "survives" if code in (0, 5) else "killed"
    is_slow = in_a_process(None, tests, limit / 2) is None
    return "out of time" if is_slow else "does not end"


def in_a_process(site: Site | None, tests: list[str], limit: float) -> int | None:
    """The exit status of the tests, with a mutant or without; None if out of time.

    The process is a fork of this one, which has imported JAX, and nothing of ebmjax.
    """
    child = os.fork()
    if child == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        os.chdir(ROOT)
        sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
        os.environ["PYTHONPATH"] = str(ROOT)
        code = 1
        try:
            if site is not None:
                os.environ[VARIABLE] = f"{site.file}:{site.number}"
                install()
            import pytest

            code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])
        finally:
            os._exit(int(code))
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            _kill(child)  # what the tests have left
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    _kill(child)
    os.waitpid(child, 0)
    return None


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def write(results: list[tuple[Site, str]], path: Path, arguments) -> None:
    """The survivors as a table, and a summary."""
    num_killed = sum(found in KILLED for _, found in results)
    lines = [
        "# Survivors of mutation testing",
        "",
        f"{len(results)} mutants, {num_killed} killed "
        f"(`python tests/mutation.py {' '.join(arguments)}`).",
        "",
        "| file | line | change | outcome | judgement |",
        "|---|---|---|---|---|",
    ]
    for site, found in results:
        if found not in KILLED:
            lines.append(f"| `{site.file}` | {site.line} | {site.what} | {found} | |")
    path.write_text("\n".join(lines) + "\n")


def chosen(files: list[str], num: int | None, seed: int) -> list[Site]:
    """All mutants of some files, or a random sample of them."""
    files = files or sorted(
        str(p.relative_to(PACKAGE))
        for p in PACKAGE.rglob("*.py")
        if p.name != "__main__.py"
    )
    found = [s for f in files for s in sites(f)]
    if num is None:
        return found
    return random.Random(seed).sample(found, min(num, len(found)))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, help="how many, at random; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", nargs="*", help="below ebmjax/; all by default")
    parser.add_argument("--limit", type=float, default=900, help="seconds of a mutant")
    parser.add_argument("--part", default="0/1", help="I/N: each Nth mutant from I")
    parser.add_argument("--out", type=Path, default=ROOT / "mutation_survivors.md")
    parser.add_argument("--list", action="store_true", help="run none")
    options = parser.parse_args(arguments)
    todo = chosen(options.files, options.num, options.seed)
    if options.list:
        print(*map(json.dumps, todo), sep="\n")
        return 0
    first, step = map(int, options.part.split("/"))
    record = options.out.with_suffix(".jsonl")
    import jax, flax, optax, chex, pytest, scipy.stats  # noqa: E401, F401, I001

    for site in todo[first::step]:
        done = recorded(record)
        if site in done:
            continue
        begin = time.perf_counter()
        found = verdict(site, options.limit)
        with record.open("a") as file:
            file.write(json.dumps([site, found]) + "\n")
        seconds = time.perf_counter() - begin
        print(f"{len(done) + 1}/{len(todo)} {found} {seconds:.0f} s {json.dumps(site)}")
        sys.stdout.flush()
        done[site] = found
        write([(s, done[s]) for s in todo if s in done], options.out, arguments)
    return 0


def recorded(path: Path) -> dict[Site, str]:
    """The outcomes so far."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {Site(*site): found for site, found in map(json.loads, lines)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
