"""What a test says: its findings, each with a p-value and the effect it could have seen, and a verdict.

A report is judged as a whole: the smallest of its ``m`` p-values times ``m`` (Bonferroni) against ``alpha``,
the rate of false alarms that its caller accepts.  An exact check, one without statistics, has p-value 1 or 0.
"""

from typing import Any, NamedTuple


class Finding(NamedTuple):
    """One statistic."""

    name: str
    value: float  # what was measured
    expected: float
    p_value: float
    detectable: str = ""  # the effect that would be seen with 90 % power


class Report(NamedTuple):
    """The findings of a test of one kernel."""

    title: str
    settings: str
    findings: tuple[Finding, ...]
    alpha: float = 1e-6
    evidence: dict[
        str, Any
    ] = {}  # arrays for the picture, ebmjax.plotting.verification
    suggestion: str = ""  # what a failure usually means

    @property
    def p_value(self) -> float:
        """Of the whole: the smallest, times how many there are."""
        return min(1.0, len(self.findings) * min(f.p_value for f in self.findings))

    @property
    def is_passed(self) -> bool:
        return self.p_value >= self.alpha

    @property
    def worst(self) -> Finding:
        return min(self.findings, key=lambda f: f.p_value)

    def __bool__(self) -> bool:
        return self.is_passed

    def require(self) -> "Report":
        """Itself, or :class:`VerificationError` with the table, for use in a test."""
        if not self.is_passed:
            raise VerificationError(str(self))
        return self

    def __str__(self) -> str:
        rows = [("statistic", "measured", "expected", "p-value", "detectable")]
        shown = sorted(self.findings, key=lambda f: f.p_value)[:8]
        for f in shown:
            rows.append(
                (
                    f.name,
                    f"{f.value:.5g}",
                    f"{f.expected:.5g}",
                    _p(f.p_value),
                    f.detectable,
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines.insert(1, "  ".join("-" * w for w in widths))
        if len(self.findings) > len(shown):
            lines.append(
                f"... and {len(self.findings) - len(shown)} more, with larger p-values"
            )
        verdict = "PASSED" if self.is_passed else "FAILED"
        head = f"{self.title}: {verdict}, p = {_p(self.p_value)} of {len(self.findings)} (alpha {self.alpha:g})"
        text = "\n".join([head, self.settings, *("  " + line for line in lines)])
        return text if self.is_passed or not self.suggestion else f"{text}\n{self.cure}"


class VerificationError(AssertionError):
    """A kernel is not what it claims to be; the message is the report."""


def exact(name: str, error: float, tolerance: float) -> Finding:
    """A check without statistics: the error is within the tolerance, or it is not."""
    return Finding(name, float(error), 0.0, 1.0 if error <= tolerance else 0.0)


def _p(p: float) -> str:
    return f"{p:.3g}" if p > 0 else "0"
