"""The pictures of the evidence of a test show its numbers."""

import numpy as np
import pytest
from scipy import stats

from ebmjax import plotting
from ebmjax.verify.report import Finding, Report

P_VALUES = Finding("a", 1.0, 1.0, 0.5), Finding("b", 2.0, 1.0, 1e-9)


def axes_of(kind, **evidence):
    report = Report("title", "", P_VALUES, evidence={"kind": kind, **evidence})
    figure = plotting.verification(report)
    assert figure.get_suptitle() == "title: FAILED, p = 2e-09"
    return figure.axes


def test_p_values_are_adjusted_and_sorted():
    (ax,) = axes_of(None)
    values, level = ax.lines
    assert np.allclose(values.get_ydata(), [2e-9, 1.0])
    assert np.allclose(level.get_ydata(), 1e-6)


def test_the_band_of_ranks_holds_999_of_1000_counts():
    ranks = {"x": np.array([90, 110, 100]), "y": np.array([400, 380, 420])}
    axes = axes_of("rank", ranks=ranks)
    for ax, (name, counts) in zip(axes, ranks.items(), strict=True):
        band, *bars = ax.patches
        low, high = band.get_y(), band.get_y() + band.get_height()
        mean, z = counts.mean(), stats.norm.ppf(1 - 0.0005)
        assert low == pytest.approx(mean - z * mean**0.5, rel=0.01)
        assert high == pytest.approx(mean + z * mean**0.5, rel=0.01)
        assert [b.get_height() for b in bars] == counts.tolist()
        assert ax.get_title("left") == name


def test_flows_and_their_differences():
    flow = np.array([[0.1, 0.3], [0.2, 0.4]])
    pictures = [ax.images[0].get_array() for ax in axes_of("flow", flow=flow)[:2]]
    assert np.allclose(pictures, [flow, flow - flow.T])


def test_lines_of_an_order_have_its_slope():
    steps = np.array([0.1, 0.2])
    (ax,) = axes_of("order", step_sizes=steps, errors=3 * steps**2)
    values, *orders = [line.get_ydata() for line in ax.lines]
    assert np.allclose(values, 3 * steps**2)
    assert np.allclose([y[1] / y[0] for y in orders], [4, 16])


def test_histograms_are_densities():
    draws = np.random.default_rng(0).normal(size=(2, 500, 2))
    axes = axes_of("invariance", before=draws[0], after=draws[1])
    for i, ax in enumerate(axes):
        heights = np.array([bar.get_height() for bar in ax.patches[:59]])
        counts, edges = np.histogram(
            draws[0][:, i],
            np.linspace(*np.quantile(draws[0][:, i], [0.001, 0.999]), 60),
        )
        assert np.allclose(heights, counts / counts.sum() / np.diff(edges))
        assert ax.get_xlabel() == f"x[{i}]"
