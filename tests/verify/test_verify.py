"""Tests of ``verify``: size, power, verdicts, and reports."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import targets, verify
from ebmjax.verify import families
from ebmjax.verify.report import Finding, Report, VerificationError

TARGET = targets.correlated_gaussian(3, 0.5)
MALA = eb.mala(TARGET.energy, 0.6)
SHORT = {"num_chains": 20_000, "num_steps": 20}


def test_a_report_prints_its_findings_and_raises():
    report = Report(
        "title",
        "settings",
        (Finding("a", 1.0, 1.0, 0.5), Finding("b", 2.0, 1.0, 1e-9, "0.1 sd")),
        suggestion="look here",
    )
    assert (
        not report.is_passed
        and report.p_value == pytest.approx(2e-9)
        and report.worst.name == "b"
    )
    text = str(report)
    assert (
        re.search(r"title: FAILED \(p = 2e-09, Bonferroni-adjusted over 2", text)
        and "look here" in text
    )
    assert text.index("b  ") < text.index("a  ")  # the most serious first
    with pytest.raises(VerificationError, match="title: FAILED"):
        report.require()


def test_rank_passes_reversible_kernels_and_rejects_others(key):
    """A rotation of an isotropic Gaussian is invariant and not reversible; only the
    rank test detects this."""
    verify.rank(key, MALA, TARGET).require()
    assert not verify.rank(key, eb.ula(TARGET.energy, 0.9), TARGET).is_passed
    c, s = np.cos(0.3), np.sin(0.3)
    turn = jnp.asarray([[c, -s], [s, c]], jnp.float32)
    rotation = eb.Kernel(
        lambda x: eb.State(x, jnp.float32(0.0)),
        lambda key, x: None,
        lambda noise, state: (state._replace(position=turn @ state.position), None),
    )
    round_target = targets.standard_normal(2)
    verify.invariance(key, rotation, round_target, **SHORT).require()
    assert not verify.rank(key, rotation, round_target).is_passed


def test_a_report_is_true_where_it_passed(key):
    assert verify.invariance(key, MALA, TARGET, **SHORT)
    assert not verify.invariance(key, eb.ula(TARGET.energy, 0.9), TARGET, **SHORT)


def test_a_sample_of_another_size_is_refused(key):
    few = TARGET._replace(sample=lambda key, n: TARGET.sample(key, 50))
    with pytest.raises(ValueError, match="must give n draws, 10000, got 50"):
        verify.invariance(key, MALA, few, **SHORT)


def test_chains_that_never_move_are_inconclusive(key):
    """A correct kernel may not move: it neither fails nor passes."""
    still = eb.metropolis(TARGET.energy, lambda key, x: x, symmetric=True)
    for report in (
        verify.invariance(key, still, TARGET, **SHORT),
        verify.rank(key, still, TARGET),
    ):
        assert report.verdict == "INCONCLUSIVE" and "no chain ever moved" in str(report)
        with pytest.raises(VerificationError):
            report.require()


def test_a_kernel_that_gives_nan_is_rejected(key):
    broken = eb.Kernel(
        MALA.init, MALA.draw, lambda n, s: (s._replace(position=s.position / 0.0), None)
    )
    report = verify.invariance(key, broken, TARGET, **SHORT)
    assert report.is_failed and report.worst.name == "chains with finite positions"


def test_the_power_is_that_of_the_table(key):
    """A shift of the mean by the detectable effect is found in most runs, a tenth of it
    is not."""

    target = targets.standard_normal(1)
    walk = lambda size: eb.Kernel(
        lambda x: eb.State(x, jnp.float32(0.0)),
        lambda key, x: jax.random.normal(key, x.shape),
        lambda n, s: (s._replace(position=n + size), None),
    )
    test = partial(
        verify.invariance,
        target=target,
        num_chains=2000,
        num_steps=1,
        statistics=("means",),
        alpha=1e-3,
        num_rounds=1,
    )
    name = "mean of x[0], 1 step"
    finding = next(f for f in test(key, walk(0.0)).findings if f.name == name)
    effect = float(finding.detectable.split()[0])
    assert finding.effect == pytest.approx(effect, rel=0.05)
    found = lambda size: sum(
        not test(jax.random.key(i), walk(size)).is_passed for i in range(20)
    )
    assert found(effect) >= 13  # 90 % power: 13 of 20 or fewer once in 10^3
    assert found(effect / 10) <= 3


def test_other_pairs_of_init_and_step_are_taken(key):
    """As in BlackJAX: a state with a position, and step(key, state)."""

    class Algorithm:
        init = staticmethod(lambda x: eb.State(x, TARGET.energy(x)))

        @staticmethod
        def step(key, state):
            return eb.random_walk(TARGET.energy, 0.7).step(key, state)

    verify.invariance(key, Algorithm(), TARGET, num_chains=5000, num_steps=5).require()
    with pytest.raises(TypeError, match="kernel must have init and step, got function"):
        verify.invariance(key, lambda x: x, TARGET)


def test_statistics_can_be_chosen(key):
    options = {"num_chains": 1000, "num_steps": 5}
    report = verify.invariance(key, MALA, TARGET, statistics=("energy",), **options)
    assert [f.name for f in report.findings if f.is_statistical] == [
        "mean of the energy, 5 steps",
        "variance of the energy, 5 steps",
    ]
    report = verify.invariance(key, MALA, TARGET, statistics=("moments",), **options)
    assert {f.family for f in report.findings} == {
        "check",
        "means",
        "variances",
        "correlations",
    }
    with pytest.raises(ValueError, match="statistics must be one of means, variances"):
        verify.invariance(key, MALA, TARGET, statistics=("mean",))


def test_functions_of_the_user_are_tested_and_named(key):
    options = {"num_chains": 2000, "num_steps": 5, "statistics": ("means",)}
    test = partial(verify.invariance, key, MALA, TARGET, **options)
    report = test(functions={"share above": lambda x: (x[0] > 1.0) * 1.0})
    (found,) = (f for f in report.findings if f.family == "functions")
    assert (
        found.name == "mean of share above, 5 steps" and abs(found.value - 0.16) < 0.05
    )
    with pytest.raises(TypeError, match=r"functions\['pair'\] must return a scalar"):
        test(functions={"pair": lambda x: x[:2]})


def test_labels_are_those_of_the_position_and_numbers_in_its_units(key):
    big = eb.targets.gaussian([100.0, -3.0], np.diag([400.0, 0.01]))
    kernel = eb.mala(big.energy, 0.7, covariance=np.array([400.0, 0.01]))
    report = verify.invariance(key, kernel, big, num_chains=4000, num_steps=5)
    rows = {f.name: f for f in report.findings}
    assert abs(rows["mean of x[0], 5 steps"].value - 100) < 2
    assert abs(rows["variance of x[1], 5 steps"].value - 0.01) < 0.001
    assert "a bias of" in report.power and "sd in means" in str(report)
    tree = verify.features.labels_of({"a": jnp.ones(2), "b": (jnp.float32(1),)})
    assert tree == ["a[0]", "a[1]", "b.0"]


def test_projections_are_on_the_longest_and_the_shortest_axes():
    rng = np.random.default_rng(0)
    s = rng.normal(size=(500, 6)) * [1, 2, 3, 4, 5, 6]
    draws = families.Draws(s, list("abcdef"), None, None)
    means, variances = families.projections(draws, rng)
    for block in (means, variances):
        found = {n.split("axis ")[1] for n in block.names if "axis" in n}
        assert found == {"1", "2", "5", "6"}
    longest = [n.endswith("axis 1") for n in means.names].index(True)
    values = means.columns(s.astype(np.float32), None)[:, longest]
    assert abs(np.corrcoef(values, s[:, 5])[0, 1]) > 0.99


def test_sequential_stops_early_for_clear_cases_and_keeps_its_rate(key):
    """With p-values that are truly uniform the share of failures is alpha; clear ones
    need one round."""
    rounds = []

    def test(key, *, num_chains, alpha, p=None):
        rounds.append(num_chains)
        p = float(jax.random.uniform(key)) if p is None else p
        return Report("t", "s", (Finding("f", 0.0, 0.0, p),), alpha)

    for p, passed in ((0.9, True), (1e-12, False)):
        rounds.clear()
        assert verify.sequential(
            partial(test, p=p), key
        ).is_passed == passed and rounds == [20_000]
    alpha, num = 0.2, 1500
    failed = sum(
        not verify.sequential(
            test, jax.random.key(i), alpha=alpha, num_rounds=3
        ).is_passed
        for i in range(num)
    )
    assert abs(failed / num - alpha) < 5 * np.sqrt(alpha * (1 - alpha) / num)
    assert 4 * 20_000 in rounds
    with pytest.raises(ValueError, match=r"alpha must lie in \(0, 1\)"):
        verify.sequential(test, key, alpha=0.0)


LOG_NORMAL = lambda to, given: -jnp.log(to) - 0.5 * (jnp.log(to / given) / 0.5) ** 2


@pytest.mark.parametrize(
    ("log_q", "is_right"),
    [
        (LOG_NORMAL, True),
        (lambda to, given: LOG_NORMAL(to, given) + 3.0, True),  # up to a constant
        (lambda to, given: LOG_NORMAL(given, to), False),  # swapped
        (lambda to, given: LOG_NORMAL(to, given) + jnp.log(to), False),  # no Jacobian
        (
            lambda to, given: LOG_NORMAL(to, given) + jnp.log(given),
            False,
        ),  # a constant that depends on x
    ],
)
def test_the_density_of_a_proposal(key, log_q, is_right):
    q = lambda key, x: x * jnp.exp(0.5 * jax.random.normal(key))
    report = verify.proposal_density(key, q, log_q, jnp.array([0.5, 1.0, 3.0]))
    assert report.is_passed == is_right
    if not is_right:
        assert "arguments swapped" in str(report)


def test_laws_refuse_unstable_steps():
    for law in (verify.ula_law, verify.baoab_law):
        with pytest.raises(ValueError, match=r"must lie in \(0, 4\), got step_size 2"):
            law([0.5, 1.0], 2.0)


def test_the_law_of_ula_is_stationary():
    """v = (1 - eps^2 a / 2)^2 v + eps^2."""
    a, eps = np.array([0.3, 2.0]), 0.9
    v = np.diag(verify.ula_law(a, eps).covariance)
    assert np.allclose(v, (1 - eps**2 * a / 2) ** 2 * v + eps**2)


def test_a_transition_matrix_of_a_walk_is_known():
    """Up or down with probability one half on a ring of three with energies 0, 1, 2."""
    energies = jnp.array([0.0, 1.0, 2.0])
    energy = lambda x: energies[x.astype(int)]
    propose = lambda n, s: (
        eb.State((s.position + n) % 3, energy((s.position + n) % 3)),
        jnp.float32(0.0),
    )
    kernel = eb.metropolis(energy, eb.Proposal(lambda key, x: None, propose))
    matrix = verify.transition_matrix(
        kernel, jnp.arange(3.0), jnp.array([1.0, -1.0]), [0.5, 0.5]
    )
    e1, e2 = np.exp(-1) / 2, np.exp(-2) / 2
    expected = [[1 - e1 - e2, e1, e2], [0.5, 0.5 - e1, e1], [0.5, 0.5, 0.0]]
    assert np.allclose(matrix, expected, atol=1e-6)


def test_swapped_arguments_of_log_q_are_rejected_with_a_hint(key):
    target = targets.two_modes()
    q = lambda key, x: 0.8 * x + jax.random.normal(key, x.shape)
    log_q = lambda to, given: -0.5 * jnp.sum((to - 0.8 * given) ** 2)
    verify.invariance(
        key, eb.metropolis(target.energy, q, log_q=log_q), target, **SHORT
    ).require()
    swapped = eb.metropolis(target.energy, q, log_q=lambda to, given: log_q(given, to))
    with pytest.raises(
        VerificationError, match="(?s)FAILED.*has its arguments swapped"
    ):
        verify.invariance(key, swapped, target, **SHORT).require()
