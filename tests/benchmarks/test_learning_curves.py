"""Seconds to a given log-likelihood, from stored runs."""

import json

import pytest

from benchmarks import learning_curves


def row(updates, seed, value, library="ebmjax"):
    return {
        "library": library,
        "objective": "nce",
        "updates": updates,
        "seed": seed,
        "seconds": updates / 100 + seed,
        "seconds compiled": updates / 200 if library == "ebmjax" else None,
        "log-likelihood": value,
    }


def test_the_time_to_a_level_is_that_of_the_shortest_run_that_reaches_it():
    """Seed 0 reaches -1.05 with 200 updates (a longer run is below it again), seed 1
    with 400, seed 2 never; a run that diverged reaches nothing."""
    values = {
        (200, 0): -1.04,
        (400, 0): -1.06,
        (100, 0): -1.2,
        (200, 1): -1.08,
        (400, 1): -1.03,
        (200, 2): -1.3,
        (400, 2): None,
    }
    kept = [row(*which, value) for which, value in values.items()]
    (found,) = learning_curves.times(kept)
    assert found["-1.05"] == 5.0  # of 2, 5 and never
    assert found["-1.05 reached"] == "2 of 3" and found["-1.10 reached"] == "2 of 3"
    assert found["-1.10"] == 3.0
    assert found["-1.05 compiled"] == 2.0
    assert found["-1.03"] is None and found["-1.03 reached"] == "1 of 3"
    assert found["-1.02"] is None and found["-1.02 reached"] == "0 of 3"
    assert found["best mean"] == pytest.approx((-1.04 - 1.08 - 1.3) / 3)


def test_runs_are_stored_as_they_end_and_not_run_again(tmp_path, monkeypatch):
    path, calls = tmp_path / "kept.json", []

    def ours(run):
        calls.append((run.config.num_updates, run.config.seed))
        return {"seconds": 1.0, "log-likelihood": -1.04}, None

    monkeypatch.setattr(learning_curves.objectives, "ours", ours)
    options = {"updates": (3, 6), "ours": ("nce",)}
    list(learning_curves.runs(path, num_seeds=1, **options))
    list(learning_curves.runs(path, num_seeds=2, **options))
    assert calls[::2] == calls[1::2] == [(3, 0), (6, 0), (3, 1), (6, 1)]
    assert len(learning_curves.load(path)) == 4
    assert json.loads(path.read_text())["rows"][0]["-1.05"] == 1.0


def test_the_picture_has_a_panel_a_family(tmp_path):
    kept = [
        row(updates, seed, -1.1 + updates / 1e4, library)
        for updates in (100, 200)
        for seed in (0, 1)
        for library in ("ebmjax", "torchebm")
    ]
    figure = learning_curves.picture([*kept, row(400, 0, None)])
    assert len(figure.axes) == 4
    panel = figure.axes[1]
    assert [line.get_label() for line in panel.lines] == [
        "ebmjax",
        "ebmjax, compiled",
        "torchebm",
    ]
    assert len(panel.lines[0].get_xdata()) == 2  # a run that diverged is no point
    figure.savefig(tmp_path / "curves.png")
