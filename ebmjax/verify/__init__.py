"""Is it right?  Tests of kernels, ours and anybody's, that could tell if they were not.

    invariance(key, kernel, target)      chains that start exact stay exact
    rank(key, kernel, target)            ... and cannot tell forward from backward
    detailed_balance(...)                the same on a finite space, computed and not sampled
    proposal_density(key, q, log_q, x)   a proposal and the density it claims
    integrator(energy, ...)              reversal, volume, symplecticity, order, in double precision
    ula_law, baoab_law                   what unadjusted kernels converge to instead, as targets
    sequential(test, key)                any of them, at a stated rate of false alarms
    check(energy, position, key)         the doctor: what is wrong with an energy

Each returns a :class:`Report` that prints as a table; ``plotting.verification(report)`` draws it.
"""

from ebmjax.verify.check_energy import check
from ebmjax.verify.exact import (
    detailed_balance,
    flow_of,
    integrator,
    proposal_density,
    transition_matrix,
)
from ebmjax.verify.invariance import invariance, rank
from ebmjax.verify.report import Finding, Report, VerificationError
from ebmjax.verify.sequential import sequential
from ebmjax.verify.stationary_laws import baoab_law, ula_law

__all__ = [
    "Finding",
    "Report",
    "VerificationError",
    "baoab_law",
    "check",
    "detailed_balance",
    "flow_of",
    "integrator",
    "invariance",
    "proposal_density",
    "rank",
    "sequential",
    "transition_matrix",
    "ula_law",
]
