"""The pages of the documentation: their examples run, their links and API exist."""

import importlib
import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"```python\n(.*?)```", re.S)
OPTIONAL = ("equinox", "numpyro", "blackjax")  # blocks that need them may be skipped


@pytest.fixture
def inventory(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "tools"))
    yield importlib.import_module("inventory")
    sys.modules.pop("inventory", None)


def missing(block: str) -> list[str]:
    """Optional packages that a block imports and that are not installed."""
    return [
        name
        for name in OPTIONAL
        if re.search(rf"(?m)^(import|from) {name}\b", block)
        and importlib.util.find_spec(name) is None
    ]


@pytest.mark.parametrize("page", sorted(p.stem for p in DOCS.glob("how_to/*.md")))
def test_the_blocks_of_a_how_to_run_in_order(page, capsys):
    scope: dict = {}
    blocks = BLOCK.findall((DOCS / "how_to" / f"{page}.md").read_text())
    assert len(blocks) >= 3
    ran = 0
    for block in blocks:
        if missing(block):
            continue
        exec(compile(block, f"docs/how_to/{page}.md", "exec"), scope)
        ran += 1
    assert ran >= 2


def test_blocks_of_packages_that_are_missing_are_recognised():
    assert "equinox" not in missing("import jax\nimport ebmjax as eb\n")
    block = "import equinox as eqx\n"
    is_installed = importlib.util.find_spec("equinox") is not None
    assert missing(block) == ([] if is_installed else ["equinox"])


def test_every_export_has_a_place_on_an_api_page(inventory):
    import ebmjax as eb

    documented = inventory.documented()
    exports = inventory.exports()
    names = {name for name in eb.__all__ if not hasattr(getattr(eb, name), "__path__")}
    names = {name for name in names if not _is_module(getattr(eb, name))}
    assert names == set(exports)
    for name, module in exports.items():
        assert name in documented[module], f"{name} of {module} is on no API page"
        assert getattr(eb, name) is getattr(importlib.import_module(module), name)


def _is_module(item) -> bool:
    return isinstance(item, type(sys))


def test_every_package_has_an_api_page(inventory):
    entries = {e for _, entries in inventory.PAGES.values() for e in entries}
    for entry in entries:
        assert inventory.modules(entry), entry
    of_the_application = {"cli", "experiments"}
    packages = {p.parent.name for p in (ROOT / "ebmjax").glob("*/__init__.py")}
    public = {name for name in packages if not name.startswith("_")}
    assert public - of_the_application <= entries


def test_links_and_examples_of_the_pages_exist():
    number = len(BLOCK.findall((ROOT / "README.md").read_text()))
    for page in DOCS.rglob("*.md"):
        text = page.read_text()
        for block in re.findall(r"\{\{ README block (\d) \}\}", text):
            assert 1 <= int(block) <= number, page
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
            is_made = "api/" in target or target == "changelog.md"  # by docs/tools
            if not (is_made or "://" in target):
                assert (page.parent / target).exists(), f"{page}: {target}"
