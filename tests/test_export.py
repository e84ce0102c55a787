"""Export: what ArviZ gets is what was sampled, under the names that it knows.

Runs with ArviZ 0.x (the extra ``test``) and 1.x alike.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax.diagnostics import convergence
from ebmjax.diagnostics import summary as health
from ebmjax.io import arviz as export

arviz = pytest.importorskip("arviz")
ENERGY = lambda x: 0.5 * jnp.sum(x["a"] ** 2) + jnp.sum(x["b"]["c"] ** 2)
START = {"a": jnp.zeros((4, 3)), "b": {"c": jnp.ones(4)}}


@pytest.fixture(scope="module")
def samples():
    return eb.sample(
        jax.random.key(0), eb.hmc(ENERGY, 0.4, 4), START, 200, collect=eb.collect_stats
    )


def test_the_schema(samples):
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
    wants = {
        "lp": -record.energy,
        "acceptance_rate": record.info.acceptance_rate,
        "energy": record.info.hamiltonian,
        "diverging": np.zeros((200, 4), bool),
        "n_steps": np.full((200, 4), 4),
        "step_size": np.full((200, 4), 0.4),
    }
    for name, value in wants.items():
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
def test_to_disk_and_back(samples, suffix, tmp_path):
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
    wants = health.divergences(samples.draws.info)
    assert diverging.any() and (diverging.sum(axis=1) == wants).all()


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
def test_mistakes(call, error, message):
    with pytest.raises(error, match=message):
        call()
