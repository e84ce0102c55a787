"""Global moves of training chains, in closed form: a mixture of two normals between
which local moves do not cross.

    p(x) = w N(x; -8, 1) + (1 - w) N(x; 8, 1),    E(x) = -log p(x) + constant
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ebmjax as eb
from ebmjax.objectives import Chains, independent_moves, noise_contrastive
from ebmjax.objectives.batches import Labelled, Pairs
from ebmjax.objectives.conditional import conditional_likelihood
from ebmjax.objectives.joint import class_conditional
from ebmjax.objectives.noise_contrastive import Noise

MODE, WEIGHT, NUM = 8.0, 0.25, 100_000
# centred at -6, so that the ratio of their densities matters
CANDIDATES = noise_contrastive.fitted_normal(np.array([[-14.0], [2.0]]))
MOVES = independent_moves(CANDIDATES)


def energy(params, x):
    """``params`` is the logit of w."""
    log_w, log_v = jax.nn.log_sigmoid(params), jax.nn.log_sigmoid(-params)
    left, right = -0.5 * (x[0] + MODE) ** 2, -0.5 * (x[0] - MODE) ** 2
    return -jnp.logaddexp(log_w + left, log_v + right)


START = Chains(jnp.zeros((4, 1)), jnp.float32(0.8))
PARAMS = jnp.float32(np.log(WEIGHT / (1 - WEIGHT)))


def modes(key, weight, num=NUM):
    key_mode, key_x = jax.random.split(key)
    is_left = jax.random.bernoulli(key_mode, weight, (num, 1))
    return jnp.where(is_left, -MODE, MODE) + jax.random.normal(key_x, (num, 1))


def after(key, x, **options):
    objective = eb.maximum_likelihood(energy, eb.mala, 2, **options)
    chains = Chains(x, jnp.float32(0.8))
    return jax.jit(objective.loss)(PARAMS, key, x[:10], chains)[1]


def share(x):
    return float(jnp.mean(x < 0))


def test_exact_chains_stay_exact(key):
    """Share, mean and variance of each mode, within five standard errors, after three
    global moves, with which half of the chains have moved."""
    chains, metrics = after(
        key, modes(key, WEIGHT), make_global_kernel=MOVES, num_global_steps=3
    )
    assert 0.1 < metrics["global_acceptance_rate"] < 0.6
    x = np.asarray(chains.position[:, 0], np.float64)
    assert abs(share(x) - WEIGHT) < 5 * np.sqrt(WEIGHT * (1 - WEIGHT) / NUM)
    for side in (-1, 1):
        near = x[np.sign(x) == side]
        error = 5 / np.sqrt(len(near))
        assert abs(near.mean() - side * MODE) < error
        assert abs(near.var() - 1) < error * np.sqrt(2)


def test_chains_with_wrong_shares_of_the_modes_correct_them(key):
    """From equal shares towards those of the density, by the share of chains that an
    independent chain would have moved; local moves alone keep them."""
    start = modes(key, 0.5)
    local, metrics = after(key, start)
    assert share(local.position) == share(start)
    assert "global_acceptance_rate" not in metrics
    one, _ = after(key, start, make_global_kernel=MOVES)
    many, _ = after(key, start, make_global_kernel=MOVES, num_global_steps=60)
    assert share(many.position) < share(one.position) - 0.1 < share(start) - 0.1
    assert abs(share(many.position) - WEIGHT) < 0.01


def test_steps_have_their_own_random_numbers(key):
    """Global moves have other keys than each other and than local moves."""
    drawn = []

    def remember(key):
        note = lambda k: drawn.append(tuple(map(int, k)))
        jax.debug.callback(note, jax.random.key_data(key))

    def walk(key, x):
        remember(key)
        return x + jax.random.normal(key, x.shape)

    def sample(key):
        remember(key)
        return CANDIDATES.sample(key, 1)[0]

    local = lambda energy, step_size: eb.metropolis(energy, walk, symmetric=True)
    far = lambda energy: eb.independence(energy, sample, CANDIDATES.log_prob)
    objective = eb.maximum_likelihood(
        energy, local, 2, make_global_kernel=far, num_global_steps=3
    )
    x = modes(key, 0.5, 8)
    jax.jit(objective.loss)(PARAMS, key, x, Chains(x, jnp.float32(0.8)))
    jax.effects_barrier()
    assert len(set(drawn)) == len(drawn) == 8 * 5


def test_the_weight_of_modes_is_learned_with_global_moves_alone(key):
    """Chains begin with equal shares, the data have a quarter on the left."""
    data = modes(key, WEIGHT, 4000)

    def found(**options):
        objective = eb.maximum_likelihood(energy, eb.mala, 2, **options)
        start = lambda k, n: modes(k, 0.5, n)
        chain_init = eb.replay_buffer(start, 256)
        optimizer = optax.sgd(0.5)
        state = eb.init_state(key, jnp.float32(0.0), optimizer, chain_init, 0.8)
        fit = partial(eb.fit, key, objective, optimizer, state, data, chain_init)
        state, _ = fit(num_updates=200, batch_size=256, num_chains=256)
        return float(jax.nn.sigmoid(state.ema))

    assert abs(found(make_global_kernel=MOVES) - WEIGHT) < 0.05
    assert abs(found() - WEIGHT) > 0.1  # the control


def test_chains_with_labels_and_conditions_move_and_keep_them(key):
    start = modes(key, 0.5, 2000)
    label = jax.nn.one_hot(jnp.arange(2000) % 2, 2)
    energies = lambda params, x: jnp.stack([energy(params, x), energy(-params, x)])
    far = {"make_global_kernel": MOVES, "num_global_steps": 10}
    objective = class_conditional(energies, eb.mala, 2, **far)
    chains = Chains(Labelled(start, label), jnp.float32(0.8))
    _, (end, _) = jax.jit(objective.loss)(PARAMS, key, chains.position, chains)
    assert (end.position.label == label).all()
    crossed = jnp.sign(end.position.point) != jnp.sign(start)
    to_left = crossed[:, 0] & (start[:, 0] > 0)
    assert to_left[::2].mean() < 0.5 * to_left[1::2].mean() > 0.1

    of_pairs = lambda params, x, c: energy(params * c, x)
    objective = conditional_likelihood(of_pairs, eb.mala, 2, **far)
    sign = jnp.where(jnp.arange(2000) % 2, -1.0, 1.0)
    batch = Pairs(start, sign, jnp.arange(2000))
    chains = Chains(start, jnp.float32(0.8))
    _, (end, _) = jax.jit(objective.loss)(PARAMS, key, batch, chains)
    to_left = (end.position[:, 0] < 0) & (start[:, 0] > 0)
    assert to_left[::2].mean() < 0.5 * to_left[1::2].mean() > 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_type_of_the_chains_stays(key, dtype):
    with jax.enable_x64(True):
        x = np.asarray(modes(key, 0.5, 50), dtype)
        chains, _ = after(key, jnp.asarray(x), make_global_kernel=MOVES)
        assert chains.position.dtype == dtype


def test_a_chain_at_an_infinite_energy_comes_back(key):
    """Its candidate is accepted."""
    walled = lambda params, x: jnp.where(x[0] > 50, jnp.inf, energy(params, x))
    objective = eb.maximum_likelihood(walled, eb.mala, 2, make_global_kernel=MOVES)
    chains = Chains(jnp.full((4, 1), 60.0), jnp.float32(0.8))
    _, (end, _) = objective.loss(PARAMS, key, jnp.zeros((4, 1)), chains)
    assert (jnp.abs(end.position) < 50).all()


def test_a_mistake_names_the_argument():
    with pytest.raises(TypeError, match="noise must be"):
        independent_moves(lambda key: 0.0)
    with pytest.raises(TypeError, match="make_global_kernel must be"):
        eb.maximum_likelihood(energy, eb.mala, 2, make_global_kernel=3)
    with pytest.raises(ValueError, match="num_global_steps needs make_global_kernel"):
        eb.maximum_likelihood(energy, eb.mala, 2, num_global_steps=7)
    of_kernels = {
        "make_kernel": lambda e, size: eb.underdamped_langevin(e, size, 1.0),
        "make_global_kernel": lambda e: eb.underdamped_langevin(e, 0.3, 1.0),
    }
    for name, make in of_kernels.items():
        options = {"make_kernel": eb.mala, "num_steps": 1, name: make}
        wrong = eb.maximum_likelihood(energy, **options)
        with pytest.raises(TypeError, match=f"{name} must make a kernel without a mom"):
            wrong.loss(PARAMS, jax.random.key(0), jnp.zeros((4, 1)), START)
    for noise, message in (
        (
            Noise(CANDIDATES.sample, lambda x: -(x**2)),
            "log_density must return a scalar",
        ),
        (Noise(lambda key, n: jnp.zeros(1), CANDIDATES.log_prob), None),
        (
            Noise(lambda key, n: jnp.zeros(()), CANDIDATES.log_prob),
            "must return n points",
        ),
    ):
        wrong = eb.maximum_likelihood(
            energy, eb.mala, 2, make_global_kernel=independent_moves(noise)
        )
        with pytest.raises((TypeError, ValueError), match=message or "proposal"):
            wrong.loss(PARAMS, jax.random.key(0), jnp.zeros((4, 1)), START)
    with pytest.raises(ValueError, match="num_global_steps must be"):
        eb.maximum_likelihood(
            energy, eb.mala, 2, num_global_steps=0, make_global_kernel=MOVES
        )
    with pytest.raises(TypeError, match="make_global_kernel.energy. must be a Kernel"):
        wrong = eb.maximum_likelihood(
            energy, eb.mala, 2, make_global_kernel=lambda e: None
        )
        wrong.loss(PARAMS, jax.random.key(0), jnp.zeros((4, 1)), START)
