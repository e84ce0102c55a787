"""Diagnostics of chains: issues are reported, and healthy chains have none."""

import functools
import pickle

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compilations

import ebmjax as eb
from ebmjax import targets
from ebmjax.diagnostics import _draw_issues, _host, _sampler_issues, convergence
from ebmjax.diagnostics import summary as health

GOOD = np.asarray(jax.random.normal(jax.random.key(0), (2000, 4, 2)))
FUNNEL = lambda x: (
    0.5 * (x[0] / 3) ** 2 + 0.5 * jnp.sum(x[1:] ** 2) * jnp.exp(-x[0]) + 2 * x[0]
)


def test_healthy_chains_have_no_issue():
    assert health.summary(GOOD).warnings == []
    text = str(eb.assert_healthy({"a": GOOD, "b": GOOD[..., :1] ** 2}))
    assert text.splitlines()[0].split() == list(health.COLUMNS)
    assert [line.split()[0] for line in text.splitlines()[1:]] == [
        "a[0]",
        "a[1]",
        "b[0]",
    ]


def test_each_column_equals_its_formula():
    columns = eb.summary(GOOD).columns
    pooled = GOOD.reshape(-1, 2).astype(np.float64)
    np.testing.assert_allclose(columns["mean"], pooled.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(columns["sd"], pooled.std(axis=0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(
        columns["95%"], np.quantile(pooled, 0.95, axis=0), rtol=1e-5
    )
    theirs = arviz.summary(arviz.from_dict({"x": GOOD.swapaxes(0, 1)}), round_to="none")
    pairs = {
        "mcse_mean": "mcse_mean",
        "mcse_sd": "mcse_sd",
        "ess_bulk": "ess_bulk",
        "ess_tail": "ess_tail",
    }
    for ours, name in {**pairs, "rhat": "r_hat"}.items():
        np.testing.assert_allclose(columns[ours], theirs[name], rtol=1e-4)


def test_stuck_and_copied_chains_are_named():
    stuck, copied, frozen = (
        GOOD.copy(),
        GOOD.copy(),
        np.broadcast_to(GOOD[:1], GOOD.shape),
    )
    stuck[:, 2] = stuck[0, 2]
    copied[:, 3] = copied[:, 1]
    assert "1 of 4 chains never moved: 2" in str(eb.summary(stuck))
    assert "1 chains are copies of another: 3" in str(eb.summary(copied))
    with pytest.raises(RuntimeError, match="4 of 4 chains never moved: 0, 1, 2, 3"):
        eb.assert_healthy(frozen)
    shifted = GOOD + 0.3 * np.arange(4, dtype=np.float32)[:, None]
    assert "R-hat above 1.01 in x[0], x[1]" in str(eb.summary(shifted))


def test_chains_that_move_or_differ_at_all_are_not_named():
    """Chains that differ in one coordinate at the last step; a chain equal to another
    one at a later time."""
    draws = np.broadcast_to(GOOD[0, 0], (50, 6, 2)).copy()
    draws[-1, :, 1] += 1e-3 * np.arange(6)
    assert jax.jit(health.stuck)(draws).tolist() == [True] + [False] * 5
    assert not jax.jit(health.copies)(draws).any()
    late = np.stack([GOOD[:-1, 0], GOOD[1:, 0], GOOD[:-1, 1]], axis=1)
    assert not health.copies(late).any()
    tree = {"a": draws, "b": GOOD[:50, [0, 1, 2, 0, 3, 2]]}
    tree["a"][:] = draws[:, :1]
    assert health.copies(tree).tolist() == [False, False, False, True, False, True]
    assert not health.stuck(tree).any()


def test_thousands_of_chains_are_compared_within_seconds():
    draws = jax.random.normal(jax.random.key(1), (20, 5000, 3)).at[:, 4321].set(0.5)
    draws = draws.at[:, 77].set(draws[:, 4000])
    assert np.flatnonzero(health.copies(draws)).tolist() == [4000]
    assert np.flatnonzero(health.stuck(draws)).tolist() == [4321]


@functools.cache
def recorded():
    target = targets.correlated_gaussian(5, 0.5)
    start = target.sample(jax.random.key(1), 4)
    return eb.sample(
        jax.random.key(2),
        eb.hmc(target.energy, 0.4, 5),
        start,
        1500,
        collect=eb.collect_stats,
    )


def test_the_hamiltonian_is_that_of_each_start():
    """Recomputed from the noise of each step, and the energy of the position before
    it."""
    position, energy, info = recorded().draws
    keys = eb.chain_keys(jax.random.key(2), 4)
    kernel = eb.hmc(targets.correlated_gaussian(5, 0.5).energy, 0.4, 5)
    for chain, step in ((0, 1), (3, 700), (2, 1499)):
        key = jax.random.fold_in(keys[chain], step)
        momentum = kernel.draw(key, position[step, chain])[0][0]
        expected = energy[step - 1, chain] + 0.5 * np.sum(np.square(momentum))
        assert np.isclose(info.hamiltonian[step, chain], expected, rtol=1e-5)
    thinned = eb.sample(
        jax.random.key(2), kernel, targets.correlated_gaussian(5, 0.5).sample(jax.random.key(1), 4), 60,
        thin=3, collect=eb.collect_stats,
    )  # fmt: skip
    np.testing.assert_allclose(
        thinned.draws.info.hamiltonian, info.hamiltonian[2:60:3], rtol=1e-5
    )


def test_bfmi_equals_arviz():
    hamiltonian = recorded().draws.info.hamiltonian
    expected = arviz.bfmi(np.asarray(hamiltonian.T, np.float64))
    np.testing.assert_allclose(jax.jit(health.bfmi)(hamiltonian), expected, rtol=1e-4)
    np.testing.assert_allclose(health.bfmi(hamiltonian + 1000.0), expected, rtol=1e-2)
    assert eb.summary(recorded()).warnings == []


def test_a_run_without_momenta_has_no_hamiltonian(key):
    target = targets.standard_normal(2)
    kernels = eb.random_walk(target.energy, 12.0), eb.mala(target.energy, 1.0)
    for kernel in kernels:
        samples = eb.sample(
            key, kernel, target.sample(key, 4), 1000, collect=eb.collect_stats
        )
        assert not samples.draws.info.hamiltonian.any()
        assert "diverged" not in str(eb.summary(samples)) and "E-BFMI" not in str(
            eb.summary(samples)
        )


def test_a_funnel_has_divergences_and_little_change_of_energy(key):
    start = 0.1 * jax.random.normal(key, (4, 10))
    samples = eb.sample(
        key, eb.hmc(FUNNEL, 0.7, 10), start, 1000, collect=eb.collect_stats
    )
    info = samples.draws.info
    error = np.asarray(info.energy_error)
    expected = ((error > 1000) | ~np.isfinite(error)).sum(axis=0)
    assert expected.sum() > 0 and (jax.jit(health.divergences)(info) == expected).all()
    text = str(eb.summary(samples))
    assert (
        f"{expected.sum()} of 4000 steps diverged, in {np.sum(expected > 0)} chains"
        in text
    )


def test_an_energy_error_of_nan_is_a_divergence():
    error = jnp.array([[0.5, 999.0], [jnp.nan, 1001.0], [jnp.inf, -5000.0]])
    info = eb.Info(error, error > 0, error, error, error)
    assert health.divergences(info).tolist() == [2, 1]


def test_a_heavy_tail_has_a_small_bfmi(key):
    """Cauchy in ten dimensions: momenta change H much less than H varies."""
    cauchy = lambda x: 5.5 * jnp.log1p(jnp.sum(x**2))
    samples = eb.sample(
        key, eb.hmc(cauchy, 0.3, 10), jnp.zeros((4, 10)), 2000, collect=eb.collect_stats
    )
    assert (health.bfmi(samples.draws.info.hamiltonian) < health.LEAST_BFMI).all()
    assert "E-BFMI below 0.3 in 4 chains" in str(eb.summary(samples))


@pytest.mark.parametrize(
    "draws", [np.ones((3, 4)), np.ones(100), np.full((9, 2), np.nan)]
)
def test_bad_draws(draws):
    with pytest.raises(ValueError, match="draws must be"):
        eb.summary(draws.astype(np.float32))


def test_bits_are_healthy(key):
    bits = jax.random.bernoulli(key, 0.3, (1000, 4, 3)).astype(jnp.float32)
    assert not health.summary(bits).warnings
    assert (convergence.ess_tail(bits) > health.LEAST_ESS).all()


def test_a_divergence_of_nan_is_counted_at_any_thinning(key):
    energy = lambda x: jnp.where(x[0] > 1.0, jnp.nan, 0.5 * jnp.sum(x**2))
    kernel = eb.hmc(energy, 0.5, 5)
    for thin in (1, 10):
        with pytest.warns(RuntimeWarning, match="were rejected"):
            run = eb.sample(
                key, kernel, jnp.zeros((4, 2)), 500, thin=thin, collect=eb.collect_stats
            )
        assert (health.divergences(run.draws.info) > 10).all()


def test_chains_that_differ_in_float64_only_are_not_copies():
    with jax.enable_x64(True):
        assert not health.copies(
            1e9 + jax.random.normal(jax.random.key(0), (50, 4, 1)) * 1e-3
        ).any()


SHAPES = [(6, 2, 3), (9, 4, 2), (37, 1, 2), (300, 4, 5), (64, 33, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_host_and_the_device_agree(shape):
    """NumPy in float64 and JAX, to rounding, on correlated draws, rounded ones,
    constants."""
    rng = np.random.default_rng(shape[0])
    draws = rng.normal(size=shape)
    draws += 0.2 * draws.cumsum(axis=0)
    draws[..., 1] = np.round(draws[..., 1])
    columns = _host.table(draws.astype(np.float32))[0]
    for name in ("mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "rhat"):
        expected = getattr(convergence, name)(draws.astype(np.float32))
        np.testing.assert_allclose(columns[name], expected, rtol=2e-4, err_msg=name)


def test_a_summary_compiles_nothing():
    half = jnp.asarray(GOOD, jnp.bfloat16)
    with compilations() as count:
        health.summary(GOOD)
        health.summary(half)
    assert count[0] == 0
    with compilations() as count:  # the control: they are counted
        jax.jit(lambda x: x * 1.25 + 0.5)(half)
    assert count[0] > 0


@pytest.mark.parametrize("offset", [1e6, 1e7])
def test_a_mean_far_from_zero(offset):
    draws = np.float32(offset) + np.round(8 * GOOD) / 8
    draws = draws.astype(np.float32)
    exact = draws.astype(np.float64).mean(axis=(0, 1))
    found = health.summary(draws).columns
    assert (np.abs(found["mean"] - exact) < 1e-3 * found["mcse_mean"]).all()
    estimate = eb.expectation(lambda x: x, jnp.asarray(draws))
    assert (np.abs(estimate.value - exact) < 1e-2 * found["mcse_mean"]).all()
    weighed = eb.expectation(lambda x: x, jnp.asarray(draws), np.ones(draws.shape[:2]))
    assert (np.abs(weighed.value - exact) < 1e-2 * found["mcse_mean"]).all()
    naive = jnp.mean(jnp.asarray(draws), axis=(0, 1))  # the control
    assert (
        offset > 1e6
        or (np.abs(np.asarray(naive, np.float64) - exact) > found["mcse_mean"]).any()
    )


def autoregression(seed, num_steps, num_chains, rho=0.5, num_coordinates=2):
    """Chains in their stationary law, exactly."""
    rng = np.random.default_rng(seed)
    x = np.empty((num_steps, num_chains, num_coordinates))
    x[0] = rng.normal(size=x.shape[1:])
    for t in range(1, num_steps):
        x[t] = rho * x[t - 1] + np.sqrt(1 - rho**2) * rng.normal(size=x.shape[1:])
    return x


def test_many_short_chains_raise_no_false_alarm():
    """128 chains of 250 draws whose R-hat is above 1.01, forty times over."""
    above = 0
    for seed in range(40):
        draws = autoregression(seed, 250, 128, rho=0.6)
        found = health.summary(draws)
        above += (found.columns["rhat"] > health.LARGEST_RHAT).any()
        assert found.warnings == [], seed
    assert above > 30


def test_an_issue_of_one_of_many_short_chains_is_reported():
    draws = autoregression(1, 250, 128, rho=0.6)
    lost, drift, split = draws.copy(), draws.copy(), draws.copy()
    lost[:, 77] += 6
    drift += np.linspace(0, 1, 250)[:, None, None]
    split[:, np.random.default_rng(0).random(128) < 0.5] += 3
    wide = draws.copy()
    wide[:, ::2] *= 1.6
    assert "chains 77" in str(health.summary(lost))
    for wrong in (drift, split, wide):
        assert "R-hat above 1.01 in x[0], x[1]" in str(health.summary(wrong))


def test_one_lost_chain_of_hundreds_is_reported():
    """Although R-hat is below 1.01."""
    draws = autoregression(1, 1000, 400, rho=0.6)
    assert health.summary(draws).warnings == []
    draws[:, 77, 1] += 2
    found = health.summary(draws)
    assert found.columns["rhat"][1] < health.LARGEST_RHAT
    assert found.warnings == ["chains 77 are apart from the others in x[1]"]


def test_split_modes_are_not_advised_to_run_longer():
    draws = GOOD + 8.0 * np.array([0, 0, 1, 1])[:, None]
    text = str(health.summary(draws))
    assert "each chain stays where it is" in text and "run longer" not in text
    walk = autoregression(3, 200, 4, rho=0.995)  # the control: slow, and not split
    text = str(health.summary(walk))
    assert "or are too short" in text and "run longer" in text and "stays" not in text


def test_chains_of_independent_halves_have_a_ratio_of_one():
    """Its standard error is sqrt(4 / 40000) = 0.01.  Chains in two modes have more."""
    halves = np.random.default_rng(0).normal(size=(2, 40_000, 1))
    spread = _host.Spread(np.concatenate(halves), None, np.ones(1))
    assert _draw_issues.stay(spread) == pytest.approx(1.0, abs=0.05)
    modes = np.concatenate(halves + 10.0 * (np.arange(40_000) % 2)[:, None])
    assert _draw_issues.stay(_host.Spread(modes, None, np.ones(1))) > 40


def test_chains_far_above_the_others_are_named():
    rng = np.random.default_rng(0)
    energy = rng.gamma(5.0, size=(250, 128))
    assert _sampler_issues.of_energy(energy) == []
    lost = [39, 40, 44, 96]
    energy[:, lost] += 450
    found = _sampler_issues.of_energy(energy)
    assert "chains 39, 40, 44, 96 are 450 nats above the others" in found[0]
    most = rng.gamma(5.0, size=(250, 4)) + [450, 450, 0, 450]  # most are lost
    assert "chains 0, 1, 3 are 450 nats above" in _sampler_issues.of_energy(most)[0]
    record = eb.Record(
        jnp.asarray(autoregression(0, 250, 128)), energy, _info(250, 128)
    )
    assert "450 nats above the others" in str(health.summary(record))


def _info(num_steps, num_chains, **changes):
    zero = np.zeros((num_steps, num_chains), np.float32)
    count = zero.astype(np.int32)
    info = eb.Info(zero + 0.8, zero > -1, zero, count, zero, count)
    return info._replace(**changes)


def test_a_hard_boundary_is_not_a_divergence():
    """A half-normal by HMC: infinite errors without NaN; with NaN beyond the boundary,
    divergences."""

    def run(beyond):
        energy = lambda x: jnp.where(x[0] > 0, 0.5 * x[0] ** 2, beyond)
        kernel, start = eb.hmc(energy, 0.5, 3), jnp.full((4, 1), 0.5)
        key = jax.random.key(1)
        return eb.sample(key, kernel, start, 1000, collect=eb.collect_stats)

    wall = run(jnp.inf)
    error = np.asarray(wall.draws.info.energy_error)
    assert np.isinf(error).sum() > 300 and not health.divergences(wall.draws.info).any()
    assert health.summary(wall).warnings == []
    with pytest.warns(RuntimeWarning, match="were rejected"):
        broken = run(jnp.nan)
    assert health.divergences(broken.draws.info).sum() > 300
    assert "steps diverged" in str(health.summary(broken))


def test_hard_boundaries_and_divergences_step_by_step():
    error = np.float32([[np.inf, np.inf, np.nan, 1001, 999]])
    count = np.int32([[0, 1, 0, 0, 0]])
    expected = [False, True, True, True, False]
    info = _info(1, 5, energy_error=error, num_nonfinite=count)
    assert health.is_divergent(info)[0].tolist() == expected
    assert _sampler_issues.is_divergent(error, count)[0].tolist() == expected


def test_bfmi_of_few_draws_raises_no_false_alarm():
    """Exact Gaussians of one dimension, slow, with fresh momenta: H = (x^2 + p^2) /
    2."""
    rng = np.random.default_rng(0)
    x = autoregression(0, 100, 128 * 20, 0.95, 1)[..., 0]
    h = ((x**2 + rng.normal(size=x.shape) ** 2) / 2).astype(np.float32)
    assert not any(
        _sampler_issues.is_bfmi_low(h[:, i : i + 128]).any()
        for i in range(0, 2560, 128)
    )
    for num_steps in (6, 20, 50):  # of one chain
        short = (h[:num_steps, [i]] for i in range(2560))
        assert not any(_sampler_issues.is_bfmi_low(one).any() for one in short)
    slow = rng.normal(size=(500, 4)).cumsum(axis=0)
    assert _sampler_issues.is_bfmi_low(slow).all()
    assert _sampler_issues.is_bfmi_low(slow[:100]).all()


def test_trees_of_maximal_depth_are_counted():
    full = np.where(np.arange(200)[:, None] % 10 < 8, 1023, 511) + np.zeros((1, 4), int)
    stats = [np.zeros((200, 4))] * 2 + [autoregression(0, 200, 4)[..., 0]]
    found = _sampler_issues.of_sampler(_sampler_issues.Stats(*stats, full))
    assert any("80% of the trees have the maximal depth" in w for w in found)
    assert not _sampler_issues.of_sampler(_sampler_issues.Stats(*stats, full // 2))


@pytest.mark.parametrize("shape", [(8, 1000, 1), (6, 2, 1), (12, 400, 2), (10, 4, 1)])
def test_equal_short_runs_of_bits_are_not_reported(shape):
    for seed in range(300 if shape[1] == 2 else 20):
        bits = np.random.default_rng(seed).integers(0, 2, shape).astype(np.float32)
        assert "copies" not in str(health.summary(bits))


def test_copied_chains_of_bits_are_named():
    bits = np.random.default_rng(0).integers(0, 2, (300, 6, 3)).astype(np.float32)
    bits[:, 4] = bits[:, 1]
    assert "1 chains are copies of another: 4" in str(health.summary(bits))
    rare = np.zeros((1000, 4, 1), np.float32)
    rare[[200, 400, 600, 800], [0, 1, 2, 3]] = 1
    assert "copies" not in str(health.summary(rare))
    rare[:, 3] = rare[:, 2]
    assert "copies of another: 3" in str(health.summary(rare))


def test_exchanged_axes_are_reported():
    draws = autoregression(0, 400, 8, rho=0.9)
    exchanged = draws.swapaxes(0, 1)
    assert "as if the axes were [C, T]" in str(health.summary(exchanged))
    assert "axes" not in str(health.summary(draws))
    many = autoregression(0, 40, 300, rho=0.9)
    assert "axes" not in str(health.summary(many))


def test_unwrapped_angles_are_reported():
    rng = np.random.default_rng(0)
    turns = rng.integers(-1, 2, (2000, 4, 1)).cumsum(axis=0)
    angle = 2 * np.pi * turns + 0.5 + 0.8 * rng.normal(size=(2000, 4, 1))
    draws = np.concatenate([angle, 30 * rng.normal(size=(2000, 4, 1))], axis=2)
    lines = [w for w in health.summary(draws).warnings if "2 pi" in w]
    assert len(lines) == 1 and lines[0].startswith("x[0] cover")
    others = {
        "cauchy": rng.standard_cauchy((2000, 4, 1)),
        "two modes": rng.choice([0, 40 * np.pi], (2000, 4, 1))
        + rng.normal(size=(2000, 4, 1)),
        "walk": 5 * rng.normal(size=(2000, 4, 1)).cumsum(axis=0),
    }
    for name, x in others.items():
        assert "2 pi" not in str(health.summary(x)), name
    for num, is_many in ((5, True), (4, False)):
        periods = 2 * np.pi * rng.integers(0, num, (2000, 4, 1))
        found = str(health.summary(periods + 0.5 * rng.normal(size=(2000, 4, 1))))
        assert ("2 pi" in found) == is_many


def test_entries_that_never_change_have_no_row():
    """Above the diagonal of a factor of correlations, and its first entry."""
    support = eb.supports.cholesky_correlation()
    free = np.random.default_rng(0).normal(size=(300, 4, 3)).astype(np.float32)
    draws = np.asarray(support.forward(free)[0])
    found = health.summary(draws, support=support)
    rows, columns = [1, 1, 2, 2, 2], [0, 1, 0, 1, 2]
    assert np.allclose(
        found.columns["mean"], draws[:, :, rows, columns].mean(axis=(0, 1)), rtol=1e-5
    )


def test_the_worst_of_many_coordinates_are_shown():
    draws = np.random.default_rng(0).normal(size=(500, 4, 100))
    draws[:, :, 63] += np.arange(4)
    found = health.summary(draws)
    lines = repr(found).splitlines()
    assert lines[0] == "20 of 100 coordinates, those of the largest R-hat"
    assert lines[2].startswith("x[63]") and len(found.columns["mean"]) == 100
    assert (
        "<td>x[63]</td>" in found._repr_html_() and "R-hat above" in found._repr_html_()
    )


def test_an_estimate_prints():
    estimate = eb.expectation(lambda x: x, GOOD)
    assert "standard error" in repr(estimate) and "<table>" in estimate._repr_html_()
    assert "+-" in repr(eb.expectation(lambda x: x[0], GOOD))


def test_results_are_pickled():
    for found in (health.summary(GOOD), eb.expectation(lambda x: x, GOOD), recorded()):
        again = pickle.loads(pickle.dumps(found))
        assert type(again) is type(found) and repr(again) == repr(found)
