"""Calibration and out-of-distribution scores against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ebmjax.evaluation import classification as cl

NUM = 50_000


def two_classes(confidence, is_right):
    """Probabilities and labels with these confidences, right or wrong."""
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    return probabilities, np.where(is_right, 0, 1)


def test_the_calibration_error_of_four_rows_by_hand():
    """Bins (0.5, 0.6], (0.6, 0.7], ...: gaps of 0.55 - 1/2 for two rows, of 1 - 0.95
    and 0 - 0.65 for one each."""
    rows = two_classes(
        np.array([0.52, 0.58, 0.95, 0.65]), np.array([True, False, True, False])
    )
    assert cl.calibration_error(*rows, num_bins=10) == pytest.approx(
        (2 * 0.05 + 0.05 + 0.65) / 4
    )
    assert cl.calibration_error(
        *two_classes(np.array([0.6, 0.55]), np.array([True, False])), 5
    ) == (
        pytest.approx(0.575 - 0.5)  # the edge belongs to the bin below it
    )
    assert cl.accuracy(*rows) == 0.5


def test_confidence_that_is_a_tenth_too_high_has_an_error_of_a_tenth():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.6, 1.0, NUM)
    for excess in (0.0, 0.1):
        is_right = rng.uniform(size=NUM) < confidence - excess
        error = cl.calibration_error(*two_classes(confidence, is_right))
        noise = np.sqrt(0.25 * 15 / NUM)  # of the sum over bins of one's absolute value
        assert abs(error - excess) < 2 * noise
        assert abs(error - (excess + 0.1)) > 2 * noise


def test_auroc_of_wider_normals_is_fishers_f():
    for dim, scale in ((2, 1.5), (8, 1.2)):
        inside = jax.random.normal(jax.random.key(0), (NUM, dim))
        outside = scale * jax.random.normal(jax.random.key(1), (NUM, dim))
        energy = lambda x: 0.5 * jnp.sum(x**2)
        expected = stats.f(dim, dim).cdf(scale**2)
        error = np.sqrt(expected * (1 - expected) / NUM)
        for score in (
            cl.density_score,
            cl.mass_score,
        ):  # for a normal, both order by |x|
            assert (
                abs(cl.auroc(score(energy, inside), score(energy, outside)) - expected)
                < 5 * error
            )
        assert abs(expected - 0.5) > 20 * error


def test_auroc_is_the_count_of_pairs_and_ties_are_half():
    rng = np.random.default_rng(1)
    inside, outside = rng.integers(0, 5, 40), rng.integers(0, 4, 30)
    pairs = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
    assert cl.auroc(inside, outside) == pytest.approx(pairs.mean())
    assert cl.auroc(outside, inside) == pytest.approx(1 - pairs.mean())
    assert cl.auroc([1.0], [1.0]) == 0.5 and cl.auroc([2.0], [1.0]) == 1.0


def test_scores_are_minus_the_energy_and_minus_the_norm_of_its_gradient():
    energy = lambda x: 1.5 * jnp.sum(x**2) + 2.0
    x = jnp.array([[3.0, 4.0], [0.0, 1.0]])
    assert np.allclose(cl.density_score(energy, x), [-39.5, -3.5])
    assert np.allclose(cl.mass_score(energy, x), [-15.0, -3.0])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: cl.auroc([], [1.0]), "inside must be scores without NaN, got 0"),
        (lambda: cl.auroc([1.0], [np.nan]), "outside must be scores without NaN"),
        (
            lambda: cl.accuracy(np.ones(3), np.zeros(3, int)),
            r"probabilities must be \[N, K\]",
        ),
        (lambda: cl.calibration_error(np.ones((3, 2)), np.zeros(3, int)), "sum to one"),
        (
            lambda: cl.calibration_error(np.full((3, 2), 0.5), np.zeros(2, int)),
            "labels must be 3 whole numbers",
        ),
        (
            lambda: cl.calibration_error(np.full((3, 2), 0.5), np.full(3, 2)),
            r"labels must lie in \[0, 2\)",
        ),
        (
            lambda: cl.calibration_error(np.full((3, 2), 0.5), np.zeros(3, int), 0),
            "num_bins must be at least 1",
        ),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
