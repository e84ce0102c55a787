"""Two-sample and goodness-of-fit tests with p-values.

mmd           MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y), a Gaussian kernel;
              p-value by permutation of the pooled points, exact for independent points
              (Gretton, Borgwardt, Rasch, Scholkopf & Smola 2012)
kernel_stein  KSD^2 of points under exp(-E) (:mod:`ebmjax.objectives.stein`), p-value by
              the wild bootstrap: B = n^-2 sum_ij w_i w_j u(x_i, x_j) with signs w that
              flip with probability a from point to point (Chwialkowski, Strathmann &
              Gretton 2016, eq. 6); a = 1/2 for independent points, less for chains
classifier    a network is trained to classify the samples on one half of each; on the
              other half, its mean score on x minus that on y, p-value by permutation
              (Lopez-Paz & Oquab 2017, "Revisiting classifier two-sample tests")

All are pure, so that they can be repeated by ``vmap``.  A p-value is
(1 + number of permutations at least as extreme) / (1 + number of permutations); it is
NaN, with a warning, if the statistic is not finite.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax.base import Array, Energy, Key, scalar
from ebmjax.objectives import stein

LEAST = 8  # points of a sample
LEARNING_RATE = 0.02
ROUNDING = 1e-6  # values that are equal up to it count as equal


class TestResult(NamedTuple):
    """Of one test; arrays ``[]``."""

    __test__ = False  # not a test class of pytest

    statistic: Array
    p_value: Array


def mmd(
    key: Key,
    x: Any,
    y: Any,
    *,
    width: float | None = None,
    num_permutations: int = 499,
) -> TestResult:
    """Test whether points ``[N, ...]`` and ``[M, ...]`` have the same distribution.

    Args:
      key: one key.
      x, y: trees of arrays, of independent points.
      width: h of exp(-|x - y|^2 / 2 h^2); the median distance of the pooled points by
        default.
      num_permutations: of the pooled points.

    Returns:
      MMD^2 (the biased estimate, at least 0) and the p-value.

    Raises:
      ValueError: fewer than ``LEAST`` points, points of different shapes, values that
        are not finite, a width that is not positive.

    >>> mmd(key, chains, data).p_value  # doctest: +SKIP
    """
    key = checks.key(key)
    checks.count(num_permutations, "num_permutations")
    _same_shape(x, y)
    x, y = _rows(x, "x"), _rows(y, "y")
    pooled = stein.centred(jnp.concatenate([x, y]))
    squares = stein.squared_distances(pooled)
    if width is None:
        h2 = jnp.median(squares[jnp.triu_indices(len(pooled), 1)]) + 1e-12
    else:
        checks.positive(width, "width")
        h2 = jnp.asarray(width, pooled.dtype) ** 2
    gram = jnp.exp(-squares / (2 * h2))
    weights = jnp.concatenate(
        [jnp.full(len(x), 1 / len(x)), jnp.full(len(y), -1 / len(y))]
    )
    keys = jax.random.split(key, num_permutations)
    permuted = jax.vmap(lambda key: jax.random.permutation(key, weights))(keys)
    return _result(_form(gram, weights[None])[0], _form(gram, permuted), 1.0)


def kernel_stein(
    key: Key,
    energy: Energy,
    x: Any,
    *,
    width: float | None = None,
    kernel: str = "imq",
    flip_probability: float = 0.5,
    num_bootstrap: int = 499,
) -> TestResult:
    """Test whether points ``[N, ...]`` follow exp(-energy) / Z; Z is not needed.

    Args:
      key: one key.
      energy: of one point, differentiable.
      x: a tree of arrays.
      width: of the kernel; the median distance by default.
      kernel: ``imq`` or ``rbf``.
      flip_probability: a in the module docstring; 1/2 for independent points, about
        1 / (correlation time) for consecutive points of a chain.
      num_bootstrap: bootstrap draws.

    Returns:
      KSD^2 (the V-statistic) and the p-value.

    Raises:
      ValueError: fewer than ``LEAST`` points, an unknown kernel, a probability outside
        (0, 1), values that are not finite.
    """
    key = checks.key(key)
    checks.count(num_bootstrap, "num_bootstrap")
    checks.between(flip_probability, "flip_probability")
    rows = _rows(x, "x")
    checks.one_of(kernel, "kernel", stein.KERNELS)
    if width is not None:
        checks.positive(width, "width")
    h = stein.median_distance(x) if width is None else width
    phi = lambda t: stein.KERNELS[kernel](t, h)
    pairs = stein.pair_values(scalar(energy), x, phi)
    shape = (num_bootstrap, len(rows))
    is_flip = jax.random.bernoulli(key, flip_probability, shape)
    signs = 1.0 - 2.0 * (jnp.cumsum(is_flip, axis=1) % 2)
    ones = jnp.ones((1, len(rows)))
    size = len(rows) ** 2
    scale = jnp.mean(jnp.abs(pairs))
    return _result(_form(pairs, ones)[0] / size, _form(pairs, signs) / size, scale)


def classifier(
    key: Key,
    x: Any,
    y: Any,
    *,
    num_features: int = 32,
    num_updates: int = 200,
    num_permutations: int = 499,
) -> TestResult:
    """Test whether a network of one hidden layer can distinguish two samples.

    Args:
      key: one key.
      x, y: points ``[N, ...]`` and ``[M, ...]``.
      num_features, num_updates: of the network and of Adam on its first halves.
      num_permutations: of the scores of the second halves.

    Returns:
      The accuracy on the second halves (1/2 for equal distributions and sizes) and the
      p-value of the difference of mean scores.

    Raises:
      ValueError: as :func:`mmd`.
    """
    key = checks.key(key)
    for value, name in (
        (num_features, "num_features"),
        (num_updates, "num_updates"),
        (num_permutations, "num_permutations"),
    ):
        checks.count(value, name)
    _same_shape(x, y)
    x, y = _rows(x, "x"), _rows(y, "y")
    key_x, key_y, key_net, key_permute = jax.random.split(key, 4)
    x, y = jax.random.permutation(key_x, x), jax.random.permutation(key_y, y)
    half, rest = len(x) // 2, len(y) // 2
    score = _train(key_net, x[:half], y[:rest], num_features, num_updates)
    of_x, of_y = score(x[half:]), score(y[rest:])
    scores = jnp.concatenate([of_x, of_y])
    weights = jnp.concatenate(
        [jnp.full(len(of_x), 1 / len(of_x)), jnp.full(len(of_y), -1 / len(of_y))]
    )
    keys = jax.random.split(key_permute, num_permutations)
    permuted = jax.vmap(lambda key: jax.random.permutation(key, weights))(keys)
    accuracy = 0.5 * (jnp.mean(of_x > 0) + jnp.mean(of_y <= 0))
    found = _result(weights @ scores, permuted @ scores, jnp.mean(jnp.abs(scores)))
    return TestResult(accuracy, found.p_value)  # type: ignore[call-arg]


def _train(key, x, y, num_features, num_updates):
    """A function of points to log odds of x against y."""
    pooled = jnp.concatenate([x, y])
    mean, spread = jnp.mean(pooled, axis=0), jnp.std(pooled, axis=0) + 1e-6
    dim = x.shape[1]
    params = {
        "in": jax.random.normal(key, (dim + 1, num_features)) / (dim + 1) ** 0.5,
        "out": jnp.zeros(num_features + 1),
    }

    def score(params, x):
        z = (x - mean) / spread
        hidden = jnp.tanh(z @ params["in"][:-1] + params["in"][-1])
        return hidden @ params["out"][:-1] + params["out"][-1]

    def loss(params):
        of_x, of_y = score(params, x), score(params, y)
        return jnp.mean(jax.nn.softplus(-of_x)) + jnp.mean(jax.nn.softplus(of_y))

    optimizer = optax.adam(LEARNING_RATE)

    def update(carry, _):
        params, state = carry
        change, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, change), state), None

    start = (params, optimizer.init(params))
    (params, _), _ = jax.lax.scan(update, start, None, length=num_updates)
    return lambda x: score(params, x)


def _form(matrix, vectors):
    """v^T K v of each row ``[P, n]``."""
    return jnp.sum((vectors @ matrix) * vectors, axis=1)


def _result(statistic, null, scale):
    """``scale``: of the terms whose sums these are."""
    slack = ROUNDING * (jnp.abs(statistic) + scale)
    num = jnp.sum(null >= statistic - slack)
    is_number = jnp.isfinite(statistic) & jnp.all(jnp.isfinite(null))
    p_value = jnp.where(is_number, (1 + num) / (1 + len(null)), jnp.nan)
    if not checks.is_traced(p_value) and not is_number:
        checks.warn(
            f"the statistic is {statistic}: no p-value; the scores or the distances of "
            "the points are too large for float32, or not finite"
        )
    return TestResult(statistic, p_value)


def _rows(tree, name):
    """Points as vectors ``[N, D]``."""
    num = checks.num_chains(checks.position(tree, name), name)
    if num < LEAST:
        raise ValueError(f"{name} must have at least {LEAST} points, got {num}")
    return jax.vmap(lambda row: ravel_pytree(row)[0])(tree)


def _same_shape(x, y):
    shapes = [jax.tree.map(lambda leaf: jnp.shape(leaf)[1:], tree) for tree in (x, y)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"x and y must be points of one shape, got {shapes[0]} and {shapes[1]}"
        )
