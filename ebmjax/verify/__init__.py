"""Tests of kernels, of this library or of a user, with p-values and stated power.

    invariance(key, kernel, target)      chains from exact draws keep the distribution
    rank(key, kernel, target)            reversibility
    adaptive(key, kernel, target)        the limit of a kernel that tunes itself
    detailed_balance(...)                on a finite space, computed
    counted_balance(key, kernel, ...)    on a finite space, any kernel, by simulation
    pair(key, energy, sample)            agreement of an energy and its sampler
    proposal_density(key, q, log_q, x)   agreement of a proposal and its log density
    integrator(energy, ...)              reversal, volume, symplecticity, order
    rejects_nonfinite(key, make_kernel)  rejection beyond hard boundaries and at NaN
    ula_law, baoab_law                   stationary distributions of unadjusted kernels
    sequential(test, key)                a test at a stated false-alarm rate
    check(energy, position, key)         issues of an energy, before it is sampled

Each test of a kernel returns a :class:`Report` that prints as a table, ``check`` a
:class:`Diagnosis`, ``ula_law`` and ``baoab_law`` the stationary distribution;
``plotting.verification(report)`` draws it and :func:`write_page` writes a page.
"""

from ebmjax.verify.adaptive import adaptive
from ebmjax.verify.check_energy import check
from ebmjax.verify.finite import counted_balance, detailed_balance, transition_matrix
from ebmjax.verify.integrators import flow_of, integrator
from ebmjax.verify.invariance import invariance
from ebmjax.verify.page import write_page
from ebmjax.verify.pair import pair
from ebmjax.verify.promises import rejects_nonfinite
from ebmjax.verify.proposals import proposal_density
from ebmjax.verify.report import Finding, Report, VerificationError
from ebmjax.verify.reversibility import rank
from ebmjax.verify.sequential import sequential
from ebmjax.verify.stationary_laws import baoab_law, ula_law

__all__ = [
    "Finding",
    "Report",
    "VerificationError",
    "adaptive",
    "baoab_law",
    "check",
    "counted_balance",
    "detailed_balance",
    "flow_of",
    "integrator",
    "invariance",
    "pair",
    "proposal_density",
    "rank",
    "rejects_nonfinite",
    "sequential",
    "transition_matrix",
    "ula_law",
    "write_page",
]
