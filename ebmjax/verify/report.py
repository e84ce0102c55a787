"""The findings of a test, and its verdict.

A :class:`Finding` is one statistic with its p-value.  The p-value of a report is
adjusted for their number (Bonferroni): with shares ``s_i`` that sum to one,

    p = min_i  p_i / s_i,

so that P(p < alpha) <= alpha whatever the dependence between the statistics.  Shares
are equal unless a test gives each family of statistics the same share.  An exact check,
one without statistics, has p-value 1 or 0.

    FAILED        p < alpha
    INCONCLUSIVE  alpha <= p < doubt: a sequential test continues with more chains; or
                  the test is not possible, for instance because no chain moved
    PASSED        otherwise
"""

from typing import Any, NamedTuple

ROWS_SHOWN = 8


class Finding(NamedTuple):
    """One statistic.

    ``effect`` is the smallest bias that is detected with 90 % power, in standard
    deviations of the statistic, ``detectable`` the same in the units of the user;
    ``share`` its share of the false-alarm rate, 0 for an equal one.
    """

    name: str  # of the statistic
    value: float
    expected: float
    p_value: float
    detectable: str = ""
    family: str = ""
    effect: float = float("nan")
    share: float = 0.0

    @property
    def is_statistical(self) -> bool:
        return self.family != "check"


class Report(NamedTuple):
    """The findings of a test of one kernel."""

    title: str
    settings: str
    findings: tuple[Finding, ...]
    alpha: float = 1e-6
    evidence: dict[str, Any] = {}  # arrays for ebmjax.plotting.verification
    suggestion: str = ""  # what a failure usually means
    doubt: float = 0.0  # a p-value below it requires more chains
    untested: str = ""  # why the test was not possible
    history: tuple[str, ...] = ()  # the rounds before this one

    @property
    def p_value(self) -> float:
        """Bonferroni-adjusted: the smallest of p / share, at most 1."""
        return min(1.0, min((self.adjusted(f) for f in self.findings), default=1.0))

    def adjusted(self, finding: Finding) -> float:
        """The p-value of one finding, adjusted for all."""
        share = finding.share or 1 / len(self.findings)
        return min(1.0, finding.p_value / share)

    @property
    def verdict(self) -> str:
        """``PASSED``, ``FAILED`` or ``INCONCLUSIVE``."""
        if self.p_value < self.alpha:
            return "FAILED"
        if self.untested or self.p_value < self.doubt:
            return "INCONCLUSIVE"
        return "PASSED"

    @property
    def is_passed(self) -> bool:
        return self.verdict == "PASSED"

    @property
    def is_failed(self) -> bool:
        return self.verdict == "FAILED"

    @property
    def worst(self) -> Finding:
        return min(self.findings, key=lambda f: (self.adjusted(f), f.p_value))

    def __bool__(self) -> bool:
        return self.is_passed

    def require(self) -> "Report":
        """The report if it passed; else raises :class:`VerificationError` with the
        table."""
        if not self.is_passed:
            raise VerificationError(str(self))
        return self

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        size = f"p = {_p(self.p_value)}, Bonferroni-adjusted over {len(self.findings)}"
        return f"{self.title}: {self.verdict} ({size}; alpha {self.alpha:g})"

    @property
    def power(self) -> str:
        """The bias that is detected with 90 % power, by family; may be empty."""
        parts = []
        for family, name in _POWER_OF.items():
            rows = [f for f in self.findings if f.family == family]
            rows = [f for f in rows if f.effect == f.effect]
            if rows:
                worst = max(rows, key=lambda f: f.effect)
                where = f" ({worst.detectable.split(' (')[0]} in the {worst.name})"
                parts.append(f"{worst.effect:.2g} sd in {name}" + where)
        if not parts:
            return ""
        return "with 90 % power this detects a bias of " + "; of ".join(parts) + "."

    def __str__(self) -> str:
        lines = [self.headline, self.settings]
        if self.verdict == "PASSED" and self.power:
            lines.append("No bias found; " + self.power)
        if self.untested:
            lines.append(f"Not tested: {self.untested}.")
        lines += [f"  {line}" for line in (*self.history, *self.table())]
        if self.is_failed and self.suggestion:
            lines.append(self.suggestion)
        return "\n".join(lines)

    def rows(self) -> list[tuple[str, ...]]:
        """The findings as text, those with the smallest p-values first."""
        return [
            (
                f.name,
                f"{f.value:.5g}",
                f"{f.expected:.5g}",
                _p(self.adjusted(f)),
                f.detectable,
            )
            for f in sorted(self.findings, key=lambda f: (self.adjusted(f), f.p_value))
        ]

    def table(self, num_rows: int = ROWS_SHOWN) -> list[str]:
        """Lines of text."""
        rows = [COLUMNS, *self.rows()[:num_rows]]
        widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines.insert(1, "  ".join("-" * w for w in widths))
        left = len(self.findings) - num_rows
        if left > 0:
            lines.append(f"... and {left} more, with larger p-values")
        return lines


COLUMNS = ("statistic", "measured", "expected", "adjusted p", "detectable")
_POWER_OF = {
    "means": "means",
    "variances": "variances",
    "correlations": "products of two coordinates",
    "energy": "the energy",
}


class VerificationError(AssertionError):
    """A test did not pass; the message is its report."""


def exact(name: str, error: float, tolerance: float) -> Finding:
    """A check without statistics: the error is within the tolerance, or it is not."""
    p_value = 1.0 if error <= tolerance else 0.0  # False for NaN
    return Finding(name, float(error), 0.0, p_value, family="check")


def _p(p: float) -> str:
    return f"{p:.3g}" if p > 0 else "0"
