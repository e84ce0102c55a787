"""The no-U-turn sampler: its tree against one grown by recursion, its counts, its
weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import targets
from ebmjax.kernels import nuts_tree

PRECISION = np.array([1.0, 4.0, 0.3, 2.0])
ENERGY = lambda x: 0.5 * jnp.sum(jnp.asarray(PRECISION, x.dtype) * x**2)


def turns(stretch):
    rho = sum(stretch) - (stretch[0] + stretch[-1]) / 2
    return rho @ stretch[0] <= 0 or rho @ stretch[-1] <= 0


def any_stretch_turns(momenta):
    """By recursion over all subtrees, as in the paper."""
    if len(momenta) == 1:
        return False
    half = len(momenta) // 2
    return (
        any_stretch_turns(momenta[:half])
        or any_stretch_turns(momenta[half:])
        or turns(momenta)
    )


def grown_by_recursion(x, n, is_forward, step_size, max_depth):
    """All valid points of the trajectory, in order of time, and the number of
    gradients."""

    def leapfrog(x, n, eps):
        n = n - eps / 2 * PRECISION * x
        x = x + eps * n
        return x, n - eps / 2 * PRECISION * x

    points, taken = [(x, n)], 0
    for depth in range(max_depth):
        eps = step_size if is_forward[depth] else -step_size
        new = [points[-1] if eps > 0 else points[0]]
        for i in range(2**depth):
            new.append(leapfrog(*new[-1], eps))
            taken += 1
            odd = i & 1 and any_stretch_turns_ending_at([n for _, n in new[1:]])
            if odd:
                return points, taken
        new = new[1:]
        points = points + new if eps > 0 else new[::-1] + points
        if turns([n for _, n in points]):
            break
    return points, taken


def any_stretch_turns_ending_at(momenta):
    """The subtrees that the last leaf completes."""
    count, length = len(momenta), 2
    while count % length == 0:
        if turns(momenta[-length:]):
            return True
        length *= 2
    return False


@pytest.mark.parametrize("step_size", [0.05, 0.25, 0.6])
def test_the_tree_is_the_one_grown_by_recursion(step_size, key):
    with jax.enable_x64(True):
        kernel = eb.nuts(ENERGY, step_size, max_depth=7)
        start = jnp.asarray([1.0, -0.3, 2.0, 0.1])
        state, move = kernel.init(start), jax.jit(kernel.move)
        taken, chosen = [], []
        for i in range(60):
            noise = kernel.draw(jax.random.fold_in(key, i), start)
            new, info = move(noise, state)
            points, expected = grown_by_recursion(
                np.asarray(start),
                np.asarray(noise[0]),
                np.asarray(noise[1]) & 1 == 0,
                step_size,
                7,
            )
            assert int(info.num_grads) == expected
            distances = [np.abs(np.asarray(new.position) - x).max() for x, _ in points]
            assert (
                min(distances) < 1e-9
            )  # the chosen point lies on the valid trajectory
            taken.append(expected)
            chosen.append(int(np.argmin(distances)))
    assert len(set(taken)) > 3 and len(set(chosen)) > 3  # not one tree sixty times


def test_the_reference_recursion_visits_every_subtree():
    """The recursion of the paper and the completed subtrees are the same set."""
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(200):
        momenta = list(np.cumsum(rng.normal(size=(8, 2)), axis=0) + 2.0)
        by_leaf = any(
            any_stretch_turns_ending_at(momenta[: i + 1]) for i in range(1, 8, 2)
        )
        assert by_leaf == any_stretch_turns(momenta)
        found.add(by_leaf)
    assert found == {True, False}


def test_points_are_drawn_by_their_weight(key):
    """In one doubling the new point replaces the old one with probability min(1, exp(H
    - H'))."""
    kernel = eb.nuts(lambda x: 0.5 * jnp.sum(x**2), 1.2, max_depth=1)
    start = jnp.array([0.2])
    state = kernel.init(start)
    noise = jax.vmap(kernel.draw, (0, None))(jax.random.split(key, 40_000), start)
    noise = (jnp.full_like(noise[0], 1.8), noise[1] & ~jnp.uint32(1), noise[2])
    new, info = jax.vmap(kernel.move, (0, None))(noise, state)
    expected = float(np.exp(-info.energy_error[0]))
    assert 0.2 < expected < 0.9
    share = np.mean(np.asarray(info.is_accepted))
    assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / 40_000)


def test_a_trajectory_that_has_ended_sees_no_more_points(key):
    """Beside chains that go on, a chain does not pass a wall that it did not meet
    alone: its energy error would tell of a divergence."""
    wall = lambda x: jnp.where(x > 1.5, 1e5 * (x - 1.5) ** 2, 0.0)
    energy = lambda x: 0.5 * x[0] ** 2 + wall(x[0]) + x[1] ** 2 / 128
    kernel = eb.nuts(energy, 0.3, max_depth=7)
    start = jax.random.normal(key, (256, 2)) * jnp.array([1.0, 8.0])
    start = start.at[:, 0].set(-jnp.abs(start[:, 0]))
    keys = jax.random.split(key, 256)
    state = eb.parallel(kernel).init(start)
    together = jax.jit(eb.parallel(kernel).step)(keys, state)[1].energy_error
    alone = jax.lax.map(lambda x: kernel.step(*x)[1].energy_error, (keys, state))
    num_wide = np.sum(np.abs(np.asarray(alone)) > 1000)
    assert 10 < num_wide < 200
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-3)


