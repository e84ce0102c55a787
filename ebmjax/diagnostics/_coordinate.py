"""R-hat and effective sample sizes of one coordinate ``[T, C]``, inside ``jit``.

The parts of which :mod:`ebmjax.diagnostics.convergence` is made; the same in NumPy:
:mod:`ebmjax.diagnostics._host`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc, ndtri


def halves(draws):
    """The halves of each chain as chains; the middle draw of an odd number is
    dropped."""
    half = len(draws) // 2
    return jnp.concatenate([draws[:half], draws[-half:]], axis=1)


def normal_scores(x):
    """Average ranks over all draws, as quantiles of a normal (Blom 1958)."""
    values, ordered = x.ravel(), jnp.sort(x.ravel())
    below, upto = (
        jnp.searchsorted(ordered, values, side=side) for side in ("left", "right")
    )
    rank = (below + upto + 1) / 2
    return ndtri((rank - 0.375) / (x.size + 0.25)).reshape(x.shape)


def plain_rhat(x):
    """sqrt(var+ / W), for the draws as they are."""
    length = len(x)
    return jnp.sqrt(
        (length - 1) / length
        + x.mean(axis=0).var(ddof=1) / x.var(axis=0, ddof=1).mean()
    )


def ess_below(x, probability):
    """For the quantile at a probability: that of the indicator of the draws below."""
    is_below = x <= jnp.quantile(x, probability)
    is_edge = is_below.all() & (jnp.ptp(x) > 0)  # binary draws: no value lies beyond
    return jnp.where(is_edge, x.size, ess_of(halves(is_below.astype(x.dtype))))


def ess_of(x):
    """C T / tau of ``[T, C]`` by Geyer's initial monotone sequence; tau at least
    1 / log10(C T)."""
    length, num_chains = x.shape
    spectrum = (
        jnp.abs(jnp.fft.rfft(x - x.mean(axis=0, keepdims=True), 2 * length, axis=0))
        ** 2
    )
    covariance = jnp.fft.irfft(spectrum, axis=0)[:length].mean(axis=1) / length  # [T]
    within = covariance[0] * length / (length - 1)
    total = covariance[0] + (x.mean(axis=0).var(ddof=1) if num_chains > 1 else 0.0)
    rho = (1 - (within - covariance) / total).at[0].set(1.0)

    num_pairs = 1 + (length - 3) // 2
    even, odd = rho[0 : 2 * num_pairs : 2], rho[1 : 2 * num_pairs : 2]
    pairs = even + odd
    place = jnp.arange(num_pairs)
    # the first pair that no longer counts
    end = jnp.argmax((pairs <= 0) | (place == num_pairs - 1))
    monotone = jnp.where(place < end, jax.lax.cummin(pairs), 0.0)
    tau = (
        -1
        + 2 * jnp.sum(monotone)
        + jnp.where(pairs[end] > 0, even[end], jnp.maximum(even[end], 0.0))
    )
    size = length * num_chains
    return jnp.where(jnp.ptp(x) > 0, size / jnp.maximum(tau, 1 / np.log10(size)), 0.0)


def beta_interval(a, b):
    """A standard deviation to each side: the 16 % and 84 % points of Beta(a, b).

    By bisection, or where float32 is not precise enough, by Abramowitz & Stegun
    26.5.22.
    """

    def halve(_, interval):
        low, high = interval
        middle = (low + high) / 2
        is_below = betainc(a, b, middle) < probability
        return jnp.where(is_below, middle, low), jnp.where(is_below, high, middle)

    y = jnp.array([1.0, -1.0])
    probability = jax.scipy.special.ndtr(-y)
    bisected = sum(jax.lax.fori_loop(0, 40, halve, (jnp.zeros(2), jnp.ones(2)))) / 2
    p, q = 1 / (2 * a - 1), 1 / (2 * b - 1)
    h = 2 / (p + q)
    w = y * jnp.sqrt(h - 1 / 3) / h - (q - p) * (1 / 2 - 2 / (3 * h))
    return jnp.where(
        jnp.minimum(a, b) > 100, 1 / (1 + b / a * jnp.exp(2 * w)), bisected
    )
