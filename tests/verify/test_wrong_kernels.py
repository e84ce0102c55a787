"""Bugs that simple tests miss are detected; correct kernels of unusual kinds pass.

The rows run with fewer chains and steps than the defaults if that is sufficient.
"""

import re

import jax
import jax.numpy as jnp
import kernel_examples as examples
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import targets, verify
from ebmjax.energies import enumeration
from ebmjax.kernels.flip import flip
from ebmjax.kernels.gibbs import gibbs
from ebmjax.verify.products import Dependence, Witness

LINE, PLANE, SPACE = (targets.standard_normal(d) for d in (1, 2, 3))
TILTED = targets.gaussian(np.zeros(3), 0.5 * np.eye(3) + 0.5)
PRECISION = np.linalg.inv(TILTED.covariance)
SHORT = {"num_chains": 20_000, "num_steps": 20}
ONE = {"num_chains": 10_000, "num_steps": (1, 5)}
MOMENTUM = {"complete": examples.fresh_momentum}

WRONG = {  # kernel, target, options, name of the worst finding
    "a coordinate that never moves": (
        examples.stuck(TILTED.energy, 0.8, coordinate=1), TILTED, SHORT, r"x\[1\] ever moved"),
    "Gibbs that forgets a coordinate": (
        examples.gibbs(PRECISION, forgets=1), TILTED, SHORT, r"x\[2\] ever moved"),
    "generalised HMC without the flip": (
        examples.ghmc(PLANE.energy, 1.2, is_flipped=False), PLANE, {**SHORT, **MOMENTUM}, ""),
    "delayed rejection with the first ratio": (
        examples.delayed_rejection(PLANE.energy, 3.0, is_right=False), PLANE,
        {"num_chains": 100_000, "num_steps": 20}, ""),
    "proposed until accepted": (
        examples.until_accepted(PLANE.energy, 1.0), PLANE,
        {"num_chains": 100_000, "num_steps": 20}, ""),
    "anything accepted beyond three sd": (
        examples.walk(LINE.energy, 1.0, always=lambda k, x: jnp.abs(x[0]) > 3), LINE, ONE, ""),
    "a sign that is a product": (
        examples.signs(is_right=False), SPACE, SHORT, r"mean of x\[0\] x\[1\] x\[2\]"),
    "angles of density 1 + sin 4a": (
        examples.turn(is_right=False), PLANE, SHORT, "sin of 4 times the angle"),
    "angles of density 1 + sin 7a": (
        examples.turn(harmonic=7, is_right=False), PLANE, SHORT, "sin of 7 times the angle"),
    "two distant coordinates": (
        examples.far_apart(i=3, j=30), targets.standard_normal(40),
        {"num_chains": 4000, "num_steps": 2}, r"x\[3\] x\[30\]"),
}  # fmt: skip

