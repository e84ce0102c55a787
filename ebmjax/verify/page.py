"""A page for a reviewer: verdicts, power, tables, pictures, versions and seeds."""

import datetime
import html
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

from ebmjax import _validation as checks
from ebmjax.verify.report import COLUMNS, Report

STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; color: #222 }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0 }
th, td { text-align: left; padding: 2px 12px 2px 0; border-bottom: 1px solid #ddd }
.PASSED { color: #176b2c } .FAILED { color: #b3261e } .INCONCLUSIVE { color: #8a5a00 }
img { max-width: 100% }
"""
PACKAGES = ("ebmjax", "jax", "jaxlib", "numpy", "scipy")


def write_page(
    reports: Sequence[Report],
    folder: str | Path,
    *,
    title: str = "Verification of a kernel",
    settings: Mapping[str, object] | None = None,
) -> Path:
    """Write ``index.html``, its pictures and ``report.json``.

    Args:
      reports: of tests in this module.
      folder: made if it does not exist; files in it of the same names are replaced.
      title: of the page.
      settings: further facts about the result: the seed, the command.

    Returns:
      The path of the page.
    """
    from ebmjax import plotting

    for report in reports:
        checks.instance(report, Report, "reports", "a test of ebmjax.verify")
    folder = checks.path(folder, "folder")
    folder.mkdir(parents=True, exist_ok=True)
    facts = {**(settings or {}), **environment()}
    parts = [f"<h1>{_e(title)}</h1>", _table(("setting", "value"), facts.items())]
    for i, report in enumerate(reports):
        picture = f"picture_{i + 1}.png"
        plotting.save(plotting.verification(report), folder / picture)
        parts.append(_section(report, picture))
    parts.append(_reading())
    page = f"<!doctype html><meta charset=utf-8><title>{_e(title)}</title>"
    page += f"<style>{STYLE}</style>" + "\n".join(parts) + "\n"
    (folder / "index.html").write_text(page)
    (folder / "report.json").write_text(
        json.dumps(
            {"settings": facts, "reports": [_plain(r) for r in reports]}, indent=1
        )
    )
    return folder / "index.html"


def environment() -> dict[str, str]:
    """Versions, device and date."""
    device = jax.devices()[0]
    found = {"date": datetime.date.today().isoformat()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed as a package"
    found["Python"] = platform.python_version()
    found["device"] = f"{device.device_kind} ({device.platform})"
    found["x64"] = str(jax.config.read("jax_enable_x64"))
    return found


def _section(report: Report, picture: str) -> str:
    verdict = f"<span class={report.verdict}>{report.verdict}</span>"
    lines = [
        f"<h2>{_e(report.title)}: {verdict}</h2>",
        f"<p>{_e(report.settings)}.</p>",
    ]
    p = f"p = {report.p_value:.3g}, Bonferroni-adjusted over {len(report.findings)} "
    lines.append(f"<p>{p} statistics; false-alarm rate {report.alpha:g}.</p>")
    if report.is_passed:
        lines.append(f"<p>No bias found. {_e(report.power)}</p>")
    if report.untested:
        lines.append(f"<p>Not tested: {_e(report.untested)}.</p>")
    if report.is_failed and report.suggestion:
        lines.append(f"<p>{_e(report.suggestion)}</p>")
    lines += [f"<p>{_e(line)}</p>" for line in report.history]
    lines.append(f'<img src="{picture}" alt="{_e(report.title)}">')
    return "\n".join([*lines, _table(COLUMNS, report.rows())])


def _reading() -> str:
    return (
        "<h2>How to read this</h2><p>Chains start from exact draws of the target and "
        "must still follow it; they are independent, so that p-values need neither "
        "burn-in nor an effective sample size (Gandy &amp; Scott 2020, "
        "arXiv:2001.06465). A kernel that passed may still have a bias below the sizes "
        "that are stated, in functions that are not listed, or on other targets; how "
        "fast it mixes was not looked at.</p>"
    )


def _table(head, rows) -> str:
    cells = "".join(f"<th>{_e(c)}</th>" for c in head)
    body = [
        "<tr>" + "".join(f"<td>{_e(str(c))}</td>" for c in row) + "</tr>"
        for row in rows
    ]
    return f"<table><tr>{cells}</tr>{''.join(body)}</table>"


def _plain(report: Report) -> dict:
    findings = [
        {k: (None if v != v else v) for k, v in f._asdict().items()}
        | {"adjusted_p_value": report.adjusted(f)}
        for f in report.findings
    ]
    return {
        "title": report.title,
        "verdict": report.verdict,
        "p_value": report.p_value,
        "alpha": report.alpha,
        "settings": report.settings,
        "power": report.power,
        "history": report.history,
        "findings": findings,
    }


def _e(text: object) -> str:
    return html.escape(str(text))
