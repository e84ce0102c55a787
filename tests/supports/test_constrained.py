"""Constrained energies: posteriors with known answers, and values at every border."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from constrained_posteriors import parts, schools, schools_answers, starts, statistics
from helpers import counted

import ebmjax as eb
from ebmjax import constrain, supports, verify
from ebmjax.diagnostics.streaming import moments
from ebmjax.diagnostics.summary import divergences
from ebmjax.io import arviz as export

MAKERS = {"nuts": eb.nuts, "hmc": eb.hmc}
CHAINS = 16
ALL = tuple(starts(1))
# nuts has the parts that compile fast: it is a longer program
PARTS_OF = {
    "hmc": ALL,
    "nuts": ("truncated", "cuts", "angle", "mixture", "pair", "scale"),
}


def tuned_run(make, energy, start, num_steps):
    tuned = eb.warm_up(jax.random.key(0), make, energy, start)
    return tuned, eb.sample(
        jax.random.key(1),
        tuned.kernel,
        tuned.position,
        num_steps,
        collect=eb.collect_stats,
    )


@functools.cache
def run_of_parts(name):
    names = PARTS_OF[name]
    return tuned_run(MAKERS[name], parts(names), starts(CHAINS, names), 800)


def errors(found):
    """How far means of draws are from what they must be, in standard errors."""
    table = eb.summary({name: x for name, (x, _) in found.items()})
    expected = np.array([found[name][1] for name in table.names])
    return (table.columns["mean"] - expected) / table.columns["mcse_mean"]


@pytest.mark.parametrize("name", MAKERS)
def test_every_support_has_its_moments_and_no_divergences(name):
    """Dirichlet, truncated normal, LKJ, cut points, von Mises, mixtures, directions."""
    _, samples = run_of_parts(name)
    found = statistics(samples.draws.position)
    z = errors(found)
    assert np.abs(z).max() < 4.5, dict(zip(sorted(found), z, strict=True))
    assert divergences(samples.draws.info).sum() == 0
    last = jax.tree.map(lambda x: x[-1], samples.draws.position)
    parts(PARTS_OF[name]).check_inside(last)
    # the control: a scale of another shape, a cut elsewhere
    wrong = {"cut": (found["cut 1"][0], 0.61), "scale": (found["scale"][0], 3.2)}
    assert (np.abs(errors(wrong)) > 6).all()


@pytest.mark.parametrize("name", MAKERS)
def test_eight_schools_against_quadrature_without_divergences(name):
    energy = schools(supports.positive(linear_above=5.0))
    start = {
        "mu": jnp.zeros(CHAINS),
        "tau": jnp.linspace(1, 10, CHAINS),
        "theta_tilde": jax.random.normal(jax.random.key(3), (CHAINS, 8)),
    }
    _, samples = tuned_run(MAKERS[name], energy, start, 600)
    x, answers = samples.draws.position, schools_answers()
    first = x["mu"] + x["tau"] * x["theta_tilde"][..., 0]
    found = {
        "mu": (x["mu"], answers["mu"]),
        "tau": (x["tau"], answers["tau"]),
        "theta": (first, answers["theta"]),
    }
    assert np.abs(errors(found)).max() < 4.5
    assert np.min(x["tau"]) > 0
    assert divergences(samples.draws.info).sum() == 0
    assert eb.summary(samples).warnings == []
    shown = export.groups(samples)["posterior"]
    assert set(shown) == {"mu", "tau", "theta_tilde"}
    np.testing.assert_array_equal(shown["tau"], np.swapaxes(x["tau"], 0, 1))


def test_the_summary_leaves_out_constant_entries():
    _, samples = run_of_parts("hmc")
    table = eb.summary(samples)
    assert "factor[1, 0]" in table.names and "factor[2, 2]" in table.names
    assert not {"factor[0, 0]", "factor[0, 1]", "factor[1, 2]"} & set(table.names)
    assert table.warnings == []
    bare = eb.summary(samples.draws.position)  # the control: without its support
    assert "factor[0, 1]" in bare.names and bare.warnings
    again = eb.summary(samples.draws.position, support=parts().support)
    np.testing.assert_array_equal(again.columns["mean"], table.columns["mean"])


def test_arviz_has_constrained_values_under_their_names():
    _, samples = run_of_parts("hmc")
    posterior = export.groups(samples)["posterior"]
    assert set(posterior) == set(samples.draws.position)
    np.testing.assert_allclose(posterior["shares"].sum(-1), 1, rtol=1e-5)
    assert posterior["shares"].shape == (CHAINS, 800, 4)


# --- the borders of sample ------------------------------------------------------------

RATES = constrain(
    jax.tree_util.Partial(
        lambda rate, x: rate * x["a"] + x["b"] ** 2, jnp.float32(2.0)
    ),
    {"a": supports.positive(), "b": None},
)
START = {"a": jnp.array([0.5, 1.0, 2.0, 4.0]), "b": jnp.zeros(4)}
HMC = eb.hmc(RATES, 0.4, 4)


def test_draws_are_constrained_and_the_state_is_free_and_goes_on_bit_for_bit(key):
    whole = eb.sample(key, HMC, START, 100)
    assert whole.draws["a"].min() > 0 and whole.state.position["a"].min() < 0
    np.testing.assert_allclose(
        whole.draws["a"][-1], np.exp(whole.state.position["a"]), rtol=1e-6
    )
    first = eb.sample(key, HMC, START, 60)
    rest = eb.sample(key, HMC, first.state, 40, start=60)
    joined = np.concatenate([first.draws["a"], rest.draws["a"]])
    np.testing.assert_array_equal(joined, whole.draws["a"])
    with pytest.raises(ValueError, match="key was used"):
        last = jax.tree.map(lambda x: x[-1], first.draws)
        eb.sample(key, HMC, last, 10)


def test_starts_are_where_the_chains_begin(key):
    """Steps that are too small to be seen."""
    found = eb.sample(key, eb.random_walk(RATES, 1e-5), START, 6).draws
    np.testing.assert_allclose(found["a"][0], START["a"], rtol=1e-4)


def test_a_warm_up_takes_and_gives_constrained_values(key):
    """An exponential of mean 1e-4: the free coordinates are near -9."""
    energy = constrain(lambda x: 1e4 * jnp.sum(x), supports.positive())
    start = jnp.linspace(0.5e-4, 4e-4, 8)[:, None]
    tuned = eb.warm_up(key, eb.mala, energy, start, num_steps=100)
    assert tuned.position.min() > 0 and 1e-5 < tuned.position.mean() < 1e-3
    with pytest.raises(ValueError, match="must be above 0"):
        eb.warm_up(key, eb.mala, energy, -start, num_steps=100)


def test_what_is_collected_sees_constrained_values(key):
    plain = eb.sample(key, HMC, START, 200)
    own = eb.sample(
        key, HMC, START, 200, collect=lambda state, info: state.position["a"]
    )
    np.testing.assert_array_equal(own.draws, plain.draws["a"])
    assert own.support is None and plain.support == RATES.support
    reduced = eb.sample(key, HMC, START, 200, collect=moments()).draws
    np.testing.assert_allclose(
        reduced.mean["a"], np.asarray(plain.draws["a"], np.float64).mean(), rtol=1e-5
    )


def test_a_checkpoint_gives_the_same_draws(key, tmp_path):
    plain = eb.sample(key, HMC, START, 60)
    for _ in range(2):  # the second call loads them
        saved = eb.sample(key, HMC, START, 60, checkpoint=tmp_path / "run")
        np.testing.assert_array_equal(saved.draws["a"], plain.draws["a"])
        np.testing.assert_array_equal(saved.state.energy, plain.state.energy)


@pytest.mark.parametrize(
    "bad, message",
    [
        (
            {"a": START["a"].at[2].set(-1.0)},
            r"\['a'\] must be above 0.* -1.0 at chain 2",
        ),
        ({"a": START["a"].at[1].set(0.0)}, r"\['a'\] must be above 0.* 0.0 at chain 1"),
        ({"a": START["a"][:, None]}, None),
    ],
)
def test_a_start_outside_raises_before_the_energy_is_traced(key, bad, message):
    calls = []

    def energy(x):
        calls.append(1)
        return jnp.sum(x["a"]) + x["b"] ** 2

    energy = constrain(energy, {"a": supports.positive(), "b": None})
    if message is None:  # the control: a start inside is traced
        eb.sample(key, eb.hmc(energy, 0.1, 1), START | bad, 6)
        assert calls
        return
    with pytest.raises(ValueError, match=message):
        eb.sample(key, eb.hmc(energy, 0.1, 1), START | bad, 10)
    with pytest.raises(ValueError, match=message):
        eb.warm_up(key, eb.hmc, energy, START | bad)
    assert not calls
    with pytest.raises(TypeError, match="structure of the supports"):
        eb.sample(key, eb.hmc(energy, 0.1, 1), START["a"], 10)


def test_other_numbers_compile_nothing(key):
    of, traces = counted(lambda rate, x: jnp.sum(rate * x))

    def run(rate, high, step_size):
        energy = constrain(
            jax.tree_util.Partial(of, jnp.float32(rate)), supports.interval(0.0, high)
        )
        kernel = eb.mala(energy, step_size)
        return eb.sample(key, kernel, jnp.full((4, 1), 0.5 * high), 50).draws

    first = run(1.0, 2.0, 0.3)
    num = len(traces)
    other = run(3.0, 5.0, 0.4)
    assert len(traces) == num and num > 0
    assert first.max() < 2 < other.max() < 5


def test_a_stack_of_kernels_has_bounds_of_its_own(key):
    highs = (1.0, 2.0, 8.0)
    kernels = [
        eb.random_walk(constrain(jnp.sum, supports.interval(0.0, high)), 1.0)
        for high in highs
    ]
    kernel = eb.stack(kernels)
    start = jnp.array([0.5, 1.5, 7.0])
    draws = eb.sample(key, kernel, start, 400).draws
    assert (draws.max(axis=0) < jnp.array(highs)).all()
    assert draws[:, 1].max() > 1 and draws[:, 2].max() > 2
    with pytest.raises(ValueError, match=r"of chain 0 must be between 0.0 and 1.0"):
        eb.sample(key, kernel, start.at[0].set(1.5), 10)


def test_within_moves_a_part_of_a_constrained_position(key):
    """a is exponential of rate 2, b is N(0, 1/2)."""
    sweep = eb.cycle(
        eb.within(RATES, "a", partial(eb.random_walk, step_size=1.5)),
        eb.within(RATES, "b", partial(eb.random_walk, step_size=1.5)),
    )
    start = jax.tree.map(lambda x: jnp.repeat(x, 16, axis=0), START)
    draws = eb.sample(key, sweep, start, 1500, num_warmup=100).draws
    found = {"a": (draws["a"], 0.5), "b^2": (draws["b"] ** 2, 0.5)}
    assert np.abs(errors(found)).max() < 4.5
    assert abs(errors({"a": (draws["a"], 0.55)})[0]) > 6


def test_supports_that_differ_within_a_kernel_are_refused(key):
    other = constrain(lambda x: x["a"] + x["b"] ** 2, supports.positive())
    kernel = eb.cycle(eb.mala(RATES, 0.1), eb.mala(other, 0.1))
    with pytest.raises(TypeError, match="must have the same supports"):
        eb.sample(key, kernel, START, 10)


def test_tempering_a_constrained_energy_tempers_its_jacobian_too():
    hot, free = eb.temper(RATES, 2.0), {"a": jnp.float32(0.3), "b": jnp.float32(1.0)}
    np.testing.assert_allclose(hot(free), RATES(free) / 2, rtol=1e-6)
    inner = constrain(eb.temper(RATES.energy, 2.0), RATES.support)
    np.testing.assert_allclose(inner(free), hot(free) - 0.15, rtol=1e-5)


def test_kernels_are_verified_in_free_coordinates(key):
    """Exact starts: the logarithm of an exponential, whose density needs the Jacobian."""
    target = verify_target(lambda x: jnp.sum(x), supports.positive())
    verify.invariance(key, eb.hmc(target.energy, 0.5, 3), target).require()
    without = target._replace(energy=lambda u: jnp.sum(jnp.exp(u)) + 1e-3 * u[0] ** 2)
    assert not verify.invariance(key, eb.hmc(without.energy, 0.5, 3), target).is_passed


def verify_target(energy, support):
    sample = lambda key, n: jnp.log(jax.random.exponential(key, (n, 1)))
    mean, variance = -0.57721566, np.pi**2 / 6
    energy = constrain(energy, support)
    return eb.targets.Target(
        "log of exponential",
        energy,
        sample,
        np.array([mean]),
        np.array([[variance]]),
        0.0,
    )


# --- check ----------------------------------------------------------------------------


def test_check_takes_constrained_values_and_suggests_a_support(key):
    half_line = lambda x: jnp.sum(x - jnp.log(x))
    point = jnp.array([0.5, 2.0])
    found = eb.check(half_line, point, key)
    assert any(
        "constrain(energy, supports.positive())" in i.suggestion for i in found.issues
    )
    assert eb.check(constrain(half_line, supports.positive()), point, key).is_healthy
    with pytest.raises(ValueError, match="x must be above 0"):
        eb.check(constrain(half_line, supports.positive()), -point, key)
