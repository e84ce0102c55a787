"""Non-finite and stuck chains: rejected, restarted or reported, and counted per
chain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import counted

import ebmjax as eb
from ebmjax.base import Info, Kernel, State
from ebmjax.diagnostics import streaming
from ebmjax.sampling import sample as sampling
from ebmjax.sampling.nonfinite import ChainFault, Totals, count

KEY = jax.random.key(2)
ENERGY = lambda x: 0.5 * jnp.sum(x**2)
START = jnp.ones((4, 2))


def unchecked(energy):
    """A kernel of a user that accepts NaN."""

    def move(noise, state):
        position = state.position + noise
        new = State(position, energy(position))
        return new, Info(jnp.float32(1), jnp.bool_(True), jnp.float32(0), jnp.int32(0))

    return Kernel(
        init=lambda x: State(x, energy(x)),
        draw=lambda key, x: 0.5 * jax.random.normal(key, x.shape),
        move=move,
    )


HOLE = lambda x: jnp.where(x[0] > 1.5, jnp.nan, ENERGY(x))
TRAP = lambda x: jnp.where(
    x[1] > 50, 1e6 * jnp.sum((x - 100.0) ** 2), ENERGY(x)
)  # no chain leaves it
TRAPPED = START.at[2].set(100.0)


def test_nonfinite_proposals_of_a_user_kernel_are_rejected_and_counted():
    with pytest.warns(
        RuntimeWarning, match="proposals had an energy or a ratio of NaN"
    ):
        samples = eb.sample(KEY, unchecked(HOLE), START, 200)
    assert np.isfinite(samples.draws).all() and np.isfinite(samples.state.energy).all()
    stayed = (np.diff(np.asarray(samples.draws), axis=0) == 0).all(axis=2).sum(axis=0)
    assert (
        samples.num_nonfinite.shape == (4,)
        and (abs(samples.num_nonfinite - stayed) <= 1).all()
    )
    assert samples.num_nonfinite.sum() > 0
    raw = eb.run(
        eb.chain_keys(KEY, 4),
        eb.parallel(unchecked(HOLE)),
        eb.parallel(unchecked(HOLE)).init(START),
        200,
    )
    assert np.isnan(raw[0].energy).any()  # the control: without the check


def test_fused_runs_reject_them_too(monkeypatch):
    monkeypatch.setattr(sampling, "_check_fused", lambda *a: None)
    draws = []
    for fused in (True, False):
        with pytest.warns(RuntimeWarning, match="proposals had an energy .* of NaN"):
            samples = eb.sample(KEY, unchecked(HOLE), START, 20, fused=fused)
        draws.append(samples.draws)
    assert np.allclose(*draws, atol=1e-5)


REJECTING = {
    "random_walk": lambda e: eb.random_walk(e, 1.0),
    "mala": lambda e: eb.mala(e, 0.5),
    "nuts": lambda e: eb.nuts(e, 0.5),
    "hmc": lambda e: eb.hmc(e, 0.3, 3),
    "ula": lambda e: eb.ula(e, 0.3),
    "underdamped_langevin": lambda e: eb.underdamped_langevin(e, 0.3, 1.0),
    "repeat": lambda e: eb.repeat(eb.mala(e, 0.5), 3),
    "cycle": lambda e: eb.cycle(eb.random_walk(e, 1.0), eb.hmc(e, 0.3, 3)),
    "mixture": lambda e: eb.mixture([eb.random_walk(e, 1.0), eb.ula(e, 0.3)]),
}


def test_reject_nonfinite_wraps_only_kernels_that_do_not_reject():
    def program(kernel):
        state = kernel.init(START[0])
        return str(jax.make_jaxpr(kernel.step)(KEY, state))

    for kernel in (make(HOLE) for make in REJECTING.values()):
        assert program(eb.reject_nonfinite(kernel)) == program(kernel)
    ours, theirs = eb.random_walk(HOLE, 1.0), unchecked(HOLE)
    for kernel in (
        theirs,
        eb.repeat(theirs, 2),
        eb.cycle(ours, theirs),
        eb.mixture([theirs, ours]),
    ):
        assert program(eb.reject_nonfinite(kernel)) != program(kernel)


def many_holes(x):
    """NaN to the right, minus infinity above, plus infinity to the left."""
    energy = jnp.where(x[1] > 1.5, -jnp.inf, HOLE(x))
    return jnp.where(x[0] < -1.5, jnp.inf, energy)


@pytest.mark.parametrize("name", REJECTING)
def test_kernels_of_the_library_reject_nonfinite_energies(name):
    kernel = eb.parallel(REJECTING[name](many_holes))
    energies = lambda state, info: state.energy
    end = eb.run(
        eb.chain_keys(KEY, 50),
        kernel,
        kernel.init(jnp.ones((50, 2))),
        40,
        collect=energies,
    )
    assert (
        np.isfinite(end[1]).all()
        and (np.diff(end[1], axis=0) != 0).any()
        and end[2].num_nonfinite.any()
    )


@pytest.mark.parametrize("hole", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_gibbs_sweep_never_moves_to_a_nonfinite_energy(hole):
    """On three bits without the states (1, 1, .), where six are left."""
    kernel = eb.parallel(eb.gibbs(lambda x: jnp.where(x[0] * x[1] > 0.5, hole, 0.0)))
    end = eb.run(eb.chain_keys(KEY, 200), kernel, kernel.init(jnp.zeros((200, 3))), 10)
    assert (
        np.isfinite(end[0].energy).all() and not (end[1][..., 0] * end[1][..., 1]).any()
    )
    assert len(np.unique(np.asarray(end[1][-1]) @ [4, 2, 1])) == 6
    assert end[2].num_nonfinite.any() == (hole != jnp.inf)


def test_within_rejects_nonfinite_moves_of_a_part():
    energy = lambda x: HOLE(jnp.stack([x["a"], x["b"]]))
    kernel = eb.within(energy, "a", unchecked)
    start = {"a": jnp.ones(4), "b": jnp.ones(4)}
    several = eb.parallel(kernel)
    state, draws, info = eb.run(
        eb.chain_keys(KEY, 4), several, several.init(start), 200
    )
    assert np.isfinite(state.energy).all() and (np.asarray(draws["a"]) <= 1.5).all()
    assert info.num_nonfinite.any() and np.ptp(np.asarray(draws["a"])) > 0.5


def test_a_stuck_chain_is_restarted_at_another_chain_and_counted():
    kernel = eb.random_walk(TRAP, 0.5)
    with pytest.warns(
        RuntimeWarning,
        match="1 chains never moved in a chunk and were put where others are",
    ):
        samples = eb.sample(KEY, kernel, TRAPPED, 200, num_chunks=4, on_fault="reinit")
    assert samples.num_restarted.tolist() == [0, 0, 1, 0]
    assert (samples.draws[:50, 2] == 100).all() and (
        abs(samples.draws[50:, 2]) < 10
    ).all()
    with pytest.warns(
        RuntimeWarning, match=r"1 of 4 chains never moved in 200 steps \(chain 2\)"
    ):
        left = eb.sample(KEY, kernel, TRAPPED, 200, num_chunks=4)
    assert left.num_restarted.sum() == 0
    others = np.array([0, 1, 3])
    assert np.array_equal(left.draws[:, others], samples.draws[:, others])


def test_restarts_of_chains_are_the_same_after_an_interruption(tmp_path):
    kernel = eb.random_walk(TRAP, 0.5)
    options = {"num_chunks": 4, "on_fault": "reinit"}
    with pytest.warns(RuntimeWarning):
        whole = eb.sample(KEY, kernel, TRAPPED, 200, **options)
    with pytest.warns(RuntimeWarning):
        eb.sample(KEY, kernel, TRAPPED, 200, checkpoint=tmp_path, **options)
    for step in (100, 150, 200):
        (tmp_path / f"{step:09d}.npz").unlink()
    with pytest.warns(RuntimeWarning):
        again = eb.sample(KEY, kernel, TRAPPED, 200, checkpoint=tmp_path, **options)
    assert np.array_equal(whole.draws, again.draws) and np.array_equal(
        whole.num_restarted, again.num_restarted
    )


def test_the_error_names_chain_and_chunk():
    with pytest.raises(
        ChainFault, match="chain 2 never moved in the chunk that began at step 0"
    ):
        eb.sample(
            KEY, eb.random_walk(TRAP, 0.5), TRAPPED, 200, num_chunks=4, on_fault="raise"
        )
    with pytest.raises(
        ChainFault, match=r"proposed \d+ points of energy NaN or -inf in the chunk"
    ):
        eb.sample(
            KEY, eb.random_walk(HOLE, 1.0), START, 200, num_chunks=4, on_fault="raise"
        )
    eb.sample(
        KEY, eb.random_walk(ENERGY, 1.0), START, 200, num_chunks=4, on_fault="raise"
    )
    with pytest.raises(
        ValueError, match="on_fault must be one of revert, reinit, raise, got 'ignore'"
    ):
        eb.sample(KEY, eb.random_walk(ENERGY, 1.0), START, 200, on_fault="ignore")


def test_an_offset_too_large_for_float32_is_reported():
    with pytest.warns(
        RuntimeWarning,
        match=r"energies are about 1e\+07, where float32 rounds .* subtract a constant",
    ):
        eb.sample(KEY, eb.random_walk(lambda x: 1e7 + ENERGY(x), 1.0), START, 50)
    eb.sample(KEY, eb.random_walk(lambda x: 1e3 + ENERGY(x), 1.0), START, 50)


def test_nothing_is_compiled_after_the_first_chunk_and_memory_does_not_grow(tmp_path):
    (energy, traces), seen = counted(ENERGY), []
    eb.sample(
        KEY, eb.random_walk(energy, 1.0), START, 3000, num_chunks=100, collect=streaming.moments(), checkpoint=tmp_path,
        progress=lambda done, total, text: seen.append((len(traces), len(jax.live_arrays()), len(list(tmp_path.iterdir())))),
    )  # fmt: skip
    assert len(seen) == 100 and seen[-1][0] == seen[0][0]
    assert seen[-1][1] <= seen[9][1] and seen[-1][2] == 3


def test_totals_are_right_after_ten_billion_steps():
    """Chunks of 10^6 steps: rates sum in float64, proposals in int64; float32 is the
    control."""
    one = np.ones(1, bool)
    info = Info(np.float32([0.7]), one, np.float32([0]), np.int32([10**6]))
    totals, naive = Totals.zeros(1), np.float32(0)
    for _ in range(10_000):
        totals, _ = count(totals, info, 10**6, is_warmup=False)
        naive = np.float32(naive + np.float32(10**6) * np.float32(0.7))
    assert totals.num_nonfinite == 10**10
    rate = totals.acceptance / 10**10
    np.testing.assert_allclose(rate, np.float64(np.float32(0.7)), rtol=1e-12)
    assert abs(naive / 10**10 / 0.7 - 1) > 1e-6