def test_chains_run_together_equal_chains_run_alone(key):
    """A chain that stops early waits for the others without a change."""
    kernel = eb.nuts(targets.rosenbrock().energy, 0.1, max_depth=6)
    chain_init = targets.rosenbrock().sample(key, 8)
    together = eb.sample(
        key, kernel, chain_init, 20, collect=lambda s, i: (s.position, i.num_grads)
    )
    for c in (0, 5):
        state, draws, _ = eb.run(
            jax.random.fold_in(key, c),
            kernel,
            kernel.init(chain_init[c]),
            20,
            collect=lambda s, i: (s.position, i.num_grads),
        )
        assert np.array_equal(draws[1], together.draws[1][:, c])
        assert np.allclose(draws[0], together.draws[0][:, c], atol=1e-3)
    assert len(np.unique(together.draws[1])) > 2


def test_trajectories_are_bounded_and_counted(key):
    kernel = eb.nuts(lambda x: 0.5 * jnp.sum(x**2), 1e-3, max_depth=4)
    _, _, info = eb.run(key, kernel, kernel.init(jnp.ones(3)), 10)
    assert int(info.num_grads) == 10 * 15
    samples = eb.sample(
        key, eb.nuts(ENERGY, 0.2), jnp.ones((3, 4)), 20, collect=lambda s, i: i
    )
    assert (samples.draws.num_grads >= 1).all() and (
        samples.draws.acceptance_rate > 0.8
    ).all()


def test_divergences_are_reported_and_the_chain_stays(key):
    wall = lambda x: jnp.where(x[0] > 1.0, jnp.nan, 0.5 * jnp.sum(x**2))
    kernel = eb.nuts(wall, 0.9)
    _, draws, info = eb.run(key, kernel, kernel.init(jnp.zeros(2)), 200)
    assert int(info.num_nonfinite) > 0 and np.isinf(info.energy_error)
    assert (
        np.isfinite(draws).all()
        and draws[:, 0].max() <= 1.0
        and draws[:, 0].std() > 0.3
    )
    steep = eb.nuts(lambda x: 1e4 * jnp.sum(x**2), 1.0)
    new, info = steep.step(key, steep.init(jnp.ones(2)))
    assert (
        info.energy_error > 1000
        and int(info.num_grads) == 1
        and not bool(info.is_accepted)
    )
    assert np.array_equal(new.position, jnp.ones(2))


