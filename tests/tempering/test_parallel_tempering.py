"""Parallel tempering: the joint kernel from exact starts, modes, ladders and log Z."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import standard_error
from jax.sharding import PartitionSpec

import ebmjax as eb
from ebmjax import targets, verify
from ebmjax._value import static, value
from ebmjax.sampling import devices
from ebmjax.tempering import ladder
from ebmjax.tempering import replica_exchange as joint
from ebmjax.tempering import swaps as pt
from ebmjax.tempering.bases import gaussian, uniform_box
from ebmjax.tempering.ladder import tempered
from ebmjax.tempering.parallel_tempering import parallel_tempering, rounds
from ebmjax.tempering.paths import Path, geometric

KEY = jax.random.key(20261125)
MEAN, PRECISION = 1.5, 6.0
LOG_Z = np.log(2 * np.pi / PRECISION)  # in two dimensions
BETAS = (0.0, 0.1, 0.4, 1.0)


def energy(x):
    return 0.5 * PRECISION * jnp.sum((x - MEAN) ** 2)


PATH = geometric(gaussian(jnp.zeros(2)), energy)


class Replicas:
    """Exact draws of all levels together."""

    name = "four levels of a Gaussian path"
    energy = staticmethod(joint.joint_energy(PATH, BETAS))

    @staticmethod
    def sample(key, num):
        betas = jnp.asarray(BETAS)[:, None]
        precision = 1 - betas + betas * PRECISION
        z = jax.random.normal(key, (num, len(BETAS), 2))
        return betas * PRECISION * MEAN / precision + z / jnp.sqrt(precision)


def proof(kernel=None, seed=0):
    kernel = kernel or joint.replica_exchange(PATH, eb.mala, BETAS, 0.5)
    return verify.invariance(
        jax.random.key(seed), kernel, Replicas, num_chains=20_000, num_steps=3
    )


def test_the_joint_kernel_leaves_all_replicas_invariant():
    report = proof()
    assert report.is_passed, report.p_value


# --- swaps that are wrong -------------------------------------------------------------


@value
class Wrong(joint.ReplicaExchange):
    """The library's kernel with one change in its swap."""

    change: str = static(default="")

    def swap(self, key, parity, x):
        return wrong(self.change, key, self.path, self.betas, parity, x)


def wrong(change, key, path, betas, parity, x):
    if change == "sign":
        cold = Path(lambda beta, x: -path(beta)(x))
        _, swaps = pt.swap(key, cold, betas, parity, x)
    elif change == "ratio":
        flat = Path(lambda beta, x: 0.0 * path(beta)(x))
        _, swaps = pt.swap(key, flat, betas, parity, x)
    else:
        _, swaps = pt.swap(key, path, betas, parity, x)
        return jnp.stack([x[swaps.order, 0], x[:, 1]], axis=1)  # half of it
    return x[swaps.order]


@pytest.mark.parametrize("change", ["sign", "ratio", "half of the state"])
def test_a_wrong_swap_is_rejected(change):
    sizes = jnp.full(len(BETAS), 0.5)
    kernel = Wrong(PATH, eb.mala, jnp.asarray(BETAS), sizes, change=change)
    assert not proof(kernel).is_passed


def test_swaps_are_of_one_parity_and_have_their_probabilities():
    """Shares of accepted swaps against min(1, exp r) of one point, both parities."""
    x = jnp.array([[0.9, 1.0], [0.8, 0.9], [1.6, 1.6], [1.3, 1.2]])
    betas = jnp.asarray(BETAS)
    keys = jax.random.split(KEY, 20_000)
    for parity in (0, 1):
        one = lambda key, p=parity: pt.swap(key, PATH, betas, p, x)[1]
        swaps = jax.jit(jax.vmap(one))(keys)
        e = np.array([[PATH(b)(y) for y in x] for b in BETAS])
        r = np.array(
            [e[k, k] + e[k + 1, k + 1] - e[k, k + 1] - e[k + 1, k] for k in range(3)]
        )
        p = np.exp(np.minimum(r, 0))
        share = np.asarray(swaps.order[:, :-1] > np.arange(3)).mean(axis=0)
        turn = np.arange(3) % 2 == parity
        assert (share[~turn] == 0).all()
        assert (np.abs(share - p)[turn] < 5 * 0.5 / np.sqrt(20_000)).all()
        assert np.abs(swaps.rejection[0] - (1 - p)).max() < 1e-4


# --- runs -----------------------------------------------------------------------------

MODES = targets.mixture([0.3, 0.7], [[-12.5, 0.0], [12.5, 0.0]], 1.0)
WIDE = geometric(gaussian(jnp.zeros(2), 10.0), MODES.energy)


