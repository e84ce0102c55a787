"""Warm-up finds known scales, step sizes and lengths, and reports failures."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import spaces, targets, verify
from ebmjax.adaptation import approach
from ebmjax.adaptation.base import Adapter
from ebmjax.adaptation.checks import share_at_walls
from ebmjax.adaptation.mass_matrix import NEIGHBOURS, Moments, growth, inverse_of
from ebmjax.adaptation.step_size import MOST_TRIES, SLOWEST, StepSize, StepSizeAdapter
from ebmjax.adaptation.trajectory_length import (
    Jump,
    Length,
    chees,
    evenly,
    num_leapfrog_steps,
)
from ebmjax.energies.local import of_one_hot

SCALES = np.geomspace(0.02, 20.0, 6)
STRETCHED = targets.gaussian(np.zeros(6), np.diag(SCALES**2))
CORRELATED = targets.correlated_gaussian(8, 0.9)


def test_moments_are_those_of_all_finite_points(key):
    x = (
        jax.random.normal(key, (40, 3))
        @ jnp.array([[1.0, 0.5, 0.0], [0.0, 2.0, 0.3], [0.0, 0.0, 0.1]])
        + 5.0
    )
    for is_dense in (False, True):
        moments = Moments.none(3, is_dense=is_dense)
        for part in (x[:7], x[7:20].at[3].set(jnp.nan), x[20:]):
            moments = moments.update(part)
        kept = np.delete(np.asarray(x), 10, axis=0)
        covariance = np.cov(kept.T) * 38
        assert int(moments.num) == 39
        assert np.allclose(moments.mean, kept.mean(axis=0), atol=1e-4)
        assert np.allclose(
            moments.squares,
            covariance if is_dense else np.diag(covariance),
            rtol=1e-3,
            atol=1e-3,
        )


def test_moments_of_half_precision_and_of_one_chain_are_counted_exactly():
    """bfloat16 has no odd number above 256."""
    x = jnp.asarray([[0.5, 2.0]], jnp.bfloat16)
    first = Moments.none(2, is_dense=False).update(x)
    assert np.array_equal(first.mean, x[0])
    add = lambda moments, _: (moments.update(x), None)
    found, _ = jax.lax.scan(add, first, length=600)
    assert found.num == 601 and not np.any(found.squares)
    assert np.allclose(found.mean, x[0])


def test_the_scale_is_a_root_and_stays_for_constant_coordinates():
    x = jnp.asarray(
        np.random.default_rng(0).multivariate_normal(
            [0, 0], [[4.0, 1.0], [1.0, 1.0]], 4000
        ),
        jnp.float32,
    )
    root = Moments.none(2, is_dense=True).update(x).scale(jnp.eye(2))
    assert np.allclose(root @ root.T, [[4.0, 1.0], [1.0, 1.0]], atol=0.25)
    before = jnp.array([0.3, 7.0])
    assert np.array_equal(Moments.none(2, is_dense=False).scale(before), before)
    still = Moments.none(2, is_dense=False).update(x.at[:, 1].set(1.0)).scale(before)
    assert still[0] == pytest.approx(2.0, rel=0.05) and still[1] == 7.0


def test_correlations_are_shrunk_by_the_formula_of_schaefer_and_strimmer(key):
    """The shrinkage is that of Schaefer & Strimmer's formula, and whitens better than
    all correlations or none."""
    dim, num = 12, 300
    white = jax.random.normal(key, (num, dim))
    covariance = 0.8 * np.ones((dim, dim)) + 0.2 * np.eye(dim)
    for truth, least, most in ((np.eye(dim), 0.0, 0.5), (covariance, 0.98, 1.0)):
        x = white @ np.linalg.cholesky(truth).T
        root = Moments.none(dim, is_dense=True).update(x).scale(jnp.eye(dim))
        found, sampled = np.asarray(root @ root.T), np.cov(np.asarray(x).T)
        spread = lambda m, truth=truth: np.ptp(
            np.log(np.linalg.eigvals(np.linalg.solve(truth, m)).real)
        )
        r = np.corrcoef(np.asarray(x).T)[np.triu_indices(dim, 1)]
        share = 1 - min(
            1.0, ((1 - r**2) ** 2 / (num / NEIGHBOURS - 1)).sum() / (r**2).sum()
        )
        of_all = (
            np.triu(found, 1) / np.triu(sampled, 1).clip(1e-9)
            if share
            else np.triu(found, 1)
        )
        assert least <= share <= most
        assert np.allclose(np.median(of_all[np.triu_indices(dim, 1)]), share, atol=0.03)
        assert spread(found) <= spread(sampled) * 1.02
        assert spread(found) < 0.9 * max(
            spread(sampled), spread(np.diag(np.diag(sampled)))
        )


@pytest.mark.parametrize("num_chains", [1, 100])
def test_dual_averaging_finds_the_root_of_a_known_curve(num_chains):
    curve = lambda log_size: jax.nn.sigmoid(
        -2 * (log_size - 0.7)
    )  # acceptance falls as the step grows
    size = StepSize.begin(0.1, num_chains)
    for _ in range(150):
        size = size.update(curve(size.log_size), 0.8)
    assert float(curve(size.log_mean)) == pytest.approx(0.8, abs=0.03)


def rotated(t):
    """T dC/dT, C and 2V of |x| where x is standard normal and turned by an angle t: E|x
    x_t| is 2/pi (sin t + cos t asin cos t)."""
    square = 2 - 4 / np.pi * (np.sin(t) + np.cos(t) * (np.pi / 2 - t))
    return Jump(
        t * 4 / np.pi * np.sin(t) * (np.pi / 2 - t), square, 2 * (1 - 2 / np.pi)
    )


def test_the_criterion_of_a_length_is_that_of_a_rotation():
    num = 200_000
    x, n = jax.random.normal(jax.random.key(3), (2, num, 1))
    is_accepted = jnp.arange(num) % 2
    for t in (0.4, 1.2, 2.0):
        after, velocity = np.cos(t) * x + np.sin(t) * n, np.cos(t) * n - np.sin(t) * x
        after = jnp.where(
            is_accepted[:, None], after, 7.0
        )  # rejected proposals carry no information
        found = chees(x, after, velocity, jnp.full(num, t), is_accepted)
        for name, value in rotated(t)._asdict().items():
            assert float(getattr(found, name)) == pytest.approx(value, abs=0.02), (
                t,
                name,
            )


def test_a_length_reaches_the_maximum_and_stays_short_where_the_gain_is_small():
    def climbed(jump_at):
        length = Length.begin(0.2)
        for _ in range(200):
            length = length.update(
                jax.tree.map(jnp.float32, jump_at(float(jnp.exp(length.log_length)))),
                100.0,
            )
        return float(jnp.exp(length.log_mean))

    assert climbed(rotated) == pytest.approx(np.pi / 2, rel=0.1)
    power = lambda exponent, square: (
        lambda t: Jump(exponent * square, square, 1.0)
    )  # C grows as T^exponent
    assert (
        climbed(power(0.5, 0.1)) < 0.1
    )  # it should be 0.81 for ends that are so much alike
    assert climbed(power(0.5, 0.5)) > 50.0  # and 0.25 for these


def test_fractional_lengths_are_right_on_average():
    t, eps = jnp.arange(200), 0.3
    for length in (0.4, 1.0, 1.7):
        steps = num_leapfrog_steps(jnp.log(length), eps, evenly(t), 100)
        assert (
            float(steps.mean()) == pytest.approx(length / eps, abs=0.03)
            and int(np.ptp(steps)) == 1
        )
    assert (
        num_leapfrog_steps(jnp.log(0.01), eps, 0.0, 100) == 1
    )  # at least, and at most
    assert num_leapfrog_steps(jnp.log(1000.0), eps, 0.0, 100) == 100


@pytest.mark.parametrize(
    ("make", "num_chains", "rel"),
    [(eb.nuts, 4, 0.35), (eb.mala, 64, 0.3), (eb.hmc, 64, 0.25)],
)
def test_warm_up_finds_the_scales_of_the_target(make, num_chains, rel, key):
    start = 3.0 * jax.random.normal(key, (num_chains, 6))
    tuned = eb.warm_up(
        key, make, STRETCHED.energy, start, num_steps=300, covariance="diagonal"
    )
    scales = np.asarray(tuned.step_size) / np.exp(
        np.mean(np.log(tuned.step_size / SCALES))
    )
    assert np.allclose(scales, SCALES, rtol=rel)
    rate = tuned.acceptance_rate[-40:].mean()
    assert abs(rate - tuned.kernel.acceptance_target) < 0.1


def test_dense_mass_whitens(key):
    start = jax.random.normal(key, (128, 8))
    tuned = eb.warm_up(
        key, eb.mala, CORRELATED.energy, start, covariance="dense", num_steps=200
    )
    factor = np.asarray(tuned.step_size.matrix)
    whitened = factor @ factor.T
    ratio = np.linalg.eigvals(np.linalg.solve(CORRELATED.covariance, whitened)).real
    assert ratio.max() / ratio.min() < 2.0
    plain = np.linalg.eigvalsh(CORRELATED.covariance)
    assert plain.max() / plain.min() > 50  # what it would be without


def test_the_step_size_suits_the_narrow_places_of_a_curved_target(key):
    """The harmonic mean of the chains' acceptance rates reaches the target; their mean
    is clearly above."""
    bent = targets.TARGETS["banana"]()
    tuned = eb.warm_up(
        key, eb.hmc, bent.energy, bent.sample(key, 256), num_steps=200, target=0.651
    )
    chains, keys = eb.parallel(tuned.kernel), eb.chain_keys(key, 256)
    start, rate = (
        chains.init(bent.sample(key, 256)),
        lambda state, info: info.acceptance_rate,
    )
    _, rates, _ = eb.run(keys, chains, start, 20, collect=rate)
    harmonic = 1 / jnp.mean(1 / jnp.maximum(rates, SLOWEST), axis=1)
    assert float(harmonic.mean()) == pytest.approx(0.651, abs=0.07)
    assert float(rates.mean()) > 0.8


def test_the_length_of_trajectories_is_that_of_a_round_gaussian(key):
    """After whitening the criterion is best at a quarter of a period."""
    start = STRETCHED.sample(key, 256)
    tuned = eb.warm_up(
        key, eb.hmc, STRETCHED.energy, start, num_steps=200, covariance="diagonal"
    )
    eps = float(np.exp(np.mean(np.log(tuned.step_size / SCALES))))
    assert eps * tuned.num_steps == pytest.approx(np.pi / 2, rel=0.35)
    start = CORRELATED.sample(key, 256)
    plain, dense = (
        eb.warm_up(key, eb.hmc, CORRELATED.energy, start, num_steps=200, covariance=c)
        for c in ("diagonal", "auto")
    )
    assert (
        plain.num_steps > 2 * dense.num_steps
    )  # a slow direction needs long trajectories


@pytest.mark.parametrize(
    "make", [eb.nuts, eb.hmc, partial(eb.hmc, num_steps=4), eb.mala, eb.random_walk]
)
def test_the_tuned_kernel_is_invariant(make, key):
    target = targets.rosenbrock()
    tuned = eb.warm_up(key, make, target.energy, target.sample(key, 32), num_steps=150)
    verify.invariance(key, tuned.kernel, target, num_chains=4000, num_steps=5).require()


@pytest.mark.parametrize("make", [eb.mala, eb.nuts], ids=["mala", "nuts"])
@pytest.mark.filterwarnings(
    "ignore:.* proposals had", "ignore:1 of 64 chains never moved"
)  # it is steep there
@pytest.mark.parametrize("seed", [1, 4])
def test_starts_in_far_tails(seed, make):
    """Rosenbrock from far outside, with energies of order 1e7 and curvature of order
    1e4. The energy of exact draws is exponential above its minimum: above 15 in one run
    of 64 chains in fifty thousand."""
    key, target = jax.random.key(seed), targets.rosenbrock()
    start = 20.0 * jax.random.normal(key, (64, 2))
    tuned = eb.warm_up(key, make, target.energy, start, num_steps=200)
    samples = eb.sample(
        key,
        tuned.kernel,
        tuned.position,
        50,
        collect=lambda s, i: (s.energy, i.is_accepted),
    )
    energies, is_accepted = (np.asarray(x) for x in samples.draws)
    least = float(target.energy(jnp.ones(2)))
    assert (energies[0] - least < 15).all() and is_accepted.any(axis=0).sum() >= 63


def test_slow_chains_determine_the_step_size(key):
    """One chain in four is in a well fifty times as narrow.  If the others always
    accept, the harmonic mean of rates is 0.574 when the rate of this chain is 0.25;
    with the mean of rates it would be 0.00."""
    place = targets.mixture([0.5, 0.5], [[0.0], [30.0]], [1.0, 0.02])
    start = jnp.concatenate([jnp.zeros((48, 1)), jnp.full((16, 1), 30.0)])
    tuned = eb.warm_up(
        key, eb.mala, place.energy, start, covariance=None, num_steps=300
    )
    rate = eb.sample(
        key, tuned.kernel, tuned.position, 100, collect=eb.discard
    ).acceptance_rate
    assert 0.12 < rate[48:].mean() < 0.4 and rate[:48].mean() > 0.95


def test_trees_keep_their_shape(key):
    energy = lambda x: 0.5 * ((x["a"] / 3.0) ** 2 + jnp.sum((x["b"] / 0.1) ** 2))
    start = {"a": jax.random.normal(key, (64,)), "b": jax.random.normal(key, (64, 2))}
    tuned = eb.warm_up(
        key, eb.nuts, energy, start, num_steps=100, covariance="diagonal"
    )
    assert tuned.step_size["a"].shape == () and tuned.step_size["b"].shape == (2,)
    assert float(tuned.step_size["a"] / tuned.step_size["b"][0]) == pytest.approx(
        30.0, rel=0.4
    )
    dense = eb.warm_up(key, eb.mala, energy, start, num_steps=100)
    assert dense.step_size.matrix.shape == (3, 3)
    eb.sample(key, dense.kernel, dense.position, 20)


def test_warm_up_works_inside_jit(key):
    @jax.jit
    def run(key, scale):
        energy = lambda x: 0.5 * jnp.sum((x / scale) ** 2)
        found = eb.adapt(
            key, eb.nuts, energy, jnp.ones((8, 3)), num_steps=60, target=0.8
        )
        kernel = eb.parallel(eb.nuts(energy, found.step_size))
        return eb.run(eb.chain_keys(key, 8), kernel, kernel.init(found.position), 200)[
            1
        ]

    for scale in (0.01, 50.0):
        assert float(run(key, scale).std()) == pytest.approx(scale, rel=0.15)


def test_the_approach_of_exact_draws_takes_the_fewest_rounds(key):
    energy = lambda x: 0.5 * jnp.sum(x**2)
    state = jax.vmap(eb.mala(energy, 1.0).init)(jax.random.normal(key, (8, 2)))
    make_kernel = lambda step_size: eb.mala(energy, step_size)
    keys, sizes = jax.random.split(key, 8), jnp.zeros(8)
    found = approach.approach(keys, make_kernel, state, sizes, 0.574, 2)
    assert found[2] == approach.LEAST_ROUNDS


@pytest.mark.parametrize("constant", [0.0, 1e5])
def test_the_approach_ends_where_energies_fall_by_little(constant):
    """Energies halve in a round from 3000: falls of 1500, 750, 375, 188, 94, 47.  The
    last is below 2 % of all, and the one before above; a constant changes nothing."""

    class Halving:
        def step(self, key, state):
            energy = (state.energy - constant) * 0.5 ** (1 / approach.ROUND)
            info = SimpleNamespace(acceptance_rate=jnp.float32(0.5))
            return state._replace(energy=energy + constant), info

    start = eb.State(jnp.zeros((1, 100)), jnp.full(1, 3000.0 + constant))
    keys = jax.random.split(jax.random.key(0), 1)
    make_kernel = lambda step_size: Halving()
    found = approach.approach(keys, make_kernel, start, jnp.zeros(1), 0.5, 100)
    assert found[2] == 6


def test_gradients_are_counted(key):
    start = STRETCHED.sample(key, 16)
    tuned = eb.warm_up(
        key, partial(eb.hmc, num_steps=7), STRETCHED.energy, start, num_steps=100
    )
    others = tuned.num_grads / 16 - (100 * 7 + 1)  # approach and searches
    rounds = [
        others - n * approach.ROUND
        for n in range(approach.LEAST_ROUNDS, approach.MOST_ROUNDS + 1)
    ]
    assert others % 1 == 0 and any(0 < searches < 6 * MOST_TRIES for searches in rounds)
    assert (
        eb.warm_up(
            key, eb.random_walk, STRETCHED.energy, start, num_steps=300
        ).num_grads
        == 0
    )


def test_gradients_of_a_free_length_are_counted(key):
    """They equal the length of trajectories after it has converged."""
    start = CORRELATED.sample(key, 64)
    short, long = (
        eb.warm_up(
            key, eb.hmc, CORRELATED.energy, start, num_steps=n, covariance="diagonal"
        ).num_grads
        / 64
        for n in (150, 300)
    )
    lengths = eb.warm_up(
        key, eb.hmc, CORRELATED.energy, start, num_steps=300, covariance="diagonal"
    ).num_steps
    assert long - short > 0.5 * 150 * lengths


def test_failures_of_warm_up_are_reported(key):
    start = STRETCHED.sample(key, 8)
    stuck = lambda energy, step_size: eb.random_walk(
        energy, jax.tree.map(lambda s: 1e6 + 0 * s, step_size)
    )
    with pytest.warns(
        RuntimeWarning, match="acceptance ended at 0.00 where 0.23 was wanted"
    ):
        eb.warm_up(
            key, stuck, STRETCHED.energy, start, target=0.234, covariance="diagonal"
        )


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_an_energy_without_an_integral_is_reported(slope, key):
    with pytest.warns(RuntimeWarning, match="seems to have no integral"):
        eb.warm_up(
            key, eb.mala, lambda x: slope * jnp.sum(x), jnp.ones((4, 2)), num_steps=100
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 1.5}, r"target must lie in \(0, 1\), got 1.5"),
        ({"step_size": -1.0}, "step_size must be finite and above 0"),
        ({"num_steps": 3}, "num_steps must be at least 20"),
        (
            {"covariance": "full"},
            "covariance must be 'auto', 'dense', 'diagonal' or None, got 'full'",
        ),
        ({"positions": jnp.full((4, 6), jnp.nan)}, "positions must be finite"),
        (
            {"positions": jnp.full((4, 6), 1e30)},
            "the energy must be finite where the chains start",
        ),
        (
            {"make_kernel": lambda e, s: eb.ula(e, s)},
            "target must be given for a kernel without an acceptance_target",
        ),
    ],
)
def test_bad_input(options, message, key):
    arguments = {
        "make_kernel": eb.mala,
        "energy": STRETCHED.energy,
        "positions": jnp.ones((4, 6)),
        **options,
    }
    with pytest.raises(ValueError, match=message):
        eb.warm_up(key, **arguments)


# --- regression tests: lost chains and extreme scales -------------------------------


def test_scales_far_apart_are_found_with_a_flat_coordinate(key):
    scales = np.array([1e-8, 1.0, 1e8])
    energy = lambda x: 0.5 * jnp.sum((x / scales) ** 2)
    start = scales * np.asarray(jax.random.normal(key, (32, 3)))
    tuned = eb.warm_up(key, eb.nuts, energy, start.astype(np.float32), num_steps=100)
    sd = np.sqrt(np.diag(tuned.step_size.matrix @ tuned.step_size.matrix.T))
    assert np.ptp(np.log(sd / scales)) < 0.7
    flat = lambda x: 0.5 * x[0] ** 2
    tuned = eb.warm_up(key, eb.mala, flat, jnp.ones((32, 2)), num_steps=100)
    assert np.isfinite(tuned.step_size.matrix).all()


def test_the_inverse_of_a_factor_of_scales_far_apart():
    scale = np.diag([1e-8, 1.0, 1e8]) @ np.array(
        [[1, 0, 0], [0.5, 1, 0], [0.2, 0.3, 1]]
    )
    found = np.asarray(inverse_of(jnp.asarray(scale, jnp.float32)), np.float64)
    assert np.allclose(found @ scale, np.eye(3), atol=1e-5)
    assert np.allclose(inverse_of(jnp.array([2.0, 0.5])), [0.5, 2.0])


def test_a_start_whose_gradient_is_nan_is_named(key):
    norm = lambda x: jnp.sqrt(jnp.sum(x**2))  # its gradient at 0 is NaN
    start = jax.random.normal(key, (4, 2)).at[2].set(0.0)
    message = "gradient of the energy must be finite where .*, got NaN .* at chain 2"
    for make in (eb.mala, eb.nuts):
        with pytest.raises(ValueError, match=message):
            eb.warm_up(key, make, norm, start)
        with pytest.raises(ValueError, match=message):
            eb.sample(key, make(norm, 0.1), start, 10)
    assert eb.warm_up(key, eb.random_walk, norm, start).kernel.needs_grad is False


@pytest.mark.filterwarnings("ignore:acceptance ended")
def test_lost_chains_do_not_affect_the_tuning(key):
    """Four of 128 chains in a narrow trap whose weight is exp(-450)."""

    def energy(x):
        bulk = 0.5 * jnp.sum(x**2)
        trap = 450.0 + 0.5 * jnp.sum(((x - 60.0) / 0.01) ** 2)
        return -jnp.logaddexp(-bulk, -trap)

    start = jax.random.normal(key, (128, 2)).at[jnp.array([3, 40, 77, 96])].set(60.0)
    with pytest.warns(RuntimeWarning, match=r"chains 3, 40, 77, 96 \(4 of 128\) are"):
        tuned = eb.warm_up(key, eb.hmc, energy, start, num_steps=150)
    assert list(np.flatnonzero(tuned.is_lost)) == [3, 40, 77, 96]
    assert tuned.num_steps <= 3
    whole = np.linalg.cond(tuned.step_size.matrix)
    assert whole < 1.6


def test_the_length_follows_the_scales(key):
    """On a narrow, correlated Gaussian a few steps are enough once it is whitened."""
    target = targets.gaussian(np.zeros(2), 0.01 * np.array([[1.0, 0.99], [0.99, 1.0]]))
    start = jax.random.normal(key, (64, 2))
    tuned = eb.warm_up(key, eb.hmc, target.energy, start, num_steps=150)
    assert tuned.num_steps <= 3
    assert float(growth(jnp.eye(2), jnp.array([[3.0, 0.0], [4.0, 1.0]]))) == 5.0


def test_any_integrator_has_its_length_tuned(key):
    start = STRETCHED.sample(key, 64)
    make = partial(eb.hmc, integrator=eb.mclachlan)
    tuned = eb.warm_up(key, make, STRETCHED.energy, start, num_steps=100)
    assert tuned.kernel.integrator == eb.mclachlan and tuned.num_steps >= 1
    wrapped = lambda energy, step_size: eb.hmc(energy, step_size, "auto")
    other = eb.warm_up(key, wrapped, STRETCHED.energy, start, num_steps=100)
    assert other.num_steps is not None


class Fixed(Adapter):
    """Keeps the initial step size."""

    def init(self, tuning, num_chains):
        return tuning.log_step_size

    def update(self, state, tuning, seen):
        return state, tuning._replace(log_step_size=state)


def test_a_user_adapter_replaces_the_criterion(key):
    def adapt(adapters):
        return eb.adapt(
            key,
            eb.mala,
            STRETCHED.energy,
            STRETCHED.sample(key, 16),
            num_steps=30,
            target=0.574,
            covariance=None,
            adapters=adapters,
        )

    fixed = adapt((Fixed(),))
    usual = adapt((StepSizeAdapter(0.574),))
    assert fixed.step_size != usual.step_size


KEY = jax.random.key(9)


def test_the_step_of_a_discrete_kernel_is_tuned_without_leaving_its_space(key):
    weights = jax.random.normal(jax.random.key(5), (30, 30))
    of_bits = lambda x: -x @ weights @ x
    make = partial(eb.dmala, space=spaces.BITS)
    start = jnp.zeros((64, 30))
    for covariance in ("auto", None):
        found = eb.warm_up(
            key, make, of_bits, start, num_steps=300, covariance=covariance
        )
        assert np.ndim(found.step_size) == 0 and 0.05 < found.step_size < 50
        assert np.isin(np.asarray(found.position), (0, 1)).all()
        reached = found.acceptance_rate[200:].mean()
        assert abs(reached - found.kernel.acceptance_target) < 0.1
    level = lambda x: 0.0 * x.sum()
    with pytest.warns(RuntimeWarning, match="acceptance ended at 1.00"):
        flat = eb.tune_step_size(key, make, level, start, num_steps=300)
    assert flat.step_size == 1000.0  # every step is accepted
    with pytest.raises(
        ValueError, match="covariance must be None or 'auto' for a kern"
    ):
        eb.warm_up(key, make, of_bits, start, covariance="dense")
    of_levels = of_one_hot(lambda z: 0.7 * jnp.sum(z[..., 0]), 3)
    found = eb.tune_step_size(key, eb.dmala, of_levels, start, num_steps=100)
    assert np.isin(np.asarray(found.position), (0, 1, 2)).all()


def test_a_hard_boundary_that_lowers_the_acceptance_is_named():
    """A smooth energy whose acceptance is poor for another reason is the control."""
    wall = lambda x: jnp.where(jnp.all(x > 0), 0.5 * jnp.sum(x**2), jnp.inf)
    start = jnp.abs(jax.random.normal(KEY, (64, 4)))
    with pytest.warns(RuntimeWarning, match="of the steps end where the energy is inf"):
        tuned = eb.warm_up(KEY, eb.hmc, wall, start)
    share, rate = share_at_walls(KEY, tuned.kernel, tuned.position)
    assert share > 0.02 and rate > 0.9
    smooth = eb.hmc(lambda x: 0.5 * jnp.sum(x**2), 2.5, 10)
    share, rate = share_at_walls(KEY, smooth, start)
    assert share == 0 and rate < 0.5
