"""Annealed importance sampling against closed forms, and Bennett's acceptance ratio."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import counted, flips, standard_error, z_score
from scipy import stats

import ebmjax as eb
from ebmjax.base import Info, Kernel, State
from ebmjax.energies import boltzmann, enumeration
from ebmjax.energies.flows import Flow
from ebmjax.tempering import weights
from ebmjax.tempering.ais import annealed_importance_sampling
from ebmjax.tempering.annealing import anneal, drift_limit
from ebmjax.tempering.bases import (
    Base,
    bits,
    fit_gaussian,
    flow,
    gaussian,
    uniform_box,
)
from ebmjax.tempering.bennett import acceptance_ratio, bennett
from ebmjax.tempering.paths import Path, geometric
from ebmjax.tempering.schedule import Schedule, equal_lengths, pilot
from ebmjax.tempering.smc import sequential_monte_carlo

KEY = jax.random.key(20261125)
LOG_2PI = np.log(2 * np.pi)
BETAS = np.linspace(0, 1, 9)
MEAN, PRECISION = 1.0, 4.0  # of the target; the base is N(0, 1)
LOG_Z = 0.5 * (LOG_2PI - np.log(PRECISION))
NUM = 50_000


def energy(x):
    return 0.5 * PRECISION * jnp.sum((x - MEAN) ** 2)


PATH = geometric(gaussian(jnp.zeros(1)), energy)


def level(beta):
    """Mean and precision of a level of ``PATH``."""
    precision = 1 - beta + beta * PRECISION
    return beta * PRECISION * MEAN / precision, precision


def kl(a, b):
    """KL(N(mean, 1 / precision) || ...), of pairs."""
    (m, p), (n, q) = a, b
    return 0.5 * (q / p - 1 - np.log(q / p) + q * (m - n) ** 2)


def perfect(energy, step_size):
    """An independent draw of the level, whose beta is an argument of its energy."""
    mean, precision = level(energy.beta)

    def init(x):
        return State(x, energy(x))

    def move(noise, state):
        new = init(mean + noise / jnp.sqrt(precision))
        one, zero = jnp.ones_like(new.energy), jnp.zeros_like(new.energy)
        return new, Info(one, one > 0, zero, jnp.int32(0), zero)

    return Kernel(init, lambda key, x: jax.random.normal(key, x.shape), move)


def exact(key, num):
    return MEAN + jax.random.normal(key, (num, 1)) / PRECISION**0.5


def weight_score(log_weights, log_z):
    """Of the mean weight against Z, in standard errors."""
    return z_score(np.exp(np.asarray(log_weights, np.float64) - log_z), 1.0)


# --- the weights ----------------------------------------------------------------------


@pytest.mark.parametrize("is_reversed", [False, True])
def test_with_perfect_transitions_the_gap_is_the_sum_of_kls(is_reversed):
    start = {"positions": exact(KEY, NUM)} if is_reversed else {"num_chains": NUM}
    found = annealed_importance_sampling(
        KEY, PATH, perfect, BETAS, is_reversed=is_reversed, **start
    )
    log_w = np.asarray(found.log_weights, np.float64)
    levels = [level(b) for b in BETAS]
    ahead = sum(kl(a, b) for a, b in zip(levels, levels[1:], strict=False))
    back = sum(kl(b, a) for a, b in zip(levels, levels[1:], strict=False))
    sign, gap, other = (-1, back, ahead) if is_reversed else (1, ahead, back)
    error = standard_error(log_w)
    assert abs(log_w.mean() - (sign * LOG_Z - gap)) < 4.5 * error
    assert abs(log_w.mean() - (sign * LOG_Z - other)) > 7 * error  # the other sum
    assert abs(log_w.mean() - sign * LOG_Z) > 10 * error
    assert abs(weight_score(log_w, sign * LOG_Z)) < 4.5


def test_step_sizes_may_be_a_list():
    runs = [run_with(step_sizes=s, num_chains=16) for s in ([0.4] * 9, 0.4)]
    assert np.array_equal(runs[0].log_weights, runs[1].log_weights)


def test_a_path_of_equal_energies_has_weights_of_exactly_one():
    base = gaussian(jnp.zeros(3), 0.7)
    for is_reversed in (False, True):
        start = {"positions": base.sample(KEY, 64)} if is_reversed else {}
        found = annealed_importance_sampling(
            KEY,
            geometric(base, base.energy()),
            eb.mala,
            BETAS,
            0.5,
            is_reversed=is_reversed,
            **start,
        )
        assert (np.asarray(found.log_weights) == 0).all()
        assert found.effective_sample_size == pytest.approx(256 if not start else 64)
    other = geometric(base, gaussian(jnp.zeros(3), 0.8).energy())
    found = annealed_importance_sampling(KEY, other, eb.mala, BETAS, 0.5)
    assert (np.asarray(found.log_weights) != 0).any()


KERNELS = {
    "mala": eb.mala,
    "hmc": functools.partial(eb.hmc, num_steps=3),
    "random_walk": eb.random_walk,
    "nuts": lambda energy, size: eb.nuts(energy, size, max_depth=3),
}


@pytest.mark.parametrize("name", KERNELS)
def test_the_mean_weight_is_the_ratio_for_every_kernel(name):
    found = annealed_importance_sampling(
        KEY, PATH, KERNELS[name], BETAS, 0.4, num_chains=NUM
    )
    assert abs(weight_score(found.log_weights, LOG_Z)) < 4.5
    assert abs(weight_score(found.log_weights, LOG_Z + 0.1)) > 6


def test_a_kernel_that_is_not_invariant_has_biased_weights():
    with pytest.warns(UserWarning, match="does not leave its energy invariant"):
        found = annealed_importance_sampling(
            KEY, PATH, eb.ula, BETAS, 0.9, num_chains=NUM, num_steps=3
        )
    assert abs(weight_score(found.log_weights, LOG_Z)) > 6


def test_a_schedule_adapted_to_its_chains_is_biased():
    """Levels that adapt to two chains at a time: E w is no longer the ratio."""
    options = {"num_particles": 2, "num_steps": 1, "ess": 0.9, "max_levels": 60}
    found = sequential_monte_carlo(KEY, PATH, eb.mala, 0.4, num_repeats=NUM, **options)
    bias = np.exp(found.log_z - LOG_Z) - 1
    assert abs(bias) > 6 * found.standard_error
    frozen = annealed_importance_sampling(
        KEY, PATH, eb.mala, found.betas, found.step_sizes, num_chains=NUM
    )
    assert abs(weight_score(frozen.log_weights, LOG_Z)) < 4.5


# --- bits, trees, paths ---------------------------------------------------------------

RBM = boltzmann.rbm_params(jax.random.key(1), 8, 4, 2.0)
BITS = geometric(bits(jnp.full(8, 0.5)), functools.partial(boltzmann.rbm, RBM))


def test_bits_forward_and_reverse_hold_the_enumerated_log_z():
    truth = boltzmann.rbm_log_z(RBM)
    x = enumeration.sampler(functools.partial(boltzmann.rbm, RBM), 8)(KEY, 2000)
    options = {"num_steps": 1}
    ahead = annealed_importance_sampling(
        KEY, BITS, flips, BETAS, num_chains=4000, **options
    )
    back = annealed_importance_sampling(
        KEY, BITS, flips, BETAS, positions=x, is_reversed=True, **options
    )
    assert abs(weight_score(ahead.log_weights, truth)) < 4.5
    assert abs(weight_score(back.log_weights, -truth)) < 4.5
    found = bennett(ahead, back, confidence=0.999)
    assert found.lower < truth < found.upper
    assert found.upper - found.lower < 0.5
    assert abs(found.log_z - truth) < 4.5 * found.standard_error
    assert found.standard_error < min(ahead.standard_error, back.standard_error)
    assert abs(found.log_z - truth - 0.1) > 4.5 * found.standard_error


def test_trees_a_user_path_and_an_infinite_energy():
    """A half normal times a normal, on a path that is not geometric."""
    mean = {"a": jnp.zeros(()), "b": jnp.zeros(2)}
    base = gaussian(mean, {"a": 2.0, "b": 1.5})

    def along(beta, x):
        inside = 0.5 * x["a"] ** 2 + 0.5 * jnp.sum(x["b"] ** 2) / 0.5**2
        wall = jnp.where((x["a"] < 0) & (beta > 0.5), jnp.inf, 0.0)
        return beta**2 * inside - (1 - beta**2) * base.log_prob(x) + wall

    found = annealed_importance_sampling(
        KEY, Path(along, base), eb.mala, BETAS, 0.5, num_chains=NUM
    )
    truth = 1.5 * LOG_2PI + 2 * np.log(0.5) - np.log(2)
    is_out = np.isneginf(found.log_weights)
    assert 0.4 < is_out.mean() < 0.6
    assert abs(weight_score(found.log_weights, truth)) < 4.5
    assert abs(weight_score(found.log_weights, truth + np.log(2))) > 6


def test_bases_are_normalised_and_their_draws_have_their_law():
    x = jnp.linspace(-8, 8, 4001)[:, None]
    boxes = uniform_box(-jnp.ones(1), 3 * jnp.ones(1))
    for base in (gaussian(jnp.ones(1), 0.7), boxes):
        mass = np.trapezoid(np.exp(jax.vmap(base.log_prob)(x)), x[:, 0])
        assert mass == pytest.approx(1, abs=2e-3)
        draws = np.asarray(base.sample(KEY, NUM))
        assert abs(draws.mean() - 1) < 5 * standard_error(draws)
    covariance = jnp.array([[2.0, 0.6], [0.6, 0.5]])
    base = gaussian(jnp.zeros(2), covariance=covariance)
    fitted = fit_gaussian(base.sample(KEY, NUM))
    points = jax.random.normal(KEY, (50, 2))
    expected = stats.multivariate_normal([0, 0], covariance).logpdf(points)
    assert np.allclose(jax.vmap(base.log_prob)(points), expected, atol=1e-4)
    assert np.allclose(jax.vmap(fitted.log_prob)(points), expected, atol=0.2)
    assert not np.allclose(jax.vmap(fitted.log_prob)(2 * points), expected, atol=0.2)
    network = Flow((2,), (8,), 2)
    params = network.init(KEY, jnp.zeros(2))  # a new flow is the identity
    params = jax.tree.map(lambda x: x + 0.3 * (x.size == 2), params)
    learned = flow(network, params)
    draws = np.asarray(learned.sample(KEY, NUM))
    entropy = -np.asarray(jax.vmap(learned.log_prob)(draws)).mean()
    assert draws.shape == (NUM, 2)
    assert entropy == pytest.approx(1 + LOG_2PI + 0.6, abs=0.02)  # log scales of .3
    eight = bits(jnp.full(8, 0.3))
    assert enumeration.log_z(eight.energy(), 8) == pytest.approx(0, abs=1e-4)


def test_a_fitted_gaussian_has_the_unbiased_variance():
    x = jnp.array([[0.0], [1.0], [5.0]])
    fitted = fit_gaussian(x, is_dense=False)
    expected = stats.norm(2.0, 7.0**0.5).logpdf(4.0)
    assert float(fitted.log_prob(jnp.array([4.0]))) == pytest.approx(expected, abs=0.02)


# --- schedules ------------------------------------------------------------------------


def test_the_pilot_makes_levels_of_equal_length():
    """KLs of neighbours are equal to a fifth, where evenly spaced ones are not."""
    wide = geometric(gaussian(jnp.zeros(1), 10.0), energy)

    def spread(betas):
        mean = lambda b: b * PRECISION * MEAN / (0.01 * (1 - b) + b * PRECISION)
        levels = [(mean(b), 0.01 * (1 - b) + b * PRECISION) for b in betas]
        kls = np.array([kl(a, b) for a, b in zip(levels, levels[1:], strict=False)])
        return np.sqrt(kls).std() / np.sqrt(kls).mean()

    found = pilot(KEY, wide, eb.mala, num_levels=60, num_particles=2000)
    assert isinstance(found, Schedule)
    assert spread(found.betas) < 0.2 < 1 < spread(np.linspace(0, 1, 61))
    assert len(found.step_sizes) == 61
    ratio = found.step_sizes[-1] / found.step_sizes[3]
    assert ratio < 0.5  # the target is twenty times narrower than the base


def test_equal_lengths_by_interpolation():
    betas = equal_lengths([0.0, 0.1, 1.0], [1.0, 1.0], 4)
    assert betas[[0, 2, 4]] == pytest.approx([0, 0.1, 1])
    assert equal_lengths([0.0, 1.0], [0.0], 2) == pytest.approx([0, 0.5, 1])


# --- estimates ------------------------------------------------------------------------


def test_bennetts_ratio_and_its_error_on_normal_works():
    """W ~ N(D + s^2 / 2, s^2) forward and -V ~ N(D - s^2 / 2, s^2) obey Crooks."""
    rng, sigma, d = np.random.default_rng(0), 1.5, 3.0
    found = []
    for _ in range(300):
        ahead = -rng.normal(d + sigma**2 / 2, sigma, 200)
        back = -rng.normal(-d + sigma**2 / 2, sigma, 400)
        found.append(acceptance_ratio(ahead, back))
    log_z, error = np.array(found).T
    assert abs(log_z.mean() + d) < 4 * standard_error(log_z)
    assert error.mean() == pytest.approx(log_z.std(), rel=0.15)
    plain = [weights.log_mean_exp(-rng.normal(d + 1.125, 1.5, 200)) for _ in range(300)]
    assert log_z.std() < 0.6 * np.std(plain)


def run_of(log_weights, is_reversed):
    return REVERSED._replace(
        log_weights=jnp.asarray(log_weights),
        is_reversed=is_reversed,
        is_reversible=False,
    )


def test_both_directions_of_kernels_that_are_not_reversible():
    """Their weighted mean; the forward run alone if the support of the target is
    smaller, where reverse weights have another mean; equal weights have no error."""
    rng = np.random.default_rng(3)
    log_w = rng.normal(-0.5, 1.0, 4096), rng.normal(-0.125, 0.5, 4096)
    ahead, back = run_of(log_w[0], False), run_of(log_w[1], True)
    found = bennett(ahead, back)
    assert abs(found.log_z) < 4.5 * found.standard_error
    errors = np.array([ahead.standard_error, back.standard_error])
    assert found.standard_error == pytest.approx((errors**-2.0).sum() ** -0.5)
    mean = np.average([ahead.log_z, back.log_z], weights=errors**-2.0)
    assert found.log_z == pytest.approx(mean, abs=1e-9)
    cut = run_of(np.where(np.arange(4096) % 2, -np.inf, log_w[0]), False)
    found = bennett(cut, back)
    assert abs(found.log_z + np.log(2)) < 4.5 * found.standard_error
    assert abs(found.log_z) > 20 * found.standard_error
    equal = bennett(run_of(np.zeros(64), False), run_of(np.zeros(64), True))
    assert (equal.log_z, equal.standard_error, equal.width) == (0, 0, 0)
    assert np.isnan(run_of(np.zeros(1), False).standard_error)


def test_the_limit_of_the_drift_has_the_same_false_alarms_for_few_chains():
    rng = np.random.default_rng(4)
    for num in (4, 50):
        t = rng.standard_t(num - 1, 10**6)
        assert (np.abs(t) > drift_limit(num)).mean() < 2e-5
    assert (np.abs(rng.standard_t(3, 10**6)) > 5).mean() > 0.01
    assert drift_limit(10**6) == pytest.approx(5, abs=1e-3)
    assert drift_limit(1) == np.inf


def test_bennetts_ratio_is_found_outside_the_two_estimates():
    """One of 21 reverse weights has nearly all; another constant in the energy only
    shifts log Z."""
    ahead, back = np.full(100, 3.04), np.r_[0.0, np.full(20, -50.0)]
    log_z = acceptance_ratio(ahead, back)[0]
    assert log_z > 3.04 + 1  # both estimates are 3.04
    for c in (-100, 100):
        assert acceptance_ratio(ahead + c, back - c)[0] == pytest.approx(log_z + c)


def test_the_bound_is_below_with_its_confidence():
    """On log-normal weights; the estimate itself is above in half of the repeats."""
    rng = np.random.default_rng(1)
    log_w = rng.normal(-0.5 * 1.0, 1.0, (2000, 256))
    bounds = np.array([weights.lower_bound(row, 0.95) for row in log_w])
    assert (bounds > 0).mean() < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 2000)
    assert (weights.log_mean_exp(log_w, axis=1) > 0).mean() > 0.3
    heavy = rng.normal(-0.5 * 16.0, 4.0, (500, 256))
    assert (np.array([weights.lower_bound(r, 0.95) for r in heavy]) > 0).mean() < 0.02
    # of sixteen blocks, the lower end of Student's interval
    means = weights.log_mean_exp(log_w[0].reshape(16, 16), axis=1)
    test = stats.ttest_1samp(means, 0.0, alternative="greater")
    assert bounds[0] == pytest.approx(test.confidence_interval(0.95).low)
    errors = [weights.standard_error(row) for row in log_w[:200]]
    estimates = weights.log_mean_exp(log_w, axis=1)
    assert np.mean(errors) == pytest.approx(estimates.std(), rel=0.15)


# --- what is reported and what is refused ---------------------------------------------


def test_crossing_bounds_few_weights_and_drifting_samples_are_named():
    narrow = geometric(gaussian(jnp.zeros(1)), lambda x: 50 * energy(x - 5))
    with pytest.warns(UserWarning, match="few chains carry the weights"):
        annealed_importance_sampling(KEY, narrow, eb.mala, BETAS[::4], 0.1)
    ahead = annealed_importance_sampling(KEY, PATH, eb.mala, BETAS, 0.4)
    wrong = 3 + exact(KEY, 256)
    with pytest.warns(UserWarning, match="positions are not draws of the target"):
        back = annealed_importance_sampling(
            KEY, PATH, eb.mala, BETAS, 0.4, positions=wrong, is_reversed=True
        )
    shifted = back._replace(log_weights=back.log_weights + 3)
    with pytest.warns(UserWarning, match="the bounds cross"):
        bennett(ahead, shifted)
    right = annealed_importance_sampling(
        KEY, PATH, eb.mala, BETAS, 0.4, positions=exact(KEY, 256), is_reversed=True
    )
    assert abs(float(right.drift)) < 5  # without a warning, which would be an error
    bennett(ahead, right)


BAD = {
    "betas must be numbers": lambda: run_with(betas=[0.1, 1.0]),
    "betas must rise": lambda: run_with(betas=[0.0, 0.5, 0.5, 1.0]),
    "path must start from a base": lambda: run_with(path=geometric(energy, energy)),
    "energy cannot be evaluated": lambda: run_with(
        path=geometric(gaussian(jnp.zeros(3)), lambda x: jnp.sum(x * jnp.ones(2)))
    ),
    "path at beta = 0 must be": lambda: run_with(
        path=Path(lambda beta, x: energy(x), gaussian(jnp.zeros(1)))
    ),
    "base must have the support": lambda: run_with(
        path=geometric(uniform_box(-jnp.ones(1), jnp.ones(1)), energy), num_chains=999
    ),
    "positions must have the shape": lambda: run_with(
        positions=jnp.zeros((4, 2)), is_reversed=True
    ),
    "positions must be draws": lambda: run_with(is_reversed=True),
    "positions belong to a reverse run": lambda: run_with(positions=jnp.zeros((4, 1))),
    "no chain has a weight left": lambda: run_with(
        path=geometric(gaussian(jnp.zeros(1)), lambda x: energy(x) + jnp.inf)
    ),
    "energy must not be NaN": lambda: run_with(
        path=geometric(gaussian(jnp.zeros(1)), lambda x: energy(x) * jnp.nan)
    ),
    "step_sizes must be one number or .L": lambda: run_with(step_sizes=jnp.ones(3)),
    "step_sizes must be one number or a tree": lambda: run_with(
        step_sizes=eb.Dense(jnp.eye(1))
    ),
    "make_kernel.* must return a Kernel": lambda: annealed_importance_sampling(
        KEY, PATH, lambda energy, size: (energy, size), BETAS
    ),
    "base.sample.key, n. must return n points": lambda: run_with(
        path=geometric(Base(lambda key, n: exact(key, 5), energy), energy)
    ),
    "got traced values": lambda: jax.jit(lambda b: run_with(betas=b))(BETAS),
    "step_sizes must be finite": lambda: run_with(step_sizes=-1.0),
    "forward must be a forward run": lambda: bennett(*2 * (REVERSED,)),
    "num_chains must be at least 32": lambda: REVERSED._replace(
        log_weights=jnp.zeros(31)
    ).bound(),
    "scale must be finite": lambda: gaussian(jnp.zeros(1), -1.0),
    "covariance must be .2, 2.": lambda: gaussian(jnp.zeros(2), covariance=np.eye(3)),
    "high - low must be": lambda: uniform_box(jnp.zeros(1), jnp.zeros(1)),
    "probability must": lambda: bits(jnp.ones(3)),
    "x must have spread": lambda: fit_gaussian(jnp.ones((9, 2))),
}
REVERSED = anneal(
    KEY, PATH, perfect, jnp.asarray(BETAS), jnp.ones(9), exact(KEY, 4), is_reversed=True
)


def run_with(**changes):
    options = {"path": PATH, "betas": BETAS, "step_sizes": 0.4, "num_chains": 16}
    options |= changes
    path, betas, size = (options.pop(n) for n in ("path", "betas", "step_sizes"))
    return annealed_importance_sampling(KEY, path, eb.mala, betas, size, **options)


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_named(message):
    with pytest.raises((ValueError, TypeError), match=message):
        BAD[message]()


def test_wrong_types_are_named():
    with pytest.raises(TypeError, match="path must be a Path"):
        run_with(path=energy)
    with pytest.raises(TypeError, match="energy must be a function"):
        geometric(Base(exact, energy), 3.0)


# --- programs -------------------------------------------------------------------------


def test_new_numbers_compile_nothing_and_levels_cost_no_memory():
    scaled, traces = counted(lambda scale, x: 0.5 * jnp.sum((x / scale) ** 2))

    def call(scale, base_scale):
        path = geometric(
            gaussian(jnp.zeros(1), base_scale), functools.partial(scaled, scale)
        )
        return annealed_importance_sampling(KEY, path, eb.mala, BETAS, 0.4)

    first = call(0.5, 1.0).log_z
    num_traces = len(traces)
    assert call(0.7, 1.5).log_z != first
    assert len(traces) == num_traces

    def megabytes(num):
        betas = jnp.linspace(0, 1, num + 1)
        x = jnp.zeros((1000, 50))
        path = geometric(gaussian(jnp.zeros(50)), lambda x: jnp.sum(x**4))
        program = jax.jit(lambda b, x: anneal(KEY, path, eb.mala, b, b + 0.1, x))
        found = program.lower(betas, x).compile().memory_analysis()
        return (found.temp_size_in_bytes + found.output_size_in_bytes) / 1e6

    assert megabytes(2000) < megabytes(20) + 0.1  # 2000 positions would be 400 MB
