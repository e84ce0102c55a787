"""Checks of arguments before compilation; messages name the argument, what it got and
what it wants.

Only values known on the host can be checked here.  A traced value passes, and bad
values at run time are counted in :class:`~ebmjax.base.Info`.
"""

from ebmjax._validation.arguments import (
    describe,
    function,
    instance,
    is_traced,
    key,
    keys,
    keywords,
    kind_of,
    on_host,
    one_of,
    path,
    seed,
    warn,
)
from ebmjax._validation.arrays import (
    finite_rows,
    num_chains,
    parameters,
    position,
)
from ebmjax._validation.numbers import (
    between,
    count,
    counts,
    covariance,
    full_rank,
    positive,
    scalar_step,
    step_size,
    thinned,
)

__all__ = [
    "between",
    "count",
    "counts",
    "covariance",
    "describe",
    "finite_rows",
    "full_rank",
    "function",
    "instance",
    "is_traced",
    "key",
    "keys",
    "keywords",
    "kind_of",
    "num_chains",
    "on_host",
    "one_of",
    "parameters",
    "path",
    "position",
    "positive",
    "scalar_step",
    "seed",
    "step_size",
    "thinned",
    "warn",
]