RIGHT = {
    "Gibbs": (examples.gibbs(PRECISION), TILTED, SHORT),
    "generalised HMC": (examples.ghmc(PLANE.energy, 1.2), PLANE, {**SHORT, **MOMENTUM}),
    "delayed rejection": (examples.delayed_rejection(PLANE.energy, 3.0), PLANE, SHORT),
    "multiple try": (examples.multiple_try(PLANE.energy, 1.5), PLANE, SHORT),
    "pCN": (examples.pcn(examples.likelihood, 0.5), examples.with_likelihood(), ONE),
    "elliptical slice": (examples.elliptical_slice(examples.likelihood), examples.with_likelihood(), ONE),
    "replica exchange": (
        examples.exchange(PLANE.energy, (1.0, 2.0), (1.0, 4.0)),
        examples.replicas(PLANE, (1.0, 4.0)), ONE),
    "stretch move": (examples.stretch(PLANE.energy), examples.walkers(PLANE, 3), ONE),
    "signs": (examples.signs(), SPACE, SHORT),
    "turns": (examples.turn(), PLANE, SHORT),
    "x + 1e-5 mod 1": (examples.of(lambda k, x: (x + 1e-5) % 1), examples.uniform(), ONE),
    "-x": (examples.of(lambda k, x: -x), PLANE, ONE),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_kernel_is_rejected(name, key):
    kernel, target, options, worst = WRONG[name]
    report = verify.invariance(key, kernel, target, **options)
    assert report.is_failed and report.p_value < 1e-6, str(report)
    found = [f.name for f in report.findings if report.adjusted(f) < 1e-6]
    assert any(re.search(worst, name) for name in found), str(report)


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_kernel_is_not_rejected(name, key):
    kernel, target, options = RIGHT[name]
    report = verify.invariance(key, kernel, target, **options)
    assert report.is_passed, str(report)


def test_the_sequential_test_rejects_a_small_bias(key):
    """ULA at step .3 on N(0, 1): variance 1.023."""
    kernel = eb.ula(LINE.energy, 0.3)
    report = verify.invariance(
        key,
        kernel,
        LINE,
        num_chains=50_000,
        num_steps=20,
        statistics=("moments", "energy"),
    )
    assert report.is_failed and "round 1: INCONCLUSIVE" in str(report)


def test_a_kernel_that_accepts_nothing_is_inconclusive(key):
    report = verify.invariance(key, eb.hmc(PLANE.energy, 100.0, 3), PLANE, **ONE)
    assert report.verdict == "INCONCLUSIVE"


def test_chains_that_share_their_noise_are_rejected(key):
    """Each chain is invariant, but they are not independent."""
    shared = examples.of(
        lambda k, x: jax.random.normal(jax.random.key(3), x.shape) * 0.6 + 0.8 * x
    )
    report = verify.invariance(key, shared, PLANE, **SHORT)
    names = [f.name for f in report.findings if f.p_value < 1e-9]
    assert "correlation between chains, 20 steps" in names


@pytest.mark.parametrize("num_noises", [1000, 2000])
def test_noise_shared_with_a_distant_chain_is_found(num_noises):
    """Chains i and i + N / 2 of N = 2000 have the same noise, or none have."""
    rng = np.random.default_rng(0)
    before, noise = rng.normal(size=(2, 2000, 3))
    after = 0.8 * before + 0.6 * noise[np.arange(2000) % num_noises]
    dependence = Dependence()
    dependence.add(before, after, np.zeros(3))
    assert (dependence.finding("").p_value < 1e-9) == (num_noises == 1000)


@pytest.mark.parametrize("bias", [0.2, 0.0])
def test_a_bias_of_a_difference_is_learned(bias):
    """A bias of N(0, 1) columns, in opposite directions."""
    rng = np.random.default_rng(0)
    draw = lambda: rng.normal(size=(2000, 3))
    witness = Witness(None, draw())
    witness.add(draw(), draw() + [bias, 0.0, -bias])
    witness.learn()
    witness.add_exact(draw())
    witness.add(draw(), draw() + [bias, 0.0, -bias])
    assert (witness.finding("").p_value < 1e-6) == (bias > 0)


def test_an_atom_of_the_distribution_is_rejected(key):
    """Positions clipped at a boundary instead of rejected."""
    box = examples.Target(
        "normal below 2",
        lambda x: jnp.where(x[0] <= 2, 0.5 * jnp.sum(x**2), jnp.inf),
        lambda k, n: jax.random.truncated_normal(k, -6.0, 2.0, (n, 1)),
    )
    clipped = examples.of(
        lambda k, x: jnp.minimum(
            examples.walk(LINE.energy, 1.0).step(k, examples.Point(x))[0].position, 2.0
        )
    )
    report = verify.invariance(key, clipped, box, **SHORT)
    assert any(
        "share of x[0] = 2" in f.name and f.p_value < 1e-9 for f in report.findings
    )


# --- reversibility, adaptation, finite spaces, promises -----------------------------------


def test_the_rank_test_rejects_a_bias_in_the_tails(key):
    far = lambda k, x: jnp.abs(x).max() > 3
    report = verify.rank(key, examples.walk(PLANE.energy, 1.0, always=far), PLANE)
    assert report.is_failed and "in the tails" in report.worst.name
    assert verify.rank(key, examples.walk(PLANE.energy, 1.0), PLANE).is_passed


def test_an_adapting_kernel_in_float64(key):
    with jax.enable_x64(True):
        kernel = examples.adapting(PLANE.energy, 0.02)
        options = {"num_chains": 100, "num_steps": 64}
        options["adapted"] = lambda s: s.log_step.astype(np.float64)
        assert "vanishes: False" in str(verify.adaptive(key, kernel, PLANE, **options))


def test_adaptation_must_diminish(key):
    target = targets.two_modes()
    options = {"num_chains": 1000, "num_steps": 800}
    for_ever = verify.adaptive(
        key, examples.adapting(target.energy, 0.02), target, **options
    )
    assert for_ever.is_failed and "vanishes: False" in str(for_ever)
    kernel = examples.adapting(target.energy, 1.0, power=0.6)
    assert verify.adaptive(key, kernel, target, **options).is_passed
    with pytest.raises(TypeError, match="holds no adapted numbers"):
        verify.adaptive(key, eb.mala(target.energy, 0.5), target, **options)
    for num_steps, wanted in ((48, "at least 64"), (72, "a multiple of 16")):
        with pytest.raises(ValueError, match=f"num_steps must be {wanted}"):
            verify.adaptive(key, kernel, target, num_steps=num_steps)


ENERGY = lambda x: -1.0 * x[0] * x[1] + 0.7 * x[1] * x[2] - 0.3 * x[0]
BITS = enumeration.states(3)


def test_transition_matrices_are_counted(key):
    for kernel, is_reversible in ((flip(ENERGY), True), (gibbs(ENERGY), False)):
        test = lambda energy, kernel=kernel, r=is_reversible: verify.counted_balance(
            key, kernel, energy, BITS, is_reversible=r, num_chains=4000)  # fmt: skip
        assert test(ENERGY).is_passed
        assert test(lambda x: 1.3 * ENERGY(x)).is_failed
    swept = verify.counted_balance(key, gibbs(ENERGY), ENERGY, BITS, num_chains=4000)
    assert swept.is_failed and "P_ij" in swept.worst.name  # a sweep is not reversible


def test_unreachable_states_and_periods_are_reported(key):
    first = examples.of(lambda k, x: x.at[0].set(1.0 * jax.random.bernoulli(k)))
    flat = lambda x: 0.0 * x.sum()
    report = verify.counted_balance(key, first, flat, BITS, num_chains=500)
    assert report.is_failed and "not connected" in report.worst.name
    other = examples.of(lambda k, x: 1 - x)
    report = verify.counted_balance(
        key, other, flat, BITS[:: len(BITS) - 1], num_chains=500
    )
    (period,) = (f for f in report.findings if f.name == "period of the chain")
    assert period.value == 2 and report.is_passed
    absorbed = examples.of(lambda k, x: jnp.ones_like(x))
    report = verify.counted_balance(
        key, absorbed, flat, BITS[:: len(BITS) - 1], num_chains=500
    )
    assert any("not connected" in f.name and f.p_value == 0 for f in report.findings)


def test_the_declaration_rejects_nonfinite_is_verified(key):
    verify.rejects_nonfinite(key, lambda e: eb.mala(e, 1.0), num_steps=10).require()

    def blind(promise):
        def make(energy):
            init = lambda x: eb.base.evaluate(energy, x)
            move = lambda n, s: (init(s.position + n), None)
            draw = lambda key, shapes: jax.random.normal(key, shapes.shape)
            return eb.Kernel(init, draw, move, rejects_nonfinite=promise)

        return verify.rejects_nonfinite(key, make, num_steps=10)

    assert blind(True).is_failed
    assert blind(False).verdict == "INCONCLUSIVE"


# --- pairs, proposals, integrators ---------------------------------------------------------


def test_a_mismatch_of_energy_and_sample_is_reported_as_such(key):
    wide = (PLANE.energy, lambda k, n: 1.03 * PLANE.sample(k, n))
    report = verify.invariance(key, eb.mala(PLANE.energy, 0.8), wide, **SHORT)
    assert report.is_failed and report.title.startswith(
        "agreement of energy and sample"
    )


def test_pairs_of_bits_and_on_circles(key):
    p = jnp.log(jnp.asarray(enumeration.probabilities(ENERGY, 3)))
    sample = lambda k, n: BITS[jax.random.categorical(k, p, shape=(n,))]
    assert verify.pair(key, ENERGY, sample, num_chains=20_000).is_passed
    assert verify.pair(
        key, lambda x: 1.3 * ENERGY(x), sample, num_chains=20_000
    ).is_failed
    around = lambda k, n: (lambda a: jnp.stack([jnp.cos(a), jnp.sin(a)], 1))(
        6.28 * jax.random.uniform(k, (n,)))  # fmt: skip
    circle = verify.pair(key, lambda x: 0.0 * x.sum(), around)
    assert circle.verdict == "INCONCLUSIVE" and "curved" in str(circle)


@pytest.mark.parametrize("dim", [1, 50])
def test_a_proposal_density_keeps_its_level_in_any_dimension(dim, key):
    q = lambda key, x: x * jnp.exp(0.3 * jax.random.normal(key, x.shape))
    log_q = lambda to, given: jnp.sum(
        -jnp.log(to) - 0.5 * (jnp.log(to / given) / 0.3) ** 2
    )
    points = jnp.exp(0.5 * jax.random.normal(key, (2, dim)))
    test = lambda f: verify.proposal_density(key, q, f, points, num_draws=20_000)
    assert test(log_q).is_passed
    assert test(lambda to, given: log_q(given, to)).is_failed
    assert test(lambda to, given: log_q(to, given) + jnp.sum(jnp.log(to))).is_failed
    assert test(lambda to, given: log_q(to, given) + jnp.log(given[0])).is_failed
    with pytest.raises(ValueError, match="leaves x"):
        verify.proposal_density(key, lambda k, x: x, log_q, points)


def test_integrators_with_masses(key):
    energy, point = targets.double_well(2).energy, np.array([0.5, 1.0])
    mass = np.array([[2.0, 0.5], [0.5, 1.0]])
    inverse = jnp.linalg.inv(jnp.asarray(mass))

    def flow(x, p, h, num):
        grad = jax.grad(energy)
        for_one = lambda i, c: (lambda p: (
            c[0] + h * inverse @ p, p - h / 2 * grad(c[0] + h * inverse @ p)))(
            c[1] - h / 2 * grad(c[0]))  # fmt: skip
        return jax.lax.fori_loop(0, num, for_one, (x, p))

    assert verify.integrator(energy, point, flow=flow, mass=mass).is_passed
    assert verify.integrator(energy, point, flow=flow, mass=2 * mass).is_failed
    unclaimed = verify.integrator(energy, point, flow=flow)
    assert unclaimed.verdict == "INCONCLUSIVE" and "pass it as mass=" in str(unclaimed)
    ours = lambda x, n, h, num: verify.flow_of(energy)(
        x, n, h * jnp.array([0.5, 2.0]), num
    )
    assert verify.integrator(energy, point, flow=ours).is_passed


def test_a_page_has_verdict_power_table_and_versions(key, tmp_path):
    report = verify.invariance(
        key, examples.gibbs(PRECISION), TILTED, num_chains=2000, num_steps=5
    )
    page = verify.write_page([report], tmp_path / "page", settings={"seed": 7})
    text = page.read_text()
    for part in (
        "PASSED",
        "with 90 % power",
        "adjusted p",
        jax.__version__,
        "seed",
        "picture_1.png",
    ):
        assert part in text
    assert (tmp_path / "page" / "picture_1.png").stat().st_size > 1000
