"""``python -m ebmjax``."""

import sys

from ebmjax._compilation_cache import cache_by_default

try:
    from ebmjax.cli import app
except ImportError as error:
    sys.exit(
        f"the command line needs the extra packages of the demo ({error}): "
        "pip install 'ebmjax[demo]'"
    )

cache_by_default()
app(prog_name="python -m ebmjax")
