"""Options of the command line, each declared once as an annotated type.

Those of several commands are here, those of ``train`` and of ``sample`` in a file each.
"""

from typing import Annotated

import typer

Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1)]
Condition = Annotated[
    str,
    typer.Option(help="Of a run with --condition-on: values of its columns, 1.5,2."),
]
