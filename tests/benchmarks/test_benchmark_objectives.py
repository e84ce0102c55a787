"""The benchmark of objectives: work counted in programs of known cost, and runs that
are saved as they end."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import densities, objectives, work
from ebmjax.experiments import data, experiment

A, B = np.ones((5, 7), np.float32), np.ones((7, 3), np.float32)


def test_multiplications_are_counted_loops_and_all():
    count = lambda f, *x: work.multiplications(jax.make_jaxpr(f)(*x).jaxpr)
    assert count(lambda a, b: a @ b, A, B) == 5 * 7 * 3
    looped = lambda a, b: jax.lax.scan(
        lambda c, _: (c + jnp.sum(jax.jit(jnp.matmul)(a, b)), None), 0.0, length=4
    )[0]
    assert count(looped, A, B) == 4 * 5 * 7 * 3
    assert count(lambda a, b: jnp.sum(a * 2) + jnp.sum(b), A, B) == 0
    endless = lambda a: jax.lax.while_loop(lambda c: jnp.sum(c) < 9, lambda c: c @ c, a)
    with pytest.raises(ValueError, match="unknown length"):
        count(endless, np.eye(2, dtype=np.float32))


@pytest.mark.parametrize(
    ("objective", "points"),
    [
        # a gradient in x and its gradient in the parameters, at an antithetic pair
        ("denoising", 2 * 3.0),
        ("conditional", 3.0),
        ("nce", 7.5),
        ("maximum_likelihood", 3 + 0.5 * 3 + 3.0),
    ],
)
def test_the_work_of_an_update_is_that_of_its_points(objective, points):
    """A value costs half a gradient in x, its gradient in the parameters one and a
    half: two points, or five of binary NCE, or a chain of two steps and its first
    gradient and three energies of global moves, besides the two energies of the
    loss."""
    moons = data.load("two_moons", num_points=256)
    choices = {
        "features": (256, 256),
        "batch_size": 64,
        "num_chains": 64,
        "buffer_size": 64,
    }
    run = experiment.build(
        experiment.preset(moons, objective=objective, **choices), moons
    )
    assert work.of_update(run) == pytest.approx(64 * points, rel=0.03)


def test_runs_are_kept_as_they_end_and_not_run_again(tmp_path, monkeypatch):
    path, calls = tmp_path / "kept.json", []
    monkeypatch.setattr(densities, "picture", lambda name, jobs: None)

    def ours(run):
        calls.append(run.config.seed)
        if len(calls) == 3:
            raise KeyboardInterrupt
        value = None if run.config.seed == 1 else -1.0 - run.config.seed
        return {
            "log-likelihood": value,
            "seconds": 1.0,
            "rollbacks": 1,
            "gradients": 10,
        }, None

    monkeypatch.setattr(objectives, "ours", ours)
    options = {
        "sets": ("two_moons",),
        "objectives": ("nce",),
        "path": path,
        "num_updates": 5,
    }
    with pytest.raises(KeyboardInterrupt):
        list(objectives.runs(num_seeds=5, **options))
    assert [r["seed"] for r in objectives.load(path)] == [0, 1]
    assert [r["seed"] for _, _, r in objectives.runs(num_seeds=4, **options)] == [2, 3]
    (row,) = json.loads(path.read_text())["rows"]
    assert (
        row["num_seeds"] == 4
        and row["share_diverged"] == 0.25
        and row["num_rollbacks"] == 4
    )
    assert row["log-likelihood"] == pytest.approx(-(1 + 3 + 4) / 3)
    again = {**options, "num_updates": 6}  # other options: replaces the old run
    assert (
        len(list(objectives.runs(num_seeds=1, **again))) == 1
        and len(objectives.load(path)) == 4
    )
