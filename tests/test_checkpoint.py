"""Checkpoints: everything comes back, and damage is named."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ebmjax import checkpoint

TREE = {
    "w": jnp.arange(6.0).reshape(2, 3),
    "half": jnp.ones(3, jnp.bfloat16) / 3,
    "key": jax.random.key(7),
    "count": jnp.int32(5),
    "nothing": None,
    "pair": (jnp.zeros(()), np.float64(0.1)),
}


def test_everything_comes_back(tmp_path):
    path = tmp_path / "c.npz"
    checkpoint.save(path, TREE, step=5)
    back = checkpoint.load(path, TREE)
    assert jax.tree.structure(back) == jax.tree.structure(TREE)
    assert np.array_equal(back["w"], TREE["w"]) and np.array_equal(back["half"], TREE["half"])
    assert back["half"].dtype == jnp.bfloat16 and back["count"].dtype == jnp.int32
    assert np.array_equal(jax.random.normal(back["key"]), jax.random.normal(TREE["key"]))
    assert checkpoint.notes(path) == {"step": 5}


def test_it_is_a_plain_npz_without_pickle(tmp_path):
    checkpoint.save(tmp_path / "c.npz", TREE)
    with np.load(tmp_path / "c.npz", allow_pickle=False) as file:
        assert "manifest" in file.files and np.array_equal(file["['w']"], TREE["w"])


def test_shapes_are_enough_to_load(tmp_path):
    checkpoint.save(tmp_path / "c.npz", TREE["w"])
    assert np.array_equal(
        checkpoint.load(tmp_path / "c.npz", jax.ShapeDtypeStruct((2, 3), jnp.float32)), TREE["w"]
    )


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_a_file_cut_short_is_damaged(tmp_path, keep):
    path = tmp_path / "c.npz"
    checkpoint.save(path, TREE)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(checkpoint.CheckpointError, match="is damaged"):
        checkpoint.load(path, TREE)


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path):
    path = tmp_path / "c.npz"
    checkpoint.save(path, TREE["w"])
    content = path.read_bytes()
    noticed = 0
    for position in np.random.default_rng(0).choice(len(content), 60, replace=False):
        wrong = bytearray(content)
        wrong[position] ^= 0x41
        path.write_bytes(bytes(wrong))
        try:
            assert np.array_equal(checkpoint.load(path, TREE["w"]), TREE["w"])
        except checkpoint.CheckpointError:
            noticed += 1
    assert noticed > 20


def test_other_trees_are_refused_by_name(tmp_path):
    path = tmp_path / "c.npz"
    checkpoint.save(path, {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)})
    for like, message in (
        ({"w": jnp.zeros((2, 4)), "b": jnp.zeros(3)}, r"\['w'\] is float32\[2, 3\], wanted float32\[2, 4\]"),
        ({"w": jnp.zeros((2, 3), jnp.int32), "b": jnp.zeros(3)}, r"wanted int32"),
        ({"w": jnp.zeros((2, 3))}, r"\['b'\] is not wanted"),
        ({"w": jnp.zeros((2, 3)), "b": jnp.zeros(3), "c": jnp.zeros(1)}, r"\['c'\] is missing"),
    ):
        with pytest.raises(checkpoint.CheckpointError, match=message):
            checkpoint.load(path, like)


def test_a_missing_file():
    with pytest.raises(FileNotFoundError, match="there is no checkpoint at nowhere.npz"):
        checkpoint.load("nowhere.npz", TREE)


def test_a_crash_while_writing_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "c.npz"
    checkpoint.save(path, TREE["w"])

    def crash(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(path, TREE["w"] + 1)
    assert np.array_equal(checkpoint.load(path, TREE["w"]), TREE["w"])
    assert [p.name for p in tmp_path.iterdir()] == ["c.npz"]
