"""Export: ArviZ gets the draws, under the names of its schema.

Runs with ArviZ 0.x (the extra ``test``) and 1.x alike.
"""

import builtins
import errno
import os
import pickle
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import limited, raise_disk_full

import ebmjax as eb
from ebmjax.diagnostics import convergence
from ebmjax.diagnostics import summary as health
from ebmjax.io import arviz as export
from ebmjax.io import files

arviz = pytest.importorskip("arviz")
ENERGY = lambda x: 0.5 * jnp.sum(x["a"] ** 2) + jnp.sum(x["b"]["c"] ** 2)
START = {"a": jnp.zeros((4, 3)), "b": {"c": jnp.ones(4)}}


@pytest.fixture(scope="module")
def samples():
    return eb.sample(
        jax.random.key(0), eb.hmc(ENERGY, 0.4, 4), START, 200, collect=eb.collect_stats
    )


def test_groups_have_the_schema_of_arviz(samples):
    data = eb.to_arviz(samples, step_size=0.4)
    old = arviz.__version__.startswith("0")
    assert type(data).__name__ == ("InferenceData" if old else "DataTree")
    posterior, stats = data["posterior"], data["sample_stats"]
    assert posterior["a"].dims[:2] == ("chain", "draw") and posterior["a"].shape == (
        4,
        200,
        3,
    )
    record = samples.draws
    np.testing.assert_array_equal(
        posterior["a"].values, np.swapaxes(record.position["a"], 0, 1)
    )
    np.testing.assert_array_equal(
        posterior["b.c"].values, np.asarray(record.position["b"]["c"]).T
    )
    expected = {
        "lp": -record.energy,
        "acceptance_rate": record.info.acceptance_rate,
        "energy": record.info.hamiltonian,
        "diverging": np.zeros((200, 4), bool),
        "n_steps": np.full((200, 4), 4),
        "step_size": np.full((200, 4), 0.4),
    }
    for name, value in expected.items():
        np.testing.assert_array_equal(stats[name].values, np.asarray(value).T)
    assert (
        stats["diverging"].dtype == bool
        and posterior.attrs["inference_library"] == "ebmjax"
    )


def test_arviz_computes_the_same_from_it(samples):
    data = eb.to_arviz(samples)
    ours = convergence.ess_bulk(samples.draws.position["a"])
    theirs = arviz.ess(data)
    theirs = theirs["a"] if "a" in theirs else theirs["posterior"]["a"]
    np.testing.assert_allclose(ours, theirs.values, rtol=1e-4)
    bfmi = arviz.bfmi(data)
    bfmi = np.asarray(bfmi if isinstance(bfmi, np.ndarray) else bfmi["energy"])
    np.testing.assert_allclose(
        health.bfmi(samples.draws.info.hamiltonian), bfmi, rtol=1e-4
    )


@pytest.mark.parametrize("suffix", [".nc", ".npz"])
def test_saved_draws_are_loaded_again(samples, suffix, tmp_path):
    path = tmp_path / f"run{suffix}"
    export.save(samples, path, step_size=0.4)
    data, whole = export.load(path), eb.to_arviz(samples, step_size=0.4)
    for group in ("posterior", "sample_stats"):
        names = set(export.groups(samples, step_size=0.4)[group])
        assert set(data[group].data_vars) == names == set(whole[group].data_vars)
        for name in names:
            np.testing.assert_array_equal(
                data[group][name].values, whole[group][name].values
            )
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        export.save(samples, path)
    assert path.read_bytes() == before


def test_npz_needs_numpy_alone(samples, tmp_path):
    export.save(samples, tmp_path / "run.npz")
    with np.load(tmp_path / "run.npz") as file:
        assert file["posterior/a"].shape == (4, 200, 3) and file[
            "sample_stats/lp"
        ].shape == (4, 200)


