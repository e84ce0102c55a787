"""Test whether a proposal has the density ``log_q``, up to one constant.

The variance of importance weights would grow exponentially with the dimension.
Instead, for any densities q, q' on the same space,

    E_q min(1, q'(y) / q(y))  =  int min(q, q')  =  E_q' min(1, q(y) / q'(y)),

the symmetry of Metropolis' rule.  Both sides lie in [0, 1], in any dimension.  Used
twice:

    in y   q'(y) = q(y + v | x), a shift: y drawn from q(. | x), and y - v from q'.  The
           claimed density must vary as that of the draws: detects a missing Jacobian.
    in x   q' = q(. | x'), x' close to x.  The claimed constant must not depend on x:
           detects swapped arguments, and constants that depend on x.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ebmjax import _validation as checks
from ebmjax.base import Key
from ebmjax.verify.families import some
from ebmjax.verify.features import labels_of
from ebmjax.verify.report import Finding, Report
from ebmjax.verify.statistics import p_of, z_values

SHIFT = 0.7  # length of a shift in y, in half-widths of the draws
SHRINK = 0.7  # of the distance in x, until the overlap is
OVERLAP = 0.5
NUM_DIRECTIONS = 4


def proposal_density(
    key: Key,
    q: Callable[[Key, Any], Any],
    log_q: Callable[..., Any],
    positions: Any,
    *,
    num_draws: int = 50_000,
    alpha: float = 1e-6,
) -> Report:
    """Test a proposal against the density that it claims.

    Args:
      key: one key.
      q: the proposal, ``q(key, x) -> y``.
      log_q: its log density, ``log_q(to=, given=)``, up to one constant.
      positions: some points ``[K, ...]``, at least two, where the proposal differs.
      num_draws: from each point.
      alpha: the false-alarm rate.

    Raises:
      ValueError: fewer than two positions; a proposal without a density, because it
        keeps a coordinate or takes few values there.
    """
    count = checks.num_chains(positions)
    if count < 2:
        raise ValueError(f"positions must be at least 2 points, got {count}")
    key = checks.key(key)
    example = jax.tree.map(lambda leaf: leaf[0], positions)
    labels, (_, unravel) = labels_of(example), ravel_pytree(example)
    points = jax.vmap(lambda x: ravel_pytree(x)[0])(positions)
    draw = jax.jit(
        lambda key, x: jax.vmap(lambda k: ravel_pytree(q(k, unravel(x)))[0])(
            jax.random.split(key, num_draws)
        )
    )
    density = jax.jit(
        lambda y, x: jax.vmap(lambda z: log_q(to=unravel(z), given=unravel(x)))(y)
    )
    findings = []
    for i in range(count):
        keys = jax.random.split(jax.random.fold_in(key, i), 3)
        x, other = points[i], points[(i + 1) % count]
        y = draw(keys[0], x)
        log_y = _numbers(density(y, x))
        _check_draws(np.asarray(y), np.asarray(x), labels)
        rng = np.random.default_rng(i)
        for label, v in _directions(np.asarray(y, np.float64), labels, rng):
            findings.append(_in_y(density, x, y, log_y, v, f"{label}, at point {i}"))
        findings += _in_x(draw, density, keys[1], x, other, y, log_y, i)
    return Report(
        "density of the proposal",
        f"{num_draws} draws from each of {count} points, shifts of both arguments",
        tuple(findings),
        alpha,
        suggestion="log_q is not the density of q: are its arguments swapped, or is a "
        "Jacobian missing?",
    )


def _in_y(density, x, y, log_y, v, label) -> Finding:
    """Acceptance of a shift and of its inverse, above and below the median."""
    v32 = jnp.asarray(v, y.dtype)
    up = _rate(_numbers(density(y + v32, x)) - log_y)
    down = _rate(_numbers(density(y - v32, x)) - log_y)
    along = np.asarray(y, np.float64) @ v
    middle, size = np.median(along), v @ v
    # phi(y) a(y -> y + v) against phi(y - v) a(y -> y - v), phi an indicator
    pairs = [(up, down)]
    pairs.append((up * (along > middle), down * (along - size > middle)))
    found = [(*_compare(a - b), a.mean(), b.mean()) for a, b in pairs]
    p, _, a, b = min(found)
    return Finding(f"shift of {label}", float(a), float(b), min(1.0, 2 * p))


def _in_x(draw, density, key, x, other, y, log_y, i) -> list[Finding]:
    """The overlap with the proposal from a point close by, from both sides."""
    step, near = 1.0, other
    for _ in range(40):
        near = x + step * (other - x)
        if _rate(_numbers(density(y, near)) - log_y).mean() >= OVERLAP:
            break
        step *= SHRINK
    here = _rate(_numbers(density(y, near)) - log_y)
    z = draw(key, near)
    there = _rate(_numbers(density(z, x)) - _numbers(density(z, near)))
    gap = here.mean() - there.mean()
    error = np.sqrt((here.var() + there.var()) / len(here))
    p = float(p_of(z_values(gap, error + 1e-7, 0.5 / len(here))))
    name = f"overlap with the proposal close to point {i}"
    return [Finding(name, float(here.mean()), float(there.mean()), p)]


def _compare(difference) -> tuple[float, float]:
    mean, error = difference.mean(), difference.std() / np.sqrt(len(difference))
    z = z_values(mean, error + 1e-7, 1.0 / len(difference))
    return float(p_of(z)), float(mean)


def _rate(log_ratio) -> np.ndarray:
    return np.exp(np.minimum(np.nan_to_num(log_ratio, nan=-np.inf), 0.0))


def _numbers(values) -> np.ndarray:
    return np.asarray(values, np.float64)


def _directions(y, labels, rng):
    """Coordinate and random directions, scaled by the spread of the draws.

    In units of the draws, so that shifts of all coordinates and of one coordinate have
    similar acceptance rates.
    """
    low, high = np.quantile(y, [0.16, 0.84], axis=0)
    width = SHIFT * (high - low)
    for i in some(y.shape[1], rng, 10):
        yield labels[i], np.eye(y.shape[1])[i] * width[i]
    if y.shape[1] > 1:
        for number in range(NUM_DIRECTIONS):
            v = rng.normal(size=y.shape[1])
            v *= width / np.linalg.norm(v)
            yield f"random direction {number + 1}", v


def _check_draws(y, x, labels) -> None:
    """Raise if a coordinate of the draws has no density."""
    for i, label in enumerate(labels):
        if (y[:, i] == x[i]).mean() > 0.01:
            raise ValueError(
                f"q must have a density, but leaves {label} where it is in "
                f"{(y[:, i] == x[i]).mean():.0%} of draws; test the part that moves"
            )
        if len(np.unique(y[:1000, i])) < 100:
            raise ValueError(
                f"q must have a density, but {label} takes few values; use "
                "counted_balance for a finite space"
            )
