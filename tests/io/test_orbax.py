"""Checkpoints by Orbax: all leaves are restored, and damage that Orbax does not detect
raises."""

import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import TREE, raise_disk_full

import ebmjax as eb
from ebmjax.io import checkpoint
from ebmjax.io import orbax as sharded
from ebmjax.io import run_directory as folder
from ebmjax.io import serialization as leaves
from ebmjax.io.serialization import CheckpointError, CorruptCheckpointError

ocp = pytest.importorskip("orbax.checkpoint", reason="comes with the extra orbax")
KEY = jax.random.key(4)
KERNEL = eb.underdamped_langevin(lambda x: 0.5 * jnp.sum(x**2), 0.3)
WHOLE = {
    **TREE,
    "empty": jnp.zeros((0, 3)),
    "flag": np.array([True, False]),
    "four": jnp.array([1, 2], "int4"),
}


def equal(a, b):
    pairs = zip(leaves.flatten(a).items(), leaves.flatten(b).items(), strict=True)
    pairs = [(leaves.encode(x), leaves.encode(y)) for (_, x), (_, y) in pairs]
    return all(x[1] == y[1] and np.array_equal(x[0], y[0]) for x, y in pairs)


def files(path):
    return sorted(p for p in path.rglob("*") if p.is_file())


def test_all_leaves_are_restored(tmp_path):
    path = tmp_path / "c.orbax"
    sharded.save(path, WHOLE, step=5)
    noted = []
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), WHOLE)
    for like in (WHOLE, shapes):
        back = sharded.load(path, like, check=noted.append)
        assert jax.tree.structure(back) == jax.tree.structure(WHOLE) and equal(
            back, WHOLE
        )
    assert noted == [{"step": 5}, {"step": 5}]
    assert [p.name for p in tmp_path.iterdir()] == ["c.orbax"]


def wrong(content, rng):
    """A bit flipped, the end cut off, nothing left."""
    place = int(rng.integers(len(content))) if content else 0
    flipped = bytearray(content)
    if flipped:
        flipped[place] ^= 1 << int(rng.integers(8))
        yield bytes(flipped)
        yield content[:-1]
    yield content + b"\0"


def test_every_file_has_a_digest(tmp_path):
    path, rng, count = tmp_path / "c.orbax", np.random.default_rng(0), 0
    sharded.save(path, {"a": jnp.ones((40, 3)), "b": jax.random.normal(KEY, (40, 3))})
    like = {"a": jnp.ones((40, 3)), "b": jnp.ones((40, 3))}
    for file in files(path):
        content = file.read_bytes()
        for bad in wrong(content, rng):
            file.write_bytes(bad)
            with pytest.raises(
                CorruptCheckpointError,
                match="c.orbax is damaged: .* not as it was written",
            ):
                sharded.load(path, like)
            count += 1
        file.unlink()
        with pytest.raises(CorruptCheckpointError, match="c.orbax is damaged"):
            sharded.load(path, like)
        file.write_bytes(content)
    assert count > 20 and equal(sharded.load(path, like)["a"], like["a"])


def test_orbax_alone_does_not_detect_damage(tmp_path):
    """The control: the reason for the manifest of digests."""
    path, x = tmp_path / "c.orbax", np.asarray(jax.random.normal(KEY, (400, 3)))
    sharded.save(path, x)
    largest = max(files(path), key=lambda f: f.stat().st_size)
    raw = lambda: ocp.PyTreeCheckpointer().restore(path / "state")["0"]
    assert np.array_equal(raw(), x)
    is_silent = []
    for place in range(largest.stat().st_size // 4, largest.stat().st_size, 97):
        content = bytearray(largest.read_bytes())
        content[place] ^= 1
        largest.write_bytes(content)
        try:
            is_silent.append(not np.array_equal(raw(), x))
        except Exception:
            is_silent.append(False)
        content[place] ^= 1
        largest.write_bytes(content)
    assert any(is_silent)


def test_other_trees_are_refused_by_name(tmp_path):
    sharded.save(tmp_path / "c.orbax", {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)})
    with pytest.raises(
        CheckpointError,
        match=r"\['b'\] is not wanted; \['w'\] is float32\[2, 3\], wanted int32",
    ):
        sharded.load(tmp_path / "c.orbax", {"w": jnp.zeros((2, 3), int)})
    with pytest.raises(FileNotFoundError, match="there is no checkpoint at .*d.orbax"):
        sharded.load(tmp_path / "d.orbax", 0)


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(tmp_path):
    tree = {"w": jnp.arange(3.0)}
    for step, backend in enumerate(("npz", "orbax", "orbax"), 1):
        folder.save(tmp_path, step, {"w": step * tree["w"]}, backend=backend)
    assert (
        folder.steps(tmp_path) == [3, 2, 1] and folder.backend_of(tmp_path) == "orbax"
    )
    (tmp_path / "000000003.orbax" / "manifest").unlink()
    largest = max(files(tmp_path / "000000002.orbax"), key=lambda f: f.stat().st_size)
    largest.write_bytes(largest.read_bytes()[::-1])
    with pytest.warns(RuntimeWarning) as reported:
        step, back = folder.newest(tmp_path, tree)
    assert step == 1 and equal(back, tree)
    assert [str(w.message).partition(" is damaged")[0][-15:] for w in reported] == [
        "000000003.orbax",
        "000000002.orbax",
    ]
    for step in range(4, 7):
        folder.save(tmp_path, step, tree, backend="orbax")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"00000000{step}.orbax" for step in (4, 5, 6)
    ]


