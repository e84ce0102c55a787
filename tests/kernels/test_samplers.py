"""Random walk, Langevin, Hamiltonian: properties of a single step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import z_score

import ebmjax as eb
from ebmjax import targets, verify

TARGET = targets.correlated_gaussian(3, 0.5)
X = jnp.array([0.3, -1.0, 2.0])


def moved(kernel, noise):
    return kernel.move(noise, kernel.init(X))[0]


def test_ula_is_its_equation():
    xi, eps = jnp.array([1.0, 0.5, -2.0]), 0.3
    expected = X - eps**2 / 2 * jax.grad(TARGET.energy)(X) + eps * xi
    assert np.allclose(
        moved(eb.ula(TARGET.energy, eps), xi).position, expected, rtol=1e-5
    )


def test_the_mala_ratio_is_that_of_the_densities(key):
    eps = 0.4
    kernel = eb.mala(TARGET.energy, eps)
    xi = jax.random.normal(key, (3,))
    grad = jax.grad(TARGET.energy)
    y = X - eps**2 / 2 * grad(X) + eps * xi

    def log_q(to, given):
        return -0.5 * jnp.sum(((to - given + eps**2 / 2 * grad(given)) / eps) ** 2)

    expected = TARGET.energy(X) - TARGET.energy(y) + log_q(X, y) - log_q(y, X)
    info = kernel.move((xi, jnp.float32(0.0)), kernel.init(X))[1]
    assert np.isclose(-info.energy_error, expected, rtol=1e-4)


def test_leapfrog_is_equation_20():
    eps, n = 0.2, jnp.array([1.0, -0.5, 0.2])
    grad = jax.grad(TARGET.energy)
    x, p = X, n
    for _ in range(3):
        p = p - eps / 2 * grad(x)
        x = x + eps * p
        p = p - eps / 2 * grad(x)
    start = eb.hmc(TARGET.energy, eps, 3).init(X)
    for length in (3, jnp.int32(3)):
        state, momentum = eb.trajectory(TARGET.energy, start, n, eps, length)
        assert np.allclose(state.position, x, rtol=1e-5) and np.allclose(
            momentum, p, rtol=1e-5, atol=1e-6
        )


def test_leapfrog_keeps_the_modified_energy_of_an_oscillator():
    """p^2 + a x^2 (1 - eps^2 a / 4) is constant on a x^2 / 2 (Leimkuhler & Reich
    2004)."""
    a, eps = 2.0, 0.5
    energy = lambda x: 0.5 * a * x**2
    with jax.enable_x64(True):
        state, p = (
            eb.base.evaluate(energy, jnp.float64(1.0), with_grad=True),
            jnp.float64(0.3),
        )
        invariant = lambda x, p: p**2 + a * x**2 * (1 - eps**2 * a / 4)
        start = invariant(1.0, 0.3)
        for _ in range(20):
            state, p = eb.trajectory(energy, state, p, eps, 1)
            assert abs(invariant(state.position, p) - start) < 1e-12
        assert abs(p**2 + a * state.position**2 - (0.09 + a)) > 1e-3


def test_a_covariance_is_a_step_size():
    variances = np.array([2.0, 0.5, 0.25])
    noise = ((jnp.array([1.0, -0.5, 0.2]), None, None), jnp.float32(1.0))
    end = lambda step, **options: np.asarray(
        moved(eb.hmc(TARGET.energy, step, 4, **options), noise).position
    )
    found = end(0.3, covariance=variances)
    assert np.allclose(found, end(0.3 * np.sqrt(variances)), rtol=1e-5)
    assert np.allclose(found, end(0.3, covariance=np.diag(variances)), rtol=1e-5)
    assert not np.allclose(found, end(0.3), rtol=1e-2)


def test_the_covariance_of_the_target_whitens():
    """With the covariance C of the target, the energy error is that of a standard normal."""
    noise = ((jnp.array([1.0, -0.5, 0.2]), None, None), jnp.float32(1.0))
    kernel = eb.hmc(TARGET.energy, 0.3, 4, covariance=TARGET.covariance)
    white = targets.standard_normal(3)
    root = np.linalg.cholesky(TARGET.covariance)
    z = np.linalg.solve(root, np.asarray(X) - TARGET.mean)
    z = jnp.asarray(z, jnp.float32)
    plain = eb.hmc(white.energy, 0.3, 4)
    error = kernel.move(noise, kernel.init(X))[1].energy_error
    assert np.isclose(
        error, plain.move(noise, plain.init(z))[1].energy_error, rtol=1e-3, atol=1e-6
    )


def test_jitter_draws_every_length(key):
    kernel = eb.hmc(TARGET.energy, 0.1, 5, jitter=True)
    lengths = jax.vmap(lambda k: kernel.draw(k, X)[0][1])(jax.random.split(key, 2000))
    counts = np.bincount(lengths, minlength=6)
    assert counts[0] == 0 and len(counts) == 6
    assert np.abs(counts[1:] - 400).max() < 5 * np.sqrt(400)


def test_step_jitter_is_even_and_keeps_the_length(key):
    kernel = eb.hmc(TARGET.energy, 0.1, 5, step_jitter=0.3)
    factors = np.asarray(
        jax.vmap(lambda k: kernel.draw(k, X)[0][2])(jax.random.split(key, 2000))
    )
    assert 0.7 <= factors.min() < 0.72 and 1.28 < factors.max() <= 1.3
    assert abs(z_score(factors, 1.0)) < 5
    assert int(kernel.step(key, kernel.init(X))[1].num_grads) == 5


def test_acceptance_is_one_over_many_at_stationarity(key):
    """E[exp(-dH)] = 1 for any step, from exact draws; the ratio of another energy does
    not have it."""
    start = TARGET.sample(key, 200_000)
    kernel = eb.hmc(TARGET.energy, 0.6, 3)

    @jax.jit
    def weights(x):
        keys = eb.chain_keys(key, len(x))
        state = eb.parallel(kernel).init(x)
        return jnp.exp(-eb.parallel(kernel).step(keys, state)[1].energy_error)

    for x, holds in ((start, True), (1.2 * start, False)):
        assert (abs(z_score(weights(x), 1.0)) < 5) == holds


def test_baoab_has_exact_positions_and_a_known_momentum(key):
    precisions, step_size = np.array([0.5, 1.0, 3.0]), 0.8
    energy = lambda x: 0.5 * jnp.sum(precisions * x**2)
    law, complete = verify.baoab_law(precisions, step_size)
    kernel = eb.underdamped_langevin(energy, step_size, friction=0.7)
    verify.invariance(key, kernel, law, complete=complete, num_chains=50_000).require()
    assert not verify.invariance(
        key, kernel, law, num_chains=50_000, num_steps=3
    ).is_passed  # from momentum 0
    keys = jax.random.split(key, 50_000)
    samples = eb.sample(key, kernel, law.sample(key, 50_000), 60, collect=eb.discard)
    variance = np.var(samples.state.momentum, axis=0)
    assert np.abs(
        variance / (1 - step_size**2 * precisions / 4) - 1
    ).max() < 5 * np.sqrt(2 / len(keys))


def test_underdamped_langevin_refuses_a_matrix():
    with pytest.raises(ValueError, match="scalar or diagonal"):
        kernel = eb.underdamped_langevin(TARGET.energy, eb.Dense(np.eye(3) + 0.1))
        kernel.step(jax.random.key(0), kernel.init(X))


def test_a_kernel_that_needs_the_gradient_says_so():
    walk = eb.random_walk(TARGET.energy, 0.5)
    with pytest.raises(
        TypeError, match="needs the gradient and the state carries none"
    ):
        eb.mala(TARGET.energy, 0.5).step(jax.random.key(0), walk.init(X))


def test_the_walk_has_its_covariance():
    covariance = np.array([[1.0, 0.6, 0.0], [0.6, 2.0, 0.1], [0.0, 0.1, 0.5]])
    free = lambda x: 0.0 * jnp.sum(x)
    for given in (covariance, np.diag(covariance)):
        kernel = eb.random_walk(free, 0.7, covariance=given)
        columns = [
            kernel.move((jnp.eye(3)[i], jnp.float32(1.0)), kernel.init(jnp.zeros(3)))[
                0
            ].position
            for i in range(3)
        ]
        root = np.stack(columns, axis=1)
        assert np.allclose(
            root @ root.T,
            0.49 * (given if given.ndim == 2 else np.diag(given)),
            atol=1e-6,
        )


def test_friction_is_the_decay_of_a_free_momentum():
    kernel = eb.underdamped_langevin(lambda x: 0.0 * jnp.sum(x), 0.3, friction=0.7)
    state = kernel.init(X)._replace(momentum=jnp.array([1.0, -2.0, 0.5]))
    new, _ = kernel.move(jnp.zeros(3), state)
    keep = np.exp(-0.7 * 0.3)
    assert np.allclose(new.momentum, keep * state.momentum, rtol=1e-5)
    assert np.allclose(new.position, X + 0.15 * (1 + keep) * state.momentum, rtol=1e-5)


def test_mclachlan_beats_two_leapfrogs():
    """At the same cost the error of McLachlan's two-stage splitting is much smaller
    than that of the leapfrog."""
    energy = targets.double_well(1).energy
    with jax.enable_x64(True):
        state, n = (
            eb.base.evaluate(energy, jnp.array([0.5]), with_grad=True),
            jnp.array([0.9]),
        )
        start = energy(jnp.array([0.5])) + 0.5 * 0.81

        def worst(step_size, num_steps, integrator):
            errors, s, p = [], state, n
            for _ in range(num_steps):
                s, p = eb.trajectory(energy, s, p, step_size, 1, integrator=integrator)
                errors.append(abs(float(s.energy + 0.5 * jnp.sum(p**2) - start)))
            return max(errors)

        assert worst(0.1, 20, eb.mclachlan) < 0.5 * worst(0.05, 40, eb.leapfrog)
