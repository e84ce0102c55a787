"""Checkpoints: all leaves are restored, and damage is reported."""

import hashlib
import io
import json
import os
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import TREE, limited, raise_disk_full

from ebmjax.io import archive, checkpoint, run_directory


def test_all_leaves_are_restored(tmp_path):
    path = tmp_path / "c.npz"
    checkpoint.save(path, TREE, step=5)
    back = checkpoint.load(path, TREE)
    assert jax.tree.structure(back) == jax.tree.structure(TREE)
    assert np.array_equal(back["w"], TREE["w"]) and np.array_equal(
        back["half"], TREE["half"]
    )
    assert back["half"].dtype == jnp.bfloat16 and back["count"].dtype == jnp.int32
    assert np.array_equal(
        jax.random.normal(back["key"]), jax.random.normal(TREE["key"])
    )
    assert checkpoint.notes(path) == {"step": 5}


def test_it_is_a_plain_npz_without_pickle(tmp_path):
    checkpoint.save(tmp_path / "c.npz", TREE)
    with np.load(tmp_path / "c.npz", allow_pickle=False) as file:
        assert "manifest" in file.files and np.array_equal(file["['w']"], TREE["w"])


def test_shapes_are_enough_to_load(tmp_path):
    checkpoint.save(tmp_path / "c.npz", TREE["w"])
    assert np.array_equal(
        checkpoint.load(tmp_path / "c.npz", jax.ShapeDtypeStruct((2, 3), jnp.float32)),
        TREE["w"],
    )


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_a_file_cut_short_is_damaged(tmp_path, keep):
    path = tmp_path / "c.npz"
    checkpoint.save(path, TREE)
    content = path.read_bytes()
    path.write_bytes(
        content[: int(keep * len(content)) if isinstance(keep, float) else keep]
    )
    with pytest.raises(checkpoint.CheckpointError, match="is damaged"):
        checkpoint.load(path, TREE)


def corruptions(content, rng):
    """Forty flipped bits, twenty cuts, ten insertions, five exchanges of parts."""
    for position in rng.choice(len(content), 40, replace=False):
        wrong = bytearray(content)
        wrong[position] ^= 1 << rng.integers(8)
        yield f"bit of byte {position}", bytes(wrong)
    for length in rng.choice(len(content), 20, replace=False):
        yield f"cut at {length}", content[:length]
    for position in rng.choice(len(content), 10, replace=False):
        yield (
            f"byte put in at {position}",
            content[:position] + b"\0" + content[position:],
        )
    for i, j in rng.choice(len(content) // 64, (5, 2), replace=False):
        blocks = [content[k : k + 64] for k in range(0, len(content), 64)]
        blocks[i], blocks[j] = blocks[j], blocks[i]
        if blocks[i] != blocks[j]:
            yield f"blocks {i} and {j} exchanged", b"".join(blocks)


def test_every_corruption_is_detected(tmp_path):
    path, rng, count = tmp_path / "c.npz", np.random.default_rng(0), 0
    for tree in (
        TREE,
        TREE["w"],
        {"a": jnp.ones((40, 3)), "b": jax.random.normal(jax.random.key(0), (40, 3))},
    ):
        checkpoint.save(path, tree)
        for what, wrong in corruptions(path.read_bytes(), rng):
            path.write_bytes(wrong)
            with pytest.raises(checkpoint.CorruptCheckpointError, match="is damaged"):
                checkpoint.load(path, tree)
                raise AssertionError(what)
            count += 1
    assert count >= 200


def test_exchanged_leaves_under_a_new_digest_are_detected_by_their_own(tmp_path):
    path = tmp_path / "c.npz"
    tree = {"a": jnp.ones(3), "b": jnp.zeros(3)}
    checkpoint.save(path, tree)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["['a']"], arrays["['b']"] = arrays["['b']"], arrays["['a']"]
    with open(path, "w+b") as file:
        checkpoint._write(file, arrays)
    with pytest.raises(
        checkpoint.CorruptCheckpointError,
        match=r"the bytes of \['a'\] do not match their SHA-256",
    ):
        checkpoint.load(path, tree)


def test_other_trees_are_refused_by_name(tmp_path):
    path = tmp_path / "c.npz"
    checkpoint.save(path, {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)})
    for like, message in (
        (
            {"w": jnp.zeros((2, 4)), "b": jnp.zeros(3)},
            r"\['w'\] is float32\[2, 3\], wanted float32\[2, 4\]",
        ),
        ({"w": jnp.zeros((2, 3), jnp.int32), "b": jnp.zeros(3)}, r"wanted int32"),
        ({"w": jnp.zeros((2, 3))}, r"\['b'\] is not wanted"),
        (
            {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3), "c": jnp.zeros(1)},
            r"\['c'\] is missing",
        ),
    ):
        with pytest.raises(checkpoint.CheckpointError, match=message):
            checkpoint.load(path, like)


