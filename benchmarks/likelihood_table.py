"""Tables of the stored runs of :mod:`benchmarks.likelihood`."""

import statistics
from typing import Any

import numpy as np

Row = dict[str, Any]


def table(found: list[Row]) -> list[Row]:
    """One row per case: sums and medians over its seeds.

    ``trained`` runs reached their last update; of the others the gap is that of their
    last hundred.  Likelihoods and tests are of the ``measured`` runs; the shares of a
    classifier of those that were not stopped.
    """
    shown = []
    for name in dict.fromkeys(r["case"] for r in found):
        ours = [r for r in found if r["case"] == name]
        good = [r for r in ours if "held out" in r]
        is_whole = lambda r: r.get("stopped", r["num_updates"]) == r["num_updates"]
        ended = [r for r in ours if "diverged" not in r and is_whole(r)]
        row = {"case": name, "command": ours[0]["command"], "seeds": len(ours)}
        row |= {"network": ours[0]["network"]}
        row |= {"diverged": sum("diverged" in r for r in ours)}
        row |= {"trained": len(ended), "measured": len(good)}
        if begun := [r for r in ours if "gap" in r]:
            row |= _convergence(begun)
        if good:
            row |= _medians(good)
        shown.append(row)
    return shown


def history(row: Row, num: int = 6) -> list[Row]:
    """Gap, spread and overfit of a run, at a few of its updates with chains."""
    points = [p for p in row["history"] if "energy_data" in p]
    if not points:  # stopped in the updates without chains
        return []
    at = np.unique(np.linspace(0, len(points) - 1, num).round().astype(int))
    overfit = "held out - training data"
    return [
        {
            "update": points[i]["update"],
            "gap": points[i]["energy_data"] - points[i]["energy_model"],
            "spread": points[i]["energy_spread"],
            overfit: points[i][overfit],
        }
        for i in at
    ]


def _convergence(rows: list[Row]) -> Row:
    median = lambda of: statistics.median(of(r) for r in rows)
    row: Row = {
        "updates": median(lambda r: r.get("stopped", r["num_updates"])),
        "minutes": median(lambda r: r["minutes"]),
        "reached": sum(abs(r["gap"]) < r["batch error"] for r in rows),
        "gap": median(lambda r: r["gap"]),
        "batch error": median(lambda r: r["batch error"]),
        "largest |gap|": max(abs(r["gap"]) for r in rows),
    }
    counts = ("num_skipped", "num_restarted", "num_rollbacks")
    return row | {k: sum(r.get(k, 0) for r in rows) for k in counts}


def _medians(rows: list[Row]) -> Row:
    row: Row = {}
    for label in ("training data", "held out"):
        low, high = _interval(rows, label)
        row[f"{label}, nat"] = f"[{low:.2f}, {high:.2f}]"
        low, high = _interval(rows, f"{label} bits")
        row[f"{label}, bits/dim"] = f"[{low:.4f}, {high:.4f}]"
    tests = [k for k in rows[0] if k.startswith(("MMD", "classifier"))]
    median = lambda name: statistics.median(r[name] for r in rows)
    row |= {f"p, {k}": median(k) for k in tests}
    row |= {f"p < .05, {k}": sum(r[k] < 0.05 for r in rows) for k in tests}
    groups = ("real, held out", "chains of training", "final chains")
    for name in groups:
        if shares := [r[name]["share_confident"] for r in rows if name in r]:
            row[f"share above .9, {name}"] = statistics.median(shares)
    return row


def _interval(rows: list[Row], name: str) -> list[float]:
    return [statistics.median(r[name][i] for r in rows) for i in (0, 1)]
