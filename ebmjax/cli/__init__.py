"""The command line: ``python -m ebmjax``, a thin layer over the library."""

from ebmjax.cli import evaluate, sample, train, verify
from ebmjax.cli.app import app

__all__ = ["app", "evaluate", "sample", "train", "verify"]