@functools.cache
def two_modes(num_replicas=10, num_iterations=1000):
    return parallel_tempering(
        KEY,
        WIDE,
        eb.mala,
        num_iterations,
        1.0,
        num_ladders=16,
        num_replicas=num_replicas,
    )


def test_modes_25_deviations_apart_have_their_weights():
    found = two_modes()
    share = (np.asarray(found.draws)[..., 0] < 0).mean(axis=0)
    error = standard_error(share)
    assert error < 0.03
    assert abs(share.mean() - 0.3) < 4.5 * error
    start = jnp.broadcast_to(jnp.array([12.5, 0.0]), (16, 2))
    stuck = eb.sample(KEY, eb.mala(MODES.energy, 1.4), start, 1000).draws
    assert (np.asarray(stuck)[..., 0] > 0).all()  # the kernel alone never crosses


def test_the_ladder_has_equal_rejections_and_replicas_travel():
    found, more = two_modes(), two_modes(16, 300)
    assert found.rejection_rate.std() < 0.15 * found.rejection_rate.mean()
    start = np.linspace(0, 1, 10) ** 3
    assert np.abs(found.betas - start).max() > 0.05
    barrier = found.communication_barrier
    assert more.communication_barrier == pytest.approx(barrier, rel=0.1)
    assert 0.5 < found.round_trip_rate / found.best_round_trip_rate < 1.15
    assert (np.abs(found.acceptance_rate - 0.65) < 0.08).all()
    assert found.step_sizes[0] > 4 * found.step_sizes[-1]


def test_log_z_by_stepping_stones_and_by_integration():
    found = two_modes()
    assert 0 < found.standard_error < 0.05
    assert abs(found.log_z) < 4.5 * found.standard_error
    values = found.thermodynamic_of_ladders
    error = standard_error(values)
    assert abs(values.mean()) < 4.5 * error + 0.02
    assert abs(found.log_z - 0.2) > 4.5 * found.standard_error


# --- estimates from energies that are drawn independently ------------------------------


def drawn(energies, scale, support="all", num_ladders=64, num_iterations=1000):
    """The result of independent draws of N(0, 1) and of N(0, scale^2), or of its
    positive half, whose energies differ by ``energies(x)``."""
    rng = np.random.default_rng(20261126)
    x = rng.normal(size=(2, num_iterations, num_ladders))
    x[1] = scale * (np.abs(x[1]) if support == "half" else x[1])
    change = energies(x)  # E_1 - E_0 at x
    up, down = -change[0][..., None], change[1][..., None]
    slope = np.stack([change[0], change[1]], axis=-1)
    state = pt.begin(jnp.zeros((num_ladders, 2, 1)), jnp.zeros(2))
    seen = pt.Energies(up, down, slope, np.full(num_iterations, 2**30))
    totals = pt.Totals(*(t + num_iterations / 2 for t in state.totals))
    draws = x[1][..., None]
    return tempered(
        state._replace(totals=totals),
        draws,
        seen,
        np.array([0.0, 1.0]),
        is_corrected=False,
    )


def narrower(x):
    """From N(0, 1) to N(0, .5^2): weights back have an infinite variance."""
    return 0.5 * x**2 * (1 / 0.5**2 - 1) + np.log(0.5)


def test_log_z_where_the_weights_of_one_direction_have_an_infinite_variance():
    found = drawn(narrower, 0.5)
    assert abs(found.log_z) < 4.5 * found.standard_error
    assert found.standard_error < 0.005
    x = found.draws[..., 0]
    back = -np.log(np.exp(narrower(x)).mean(axis=0))  # stepping stones, by ladder
    assert np.median(back) > 5 * found.standard_error
    assert standard_error(back) > 5 * found.standard_error
    assert found.num_grads == 1000 * 2**30


def test_log_z_of_a_target_of_smaller_support():
    """A half normal, log Z = -log 2; stepping stones from the target say log Z = 0."""
    wall = lambda x: np.where(x < 0, np.inf, 0.0)
    found = drawn(wall, 1.0, "half")
    assert abs(found.log_z + np.log(2)) < 4.5 * found.standard_error
    assert abs(found.stepping_log_z + np.log(2)) < 0.02
    assert abs(found.log_z + 0.5 * np.log(2)) > 10 * found.standard_error
    assert np.isnan(found.thermodynamic_log_z)  # its integral does not exist