def test_a_trajectory_ends_at_the_leaf_that_diverges():
    """Some in the middle of a doubling, and not at its end, after 1, 3 or 7 leaves."""
    kernel = eb.nuts(lambda x: jnp.sum(x**4), 0.6)
    keys = jax.random.split(jax.random.key(0), 400)
    x = jax.random.normal(jax.random.key(1), (400, 2))
    step = lambda pair: kernel.step(pair[0], kernel.init(pair[1]))[1]
    info = jax.jit(lambda pairs: jax.lax.map(step, pairs))((keys, x))
    error = np.asarray(info.energy_error)
    num = np.asarray(info.num_grads)[(error > 1000) & np.isfinite(error)]
    is_whole = (num + 1) & num == 0
    assert len(num) > 50 and 0.02 < (~is_whole).mean() < 0.5


def test_a_fall_of_the_energy_diverges_and_is_counted(key):
    """H 1500 nats below the start: the energy has a step that no gradient shows."""
    kernel = eb.nuts(lambda x: jnp.where(x[0] > 1, -1500.0, 0.0) + 0.0 * x.sum(), 0.5)
    keys = jax.random.split(key, 50)
    step = jax.jit(jax.vmap(lambda key: kernel.step(key, kernel.init(jnp.zeros(1)))))
    error = np.asarray(step(keys)[1].energy_error)
    assert np.isclose(error, 1500, rtol=1e-3).mean() > 0.5
    assert (error >= 0).all()


def test_a_hard_boundary_is_not_counted(key):
    """Proposals with energy plus infinity are rejected and not counted."""
    wall = lambda x: jnp.where(x[0] > 0, 0.5 * jnp.sum(x**2), jnp.inf)
    for kernel in (eb.nuts(wall, 0.4), eb.ula(wall, 0.2), eb.mala(wall, 0.4)):
        samples = eb.sample(key, kernel, jnp.ones((8, 2)), 300, on_fault="raise")
        assert not samples.num_nonfinite.any() and samples.draws[:, :, 0].min() > 0


def test_trees_and_masses(key):
    energy = lambda x: 0.5 * (x["a"] ** 2 / 4 + jnp.sum(x["b"] ** 2))
    sizes = {"a": jnp.float32(1.0), "b": jnp.float32(0.5)}
    start = {"a": jnp.zeros(64), "b": jnp.zeros((64, 2))}
    draws = eb.sample(key, eb.nuts(energy, sizes), start, 400, num_warmup=50).draws
    assert np.asarray(draws["a"]).std() == pytest.approx(2.0, rel=0.05)
    assert np.asarray(draws["b"]).std() == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(eb.nuts, step_size=0.0), "step_size must be finite and above 0"),
        (partial(eb.nuts, step_size=0.1, max_depth=0), "max_depth must be at least 1"),
        (partial(eb.nuts, step_size=0.1, max_depth=30), "max_depth must be at most 20"),
        (
            partial(eb.nuts, step_size=0.1, covariance=-np.ones(4)),
            "covariance must be finite and above 0",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make(ENERGY)


def test_a_state_without_gradient_is_refused(key):
    walk = eb.random_walk(ENERGY, 0.1)
    with pytest.raises(TypeError, match="nuts needs a state with its gradient"):
        eb.nuts(ENERGY, 0.1).step(key, walk.init(jnp.ones(4)))


@pytest.mark.parametrize("is_batched", [(1, 1, 0), (1, 0, 0), (0, 1, 0), (1, 1, 1)])
def test_a_row_of_each_table_is_written(is_batched):
    rng = np.random.default_rng(0)
    table, x = rng.normal(size=(5, 4, 3)), rng.normal(size=(5, 3))
    row = np.array([2, 0, 3, 3, 1])
    given = [a if b else a[0] for a, b in zip((table, x, row), is_batched, strict=True)]
    axes = tuple(0 if b else None for b in is_batched)
    found = jax.vmap(nuts_tree._with_row, axes)(*map(jnp.asarray, given))
    for i, one in enumerate(np.asarray(found)):
        t, y, r = (a[i] if b else a for a, b in zip(given, is_batched, strict=True))
        expected = np.array(t)
        expected[r] = y
        assert np.allclose(one, expected)