def test_a_missing_file():
    with pytest.raises(
        FileNotFoundError, match="there is no checkpoint at nowhere.npz"
    ):
        checkpoint.load("nowhere.npz", TREE)


@pytest.mark.parametrize("fault", ["fsync", "replace", "open", "limit"])
def test_a_failing_disk_leaves_the_older_file(fault, tmp_path, monkeypatch):
    path = tmp_path / "c.npz"
    checkpoint.save(path, TREE["w"])

    if fault in ("fsync", "replace"):
        monkeypatch.setattr(os, fault, raise_disk_full)
        new, message = TREE["w"] + 1, "No space left on device"
    elif fault == "open":
        (
            tmp_path / ".c.tmp.npz"
        ).mkdir()  # a path that even root cannot open for writing
        new, message = TREE["w"] + 1, "Is a directory"
    else:
        new, message = jnp.zeros(100_000), "File too large"
    with limited(20_000 if fault == "limit" else None):
        with pytest.raises(
            checkpoint.CheckpointError,
            match=f"{message}; what was saved before is intact",
        ):
            checkpoint.save(path, new)
    monkeypatch.undo()
    assert np.array_equal(checkpoint.load(path, TREE["w"]), TREE["w"])
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["c.npz"]


@pytest.mark.parametrize(
    "dtype",
    ["bfloat16", "float16", "float8_e4m3fn", "int4", "uint32", "bool", "complex64"],
)
def test_every_dtype_is_restored(dtype, tmp_path):
    tree = jnp.asarray([0, 1, 1, 0], dtype)
    checkpoint.save(tmp_path / "c.npz", tree)
    back = checkpoint.load(tmp_path / "c.npz", tree)
    assert back.dtype == tree.dtype and (back == tree).all()


def test_float64_is_restored_without_x64(tmp_path):
    checkpoint.save(tmp_path / "c.npz", np.float64(0.1))
    assert checkpoint.load(tmp_path / "c.npz", np.float64(0.1)) == 0.1


def sealed(path, arrays):
    with open(path, "w+b") as file:
        checkpoint._write(file, arrays)


def manifest(**changes):
    entry = {
        "shape": [3],
        "dtype": "float32",
        "sha256": checkpoint._digest(np.ones(3, "f4")),
    }
    whole = {"format": 2, "notes": {}, "leaves": {"['a']": entry}, **changes}
    text = json.dumps({k: v for k, v in whole.items() if v is not None})
    return np.frombuffer(text.encode(), np.uint8)


