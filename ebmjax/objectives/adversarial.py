"""Adversarial training: a trained sampler in place of chains ([SK21] section 5.3).

For any density q,  log Z >= -E_q[E] + H(q),  with equality if q is the model (Gibbs'
inequality).  The energy and a sampler q with entropy H solve

    min over E, max over q of  E_data[E] - E_q[E] + H(q),

which is minus the log-likelihood at the optimal q.  In one update each moves along its
own gradient:

    loss = E_data[E] - E_{sg q}[E] + E_q[sg E] - H(q).

Without the exact entropy q collapses to the minimum of the energy, so the sampler
returns each point with its log density.  It is known for an affine map of a normal
(:func:`affine`), for a mixture of them in equal shares (:func:`mixture`), and for an
invertible network, such as :mod:`ebmjax.energies.flows`, by the change of variables
(:func:`through_map`).

The training may oscillate around its equilibrium.  ``gradient_penalty`` adds
w/2 E_data |grad E|^2,  which damps it (R1 of Mescheder, Geiger & Nowozin 2018, "Which
training methods for GANs do actually converge?") and flattens the energy by as much.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from ebmjax import _validation as checks
from ebmjax._value import function, number, value
from ebmjax.base import Array, Key, Position, half_square, scalar
from ebmjax.objectives.base import (
    Objective,
    Params,
    Players,
    TrainableEnergy,
    init_other,
    optional,
)

# (params, key, n) -> points [n, ...], log q [n]
Generate = Callable[[Params, Key, int], tuple[Position, Array]]


@value
class Adversarial(Objective):
    """Made by :func:`adversarial`."""

    energy: TrainableEnergy = function()
    generate: Generate = function()
    gradient_penalty: Any = number(default=None)
    sampler_init: Any = function(default=None)
    sampler_scale: Any = number(default=5.0)

    def check(self):
        if self.gradient_penalty is not None:
            checks.positive(self.gradient_penalty, "gradient_penalty", zero=True)
        checks.positive(self.sampler_scale, "sampler_scale")

    @property
    def update_scale(self):
        return Players(1.0, self.sampler_scale)

    def init(self, key, params, data=None):
        call = "adversarial(..., sampler_init=flow.init)"
        trains = "Players(energy, sampler)"
        sampler = init_other(self.sampler_init, key, data, call=call, trains=trains)
        return Players(params, sampler)

    def energy_params(self, params):
        return params.energy

    def loss(self, params, key, batch, chains):
        if not isinstance(params, Players):
            raise TypeError(
                "adversarial trains Players(energy, sampler), got "
                f"{checks.describe(params)}"
            )
        energy = scalar(self.energy)
        of_points = lambda p, x: jax.vmap(partial(energy, p))(x)
        x, log_q = self.generate(params.other, key, checks.num_chains(batch, "batch"))
        fixed_energy, fixed_x = jax.lax.stop_gradient((params.energy, x))
        data = of_points(params.energy, batch)
        model = of_points(params.energy, fixed_x)
        of_sampler = of_points(fixed_energy, x)
        value = jnp.mean(data) - jnp.mean(model)
        value += jnp.mean(of_sampler) + jnp.mean(log_q)
        if self.gradient_penalty is not None:
            slope = lambda x: half_square(jax.grad(partial(energy, params.energy))(x))
            value += self.gradient_penalty * jnp.mean(jax.vmap(slope)(batch))
        log_weight = -model - log_q
        metrics = {
            "energy_of_data": jnp.mean(data),
            "energy_of_sampler": jnp.mean(model),
            "entropy": -jnp.mean(log_q),
            "log_z_bound": jnp.mean(log_weight),
            "log_weight_spread": jnp.std(log_weight),
        }
        return value, (chains, jax.lax.stop_gradient(metrics))


def adversarial(
    energy: TrainableEnergy,
    generate: Generate,
    *,
    gradient_penalty: Any = 0.0,
    sampler_init: Callable[[Key, Position], Params] | None = None,
    sampler_scale: Any = 5.0,
) -> Objective:
    """An energy trained against a sampler.

    It trains ``Players(energy, sampler)``, which ``init`` makes.

    Args:
      energy: ``energy(params, x)`` of one point.
      generate: ``(params, key, n)`` to points ``[n, ...]`` and their log density under
        the sampler, ``[n]``, both differentiable.
      gradient_penalty: w, of the squared gradient of the energy at the data.
      sampler_init: ``sampler_init(key, x)``, the first parameters of the sampler;
        without it ``init`` raises.
      sampler_scale: multiplies the updates of the sampler, which must stay near its
        optimum.

    Metrics: the mean energies, the entropy, the lower bound on log Z and the standard
    deviation of -E - log q, which is constant if q is the model.

    Raises:
      ValueError: a negative penalty, a scale that is not positive.
      TypeError: when traced, parameters that are not ``Players``.

    >>> adversarial(
    ...     lambda params, x: params * jnp.sum(x**2),
    ...     affine,
    ...     sampler_init=lambda key, x: affine_params(x.size),
    ... )
    Adversarial(energy=<lambda>, generate=affine, sampler_init=<lambda>)
    """
    return Adversarial(
        energy, generate, optional(gradient_penalty), sampler_init, sampler_scale
    )


# --- samplers -----------------------------------------------------------------------


class Affine(NamedTuple):
    """x = mean + L z with L lower triangular, stored with the logarithms of its
    diagonal."""

    mean: Array  # [D]
    log_diagonal: Array  # [D]
    below: Array  # [D, D], of which the part below the diagonal is used

    @property
    def root(self) -> Array:
        return jnp.tril(self.below, -1) + jnp.diag(jnp.exp(self.log_diagonal))


def affine_params(dim: int) -> Affine:
    """The parameters of a standard normal."""
    return Affine(jnp.zeros(dim), jnp.zeros(dim), jnp.zeros((dim, dim)))


def affine(params: Affine, key: Key, num: int) -> tuple[Array, Array]:
    """Draws ``[n, D]`` of N(mean, L L^T) and their log density ``[n]``."""
    z = jax.random.normal(key, (num, len(params.mean)))
    log_q = _log_standard_normal(z)
    return params.mean[None] + z @ params.root.T, log_q - jnp.sum(params.log_diagonal)


def mixture_params(key: Key, dim: int, num: int = 64) -> Affine:
    """``num`` normals, their means drawn from a standard one; leaves have a leading
    axis ``[K]``."""
    return Affine(
        jax.random.normal(key, (checks.count(num, "num"), dim)),
        jnp.full((num, dim), math.log(num ** (-1 / dim))),
        jnp.zeros((num, dim, dim)),
    )


def mixture(params: Affine, key: Key, num: int) -> tuple[Array, Array]:
    """Draws ``[n, D]`` of the mixture of normals in equal shares, and their log
    density.

    With fixed shares the choice of a normal needs no gradient; the draws cycle through
    the normals, from a random one on.
    """
    count, dim = params.mean.shape
    key_normal, key_turn = jax.random.split(key)
    z = jax.random.normal(key_normal, (num, dim))
    roots = jax.vmap(lambda p: p.root)(params)
    own = (jax.random.randint(key_turn, (), 0, count) + jnp.arange(num)) % count
    x = params.mean[own] + jnp.einsum("nij,nj->ni", roots[own], z)

    def log_normal(p, root, x):
        u = solve_triangular(root, x - p.mean, lower=True)
        log_det = jnp.sum(p.log_diagonal)
        return -half_square(u) - log_det - 0.5 * dim * math.log(2 * math.pi)

    of_normals = jax.vmap(log_normal, (0, 0, None))
    of_all = jax.vmap(of_normals, (None, None, 0))(params, roots, x)
    return x, jax.nn.logsumexp(of_all, axis=1) - math.log(count)


def through_map(
    forward: Callable[[Params, Array], tuple[Position, Array]], dim: int
) -> Generate:
    """A sampler from an invertible map ``forward(params, z) -> (x, log |det|)`` of
    normal noise ``[D]``."""
    checks.function(forward, "forward")
    return partial(_through_map, forward, checks.count(dim, "dim"))


def _through_map(forward, dim, params, key, num):
    z = jax.random.normal(key, (num, dim))
    x, log_det = jax.vmap(partial(forward, params))(z)
    return x, _log_standard_normal(z) - log_det


def _log_standard_normal(z):
    return -0.5 * jnp.sum(z**2, axis=1) - 0.5 * z.shape[1] * math.log(2 * math.pi)
