"""Adversarial training: the chains replaced by a sampler that learns ([SK21] section 5.3).

For any density q,  log Z >= -E_q[E] + H(q),  with equality where q is the model (Gibbs' inequality).  The
energy and a sampler q, whose entropy is H, play

    min over E, max over q of  E_data[E] - E_q[E] + H(q),

which is minus a log-likelihood where q is at its best.  In one update each moves along its own gradient:

    loss = E_data[E] - E_{sg q}[E] + E_q[sg E] - H(q).

The entropy must be honest, or q collapses to the bottom of the energy: the sampler gives each point with its
log density.  An affine map of a normal (:func:`affine`) has one, so has a mixture of them in equal shares
(:func:`mixture`), and an invertible network, such as :mod:`ebmjax.energies.flows`, by the change of variables.

The game may circle about its rest.  ``gradient_penalty`` adds  w/2 E_data |grad E|^2,  which damps it (R1 of
Mescheder, Geiger & Nowozin 2018, "Which training methods for GANs do actually converge?") and flattens the
energy by as much.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from ebmjax import _validation as checks
from ebmjax.base import Array, Key, Position, half_square, scalar
from ebmjax.objectives.base import Players
from ebmjax.objectives.likelihood import Loss, Params

TrainableEnergy = Callable[[Params, Position], Array]
Generate = Callable[
    [Any, Key, int], tuple[Position, Array]
]  # (params, key, n) -> points [n, ...], log q [n]


def adversarial(
    energy: TrainableEnergy, generate: Generate, *, gradient_penalty: float = 0.0
) -> Loss:
    """Energy against sampler; the parameters are ``Players(energy, sampler)``.

    Args:
      energy: ``energy(params, x)``.
      generate: ``(params, key, n)`` to points and their log density under the sampler, both differentiable.
      gradient_penalty: w, of the squared slope of the energy at the data.

    Metrics: the mean energies, the entropy, the lower bound on log Z and its gap in standard deviations of
    -E - log q, which is constant where q is the model.
    """
    energy = scalar(energy)
    checks.function(generate, "generate")
    checks.positive(gradient_penalty, "gradient_penalty", zero=True)

    def loss(params, key, batch, chains):
        if not isinstance(params, Players):
            raise TypeError(
                f"adversarial trains Players(energy, sampler), got {checks.describe(params)}"
            )
        of_points = lambda p, x: jax.vmap(lambda x: energy(p, x))(x)
        x, log_q = generate(params.other, key, checks.num_chains(batch, "batch"))
        still = jax.lax.stop_gradient((params.energy, x))
        data, model = (
            of_points(params.energy, batch),
            of_points(params.energy, still[1]),
        )
        of_sampler = of_points(still[0], x)
        value = (
            jnp.mean(data) - jnp.mean(model) + jnp.mean(of_sampler) + jnp.mean(log_q)
        )
        if gradient_penalty:
            slope = lambda x: half_square(
                jax.grad(lambda x: energy(params.energy, x))(x)
            )
            value += gradient_penalty * jnp.mean(jax.vmap(slope)(batch))
        log_weight = -model - log_q
        metrics = {
            "energy_of_data": jnp.mean(data),
            "energy_of_sampler": jnp.mean(model),
            "entropy": -jnp.mean(log_q),
            "log_z_bound": jnp.mean(log_weight),
            "log_weight_spread": jnp.std(log_weight),
        }
        return value, (chains, jax.lax.stop_gradient(metrics))

    return loss


class Affine(NamedTuple):
    """x = mean + L z with L lower triangular, the logarithms of its diagonal kept."""

    mean: Array  # [D]
    log_diagonal: Array  # [D]
    below: Array  # [D, D], of which what lies below the diagonal counts

    @property
    def root(self) -> Array:
        return jnp.tril(self.below, -1) + jnp.diag(jnp.exp(self.log_diagonal))


def affine_params(dim: int) -> Affine:
    """A standard normal."""
    return Affine(jnp.zeros(dim), jnp.zeros(dim), jnp.zeros((dim, dim)))


def affine(params: Affine, key: Key, num: int) -> tuple[Array, Array]:
    """Draws ``[n, D]`` of N(mean, L L^T) and their log density."""
    z = jax.random.normal(key, (num, len(params.mean)))
    log_q = -0.5 * jnp.sum(z**2, axis=1) - 0.5 * z.shape[1] * math.log(2 * math.pi)
    return params.mean + z @ params.root.T, log_q - jnp.sum(params.log_diagonal)


def mixture_params(key: Key, dim: int, num: int = 64) -> Affine:
    """``num`` normals, their means drawn from a standard one; leaves have a leading axis ``[K]``."""
    return Affine(
        jax.random.normal(key, (checks.count(num, "num"), dim)),
        jnp.full((num, dim), math.log(num ** (-1 / dim))),
        jnp.zeros((num, dim, dim)),
    )


def mixture(params: Affine, key: Key, num: int) -> tuple[Array, Array]:
    """Draws ``[n, D]`` of the mixture of normals in equal shares, and their log density.

    Shares that are fixed leave nothing in the choice of a normal to differentiate; the normals take turns,
    from a random one on.
    """
    count, dim = params.mean.shape
    key_normal, key_turn = jax.random.split(key)
    z = jax.random.normal(key_normal, (num, dim))
    roots = jax.vmap(lambda p: p.root)(params)
    own = (jax.random.randint(key_turn, (), 0, count) + jnp.arange(num)) % count
    x = params.mean[own] + jnp.einsum("nij,nj->ni", roots[own], z)

    def log_normal(p, root, x):
        u = solve_triangular(root, x - p.mean, lower=True)
        return (
            -half_square(u)
            - jnp.sum(p.log_diagonal)
            - 0.5 * dim * math.log(2 * math.pi)
        )

    of_all = jax.vmap(jax.vmap(log_normal, (0, 0, None)), (None, None, 0))(
        params, roots, x
    )
    return x, jax.nn.logsumexp(of_all, axis=1) - math.log(count)


def through_map(
    forward: Callable[[Any, Array], tuple[Position, Array]], dim: int
) -> Generate:
    """A sampler from an invertible map ``forward(params, z) -> (x, log |det|)`` of normal noise ``[D]``."""
    checks.function(forward, "forward")
    checks.count(dim, "dim")

    def generate(params, key, num):
        z = jax.random.normal(key, (num, dim))
        x, log_det = jax.vmap(lambda z: forward(params, z))(z)
        log_q = -0.5 * jnp.sum(z**2, axis=1) - 0.5 * dim * math.log(2 * math.pi)
        return x, log_q - log_det

    return generate