def test_divergences_are_marked():
    energy = lambda x: (
        0.5 * (x[0] / 3) ** 2 + 0.5 * jnp.sum(x[1:] ** 2) * jnp.exp(-x[0]) + 2 * x[0]
    )
    start = 0.1 * jax.random.normal(jax.random.key(1), (4, 10))
    samples = eb.sample(
        jax.random.key(0),
        eb.hmc(energy, 0.7, 10),
        start,
        1000,
        collect=eb.collect_stats,
    )
    diverging = export.groups(samples)["sample_stats"]["diverging"]
    expected = health.divergences(samples.draws.info)
    assert diverging.any() and (diverging.sum(axis=1) == expected).all()


def test_draws_alone_have_no_stats(key):
    kernel = eb.random_walk(lambda x: 0.5 * jnp.sum(x**2), 1.0)
    plain = eb.sample(key, kernel, jnp.zeros((2, 3)), 20)
    assert set(export.groups(plain)) == {"posterior"}
    assert {name: x.shape for name, x in export.groups(plain)["posterior"].items()} == {
        "x": (2, 20, 3)
    }
    walked = eb.sample(key, kernel, jnp.zeros((2, 3)), 20, collect=eb.collect_stats)
    assert "energy" not in export.groups(walked)["sample_stats"]  # no momenta


def test_pictures(samples, tmp_path):
    paths = export.pictures(samples, tmp_path)
    assert [p.name for p in paths] == [
        "trace.png",
        "rank.png",
        "autocorr.png",
        "energy.png",
    ]
    assert all(
        p.read_bytes()[:4] == b"\x89PNG" and p.stat().st_size > 5000 for p in paths
    )
    many = jax.random.normal(jax.random.key(3), (50, 100, 30))
    (tmp_path / "many").mkdir()
    assert len(export.pictures(many, tmp_path / "many")) == 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: export.groups(jnp.zeros(5)),
            TypeError,
            r"draws must be \[T, C, ...\]",
        ),
        (lambda: export.groups(None), TypeError, "draws must be an array or a tree"),
        (
            lambda: export.groups(jnp.zeros((5, 2)), step_size=jnp.ones(3)),
            ValueError,
            "step_size must be one number",
        ),
        (
            lambda: export.save(jnp.zeros((5, 2)), "run.csv"),
            ValueError,
            "path must end in .nc or .npz",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_colliding_names_lose_no_leaf(tmp_path):
    """Dimensions of ArviZ, nested names that collide, a path of netCDF, a dimension of
    x."""
    draws = {
        "draw": jnp.full((20, 2), 1.0),
        "chain": jnp.full((20, 2), 2.0),
        "a": {"b": jnp.full((20, 2), 3.0)},
        "a.b": jnp.full((20, 2), 4.0),
        "c/d": jnp.full((20, 2), 5.0),
        "x": jnp.full((20, 2, 3), 6.0),
        "x_dim_0": jnp.full((20, 2), 7.0),
    }
    with pytest.warns(UserWarning, match="names that are taken .*'draw' as 'draw_2'"):
        found = export.groups(draws)["posterior"]
    assert sorted(float(x.flat[0]) for x in found.values()) == [1, 2, 3, 4, 5, 6, 7]
    for suffix in (".npz", ".nc"):
        with pytest.warns(UserWarning, match="names that are taken"):
            export.save(draws, tmp_path / f"run{suffix}")
        data = export.load(tmp_path / f"run{suffix}")["posterior"]
        assert set(data.data_vars) == set(found)
        for name, x in found.items():
            np.testing.assert_array_equal(data[name].values, x)


def test_hard_boundaries_of_a_kernel_without_momenta_are_not_diverging(key):
    energy = lambda x: jnp.where(x[0] > 0, x[0] + 5000 * (x[0] > 3), jnp.inf)
    kernel, start = eb.random_walk(energy, 1.5), jnp.ones((4, 1))
    samples = eb.sample(key, kernel, start, 300, collect=eb.collect_stats)
    stats = export.groups(samples)["sample_stats"]
    assert np.isinf(stats["energy_error"]).sum() > 100
    assert (
        np.abs(stats["energy_error"] - 5000) < 5
    ).sum() > 30  # rejected, not diverging
    assert not stats["diverging"].any()


@pytest.mark.parametrize("suffix", [".nc", ".npz"])
def test_bfloat16_is_written_as_float32(suffix, tmp_path):
    draws = jax.random.normal(jax.random.key(0), (20, 2, 3)).astype(jnp.bfloat16)
    export.save(draws, tmp_path / f"run{suffix}")
    found = export.load(tmp_path / f"run{suffix}")["posterior"]["x"].values
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.asarray(draws, np.float32).swapaxes(0, 1))


