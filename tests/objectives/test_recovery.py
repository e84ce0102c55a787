"""Recovery likelihood: its gradient and its sampler on a Gaussian, where Langevin given
z is a linear recursion."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import random_slopes, z_score

import ebmjax as eb
from ebmjax.energies import networks
from ebmjax.objectives import Chains, recovery

MEAN, SCALE = 1.5, 0.7  # of the data
LEVELS = [1.2, 0.8, 0.3]
STEP, NUM_STEPS, NUM = 0.8, 3, 200_000
ELSEWHERE = {"mean": jnp.float32(0.9), "precision": jnp.float32(1.4)}
CHAINS = Chains(jnp.zeros((1,)), jnp.float32(STEP))


def energy(params, x, noise):
    """Of precision 1 / (s^2 + noise^2), with s^2 = 1 / precision."""
    return 0.5 * (x - params["mean"]) ** 2 / (1 / params["precision"] + noise**2)


def broken(params, x, noise):
    """The energy, NaN far away."""
    return energy(params, x, noise) + jnp.where(x > 50, jnp.nan, 0.0)


def given(mean, variance, low, high, *, params, num_steps=NUM_STEPS, step=STEP):
    """Mean and variance of y', from those of z, and its mean given the mean of z."""
    tau2 = high**2 - low**2
    a = 1 / (1 / float(params["precision"]) + low**2)
    precision, h2 = a + 1 / tau2, step**2 * tau2
    shrinks = 1 - h2 * precision / 2
    far = shrinks**num_steps
    slope = (1 - far) / (tau2 * precision) + far
    offset = (1 - far) * a * float(params["mean"]) / precision
    spread = h2 * (1 - far**2) / (1 - shrinks**2)
    return offset + slope * mean, slope**2 * variance + spread


def expected_gradient(params, **options):
    """Of E[E(y)] - E[E(y')], levels equally likely, derivatives of the energy by
    hand."""
    m, lam = float(params["mean"]), float(params["precision"])
    total = np.zeros(2)
    for high, low in zip(LEVELS, LEVELS[1:], strict=False):
        own = SCALE**2 + low**2
        ends = given(MEAN, SCALE**2 + high**2, low, high, params=params, **options)
        width = 1 / lam + low**2
        seconds = [v + (at - m) ** 2 for at, v in ((MEAN, own), ends)]
        total += [
            (ends[0] - MEAN) / width,
            0.5 * (seconds[0] - seconds[1]) / (width * lam) ** 2,
        ]
    return {
        "mean": total[0] / (len(LEVELS) - 1),
        "precision": total[1] / (len(LEVELS) - 1),
    }


