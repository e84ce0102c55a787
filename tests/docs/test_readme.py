"""The examples of the README run; its commands and files exist."""

import re
import sys
from pathlib import Path

from typer.testing import CliRunner

from ebmjax.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_python_examples_run_in_order(capsys):
    scope: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert (
        len(blocks) == 3
        and len([line for line in blocks[0].splitlines() if line.strip()]) <= 12
    )
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
    assert scope["samples"].draws.shape == (1000, 64, 2)
    state, _ = scope["found"]
    assert int(state.step) == 200 and int(state.num_skipped) == 0
    assert scope["trained"](scope["data"][0]).shape == ()
    assert "PASSED" in capsys.readouterr().out


def test_every_link_and_picture_is_there():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_options_named_in_the_readme_exist():
    for command in ("train", "sample", "selftest", "verify"):
        text = CliRunner().invoke(app, [command, "--help"], terminal_width=200).output
        lines = [
            line
            for line in README.splitlines()
            if f"python -m ebmjax {command} " in line
        ]
        for option in re.findall(r" (--[\w-]+)", " ".join(lines)):
            assert option in text


def test_doctests_of_the_library():
    """Docstring examples, except skipped ones."""
    import doctest
    import importlib

    import jax
    import jax.numpy as jnp

    import ebmjax as eb
    from ebmjax.experiments import data

    scope = {"jax": jax, "jnp": jnp, **{n: getattr(eb, n) for n in eb.__all__}}
    scope |= {"load": data.load, "check": eb.check, "MLP": eb.MLP}
    tried = 0
    for path in sorted(ROOT.glob("ebmjax/**/*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.stem.startswith("__"):
            continue
        module = sys.modules.get(name) or importlib.import_module(name)
        for test in doctest.DocTestFinder(exclude_empty=True).find(
            module, name, globs={**vars(module), **scope}
        ):
            result = doctest.DocTestRunner().run(test)
            assert result.failed == 0
            tried += result.attempted
    assert tried >= 14
