"""The course: every notebook equals its script, is executed, small, and without local
paths.

``make notebooks`` executes them, not this test.
"""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(ROOT.glob("notebooks/[0-9]*.py"))
LARGEST = 600_000
PATHS = re.compile(
    r"(?<![\w.])/(?:home|root|tmp|usr|opt|work|Users|private|var|mnt|builds)/\w"
)


def cells_of(script: str) -> list[tuple[str, str]]:
    """(type, text) of the cells of a percent script."""
    parts = re.split(r"^# %%(.*)\n", script, flags=re.M)
    cells = []
    for mark, body in zip(parts[1::2], parts[2::2], strict=True):
        is_prose = "[markdown]" in mark
        text = re.sub(r"^# ?", "", body, flags=re.M) if is_prose else body
        cells.append(("markdown" if is_prose else "code", text.strip()))
    return cells


def troubles(script: str, notebook: dict) -> list[str]:
    """Messages about a notebook."""
    found = []
    cells = notebook["cells"]
    if [(c["cell_type"], "".join(c["source"]).strip()) for c in cells] != cells_of(
        script
    ):
        found.append("its cells are not those of its script")
    code = [c for c in cells if c["cell_type"] == "code"]
    if [c["execution_count"] for c in code] != list(range(1, len(code) + 1)):
        found.append("it was not executed from top to bottom")
    outputs = [output for c in code for output in c["outputs"]]
    if not any("image/png" in output.get("data", {}) for output in outputs):
        found.append("it has no picture")
    if any(
        output["output_type"] == "error" or output.get("name") == "stderr"
        for output in outputs
    ):
        found.append("it has an error or a warning")
    if PATHS.search(re.sub(r'"image/png": "[^"]*"', "", json.dumps(notebook))):
        found.append("it holds a path of a machine")
    if len(json.dumps(notebook)) > LARGEST:
        found.append(f"it is larger than {LARGEST} bytes")
    opening = "".join(cells[0]["source"])
    if not (
        opening.startswith("# ")
        and "You need" in opening.replace("\n", " ")
        and "Runs in" in opening
    ):
        found.append("it does not open with what it needs and how long it runs")
    if (
        sum(line.lstrip().startswith("assert ") for c in code for line in c["source"])
        < 3
    ):
        found.append("it asserts next to nothing")
    return found


def read(script: Path) -> dict:
    return json.loads(script.with_suffix(".ipynb").read_text())


def test_notebooks_are_numbered_and_complete():
    numbers = [f"{i:02d}" for i in range(1, len(SCRIPTS) + 1)]
    assert [s.name[:2] for s in SCRIPTS] == numbers and len(SCRIPTS) >= 13
    assert {p.stem for p in ROOT.glob("notebooks/*.ipynb")} == {s.stem for s in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)
def test_the_notebook_is_its_script_executed(script):
    assert troubles(script.read_text(), read(script)) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)
def test_the_course_links_each_notebook(script):
    course = (ROOT / "docs" / "course.md").read_text()
    assert f"(../notebooks/{script.stem}.ipynb)" in course


def _other_number(notebook):
    notebook["cells"][2]["source"] = [
        line.replace("0", "1") for line in notebook["cells"][2]["source"]
    ]
    notebook["cells"][2]["source"].append("x = 1")


def _not_run(notebook):
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    code[1]["execution_count"], code[1]["outputs"] = None, []


def _warning(notebook):
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    text = ["/home/someone/lib/python3.11/x.py:3: RuntimeWarning: overflow"]
    code[1]["outputs"].append({"output_type": "stream", "name": "stderr", "text": text})


def _heavy(notebook):
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    code[1]["outputs"].append(
        {"output_type": "display_data", "data": {"image/png": "A" * LARGEST}}
    )


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_other_number, "script"),
        (_not_run, "top to bottom"),
        (_warning, "path"),
        (_warning, "warning"),
        (_heavy, "bytes"),
    ],
)
def test_a_damaged_notebook_is_detected(spoil, words):
    notebook = read(SCRIPTS[0])
    spoil(notebook)
    assert any(
        words in trouble for trouble in troubles(SCRIPTS[0].read_text(), notebook)
    )