DEEP = np.frombuffer(b"[" * 200_000, np.uint8)
BAD_MANIFESTS = {
    "no format": (manifest(format=None), "its manifest has no format"),
    "no notes": (manifest(notes=None), "its manifest has no notes"),
    "leaves in a list": (manifest(leaves=[]), "its manifest has no leaves"),
    "an empty leaf": (manifest(leaves={"['a']": {}}), r"does not describe \['a'\]"),
    "nested 200,000 deep": (DEEP, "is damaged"),
    "not JSON": (np.frombuffer(b"{", np.uint8), "is damaged"),
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_manifests_with_a_right_digest_are_checked(name, tmp_path):
    text, message = BAD_MANIFESTS[name]
    path, like = tmp_path / "c.npz", {"a": jnp.ones(3)}
    sealed(path, {"manifest": manifest(), "['a']": np.ones(3, "f4")})
    assert np.array_equal(checkpoint.load(path, like)["a"], np.ones(3))
    sealed(path, {"manifest": text, "['a']": np.ones(3, "f4")})
    for read in (lambda: checkpoint.load(path, like), lambda: checkpoint.notes(path)):
        with pytest.raises(checkpoint.CorruptCheckpointError, match=message):
            read()
    sealed(path, {"['a']": np.ones(3, "f4")})
    with pytest.raises(checkpoint.CorruptCheckpointError, match="it has no manifest"):
        checkpoint.load(path, like)


def test_a_leaf_stored_as_another_dtype_is_refused(tmp_path):
    path, wrong = tmp_path / "c.npz", np.ones(3, "i4").view("i4")
    entry = {"shape": [3], "dtype": "float32", "sha256": checkpoint._digest(wrong)}
    sealed(path, {"manifest": manifest(leaves={"['a']": entry}), "['a']": wrong})
    with pytest.raises(checkpoint.CorruptCheckpointError, match="is stored as int32"):
        checkpoint.load(path, {"a": jnp.ones(3)})


def test_names_are_compared_before_any_leaf_is_read(tmp_path, monkeypatch):
    path = tmp_path / "c.npz"
    checkpoint.save(path, {"a": jnp.ones(10**6)})
    read, names = archive.read_array, []
    spy = lambda file, size, name="it": (names.append(name), read(file, size, name))[1]
    monkeypatch.setattr(archive, "read_array", spy)
    with pytest.raises(checkpoint.CheckpointError, match=r"\['b'\] is missing"):
        checkpoint.load(path, {"b": jnp.ones(10**6)})
    assert checkpoint.notes(path) == {} and names == ["manifest"] * 2
    checkpoint.load(path, {"a": jnp.ones(10**6)})
    assert names[2:] == ["manifest", "['a']"]


def test_a_leaf_that_claims_ten_gigabytes_allocates_nothing(tmp_path):
    """A header of 10^15 numbers, and zeros that deflate to a thousandth."""
    path, like = tmp_path / "c.npz", {"a": jax.ShapeDtypeStruct((10**15,), jnp.float32)}
    entry = {"shape": [10**15], "dtype": "float32", "sha256": ""}
    short = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        short, {"descr": "<f4", "fortran_order": False, "shape": (10**15,)}
    )
    text = io.BytesIO()
    np.lib.format.write_array(text, manifest(leaves={"['a']": entry}))
    for kind, content in (
        (zipfile.ZIP_STORED, short.getvalue()),
        (zipfile.ZIP_DEFLATED, bytes(10**7)),
    ):
        with zipfile.ZipFile(path, "w", kind) as file:
            file.writestr("manifest.npy", text.getvalue(), zipfile.ZIP_STORED)
            file.writestr("['a'].npy", content)
            file.comment = b"0" * checkpoint.SEAL
        body = path.read_bytes()[: -checkpoint.SEAL]
        path.write_bytes(body + hashlib.sha256(body).hexdigest().encode())
        with pytest.raises(
            checkpoint.CorruptCheckpointError,
            match="claims 4000000000000000 bytes|is compressed",
        ):
            checkpoint.load(path, like)


def test_pipes_and_folders_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    for path, kind in ((tmp_path / "pipe.npz", "a named pipe"), (tmp_path, "a folder")):
        with pytest.raises(
            checkpoint.CheckpointError, match=f"cannot be read: it is {kind}"
        ):
            checkpoint.load(path, TREE)
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    with pytest.raises(checkpoint.CheckpointError, match="it is a device"):
        checkpoint.notes(tmp_path / "zero.npz")


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    for folder in (run, other):
        folder.mkdir()
        run_directory.save(folder, 1, TREE["w"])
    (run / "000000002.npz").symlink_to(other / "000000001.npz")
    with pytest.raises(
        checkpoint.CheckpointError, match="is a link to .*, outside of its folder"
    ):
        run_directory.newest(run, TREE["w"])
    (run / "000000002.npz").unlink()
    (run / "000000002.npz").symlink_to(run / "000000001.npz")  # the control
    assert run_directory.newest(run, TREE["w"])[0] == 2
    (tmp_path / "linked").symlink_to(run)  # nor is a folder that is itself a link
    assert run_directory.newest(tmp_path / "linked", TREE["w"])[0] == 2
    with pytest.raises(run_directory.FolderError, match="is not a folder"):
        run_directory.check_writable(run / "000000001.npz")


def test_the_target_of_a_link_is_not_overwritten(tmp_path):
    (tmp_path / "mine").write_text("kept")
    (tmp_path / ".c.tmp.npz").symlink_to(tmp_path / "mine")
    checkpoint.save(tmp_path / "c.npz", TREE["w"])
    assert (tmp_path / "mine").read_text() == "kept"


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_keys_of_every_kind_are_restored(impl, tmp_path):
    key = jax.random.key(3, impl=impl)
    checkpoint.save(tmp_path / "c.npz", key)
    for like in (key, jax.eval_shape(lambda: jax.random.key(0, impl=impl))):
        back = checkpoint.load(tmp_path / "c.npz", like)
        assert back.dtype == key.dtype
        assert np.array_equal(jax.random.key_data(back), jax.random.key_data(key))
    with pytest.raises(checkpoint.CheckpointError, match="wanted key<"):
        other = "rbg" if impl == "threefry2x32" else "threefry2x32"
        checkpoint.load(tmp_path / "c.npz", jax.random.key(0, impl=other))
