"""The benchmark of the classes that a chain visits: its counts."""

import numpy as np
import pytest

pytest.importorskip("benchmarks", reason="benchmarks are not installed")
from benchmarks import class_visits, densities, measure


def test_classes_and_changes_of_a_chain_skip_unclear_images():
    classes = np.array([[3, 1, -1], [-1, 1, -1], [3, 2, -1], [5, 1, -1]])
    row = class_visits._row(classes)  # by chain: 3 3 5; 1 1 2 1; none
    assert row["classes"] == (2 + 2 + 0) / 3
    assert row["changes"] == (1 + 2 + 0) / 3
    assert row["share of chains that change"] == 2 / 3
    assert row["share of clear images"] == 7 / 12


def test_a_picture_of_few_densities_does_not_replace_one_of_all(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(densities, "FOLDER", tmp_path / "densities")
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    jobs = [("ebmjax", "nce"), ("ebmjax", "sliced")]
    energies = np.zeros(densities.SHOWN**2)
    densities.keep("two_moons", *jobs[0], energies)
    densities.picture("two_moons", jobs)
    assert not list(tmp_path.glob("*.png"))
    assert "no stored density of ebmjax sliced" in capsys.readouterr().out
    densities.keep("two_moons", *jobs[1], energies)
    densities.picture("two_moons", jobs)
    assert (tmp_path / "objectives-two_moons.png").exists()