class FullDisk:
    """A file that accepts a limited number of bytes."""

    def __init__(self, file, space):
        self.file, self.space = file, space

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, data):
        self.space -= len(data)
        if self.space < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)


def fill_disk(monkeypatch, space):
    opened = builtins.open

    def open_full(path, mode="r", *rest, **options):
        file = opened(path, mode, *rest, **options)
        is_ours = ".tmp" in str(path) and any(m in mode for m in "wxa+")
        return FullDisk(file, space) if is_ours else file

    monkeypatch.setattr(builtins, "open", open_full)


def test_a_full_disk_leaves_no_partial_file(samples, tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    fill_disk(monkeypatch, 1000)
    with pytest.raises(
        files.WriteError, match="run.npz cannot be written: No space left"
    ):
        export.save(samples, path)
    with pytest.raises(files.WriteError, match="trace.png cannot be written: No space"):
        export.pictures(samples, tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    export.save(samples, path)  # the same call, the same draws
    assert export.load(path)["posterior"]["a"].shape == (4, 200, 3)


def test_a_full_disk_during_netcdf(samples, tmp_path, monkeypatch):
    """By a limit of the system on the size of files."""
    with (
        limited(4000),
        pytest.raises(files.WriteError, match="run.nc cannot be written"),
    ):
        export.save(samples, tmp_path / "run.nc")
    assert list(tmp_path.iterdir()) == []


def test_text_files_are_replaced_at_once(tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    files.write_text(path, "a,b\n")

    monkeypatch.setattr(os, "fsync", raise_disk_full)
    with pytest.raises(
        files.WriteError, match="metrics.csv cannot be written: No space"
    ) as e:
        files.write_text(path, "c,d\n")
    assert e.value.errno == errno.ENOSPC and "No space" in str(
        pickle.loads(pickle.dumps(e.value))
    )
    assert path.read_text() == "a,b\n" and [p.name for p in tmp_path.iterdir()] == [
        path.name
    ]


def test_a_link_in_place_of_the_temporary_file_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("kept")
    (tmp_path / ".run.tmp.npz").symlink_to(tmp_path / "mine")
    export.save(jnp.zeros((6, 2)), tmp_path / "run.npz")
    assert (tmp_path / "mine").read_text() == "kept"


def damaged_archives(tmp_path):
    """Files that are not valid archives, by name."""
    good = tmp_path / "good.npz"
    export.save(jnp.zeros((6, 2)), good)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,), }"
    header = header.ljust(117) + b"\n"
    claim = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"1234"
    for name, content in {
        "claims": claim,
        "not an array": b"text",
        "empty": b"",
    }.items():
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w") as file:
            file.writestr("posterior/x.npy", content)
        yield tmp_path / f"{name}.npz"
    np.savez_compressed(tmp_path / "bomb.npz", **{"posterior/x": np.zeros(10**7)})
    yield tmp_path / "bomb.npz"
    np.savez(tmp_path / "objects.npz", **{"posterior/x": np.array([{}], object)})
    yield tmp_path / "objects.npz"
    (tmp_path / "cut.npz").write_bytes(good.read_bytes()[:200])
    yield tmp_path / "cut.npz"


def test_archives_that_claim_more_bytes_than_they_have_are_refused(tmp_path):
    for path in damaged_archives(tmp_path):
        with pytest.raises(ValueError, match="is damaged, or not of save"):
            export.load(path)
            raise AssertionError(path)


@pytest.mark.parametrize("suffix", [".nc", ".npz"])
def test_pipes_and_devices_are_refused_at_once(suffix, tmp_path):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
    (tmp_path / f"folder{suffix}").mkdir()
    for name, kind in (
        ("pipe", "a named pipe"),
        ("zero", "a device"),
        ("folder", "a folder"),
    ):
        with pytest.raises(OSError, match=f"it is {kind}, not a regular file"):
            export.load(tmp_path / f"{name}{suffix}")
