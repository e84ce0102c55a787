"""Chains: each has independent noise in every step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb

FREE = lambda x: (
    0.0 * jnp.sum(x)
)  # every proposal is accepted, so that steps are noises


def noises(key, num_steps, num_chains=3, **options):
    kernel = eb.random_walk(FREE, 1.0)
    draws = np.asarray(
        eb.sample(key, kernel, jnp.zeros((num_chains, 2)), num_steps, **options).draws
    )
    return np.diff(draws, axis=0, prepend=0 * draws[:1])


def test_chains_are_different(key):
    steps = noises(key, 50, 6)
    assert len(np.unique(steps[0, :, 0])) == 6
    correlation = np.corrcoef(steps[:, :, 0].T) - np.eye(6)
    assert np.abs(correlation).max() < 5 / np.sqrt(50)


def test_keys_of_chains_inside_jit_are_those_of_the_host(key):
    data = lambda keys: np.asarray(jax.random.key_data(keys))
    host = data(eb.chain_keys(key, 6))
    assert len(np.unique(host, axis=0)) == 6
    assert np.array_equal(host, data(jax.jit(lambda k: eb.chain_keys(k, 6))(key)))


def test_every_step_has_its_own_noise():
    for num_steps in (128, 150, 131):  # whole blocks, other blocks, blocks and a rest
        steps = noises(jax.random.key(20261123), num_steps, 1)[:, 0]
        assert len(np.unique(np.round(steps, 4), axis=0)) == num_steps
        assert (np.abs(steps.std(axis=0) - 1) < 5 / np.sqrt(2 * num_steps)).all()


def test_the_block_changes_no_number(key):
    kernel = eb.mala(lambda x: 0.5 * jnp.sum(x**2), 0.7)
    state = kernel.init(jnp.ones(2))
    run = lambda block: eb.run(key, kernel, state, 60, block=block)[1]
    assert np.allclose(run(1), run(7), atol=1e-5) and np.allclose(
        run(1), run(60), atol=1e-5
    )


def test_run_works_inside_jit_and_under_grad(key):
    def mean_after(step_size):
        kernel = eb.ula(lambda x: 0.5 * jnp.sum(x**2), step_size)
        return jnp.mean(eb.run(key, kernel, kernel.init(jnp.ones(2)), 20)[1])

    slope = jax.jit(jax.grad(mean_after))(0.3)
    step = 1e-2
    difference = (mean_after(0.3 + step) - mean_after(0.3 - step)) / (2 * step)
    assert np.isclose(slope, difference, rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("thin", [2, 4])
def test_a_thinned_run_keeps_every_thin_th_draw(key, thin):
    """Also where as many are kept as steps lie between them."""
    kernel = eb.random_walk(lambda x: 0.5 * jnp.sum(x**2), 1.0)
    draws = eb.sample(key, kernel, jnp.zeros((4, 2)), 4).draws
    thinned = eb.sample(key, kernel, jnp.zeros((4, 2)), 4, thin=thin).draws
    assert np.allclose(thinned, draws[thin - 1 :: thin], atol=1e-6)


def test_collect_sees_the_state_and_the_info(key):
    kernel = eb.hmc(lambda x: 0.5 * jnp.sum(x**2), 0.5, 3)
    collect = lambda state, info: {"E": state.energy, "rate": info.acceptance_rate}
    samples = eb.sample(key, kernel, jnp.zeros((4, 2)), 30, thin=3, collect=collect)
    assert samples.draws["E"].shape == (10, 4) and np.allclose(
        samples.draws["rate"].mean(axis=0), samples.acceptance_rate
    )
    assert (
        eb.sample(key, kernel, jnp.zeros((4, 2)), 30, collect=eb.discard).draws is None
    )


def test_the_callers_state_is_not_consumed(key):
    kernel = eb.mala(lambda x: 0.5 * jnp.sum(x**2), 0.7)
    first = eb.sample(key, kernel, jnp.zeros((4, 2)), 10)
    eb.sample(key, kernel, first.state, 10, start=10)
    assert np.isfinite(first.state.position).all()


def test_progress_is_reported_between_chunks(key):
    reported = []
    kernel = eb.mala(lambda x: 0.5 * jnp.sum(x**2), 0.7)
    eb.sample(
        key,
        kernel,
        jnp.zeros((4, 2)),
        100,
        num_warmup=50,
        num_chunks=5,
        progress=lambda *a: reported.append(a),
    )
    assert [t[0] for t in reported] == [10, 20, 30, 40, 50, 70, 90, 110, 130, 150]
    assert "warm-up" in reported[0][2] and "warm-up" not in reported[-1][2]
