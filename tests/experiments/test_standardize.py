"""Units of training, for any scale, offset, dtype and number of rows."""

import numpy as np
import pytest

from ebmjax.experiments.data import DataError, Dataset
from ebmjax.experiments.standardize import Standard, atoms

Z = np.random.default_rng(0).normal(size=(2000, 3))


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1.0, 1e9, 1e30])
@pytest.mark.parametrize("offset", [0.0, 1e3, -1e6])
def test_any_scale_and_offset_in_standard_deviations(scale, offset):
    """z does not depend on the units, and samples are in the units of the data."""
    x = scale * (Z + offset)
    standard = Standard.of(Dataset("mine", x))
    z = standard.forward(x)
    wanted = (Z - Z.mean(axis=0)) / Z.std(axis=0)
    assert z.dtype == np.float32 and np.abs(z - wanted).max() < 1e-5
    back = standard.backward(z)
    assert np.abs(back / scale - offset - Z).max() < 1e-5


def test_a_million_rows_of_float32_far_from_zero():
    """Sums of float32 gave a mean of -0.99 and a standard deviation of .13 here."""
    rng = np.random.default_rng(1)
    x = (1013 + rng.normal(size=(1_000_000, 1))).astype(np.float32)
    z = Standard.of(Dataset("mine", x)).forward(x).astype(np.float64)
    assert abs(z.mean()) < 1e-5 and abs(z.std() - 1) < 1e-5
    summed = np.add.accumulate(x, axis=0)[-1] / np.float32(len(x))  # the control
    assert abs(float(summed[0]) - 1013) > 0.01


def test_constant_columns_are_left_out_named_and_come_back():
    x = np.insert(Z, [0, 3], [5.0, 0.0], axis=1)
    dataset = Dataset("mine", x, columns=("five", "a", "b", "c", "zero"))
    standard = Standard.of(dataset)
    z = standard.forward(x)
    assert z.shape == (2000, 3) and np.abs(z.std(axis=0) - 1).max() < 1e-5
    assert np.abs(standard.backward(z) - x).max() < 1e-5
    assert "2 constant columns (five, zero) are excluded" in atoms(dataset, standard)[0]
    assert standard.backward(z[0]).shape == (5,)
    tiny = np.column_stack([1e-12 * Z[:, 0], 1e12 + Z[:, 1]])  # small is not constant
    assert Standard.of(Dataset("mine", tiny)).varying is None


@pytest.mark.parametrize("x", [np.ones((10, 2)), np.full((10, 8, 8), 3.0)])
def test_data_without_any_variation_are_refused(x):
    with pytest.raises(DataError, match="all points are the same|every pixel is 3"):
        Standard.of(Dataset("mine", x))


def test_values_that_repeat_are_named_and_rounded_numbers_are_not():
    """The likelihood is unbounded if 90 % of the values of a coordinate are equal."""
    rng = np.random.default_rng(2)
    pixel = np.where(rng.uniform(size=2000) < 0.9, 0.0, Z[:, 0])
    x = np.column_stack(
        [Z[:, 0], pixel, rng.integers(0, 2, 2000), np.round(Z[:, 1], 2)]
    )
    dataset = Dataset("mine", x, columns=("free", "pixel", "sex", "rounded"))
    (found,) = atoms(dataset, Standard.of(dataset))
    assert found.startswith("2 columns (pixel, sex) repeat a value in up to")
    assert not atoms(Dataset("mine", Z), Standard.of(Dataset("mine", Z)))


def test_images_are_mapped_to_the_unit_interval_whatever_their_range():
    for x in (255 * np.abs(np.sin(Z[:128].ravel()))[:384].reshape(6, 8, 8), 1e-8 * Z[:128].reshape(6, 8, 8)):  # fmt: skip
        standard = Standard.of(Dataset("mine", x))
        z = standard.forward(x)
        assert z.min() == 0 and z.max() == 1
        assert np.abs(standard.backward(z) - x).max() < 1e-6 * np.abs(x).max()
