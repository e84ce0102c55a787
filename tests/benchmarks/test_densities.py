"""Densities of the toy sets, for pictures beside what objectives learn."""

import numpy as np
import pytest

from benchmarks import densities
from ebmjax.experiments import data

SIDE, REACH = 300, 4.5
# in nats: of the moons by quadrature, of the board exactly
ENTROPIES = {"two_moons": 1.0076, "checkerboard": np.log(8.0)}


@pytest.mark.parametrize("name", ["two_moons", "checkerboard", "spirals"])
def test_a_true_density_is_normalised_and_that_of_the_data(name):
    """Squares of the plane have the shares of points that the density gives them, to
    five standard errors; a density shifted by .1 or rotated by 10 degrees fails."""
    x = np.asarray(data.load(name, seed=3).x, np.float64)
    values = densities.true_density(name, densities.grid(SIDE, REACH))
    cell = (2 * REACH / SIDE) ** 2
    assert abs(values.sum() * cell - 1) < 0.03
    blocks = values.reshape(15, 20, 15, 20).sum(axis=(1, 3)) * cell
    edges = np.linspace(-REACH, REACH, 16)
    found = np.histogram2d(x[:, 1], x[:, 0], [edges, edges])[0] / len(x)
    error = np.sqrt(blocks * (1 - blocks) / len(x)) + 1e-3
    assert (abs(found - blocks) < 5 * error).all()
    if name in ENTROPIES:
        logs = np.log(densities.true_density(name, x))
        error = logs.std() / np.sqrt(len(x)) + 1e-4
        assert abs(logs.mean() + ENTROPIES[name]) < 5 * error


def test_a_picture_has_the_data_and_their_density_first(tmp_path, monkeypatch):
    monkeypatch.setattr(densities, "FOLDER", tmp_path)
    monkeypatch.setattr(densities.measure, "RESULTS", tmp_path)
    seen = []
    save = densities.plotting.save
    monkeypatch.setattr(
        densities.plotting,
        "save",
        lambda fig, path: (seen.append(fig), save(fig, path)),
    )
    jobs = [("ebmjax", "nce"), ("torchebm", "sliced")]
    for job in jobs:
        densities.keep("two_moons", *job, np.ones(densities.SHOWN**2))
    densities.picture("two_moons", jobs)
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in seen[0].axes]
    assert titles == ["data", "their density", "nce", "torchebm: sliced"]
    assert (tmp_path / "objectives-two_moons.png").exists()
