"""Paths between densities: from a base that is drawn from exactly to a target.

    geometric    E_beta(x) = (1 - beta) E_0(x) + beta E_1(x),   0 <= beta <= 1

with ``E_0 = -log q`` of a base ``q`` (Neal 2001, "Annealed importance sampling",
eq. 3; Gelman & Meng 1998).  A path of your own is ``Path(energy, base)`` with
``energy(beta, x)``; at beta = 0 it is the energy of the base.

A base is two functions, ``sample(key, n)`` and the normalised ``log_prob(x)``:
:func:`gaussian`, :func:`fit_gaussian`, :func:`uniform_box`, :func:`bits`,
:func:`flow`, or any pair, ``Base(sample, log_prob)``.  Positions are trees of
arrays, of bits too.

Paths and bases are values (:mod:`ebmjax._value`): numbers are leaves and code is
structure, so that new numbers compile nothing.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax._value import Value, function, number, part, value
from ebmjax.base import Array, Energy, Key, Position, scalar
from ebmjax.energies.transforms import MinusLog

LOG_2PI = math.log(2 * math.pi)
ROWS_A_COORDINATE = 5  # data points a coordinate that a full covariance wants
SHRINKAGE = 1e-3  # of the mean variance, added to a fitted covariance
AT_BASE = 1e-3  # relative difference of the path at beta = 0 from its base


@value
class Base(Value):
    """A density with a sampler: ``sample(key, n) -> [n, ...]``, ``log_prob(x) -> []``.

    >>> base = Base(lambda key, n: jax.random.normal(key, (n, 2)),
    ...             lambda x: -0.5 * jnp.sum(x**2) - LOG_2PI)
    """

    sample: Callable[[Key, int], Position] = function()
    log_prob: Callable[[Position], Array] = function()

    def energy(self) -> Energy:
        """``-log_prob``; its log Z is 0."""
        return MinusLog(self.log_prob)


@value
class Path(Value):
    """``energy(beta, x)``, and the base that it starts from, if it has a sampler."""

    energy: Callable[[Array, Position], Array] = function()
    base: Base | None = part(default=None)

    def __call__(self, beta: Any) -> Energy:
        """The energy at ``beta``, which may be traced."""
        return Level(self.energy, beta)

    def work(self, old: Any, new: Any, x: Position) -> Array:
        """``E_new(x) - E_old(x)``; plus infinity outside the support at ``new``."""
        if isinstance(self.energy, Geometric):
            e0, e1 = self.energy.ends(x)
            change = (new - old) * (e1 - e0)
            before, after = _mix(e0, e1, old), _mix(e0, e1, new)
        else:
            before, after = self(old)(x), self(new)(x)
            change = after - before
        stays = jnp.where(before == jnp.inf, 0.0, change)
        return jnp.where(after == jnp.inf, jnp.inf, stays)

    def slope(self, beta: Any, x: Position) -> Array:
        """``dE_beta(x) / d beta``."""
        if isinstance(self.energy, Geometric):
            return self.work(0.0, 1.0, x)
        return jax.grad(lambda b: self(b)(x))(jnp.asarray(beta, jnp.float32))


@value
class Level(Value):
    """The energy of a path at ``beta``."""

    energy: Callable[[Array, Position], Array] = function()
    beta: Array = number()

    def __call__(self, x: Position) -> Array:
        return scalar(self.energy)(self.beta, x)


@value
class Geometric(Value):
    """``(1 - beta) E_0(x) + beta E_1(x)``, and no weight counts an infinite energy."""

    first: Energy = function()
    last: Energy = function()

    def ends(self, x: Position) -> tuple[Array, Array]:
        return scalar(self.first)(x), scalar(self.last)(x)

    def __call__(self, beta: Array, x: Position) -> Array:
        return _mix(*self.ends(x), beta)


def geometric(base: Base | Energy, energy: Energy) -> Path:
    """The geometric path from a base, or from an energy, to an energy.

    From an energy ``E_0`` there is no sampler: parallel tempering runs on it, and
    log Z is relative to that of ``E_0``; annealed importance sampling wants a base.

    Raises:
      TypeError: what is no function.

    >>> path = geometric(gaussian(jnp.zeros(2)), lambda x: jnp.sum(x**4))
    >>> path(0.5)(jnp.ones(2)).shape
    ()
    """
    checks.function(energy, "energy")
    if isinstance(base, Base):
        return Path(Geometric(base.energy(), energy), base)
    return Path(Geometric(checks.function(base, "base"), energy))


# --- bases ----------------------------------------------------------------------------


def gaussian(mean: Any, scale: Any = 1.0, *, covariance: Any = None) -> Base:
    """N(mean, scale^2), or N(mean, covariance).

    Args:
      mean: a tree of arrays, of the shape of a position.
      scale: standard deviations, a number or a tree that broadcasts to the mean.
      covariance: ``[D, D]`` of all coordinates of the mean together, in its place.

    Raises:
      ValueError: a scale that is not positive, a covariance that is not positive
        definite or not ``[D, D]``.

    >>> base = gaussian(jnp.zeros(3), 2.0)
    """
    mean = _floats(mean, "mean")
    flat, _ = ravel_pytree(mean)
    if covariance is None:
        checks.positive(scale, "scale")
        is_one = jax.tree.structure(scale) == jax.tree.structure(0.0)
        if is_one:
            scale = jax.tree.map(lambda _: scale, mean)
        factor, _ = ravel_pytree(
            jax.tree.map(lambda s, m: jnp.broadcast_to(s, m.shape), scale, mean)
        )
        return _gaussian_base(mean, factor.astype(flat.dtype))
    checks.covariance(covariance, "covariance")
    if np.shape(covariance) != (flat.size, flat.size):
        raise ValueError(
            f"covariance must be [{flat.size}, {flat.size}], "
            f"got shape {np.shape(covariance)}"
        )
    return _gaussian_base(mean, jnp.linalg.cholesky(jnp.asarray(covariance)))


def fit_gaussian(
    x: Any, *, widen: float = 1.0, is_dense: bool | None = None
) -> Base:
    """A Gaussian with the mean and covariance of data or chains ``[N, ...]``.

    Args:
      x: a tree of arrays with N rows.
      widen: factor on the standard deviations.
      is_dense: whether with correlations; by default if there are at least
        ``ROWS_A_COORDINATE`` rows a coordinate.

    Raises:
      ValueError: fewer than two rows, values that are not finite, no spread.
    """
    x = checks.position(x, "x")
    checks.positive(widen, "widen")
    num = checks.num_chains(x, "x")
    if num < 2:
        raise ValueError(f"x must have at least two rows, got {num}")
    rows = np.asarray(jax.vmap(lambda row: ravel_pytree(row)[0])(x), np.float64)
    dim = rows.shape[1]
    variances = rows.var(axis=0, ddof=1)
    if not variances.mean() > 0:
        raise ValueError("x must have spread, got rows that are all equal")
    floor = SHRINKAGE * variances.mean()
    mean = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), x)
    dtype = ravel_pytree(mean)[0].dtype
    if is_dense if is_dense is not None else num >= ROWS_A_COORDINATE * dim:
        covariance = np.atleast_2d(np.cov(rows.T)) + floor * np.eye(dim)
        factor = widen * np.linalg.cholesky(covariance)
    else:
        factor = widen * np.sqrt(variances + floor)
    return _gaussian_base(mean, jnp.asarray(factor, dtype))


def uniform_box(low: Any, high: Any) -> Base:
    """Uniform between two corners, trees of arrays of the shape of a position.

    Its log density is minus infinity outside: the target must have its mass inside.

    Raises:
      ValueError: corners of different shapes, or a side that is not positive.

    >>> base = uniform_box(-3 * jnp.ones(2), 3 * jnp.ones(2))
    """
    low, high = _floats(low, "low"), _floats(high, "high")
    if jax.tree.map(jnp.shape, low) != jax.tree.map(jnp.shape, high):
        raise ValueError(
            f"low and high must have one shape, got {jax.tree.map(jnp.shape, low)} "
            f"and {jax.tree.map(jnp.shape, high)}"
        )
    checks.positive(jax.tree.map(jnp.subtract, high, low), "high - low")
    return Base(partial(_box_sample, low, high), partial(_box_log_prob, low, high))


def bits(probability: Any) -> Base:
    """Independent bits, 0 or 1, with the probabilities of a 1, an array.

    Raises:
      ValueError: a probability that is not inside (0, 1).

    >>> base = bits(jnp.full(20, 0.5))
    """
    checks.between(probability, "probability")
    p = _floats(probability, "probability")
    return Base(partial(_bits_sample, p), partial(_bits_log_prob, p))


def flow(flow: Any, params: Any) -> Base:
    """A normalising flow, :class:`ebmjax.energies.flows.Flow`, with its parameters."""
    from ebmjax.energies.flows import Flow  # needs Flax

    checks.instance(flow, Flow, "flow", "ebmjax.energies.flows")
    return Base(
        partial(_flow_sample, flow, params), partial(_flow_log_prob, flow, params)
    )


# --- checks ---------------------------------------------------------------------------


def check_path(path: Any) -> Path:
    """The path.  Raises TypeError for what is none."""
    return checks.instance(
        path, Path, "path", "geometric(base, energy) or Path(energy, base)"
    )


def check_base(key: Key, path: Path) -> None:
    """Raise unless draws of the base are points of the path, and the path starts there.

    Raises:
      ValueError: no base, draws of a shape that the energy refuses, a path that is not
        its base at beta = 0, a density without a number.
    """
    if path.base is None:
        raise ValueError(
            "path must start from a base with a sampler and a log density, got an "
            "energy alone; use geometric(Base(sample, log_prob), energy)"
        )
    x = path.base.sample(key, 2)
    try:
        at_base, _, log_prob = _ends(path, x)
    except (TypeError, ValueError, IndexError) as error:
        shapes = jax.tree.map(lambda leaf: jnp.shape(leaf)[1:], x)
        raise ValueError(
            f"energy cannot be evaluated at draws of the base, of shape {shapes}: "
            f"{error}"
        ) from None
    at_base, log_prob = np.asarray(at_base), np.asarray(log_prob)
    if not np.isfinite(log_prob).all():
        raise ValueError(
            f"base.log_prob must be finite at draws of the base, got {log_prob}"
        )
    if np.abs(at_base + log_prob).max() > AT_BASE * (1 + np.abs(log_prob).max()):
        raise ValueError(
            "path at beta = 0 must be minus the log density of its base, got "
            f"{at_base[0]:.6g} where it is {-log_prob[0]:.6g}"
        )


def check_support(path: Path, positions: Position, name: str) -> None:
    """Raise unless positions ``[C, ...]`` lie in the support of the base.

    Raises:
      ValueError: with the number of those that do not.
    """
    log_prob = np.asarray(_ends(path, positions)[2])
    num = int(np.isneginf(log_prob).sum())
    if num:
        raise ValueError(
            f"base must have the support of the target: its density is 0 at {num} of "
            f"{len(log_prob)} {name}, so that log Z would be that of a part; use a "
            "wider base"
        )


def check_positions(path: Path, positions: Position) -> None:
    """Raise unless samples of the target ``[C, ...]`` are points of base and target.

    Raises:
      ValueError: another shape than draws of the base, outside its support, or an
        infinite energy.
    """
    of_base = jax.eval_shape(lambda: path.base.sample(jax.random.key(0), 1))
    shapes = [
        jax.tree.map(lambda x: jnp.shape(x)[1:], tree) for tree in (of_base, positions)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"positions must have the shape of draws of the base, {shapes[0]}, "
            f"got {shapes[1]}"
        )
    check_support(path, positions, "positions")
    num = int((~np.isfinite(np.asarray(_ends(path, positions)[1]))).sum())
    if num:
        raise ValueError(
            f"positions must have a finite energy at the target, got {num} that have "
            "not"
        )


def check_betas(betas: Any) -> np.ndarray:
    """Raise unless inverse temperatures ``[L + 1]`` rise from 0 to 1."""
    found = np.asarray(betas, np.float64)
    if found.ndim != 1 or len(found) < 2 or (found[0], found[-1]) != (0.0, 1.0):
        raise ValueError(
            f"betas must be numbers [L + 1] that run from 0 to 1, got shape "
            f"{found.shape}, first and last {found.ravel()[[0, -1][: found.size]]}"
        )
    if not (np.diff(found) > 0).all():
        raise ValueError("betas must rise at each level")
    return found


@jax.jit
def _ends(path, x):
    """Energies at both ends of the path and the log density of its base, ``[C]``."""
    log_prob = jax.vmap(path.base.log_prob)(x)
    return jax.vmap(path(0.0))(x), jax.vmap(path(1.0))(x), log_prob


# --- the functions of the values ------------------------------------------------------


def _mix(e0, e1, beta):
    """(1 - beta) e0 + beta e1; an infinite energy counts where its weight is not 0."""
    inside = e0 + beta * (e1 - e0)
    is_out = ((e0 == jnp.inf) & (beta < 1)) | ((e1 == jnp.inf) & (beta > 0))
    one = jnp.where(e0 == jnp.inf, e1, e0)  # the other has weight 0
    at_end = jnp.where(is_out, jnp.inf, one)
    return jnp.where((e0 == jnp.inf) | (e1 == jnp.inf), at_end, inside)


def _gaussian_base(mean, factor):
    if factor.ndim == 1:
        inverse = 1 / factor
    else:
        inverse = jax.scipy.linalg.solve_triangular(
            factor, jnp.eye(len(factor), dtype=factor.dtype), lower=True
        )
    return Base(
        partial(_gaussian_sample, mean, factor),
        partial(_gaussian_log_prob, mean, inverse),
    )


def _gaussian_sample(mean, factor, key, num):
    center, unravel = ravel_pytree(mean)
    z = jax.random.normal(key, (num, center.size), center.dtype)
    return jax.vmap(unravel)(center + _times(factor, z))


def _gaussian_log_prob(mean, inverse, x):
    centred = ravel_pytree(x)[0] - ravel_pytree(mean)[0]
    scales = inverse if inverse.ndim == 1 else jnp.diag(inverse)
    square = jnp.sum(_times(inverse, centred) ** 2)
    return jnp.sum(jnp.log(scales)) - 0.5 * square - 0.5 * centred.size * LOG_2PI


def _times(factor, z):
    if factor.ndim == 1:
        return factor * z
    return jnp.matmul(z, factor.T, precision=jax.lax.Precision.HIGHEST)


def _box_sample(low, high, key, num):
    corner, unravel = ravel_pytree(low)
    side = ravel_pytree(high)[0] - corner
    u = jax.random.uniform(key, (num, corner.size), corner.dtype)
    return jax.vmap(unravel)(corner + side * u)


def _box_log_prob(low, high, x):
    low, high, x = (ravel_pytree(tree)[0] for tree in (low, high, x))
    is_inside = jnp.all((x >= low) & (x <= high))
    return jnp.where(is_inside, -jnp.sum(jnp.log(high - low)), -jnp.inf)


def _bits_sample(probability, key, num):
    shape = (num, *probability.shape)
    return jax.random.bernoulli(key, probability, shape).astype(probability.dtype)


def _bits_log_prob(probability, x):
    return jnp.sum(x * jnp.log(probability) + (1 - x) * jnp.log1p(-probability))


def _flow_sample(flow, params, key, num):
    from ebmjax.energies.flows import sample

    return sample(flow, params, key, num)


def _flow_log_prob(flow, params, x):
    return flow.apply(params, x)


def _floats(tree, name):
    if not jax.tree.leaves(tree):
        raise TypeError(f"{name} must be an array or a tree of arrays, got {tree!r}")
    if not checks.is_traced(tree):
        for leaf in jax.tree.leaves(tree):
            checks.finite_rows(np.asarray(leaf), name)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), tree)
