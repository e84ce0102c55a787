"""The gradient of log Z in two ways, and the fixed point of persistent contrastive
divergence."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ebmjax as eb


def _neural(size):
    """A neural energy of one coordinate in float64, and parameters far from initial
    ones."""
    network = eb.MLP((16, 16), confinement=1.5)
    leaves, tree = jax.tree.flatten(network.init(jax.random.key(0), jnp.zeros(1)))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [
        jnp.asarray(x, jnp.float64) + size * jax.random.normal(k, x.shape, jnp.float64)
        for k, x in zip(keys, leaves, strict=True)
    ]
    return lambda p, x: network.apply(p, x[None]), jax.tree.unflatten(tree, moved)


def test_two_routes_to_the_gradient_of_log_z_of_a_neural_energy_agree_to_1e_10():
    """d/dtheta log int exp(-E) by the trapezoidal rule, differentiated; and
    -E_model[dE/dtheta] by Gauss and Legendre."""
    with jax.enable_x64(True):
        energy, params = _neural(0.4)
        grid = jnp.linspace(-16, 16, 4001)

        def log_z(p):
            return jax.nn.logsumexp(-jax.vmap(partial(energy, p))(grid)) + jnp.log(
                grid[1] - grid[0]
            )

        one = jax.jit(jax.grad(log_z))(params)

        nodes, weights = np.polynomial.legendre.leggauss(600)
        nodes, weights = jnp.asarray(16 * nodes), jnp.asarray(16 * weights)
        values = jax.vmap(partial(energy, params))(nodes)
        law = weights * jnp.exp(-(values - values.min()))
        law /= law.sum()
        slopes = jax.jit(jax.vmap(jax.grad(energy), (None, 0)))(params, nodes)
        two = jax.tree.map(lambda s: -jnp.tensordot(law, s, 1), slopes)

        gaps = [
            float(jnp.abs(a - b).max())
            for a, b in zip(*map(jax.tree.leaves, (one, two)), strict=True)
        ]
        assert max(gaps) < 1e-10
        assert max(float(jnp.abs(a).max()) for a in jax.tree.leaves(one)) > 0.1
        wrong = jax.tree.map(
            lambda s: -jnp.tensordot(weights / weights.sum(), s, 1), slopes
        )
        assert any(
            jnp.abs(a - b).max() > 1e-2
            for a, b in zip(*map(jax.tree.leaves, (one, wrong)), strict=True)
        )


def test_training_with_ula_converges_to_its_biased_fixed_point():
    """On E = lambda x^2 / 2.  Chains of ULA have the variance
    1 / (lambda (1 - eps lambda / 2)), so that training on data of variance s converges
    to lambda* = (1 - sqrt(1 - 2 eps / s)) / eps, not to 1 / s."""
    step_size, num = 0.8, 1024
    eps = step_size**2 / 2
    x = jax.random.normal(jax.random.key(0), (4096, 1))
    s = float(jnp.mean(x**2))
    energy = lambda params, x: 0.5 * params * jnp.sum(x**2)
    expected = (1 - np.sqrt(1 - 2 * eps / s)) / eps
    chain_init = eb.replay_buffer(lambda key, n: jax.random.normal(key, (n, 1)), num)
    optimizer = optax.sgd(0.05)
    loss = eb.maximum_likelihood(energy, eb.ula, 2)
    for start in (0.5, 1.0, 2.0):
        state = eb.init_state(
            jax.random.key(1), jnp.float32(start), optimizer, chain_init, step_size
        )
        options = {
            "num_updates": 1500,
            "batch_size": 1024,
            "num_chains": num,
            "ema_decay": 0.995,
        }
        state, _ = eb.fit(
            jax.random.key(2), loss, optimizer, state, x, chain_init, **options
        )
        assert abs(float(state.ema) - expected) < 0.05
        assert abs(float(state.ema) - 1 / s) > 0.15