def test_a_checkpoint_is_replaced_and_a_partial_one_removed(tmp_path):
    path = tmp_path / "c.orbax"
    (tmp_path / "c.orbax.tmp" / "state").mkdir(
        parents=True
    )  # a process killed while writing
    for value in (1.0, 2.0):
        sharded.save(path, jnp.full(3, value))
    assert sharded.load(path, jnp.zeros(3)).tolist() == [2.0] * 3
    assert folder.steps(tmp_path) == []
    assert [p.name for p in tmp_path.iterdir()] == ["c.orbax"]


def test_a_failing_disk_leaves_the_older_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "c.orbax"
    sharded.save(path, jnp.ones(3))
    for where in ((sharded.os, "replace"), (ocp.Checkpointer, "save"), (Path, "mkdir")):
        with monkeypatch.context() as patch:
            patch.setattr(*where, raise_disk_full)
            with pytest.raises(
                CheckpointError,
                match="No space left on device; what was saved before is intact",
            ):
                sharded.save(path, jnp.zeros(3))
    assert sharded.load(path, jnp.zeros(3)).tolist() == [1.0] * 3
    assert [p.name for p in tmp_path.iterdir()] == ["c.orbax"]


def test_a_missing_orbax_raises_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    for call in (
        lambda: sharded.save(tmp_path / "c", 0),
        lambda: sharded.load(tmp_path / "c", 0),
        lambda: eb.sample(
            KEY, KERNEL, jnp.ones((3, 2)), 10, checkpoint=tmp_path, backend="orbax"
        ),
    ):
        with pytest.raises(
            CheckpointError,
            match=r"need orbax-checkpoint: pip install 'ebmjax\[orbax\]'",
        ):
            call()
    with pytest.raises(
        ValueError, match="backend must be one of npz, orbax, got 'hdf5'"
    ):
        eb.sample(
            KEY, KERNEL, jnp.ones((3, 2)), 10, checkpoint=tmp_path, backend="hdf5"
        )


def test_sampling_continues_exactly_and_a_damaged_chunk_is_computed_again(
    tmp_path,
):
    options = {"num_warmup": 20, "num_chunks": 2, "backend": "orbax"}
    run = lambda path=None: eb.sample(
        KEY, KERNEL, jnp.ones((3, 2)), 20, checkpoint=path, **options
    )
    whole = run()
    assert equal(run(tmp_path), whole) and folder.steps(tmp_path) == [40, 30, 20, 10]
    shutil.rmtree(tmp_path / "000000040.orbax")
    (tmp_path / "000000030.orbax" / "manifest").write_text("{}")
    with pytest.warns(
        RuntimeWarning,
        match="000000030.orbax is damaged.*; its chunk is computed again",
    ):
        assert equal(run(tmp_path), whole)
    assert equal(run(tmp_path), whole)


def test_training_continues_exactly(tmp_path):
    from test_runs import make

    from ebmjax.experiments import runs

    run, half = make(100), make(100)
    whole = runs.train(run, tmp_path / "whole", progress=False)

    def stop(done, total, text):
        if done >= 75:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.train(
            half, tmp_path / "part", progress=stop, save_every=25, backend="orbax"
        )
    checkpoints = tmp_path / "part" / "checkpoints"
    assert (
        folder.backend_of(checkpoints) == "orbax"
        and 0 < folder.steps(checkpoints)[0] < 100
    )
    largest = max(
        files(checkpoints / f"{folder.steps(checkpoints)[0]:09d}.orbax"),
        key=lambda f: f.stat().st_size,
    )
    largest.write_bytes(largest.read_bytes()[:-9] + bytes(9))
    with pytest.warns(
        RuntimeWarning, match=r"orbax is damaged: .*; continuing from step \d+"
    ):
        resumed = runs.train(
            runs.reopen(tmp_path / "part"),
            tmp_path / "part",
            is_resumed=True,
            progress=False,
        )
    assert equal(resumed, whole) and folder.backend_of(checkpoints) == "orbax"
    metrics = [
        (tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "part")
    ]
    assert metrics[0] == metrics[1]


def test_each_backend_has_its_load_function():
    assert (
        folder.BACKENDS["npz"].load is checkpoint.load
        and folder.BACKENDS["orbax"].load is sharded.load
    )
