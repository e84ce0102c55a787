"""What is public, read from the sources without importing them."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

# one page each: title, modules or packages
PAGES = {
    "core": ("States and kernels", ["base", "spaces", "_compilation_cache"]),
    "kernels": ("Kernels", ["kernels"]),
    "sampling": ("Sampling", ["sampling"]),
    "fused": ("Runs in two launches", ["fused"]),
    "adaptation": ("Warm-up", ["adaptation"]),
    "diagnostics": ("Diagnostics", ["diagnostics"]),
    "energies": ("Energies", ["energies", "supports"]),
    "targets": ("Targets", ["targets"]),
    "objectives": ("Objectives", ["objectives"]),
    "training": ("Training", ["training"]),
    "tempering": ("Tempering", ["tempering"]),
    "verify": ("Verification", ["verify"]),
    "evaluation": ("Evaluation", ["evaluation", "plotting"]),
    "io": ("Files", ["io"]),
}


def exports() -> dict[str, str]:
    """The names of ``ebmjax.__all__`` and the module that defines each."""
    tree = ast.parse((ROOT / "ebmjax/__init__.py").read_text())
    origin, names = {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            origin |= {a.asname or a.name: node.module for a in node.names}
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
    submodules = {p.stem for p in (ROOT / "ebmjax").iterdir()}
    return {n: origin[n] for n in sorted(names) if n not in submodules}


def modules(entry: str) -> list[str]:
    """The modules of a package, or the one module, that are public."""
    folder = ROOT / "ebmjax" / entry
    if not folder.is_dir():
        return [f"ebmjax.{entry}"]
    files = sorted(f for f in folder.glob("*.py") if not f.stem.startswith("_"))
    return [f"ebmjax.{entry}.{f.stem}" for f in files]


def members(module: str) -> dict[str, str]:
    """Public classes and functions with a docstring, what the module exports from
    private ones, and whatever else the top level exports from here; with the first
    sentence of each docstring."""
    tree = ast.parse(source(module))
    found = defined(tree) | exported_from_private(module, tree)
    here = [name for name, origin in exports().items() if origin == module]
    return found | {name: found.get(name, "") for name in here}


def defined(tree: ast.Module) -> dict[str, str]:
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            doc = ast.get_docstring(node) or ""
            if doc and not node.name.startswith("_"):
                found[node.name] = first_sentence(doc)
    return found


def exported_from_private(module: str, tree: ast.Module) -> dict[str, str]:
    """What ``__all__`` of a module names and a private module defines."""
    names, found = [], {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
    for node in tree.body:
        origin = getattr(node, "module", None) or ""
        is_private = origin.split(".")[-1].startswith("_")
        if isinstance(node, ast.ImportFrom) and is_private:
            inside = defined(ast.parse(source(origin)))
            imported = {alias.name for alias in node.names} & set(names)
            found |= {name: inside[name] for name in sorted(imported & set(inside))}
    return found


def is_alone(module: str, name: str) -> bool:
    """Whether a statement defines this name alone, so that it has its own entry."""
    pattern = rf"(?m)^(class|def|async def) {name}\b|^{name}\b *[:=]"
    is_here = re.search(pattern, source(module)) is not None
    return is_here or name in exported_from_private(module, ast.parse(source(module)))


def source(module: str) -> str:
    path = ROOT / Path(*module.split("."))
    is_package = path.is_dir()
    return (path / "__init__.py" if is_package else path.with_suffix(".py")).read_text()


def first_sentence(docstring: str) -> str:
    paragraph = docstring.strip().split("\n\n")[0]
    return " ".join(paragraph.split())


def documented() -> dict[str, list[str]]:
    """The public names of every module that has a place on a page."""
    entries = [e for _, of_page in PAGES.values() for e in of_page]
    names = [m for e in entries for m in (f"ebmjax.{e}", *modules(e))]
    return {module: list(members(module)) for module in names}
