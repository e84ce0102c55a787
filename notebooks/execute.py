"""Execute the course: each script becomes a notebook with its outputs and pictures.

    python notebooks/execute.py                  all notebooks, beside their scripts
    python notebooks/execute.py 03 05            those whose names start with 03 or 05
    python notebooks/execute.py --out FOLDER     into another folder
    python notebooks/execute.py --jobs 2         two at a time; printed times are longer

Each script runs in a new kernel, in an empty folder; the first error stops everything.
Pictures are reduced to 256 colours to keep notebooks small.  Times of day and cell ids
that differ between runs are removed.
"""

import argparse
import base64
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

HERE = Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
}
LONGEST = 900  # seconds of a cell


def execute(script: Path) -> nbformat.NotebookNode:
    """The notebook of a script, run in a fresh kernel."""
    notebook = notebook_of(script)
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        NotebookClient(
            notebook, timeout=LONGEST, resources=place, coalesce_streams=True
        ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = lighten(output.data["image/png"])
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def write(script: Path, folder: Path) -> str:
    """Execute a script into a folder; returns a line about it.

    Raises:
      RuntimeError: with the cell that failed.
    """
    start = time.time()
    try:
        notebook = execute(script)
    except CellExecutionError as error:
        raise RuntimeError(
            f"{script.name} failed after {time.time() - start:.0f} s\n{error}"
        ) from None
    path = folder / script.with_suffix(".ipynb").name
    nbformat.write(notebook, path)
    return f"{script.name:30s} {time.time() - start:4.0f} s {path.stat().st_size / 1000:5.0f} kB"


def write_all(scripts: list[Path], folder: Path, num_jobs: int) -> Iterator[str]:
    """Several at a time, each in a separate process; stops after the first error."""
    with ProcessPoolExecutor(num_jobs) as pool:
        tasks: list[Future[str]] = [
            pool.submit(write, script, folder) for script in scripts
        ]
        try:
            for task in as_completed(tasks):
                yield task.result()
        finally:
            pool.shutdown(cancel_futures=True)


def notebook_of(script: Path) -> nbformat.NotebookNode:
    """The cells of a script, not run; their ids are their numbers."""
    notebook = jupytext.read(script)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return notebook


def lighten(png: str) -> str:
    """A picture in base64 with at most 256 colours."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    small = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="beginnings of names; all by default")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    choices = parser.parse_args()
    scripts = [
        script
        for script in sorted(HERE.glob("[0-9]*.py"))
        if not choices.names or script.name.startswith(tuple(choices.names))
    ]
    if not scripts:
        sys.exit(f"no notebook begins with {', '.join(choices.names)}")
    choices.out.mkdir(parents=True, exist_ok=True)
    root = str(HERE.parent.resolve())
    os.environ["PYTHONPATH"] = os.pathsep.join(
        p for p in (root, os.environ.get("PYTHONPATH")) if p
    )
    began = time.time()
    try:
        for line in write_all(scripts, choices.out, choices.jobs):
            print(line, flush=True)
    except RuntimeError as error:
        sys.exit(str(error))
    print(f"{len(scripts)} notebooks in {time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
