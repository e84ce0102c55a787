"""Maximum likelihood against closed forms on Gaussian energies."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import bounded
from helpers import gaussian_energy as energy

import ebmjax as eb
from ebmjax import targets
from ebmjax.objectives import Chains, mark_broken

PRECISION = np.array([[1.5, 0.4], [0.4, 0.8]])
MEAN = np.array([0.3, -0.5])
MODEL = targets.gaussian(MEAN, np.linalg.inv(PRECISION))
DATA = targets.correlated_gaussian(2, 0.3)
PARAMS = {
    "precision": jnp.asarray(PRECISION, jnp.float32),
    "mean": jnp.asarray(MEAN, jnp.float32),
}


def gradient(
    key, chains, batch, make_kernel=eb.mala, num_steps=1, step_size=0.3, **options
):
    loss = eb.maximum_likelihood(energy, make_kernel, num_steps, **options)
    grad = jax.jit(jax.grad(loss, has_aux=True))
    return grad(PARAMS, key, batch, Chains(chains, jnp.float32(step_size)))


def test_the_gradient_with_exact_samples_is_equation_9(key):
    """1/2 (S_mu - C) and Lambda (mu - mean), within five standard errors."""
    num = 400_000
    key_data, key_model = jax.random.split(key)
    batch, chains = DATA.sample(key_data, num), MODEL.sample(key_model, num)
    grads, _ = gradient(key, chains, batch)  # MALA keeps exact draws exact
    shift = DATA.mean - MEAN
    second = DATA.covariance + np.outer(shift, shift)
    expected = {
        "precision": 0.5 * (second - np.linalg.inv(PRECISION)),
        "mean": PRECISION @ (MEAN - DATA.mean),
    }
    x, y = np.asarray(batch, np.float64) - MEAN, np.asarray(chains, np.float64) - MEAN
    products = [0.5 * v[:, :, None] * v[:, None, :] for v in (x, y)]
    error = np.sqrt(sum(p.var(axis=0) for p in products) / num)
    assert (np.abs(grads["precision"] - expected["precision"]) < 5 * error).all()
    error = np.sqrt(sum((v @ PRECISION).var(axis=0) for v in (x, y)) / num)
    assert (np.abs(grads["mean"] - expected["mean"]) < 5 * error).all()
    assert (
        np.abs(grads["mean"] - expected["mean"] * 1.1) > 5 * error
    ).any()  # the test can fail


def test_the_gradient_of_cd_k_by_ula_is_its_closed_form(key):
    """From the data, after k steps of x - eps Lambda (x - mu) + sqrt(2 eps) xi:
    A = I - eps Lambda, mean mu + A^k (m - mu), covariance
    A^k S A^k + 2 eps sum A^2j."""
    num, step_size = 200_000, 0.5
    eps = step_size**2 / 2
    batch = DATA.sample(key, num)
    a = np.eye(2) - eps * PRECISION
    power = np.linalg.matrix_power
    second = lambda m, c: c + np.outer(m - MEAN, m - MEAN)

    def after(k):
        mean = MEAN + power(a, k) @ (DATA.mean - MEAN)
        noise = 2 * eps * sum(power(a, 2 * j) for j in range(k))
        return mean, power(a, k) @ DATA.covariance @ power(a, k) + noise

    of_k = lambda k: 0.5 * (second(DATA.mean, DATA.covariance) - second(*after(k)))
    exact = 0.5 * (second(DATA.mean, DATA.covariance) - np.linalg.inv(PRECISION))
    for k in (1, 2, 5, 20):
        grads, (chains, _) = gradient(key, batch, batch, eb.ula, k, step_size)
        mean, cov = after(k)
        samples = np.asarray(chains.position, np.float64)
        assert np.abs(samples.mean(axis=0) - mean).max() < 5 * np.sqrt(cov.max() / num)
        assert np.abs(np.cov(samples.T) - cov).max() < 5 * np.sqrt(
            2 * cov.max() ** 2 / num
        )
        error = 5 * 0.5 * np.sqrt(4 * 2 / num)
        assert np.abs(grads["precision"] - of_k(k)).max() < error
        assert np.abs(grads["mean"] - PRECISION @ (mean - DATA.mean)).max() < error
        assert (
            np.abs(grads["precision"] - exact).max() > error
        )  # short, and then biased as ULA is
        assert k == 20 or np.abs(grads["precision"] - of_k(k + 1)).max() > error


def test_no_gradient_flows_through_the_samples(key):
    """The gradient equals that with the ends of the chains held fixed."""
    batch, start = DATA.sample(key, 50), DATA.sample(key, 50) + 1.0
    grads, (chains, _) = gradient(key, start, batch, num_steps=7)
    mean_energy = lambda p, x: jnp.mean(jax.vmap(partial(energy, p))(x))
    at_samples = jax.grad(
        lambda p: mean_energy(p, batch) - mean_energy(p, chains.position)
    )(PARAMS)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(at_samples), strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_regularisation_is_of_the_squared_energies(key):
    batch = DATA.sample(key, 50)
    loss = partial(eb.maximum_likelihood, energy, eb.mala, 2)
    chains = Chains(batch, jnp.float32(0.3))
    plain, (end, _) = loss()(PARAMS, key, batch, chains)
    heavy, _ = loss(regularisation=0.5)(PARAMS, key, batch, chains)
    squares = sum(
        jnp.mean(jax.vmap(partial(energy, PARAMS))(x) ** 2)
        for x in (batch, end.position)
    )
    assert np.isclose(heavy - plain, 0.5 * squares, rtol=1e-5)


def test_the_step_size_follows_the_acceptance(key):
    batch = DATA.sample(key, 500)
    loss = jax.jit(
        eb.maximum_likelihood(
            energy, eb.mala, 5, acceptance_target=0.574, adaptation_rate=0.2
        )
    )
    for start in (0.01, 10.0):
        chains = Chains(batch, jnp.float32(start))
        for i in range(150):
            _, (chains, metrics) = loss(
                PARAMS, jax.random.fold_in(key, i), batch, chains
            )
        assert abs(metrics["acceptance_rate"] - 0.574) < 0.05


def test_nonfinite_chains_are_left_out_and_returned_as_nan(key):
    batch = DATA.sample(key, 20)
    start = batch.at[19, 0].set(100.0)
    for regularisation in (0.0, 0.3):
        loss = eb.maximum_likelihood(
            bounded(energy), eb.mala, 2, regularisation=regularisation
        )
        value, (chains, _) = loss(PARAMS, key, batch, Chains(start, jnp.float32(0.3)))
        whole, _ = loss(
            PARAMS, key, batch, Chains(start[:19], jnp.float32(0.3))
        )  # the same chains, less one
        assert value == pytest.approx(float(whole), rel=1e-5)
        assert (
            np.isnan(chains.position[19]).all()
            and np.isfinite(chains.position[:19]).all()
        )


def test_an_update_without_a_chain_left_is_skipped(key):
    loss = eb.maximum_likelihood(bounded(energy), eb.mala, 2)
    optimizer = optax.adam(0.1)
    beyond = eb.from_noise(lambda key, n: jnp.full((n, 2), 100.0))
    state = eb.init_state(key, PARAMS, optimizer, beyond, 0.3)
    step = eb.train_step(loss, optimizer, beyond, num_chains=20)
    after, metrics = jax.jit(step)(key, state, DATA.sample(key, 20))
    assert (
        bool(metrics["is_skipped"])
        and int(after.num_skipped) == 1
        and int(after.num_restarted) == 20
    )
    assert all(
        np.array_equal(a, b)
        for a, b in zip(*map(jax.tree.leaves, (PARAMS, after.params)), strict=True)
    )


def test_mark_broken():
    position, is_finite = mark_broken(
        {"a": jnp.ones((3, 2))}, jnp.array([0.0, jnp.nan, jnp.inf])
    )
    assert (
        is_finite.tolist() == [True, False, False] and np.isnan(position["a"][1:]).all()
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: eb.maximum_likelihood(3, eb.mala, 5),
            TypeError,
            "energy must be a function",
        ),
        (
            lambda: eb.maximum_likelihood(energy, None, 5),
            TypeError,
            "make_kernel must be a function, got None",
        ),
        (
            lambda: eb.maximum_likelihood(energy, eb.mala, 0),
            ValueError,
            "num_steps must be at least 1",
        ),
        (
            lambda: eb.maximum_likelihood(energy, eb.mala, 5, regularisation=-1.0),
            ValueError,
            "regularisation must be finite",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
