"""``python -m ebmjax``."""

import sys

try:
    from ebmjax.cli import app
except ImportError as error:
    sys.exit(
        f"the command line needs the extra packages of the demo ({error}): pip install 'ebmjax[demo]'"
    )

app(prog_name="python -m ebmjax")