def test_the_error_is_the_spread_over_repeats():
    """Over groups of eight ladders, whose pooled estimates are independent."""
    whole = drawn(narrower, 0.5, num_ladders=512, num_iterations=50)
    up = -narrower(np.random.default_rng(1).normal(size=(50, 512)))
    down = narrower(whole.draws[..., 0])
    found = [
        ladder._bennett(up[:, i : i + 8], down[:, i : i + 8]) for i in range(0, 512, 8)
    ]
    estimates = np.array([values.mean() for values in found])
    errors = np.array([standard_error(values) for values in found])
    assert errors.mean() == pytest.approx(estimates.std(ddof=1), rel=0.25)


def test_a_path_without_a_base_starts_at_the_given_positions():
    first = lambda x: 0.5 * jnp.sum(x**2)
    found = parallel_tempering(
        KEY,
        geometric(first, energy),
        functools.partial(eb.hmc, num_steps=2),
        400,
        positions=jnp.zeros((8, 2)),
        betas=BETAS,
        num_adapt=200,
    )
    assert found.positions.shape == (8, 4, 2)
    assert abs(found.log_z - (LOG_Z - np.log(2 * np.pi))) < 5 * found.standard_error
    mean = np.asarray(found.draws).mean(axis=(0, 2))
    assert abs(mean.mean() - MEAN) < 5 * standard_error(mean)


def test_lengths_of_rounds_double_and_add_up():
    assert rounds(500) == [32, 64, 128, 276]
    assert rounds(0) == []
    assert [sum(rounds(n)) for n in (1, 95, 96, 1000)] == [1, 95, 96, 1000]


def run_with(**changes):
    options = {"path": PATH, "num_iterations": 4, "num_adapt": 0} | changes
    path, num = options.pop("path"), options.pop("num_iterations")
    return parallel_tempering(KEY, path, eb.mala, num, **options)


def test_bad_input_is_named_and_crowded_ladders_are_reported():
    bad = {
        "positions .* are needed": {"path": geometric(energy, energy)},
        "betas must be numbers": {"betas": [0.0, 0.5]},
        "num_replicas must be at least 2": {"num_replicas": 1},
        "num_iterations must be at least 2": {"num_iterations": 0},
        "target_acceptance must": {"target_acceptance": 2.0},
        "step_size must": {"step_size": 0.0},
        "positions must have the shape": {"positions": jnp.zeros((4, 3))},
        "energy cannot be evaluated at positions": {
            "path": geometric(lambda x: jnp.sum(x * jnp.ones(2)), energy),
            "positions": jnp.zeros((4, 3)),
        },
        "energy must not be NaN": {
            "path": geometric(
                gaussian(jnp.zeros(2)), lambda x: jnp.where(x[0] > 0, jnp.nan, x[1])
            )
        },
    }
    for message, changes in bad.items():
        with pytest.raises((TypeError, ValueError), match=message):
            run_with(**changes)
    with pytest.raises(TypeError, match="runs from the host and got traced values"):
        jax.jit(lambda key: parallel_tempering(key, PATH, eb.mala, 4).draws)(KEY)
    far = geometric(gaussian(jnp.zeros(2)), lambda x: 100 * energy(x - 3))
    with (
        pytest.warns(UserWarning, match="replicas hardly meet"),
        pytest.warns(UserWarning, match="hardly move"),  # the target is sharp, too
    ):
        run_with(path=far, num_replicas=2, num_iterations=300)


def test_a_base_of_smaller_support_and_stuck_replicas_are_reported():
    box = geometric(uniform_box(-jnp.ones(2), jnp.ones(2)), lambda x: jnp.sum(x**2))
    with pytest.warns(UserWarning, match="outside the support of the base"):
        found = run_with(path=box, num_iterations=50)
    assert np.isnan(found.thermodynamic_log_z)
    stuck = lambda energy, size: eb.random_walk(energy, 1e4)
    with pytest.warns(UserWarning, match="replicas at beta = .* hardly move"):
        parallel_tempering(KEY, PATH, stuck, 20, num_adapt=0)


def test_replicas_are_divided_over_the_devices(monkeypatch):
    """Each device keeps some replicas of all ladders; their numbers stay the same."""
    places = []
    constrain = devices.constrain_as

    def seen(tree, like):
        places.append(like.sharding)
        return constrain(tree, like)

    monkeypatch.setattr(devices, "constrain_as", seen)
    options = {"num_ladders": 3, "num_replicas": 4, "num_adapt": 0}
    run = functools.partial(parallel_tempering, KEY, PATH, eb.mala, 5, **options)
    here = run()
    assert places and not any(places)
    places.clear()
    divided = run(devices=1)
    specs = {getattr(place, "spec", None) for place in places}
    assert specs == {PartitionSpec(None, devices.AXIS)}
    assert np.array_equal(here.draws, divided.draws)