def in_errors(loss, params, expected):
    """Gradient less what it should be, in standard errors over twenty batches."""
    x = MEAN + SCALE * jax.random.normal(jax.random.key(0), (20, NUM // 20))
    grad = jax.jit(
        lambda key, x: jax.grad(loss, has_aux=True)(params, key, x, CHAINS)[0]
    )
    rows = [grad(jax.random.key(i), x[i]) for i in range(20)]
    rows = np.array(
        [[float(row[name]) for name in ("mean", "precision")] for row in rows]
    )
    return np.abs(z_score(rows, [expected["mean"], expected["precision"]]))


def test_the_gradient_with_k_langevin_steps_is_its_closed_form():
    loss = recovery.recovery(energy, eb.ula, LEVELS, NUM_STEPS)
    assert in_errors(loss, ELSEWHERE, expected_gradient(ELSEWHERE)).max() < 6
    assert (
        in_errors(
            loss, ELSEWHERE, expected_gradient(ELSEWHERE, num_steps=NUM_STEPS + 1)
        ).max()
        > 10
    )
    assert in_errors(loss, ELSEWHERE, expected_gradient(ELSEWHERE, step=0.7)).max() > 10


def test_at_the_truth_the_gradient_is_zero_and_elsewhere_it_is_not():
    """With chains that converge: a few steps of MALA reach a normal given z."""
    loss = recovery.recovery(energy, eb.mala, LEVELS, 20)
    truth = {"mean": jnp.float32(MEAN), "precision": jnp.float32(1 / SCALE**2)}
    zero = {"mean": 0.0, "precision": 0.0}
    assert in_errors(loss, truth, zero).max() < 6
    assert in_errors(loss, ELSEWHERE, zero).min() > 6
    long = expected_gradient(
        ELSEWHERE, num_steps=100_000, step=0.02
    )  # the limit of small steps
    assert in_errors(loss, ELSEWHERE, long).max() < 6


def test_three_starts_end_at_the_truth():
    x = MEAN + SCALE * jax.random.normal(jax.random.key(1), (20_000,))
    positive = lambda p, y, noise: energy(
        {"mean": p[0], "precision": jnp.exp(p[1])}, y, noise
    )
    loss = recovery.recovery(positive, eb.mala, LEVELS, 5, acceptance_target=0.574)
    chain_init, optimizer = (
        eb.from_data(),
        optax.adam(optax.cosine_decay_schedule(0.03, 600)),
    )
    for start in ([0.0, 0.0], [3.0, 2.0], [1.0, -2.0]):
        state = eb.init_state(
            jax.random.key(0), jnp.array(start), optimizer, chain_init, 1.0
        )
        options = {"num_updates": 600, "batch_size": 1000, "chunk": 300}
        state, metrics = eb.fit(
            jax.random.key(2), loss, optimizer, state, x, chain_init, **options
        )
        mean, precision = float(state.ema[0]), float(jnp.exp(state.ema[1]))
        assert abs(mean - float(x.mean())) < 0.03 and precision * float(
            x.var()
        ) == pytest.approx(1, rel=0.1)
        assert abs(metrics["acceptance_rate"][-100:].mean() - 0.574) < 0.05


@pytest.mark.parametrize("make_kernel", [eb.ula, eb.mala])
def test_the_sampler_is_its_recursion_down_the_ladder(make_kernel):
    params = {"mean": MEAN, "precision": 1 / SCALE**2}
    of = lambda x, noise: energy(params, x, noise)
    start = 0.5 + 2.0 * jax.random.normal(
        jax.random.key(3), (NUM,)
    )  # neither there nor of that width
    num_steps = NUM_STEPS if make_kernel is eb.ula else 20
    call = jax.jit(
        lambda key, z: recovery.sample_recovery(
            key, of, z, LEVELS, make_kernel, STEP, num_steps
        )
    )
    ends = np.asarray(call(jax.random.key(4), start), np.float64)
    options = {} if make_kernel is eb.ula else {"num_steps": 100_000, "step": 0.02}
    law = others = (0.5, 4.0)
    for high, low in zip(LEVELS, LEVELS[1:], strict=False):
        law = given(*law, low, high, params=params, **options)
        others = given(*others, low, 2 * high, params=params, **options)
    is_law = lambda mean, v: (
        abs(ends.mean() - mean) < 5 * np.sqrt(v / NUM)
        and abs(ends.var() - v) < 5 * v * np.sqrt(2 / NUM)
    )
    assert (
        is_law(*law)
        and not is_law(*others)
        and not is_law(MEAN, SCALE**2 + LEVELS[-1] ** 2)
    )


def test_from_exact_draws_the_sampler_returns_exact_draws():
    of = lambda x, noise: energy({"mean": MEAN, "precision": 1 / SCALE**2}, x, noise)
    start = MEAN + np.hypot(SCALE, LEVELS[0]) * jax.random.normal(
        jax.random.key(3), (NUM,)
    )
    call = jax.jit(
        lambda key, z: recovery.sample_recovery(key, of, z, LEVELS, eb.mala, STEP, 20)
    )
    ends, variance = (
        np.asarray(call(jax.random.key(4), start), np.float64),
        SCALE**2 + LEVELS[-1] ** 2,
    )
    assert abs(ends.mean() - MEAN) < 5 * np.sqrt(variance / NUM)
    assert abs(ends.var() - variance) < 5 * variance * np.sqrt(2 / NUM)
    assert abs(ends.var() - SCALE**2) > 50 * variance * np.sqrt(2 / NUM)


def test_the_gradient_equals_finite_differences():
    """With a kernel that does not use the parameters, so that the chains stay fixed."""
    network = networks.NoiseConditional((8,))
    params = network.init(jax.random.key(0), jnp.zeros(2), 1.0)
    x = jax.random.normal(jax.random.key(1), (100, 2))
    elsewhere = lambda given_z, step: eb.ula(lambda y: jnp.sum((y - 2) ** 2), step)
    loss = recovery.recovery(network.apply, elsewhere, LEVELS, 3)
    of = jax.jit(lambda p: loss(p, jax.random.key(3), x, CHAINS)[0])
    slope, exact = random_slopes(of, params)
    assert np.isclose(slope, exact, rtol=2e-2, atol=1e-3) and abs(exact) > 0.05


def test_a_nonfinite_chain_is_not_counted():
    x = MEAN + jax.random.normal(jax.random.key(0), (50,))
    loss = recovery.recovery(broken, eb.mala, LEVELS, 2)
    of = jax.value_and_grad(
        lambda p, x: loss(p, jax.random.key(1), x, CHAINS), has_aux=True
    )
    (value, (_, metrics)), grads = of(ELSEWHERE, x.at[49].set(100.0))
    (whole, (_, none)), _ = of(ELSEWHERE, x[:49])
    assert value == pytest.approx(float(whole), rel=1e-5)
    assert all(np.isfinite(g) for g in jax.tree.leaves(grads))
    assert int(metrics["num_broken"]) == 1 and int(none["num_broken"]) == 0


def test_nonfinite_chains_are_counted_by_the_loop():
    x = (MEAN + jax.random.normal(jax.random.key(0), (50,))).at[:5].set(100.0)
    loss, optimizer = recovery.recovery(broken, eb.mala, LEVELS, 2), optax.adam(1e-3)
    state = eb.init_state(jax.random.key(0), ELSEWHERE, optimizer)
    after, _ = jax.jit(eb.train_step(loss, optimizer, eb.from_data(), num_chains=50))(
        jax.random.key(1), state, x
    )
    assert int(after.num_restarted) == 5


@pytest.mark.parametrize("levels", [[1.0], [1.0, 2.0], [1.0, 0.0], [[1.0, 0.5]]])
def test_a_ladder_that_does_not_fall_is_named(levels):
    with pytest.raises(ValueError, match="levels must be"):
        recovery.recovery(energy, eb.mala, levels, 3)


def test_an_impossible_acceptance_target_is_named():
    with pytest.raises(ValueError, match="acceptance_target must lie in"):
        recovery.recovery(energy, eb.mala, LEVELS, 3, acceptance_target=5.0)
