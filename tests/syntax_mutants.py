"""Mutants: single nodes of the syntax tree of a file, changed, and the import of one.

A mutant changes an operator, a comparison, a constant, an index or a condition, or
replaces a call by its argument.  Its file is compiled from the changed tree; no file on
disk changes.
"""

import ast
import copy
import os
import sys
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


# --- in the process of the mutant ---------------------------------------------------


def install() -> None:
    """Make the library import the mutant named in the environment, if one is."""
    if VARIABLE not in os.environ:
        return
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
